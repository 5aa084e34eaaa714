# Prometheus, the Pushgateway, their client libraries and the types of the Prometheus operator, built or downloaded once into the cache.
# shellcheck shell=bash disable=SC2164 # who sources this stops on errors
# Needs lib.sh. prometheus, pushgateway and python_client print folders.

PROMETHEUS=$CHECKOUT/tests/proxy/prometheus
PROMETHEUS_VERSION=$(sed -n 's/^\tgithub.com\/prometheus\/prometheus v0\.\([0-9]\)\([0-9]*\)\.\(.*\)/\1.\2.\3/p' "$PROMETHEUS/go.mod")

# Of the service discoveries only Kubernetes' one: most of what Prometheus is built from is for the others.
PROMETHEUS_FLAGS=(-trimpath -buildvcs=false "-ldflags=-s -w" -tags "remove_all_sd enable_kubernetes_sd netgo")

# What Prometheus says of itself, as its releases do.
PROMETHEUS_STAMP="-ldflags=-s -w -X github.com/prometheus/common/version.Version=$PROMETHEUS_VERSION"

go_build_in() { (cd "$1" && CGO_ENABLED=0 GOFLAGS='' GOWORK=off nice -n 5 go build "${PROMETHEUS_FLAGS[@]}" -o "${@:2}"); }

# sums_of PATH…: of all files there, whatever the working folder.
sums_of() { (cd "$PROMETHEUS" && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum); }

# Folder with prometheus, promtool, `read` (Prometheus' parsers) and `push` (its client library).
prometheus() { cached_by_key prometheus build_prometheus; }
prometheus_key() { { go_version && echo "${PROMETHEUS_FLAGS[@]}" "$PROMETHEUS_STAMP" && sums_of go.mod go.sum read push; } | key; }

build_prometheus() {
  local of=github.com/prometheus/prometheus/cmd
  go_build_in "$PROMETHEUS" "$1/" "$PROMETHEUS_STAMP" ./read ./push "$of/prometheus" "$of/promtool"
}

# Folder with the parsers of Prometheus 2, its engine of queries, and the Pushgateway. Both are modules of their own, since a program has
# only one version of each module.
pushgateway() { cached_by_key pushgateway build_pushgateway; }
pushgateway_key() { { go_version && echo "${PROMETHEUS_FLAGS[@]}" && sums_of v2 pushgateway; } | key; }

build_pushgateway() {
  go_build_in "$PROMETHEUS/v2" "$1/" . ./promql
  go_build_in "$PROMETHEUS/pushgateway" "$1/" github.com/prometheus/pushgateway
}

# Folder with what reads objects into the types of the Prometheus operator.
prometheus_operator() { cached_by_key prometheus_operator build_prometheus_operator; }
prometheus_operator_key() { { go_version && echo "${PROMETHEUS_FLAGS[@]}" && sums_of operator; } | key; }

build_prometheus_operator() { go_build_in "$PROMETHEUS/operator" "$1/" .; }

# Folder with a Python that has Prometheus' client library.
python_client() { cached_by_key python_client get_python_client; }
python_client_key() { { python3 --version && sums_of python/requirements.txt; } | key; }

get_python_client() {
  python3 -m pip --version >/dev/null 2>&1 || die "missing: pip; install with: apt-get install python3-pip"
  # A venv cannot be moved to its final name, so only packages are kept.
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check \
    --target "$1/packages" -r "$PROMETHEUS/python/requirements.txt"
  printf '#!/bin/sh\nPYTHONPATH="$(dirname "$0")/packages" exec python3 "$@"\n' >"$1/python"
  chmod +x "$1/python"
}

# Begins to get what is not in the cache; `finish` follows.
begin_prometheus() {
  need python3 python3
  need_go
  is_cached prometheus || begin "Build Prometheus $PROMETHEUS_VERSION" "5 min on 2 cores; once" prometheus
  is_cached pushgateway || begin "Build the Pushgateway and parts of Prometheus 2" "2 min; once" pushgateway
  is_cached prometheus_operator || begin "Build the types of the Prometheus operator" "20 s; once" prometheus_operator
  is_cached python_client || begin "Download Prometheus' Python client" "5 s" python_client
}

print_prometheus() {
  local three gateway
  three=$(prometheus) gateway=$(pushgateway)
  printf '%s\n' "MILLRACE_PROMETHEUS=$three/prometheus" "MILLRACE_PROMTOOL=$three/promtool" \
    "MILLRACE_PROMETHEUS_READ=$three/read" "MILLRACE_GO_PUSH=$three/push" \
    "MILLRACE_PUSHGATEWAY=$gateway/pushgateway" "MILLRACE_PROMETHEUS2_READ=$gateway/prometheus2" \
    "MILLRACE_PROMETHEUS2_PROMQL=$gateway/promql" \
    "MILLRACE_PROMETHEUS_OPERATOR=$(prometheus_operator)/operator" "MILLRACE_PYTHON_CLIENT=$(python_client)/python"
}
