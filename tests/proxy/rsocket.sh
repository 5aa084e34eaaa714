# Other implementations of RSocket, each from pinned packages, once into the cache.
# shellcheck shell=bash
# Needs lib.sh. Each function prints a folder.

RSOCKET=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/rsocket

# Folder with `python`, which finds the packages of requirements.txt.
rsocket_python() { cached_by_key rsocket_python get_rsocket_python; }
rsocket_python_key() { cat "$RSOCKET/requirements.txt" <(python3 --version) | key; }

get_rsocket_python() {
  python3 -m pip --version >/dev/null 2>&1 || die "missing: pip; install with: apt-get install python3-pip"
  # A venv cannot be moved to its final name, so only packages are kept.
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check \
    --target "$1/packages" -r "$RSOCKET/requirements.txt"
  printf '#!/bin/sh\nPYTHONPATH="$(dirname "$0")/packages" exec python3 "$@"\n' >"$1/python"
  chmod +x "$1/python"
}

# Folder with node_modules, as package-lock.json has them.
rsocket_node() { cached_by_key rsocket_node get_rsocket_node; }
rsocket_node_key() { cat "$RSOCKET/node/package-lock.json" <(node --version) | key; }

get_rsocket_node() {
  cp "$RSOCKET"/node/package*.json "$1"
  npm ci --ignore-scripts --no-audit --no-fund --prefix "$1"
}

# Begins to get what is not in the cache; `finish` follows.
begin_rsocket() {
  need python3 python3 node nodejs npm npm
  is_cached rsocket_python || begin "Download RSocket for Python" "10 s" rsocket_python
  is_cached rsocket_node || begin "Download RSocket for JavaScript" "10 s" rsocket_node
}

print_rsocket() { printf '%s\n' "MILLRACE_RSOCKET_PYTHON=$(rsocket_python)/python" "MILLRACE_RSOCKET_NODE=$(rsocket_node)"; }
