# Shared by the scripts of this folder: messages, progress, the cache by content.
# shellcheck shell=bash
# Source it; it changes nothing but the shell's options.
set -euo pipefail
shopt -s inherit_errexit

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CHECKOUT=$(cd "$HERE/../.." && pwd)
CACHE=${MILLRACE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millrace}
export MILLRACE_CACHE=$CACHE CHECKOUT

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# need COMMAND PACKAGE…: names what is missing with the command that installs it.
need() {
  local missing=() packages=()
  while (($#)); do
    command -v "$1" >/dev/null || { missing+=("$1"); packages+=("$2"); }
    shift 2
  done
  ((${#missing[@]} == 0)) || die "missing: ${missing[*]}; install with: apt-get install ${packages[*]}"
}

need_go() {
  local have want=1.26
  command -v go >/dev/null || die "missing: go $want or newer; see https://go.dev/doc/install"
  have=$(go env GOVERSION)
  [[ $(printf 'go%s\n%s\n' "$want" "$have" | sort -V | head -1) == "go$want" ]] ||
    die "go $want or newer is needed, $(command -v go) is $have; see https://go.dev/doc/install"
}

# key FILE…: 16 hex digits of what stands in the files (names included) and in stdin.
key() {
  { (($# == 0)) || (cd "$HERE" && sha256sum "${@#"$HERE/"}"); cat; } | sha256sum | cut -c1-16
}

# cached NAME KEY BUILDER…: prints the folder NAME-KEY of the cache. If it is not
# there, BUILDER is called with a new folder to fill; only a complete one gets the
# name, and of two builders at once one waits for the other.
cached() {
  local name=$1 dir=$CACHE/$1-$2 tmp=$CACHE/.new-$1-$2 lock
  shift 2
  if [[ ! -d $dir ]]; then
    mkdir -p "$CACHE"
    exec {lock}>"$CACHE/.lock-$name"
    flock -n "$lock" || { say "waiting for another build of $name"; flock "$lock"; }
    if [[ ! -d $dir ]]; then
      rm -rf "$tmp" && mkdir "$tmp"
      "$@" "$tmp" >&2 {lock}>&-
      find "$CACHE" -maxdepth 1 -name "$name-????????????????" -mtime +30 -exec rm -rf {} +
      mv -T "$tmp" "$dir"
    fi
    exec {lock}>&-
  fi
  touch -c "$dir" # its age is the time of its last use
  printf '%s\n' "$dir"
}

# cached_by_key NAME BUILDER…: with the key that NAME_key prints. (As an argument,
# a key that cannot be made would go unnoticed.)
cached_by_key() {
  local key
  key=$("$1_key")
  cached "$1" "$key" build_unchanged "$key" "$@"
}

# What was built while its inputs changed must not get a name made from them.
build_unchanged() {
  local key=$1 after
  "${@:3}"
  after=$("$2_key")
  [[ $after == "$key" ]] || die "the sources of $2 changed while it was built; start again"
}

# is_cached NAME: is it there, by the key that NAME_key prints?
is_cached() { [[ -d $CACHE/$1-$("$1_key") ]]; }

go_version() { echo "$(go env GOVERSION) $(go env GOARCH)"; }
