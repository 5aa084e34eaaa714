# What dashboards are proved with: Grafana's published types, and InfluxDB; once into the cache.
# shellcheck shell=bash
# Needs lib.sh, artefacts.sh and monitoring.sh of the cluster, whose InfluxDB it is. Each function prints a folder.

GRAFANA=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/grafana

# Folder with node_modules, as package-lock.json has them.
grafana_schema() { cached_by_key grafana_schema get_grafana_schema; }
grafana_schema_key() { cat "$GRAFANA/package-lock.json" <(node --version) | key; }

get_grafana_schema() {
  cp "$GRAFANA"/package*.json "$1"
  npm ci --ignore-scripts --no-audit --no-fund --prefix "$1"
}

# Begins to get what is not in the cache; `finish` follows.
begin_dashboards() {
  need node nodejs npm npm apt-get apt dpkg dpkg
  need_go
  is_cached grafana_schema || begin "Download Grafana's published types" "10 s" grafana_schema
  begin_influxdb
}

print_dashboards() {
  printf '%s\n' "MILLRACE_GRAFANA_SCHEMA=$(grafana_schema)/node_modules" "MILLRACE_INFLUXDB=$(influxdb)/root/usr/bin/influxd"
}
