# What dashboards are proved with: Grafana's published types, and InfluxDB; once into the cache.
# shellcheck shell=bash
# Needs lib.sh. Each function prints a folder.

GRAFANA=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/grafana

# Folder with node_modules, as package-lock.json has them.
grafana_schema() { cached_by_key grafana_schema get_grafana_schema; }
grafana_schema_key() { cat "$GRAFANA/package-lock.json" <(node --version) | key; }

get_grafana_schema() {
  cp "$GRAFANA"/package*.json "$1"
  npm ci --ignore-scripts --no-audit --no-fund --prefix "$1"
}

# Folder with usr/bin/influxd: Debian's package, unpacked and not installed.
influxdb_server() { cached_by_key influxdb_server get_influxdb_server; }
influxdb_server_key() (
  . /etc/os-release
  echo "$ID ${VERSION_ID-} $(dpkg --print-architecture)" | key
)

get_influxdb_server() (
  cd "$1"
  options=(-o APT::Sandbox::User=root)
  if ! apt-get "${options[@]}" -q download influxdb; then
    # Lists of our own: the machine's are left as they are.
    mkdir -p state/lists cache
    options+=(-o "Dir::State::Lists=$PWD/state/lists" -o "Dir::Cache=$PWD/cache")
    apt-get "${options[@]}" -q update && apt-get "${options[@]}" -q download influxdb ||
      die "cannot download influxdb; is this Debian or Ubuntu with its package sources set up?"
  fi
  dpkg -x influxdb_*.deb . && rm -rf influxdb_*.deb state cache
)

# Begins to get what is not in the cache; `finish` follows.
begin_dashboards() {
  need node nodejs npm npm apt-get apt dpkg dpkg
  is_cached grafana_schema || begin "Download Grafana's published types" "10 s" grafana_schema
  is_cached influxdb_server || begin "Download Debian's InfluxDB" "5 s" influxdb_server
}

print_dashboards() {
  printf '%s\n' "MILLRACE_GRAFANA_SCHEMA=$(grafana_schema)/node_modules" "MILLRACE_INFLUXDB=$(influxdb_server)/usr/bin/influxd"
}
