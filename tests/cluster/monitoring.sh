# Images of Prometheus and InfluxDB for clusters that reach no registry. They have the
# paths, users and entry points of the official ones, so a manifest that works with
# one works with the other.
# shellcheck shell=bash disable=SC2164 # who sources this stops on errors
# Needs lib.sh and artefacts.sh; `prometheus_image` and `influxdb` print folders.
source "$CHECKOUT/tests/proxy/prometheus/artefacts.sh"

PROMETHEUS_NAME=localhost/prometheus:v$PROMETHEUS_VERSION
INFLUXDB_NAME=localhost/influxdb:1.6

image_inputs() { key "$HERE"/kubernetes/image/*.go "$HERE/monitoring.sh" "$@"; }

# Folder with prometheus.tar: the binaries that the tests of the proxy use too. There
# is no web interface; that would be a build with Node.
prometheus_image() { cached_by_key prometheus_image build_prometheus_image; }
prometheus_image_key() { prometheus_key | image_inputs; }

build_prometheus_image() {
  local programs sources
  programs=$(prometheus)
  sources=$(cd "$PROMETHEUS" && GOFLAGS='' GOWORK=off go list -m -f '{{.Dir}}' github.com/prometheus/prometheus)
  mkdir "$1/etc"
  echo 'root:x:0:0::/root:/' >"$1/etc/passwd"
  # A name and no number, as in the official image: with runAsNonRoot, a pod must give the number itself.
  echo 'nobody:x:65534:65534::/:/' >>"$1/etc/passwd"
  echo 'nobody:x:65534:' >"$1/etc/group"
  "$HERE/image" --name "$PROMETHEUS_NAME" --user nobody --workdir /prometheus --entrypoint '["/bin/prometheus"]' \
    --cmd '["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]' \
    --add "$programs/prometheus:/bin/prometheus" --add "$programs/promtool:/bin/promtool" --add "$1/etc:/etc" \
    --add "$sources/documentation/examples/prometheus.yml:/etc/prometheus/prometheus.yml" \
    --add "$sources/LICENSE:/LICENSE" --add "$sources/NOTICE:/NOTICE" --out "$1/prometheus.tar"
  rm -r "$1/etc"
}

# Folder with influxdb.tar, and in root/ what the image holds: Debian's packages, unpacked.
INFLUXDB_PACKAGES=(influxdb influxdb-client busybox-static)
influxdb() { cached_by_key influxdb build_influxdb; }
influxdb_key() { packages_of_this_system "${INFLUXDB_PACKAGES[@]}" | image_inputs "$HERE"/influxdb/*; }

build_influxdb() {
  local root=$1/root program file
  mkdir "$root" "$1/packages"
  unpack_packages "$1/packages" "${INFLUXDB_PACKAGES[@]}"
  install -D -m 755 -t "$root/usr/bin" "$1"/packages/usr/bin/{influx,influxd}
  install -D -t "$root/bin" "$(find "$1/packages" -path '*/bin/busybox')"
  for program in sh sed sleep wget; do ln -s busybox "$root/bin/$program"; done
  install -m 755 "$HERE/influxdb/entrypoint.sh" "$root/"
  install -D -m 644 -t "$root/etc/influxdb" "$HERE/influxdb/influxdb.conf"
  # What the loader of this machine, which is the packages' system, loads for them.
  ldd "$root"/usr/bin/* | sed -nE 's/^\s*(.* => )?(\/\S+) \(0x.*/\2/p' | sort -u | while read -r file; do
    install -D -m 755 "$file" "$root$file"
  done
  rm -r "$1/packages"
  "$HERE/image" --name "$INFLUXDB_NAME" --user 0:0 --entrypoint '["/entrypoint.sh"]' --cmd '["influxd"]' \
    --add "$root:/" --out "$1/influxdb.tar"
}

# Begins to build what is not in the cache; `finish` follows.
begin_prometheus_image() {
  is_cached prometheus_image || begin "Build Prometheus $PROMETHEUS_VERSION and its image" "6 min on 2 cores; once" prometheus_image
}
begin_influxdb() { is_cached influxdb || begin "Download InfluxDB and make its image" "5 s" influxdb; }
