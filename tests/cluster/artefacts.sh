# What the cluster is made of, built or downloaded once into the cache.
# shellcheck shell=bash disable=SC2164 # who sources this stops on errors
# Needs lib.sh. Each function prints a folder.

MODULE=$HERE/kubernetes
KUBERNETES_VERSION=$(sed -n 's/^\tk8s.io\/kubernetes v//p' "$MODULE/go.mod")
HELM_VERSION=$(sed -n 's/^\thelm.sh\/helm\/v4 \(v[^ ]*\).*/\1/p' "$MODULE/go.mod")
PROGRAMS=(./node ./dns helm.sh/helm/v4/cmd/helm)

# Flags change the key; `-trimpath` makes the compile cache the same in all checkouts.
go_flags() {
  local p x="-s -w"
  for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    x+=" -X $p.gitVersion=v$KUBERNETES_VERSION -X $p.gitMajor=${KUBERNETES_VERSION%%.*}"
    x+=" -X $p.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES_VERSION") -X $p.gitCommit=0"
    x+=" -X $p.gitTreeState=clean -X $p.buildDate=1970-01-01T00:00:00Z"
  done
  printf '%s\n' -trimpath -buildvcs=false "-ldflags=$x -X helm.sh/helm/v4/internal/version.version=$HELM_VERSION"
}

go_in_module() { (cd "$MODULE" && CGO_ENABLED=0 GOFLAGS='' GOWORK=off nice -n 5 go "$@"); }

# Folder with node (all of Kubernetes), dns (CoreDNS) and helm.
kubernetes() { cached_by_key kubernetes build_kubernetes; }

kubernetes_key() {
  { go_version && go_flags && echo "${PROGRAMS[@]}"; } |
    key "$MODULE"/go.mod "$MODULE"/go.sum "$MODULE"/{node,dns}/*.go
}

build_kubernetes() {
  local flags free
  free=$(awk '/MemAvailable/ {print int($2 / 1024)}' /proc/meminfo)
  ((free > 4500)) || say "warning: linking Kubernetes needs 4.5 GiB of memory, $free MiB are available"
  mapfile -t flags < <(go_flags)
  go_in_module build "${flags[@]}" -o "$1/" "${PROGRAMS[@]}"
}

# Folder with containerd, runc, the CNI plugins and nft: Debian's packages,
# unpacked and not installed, with the libraries that a small system lacks.
PACKAGES=(containerd runc containernetworking-plugins nftables libnftables1 libnftnl11
  libmnl0 libseccomp2 libjansson4 libxtables12 libedit2 libbsd0 libmd0 libgmp10)

runtime() { cached_by_key runtime get_runtime; }

runtime_key() { packages_of_this_system "${PACKAGES[@]}" | key; }
get_runtime() { unpack_packages "$1" "${PACKAGES[@]}"; }

packages_of_this_system() (
  . /etc/os-release
  echo "$ID ${VERSION_ID-} $(dpkg --print-architecture) $*"
)

# unpack_packages FOLDER PACKAGE…
unpack_packages() (
  to=$1 debs=$1/debs
  shift
  mkdir "$debs" && cd "$debs"
  download_packages "$@" || { refresh_lists && download_packages "$@"; } ||
    { say "cannot download $*; is this Debian or Ubuntu with its package sources set up?"; return 1; }
  for deb in *.deb; do dpkg -x "$deb" "$to"; done
  rm -rf "$debs"
)

APT_OPTIONS=(-o APT::Sandbox::User=root)
download_packages() { apt-get "${APT_OPTIONS[@]}" -q download "$@"; }

# Lists of our own: the machine's are left as they are.
refresh_lists() {
  mkdir -p state/lists cache
  APT_OPTIONS+=(-o "Dir::State::Lists=$PWD/state/lists" -o "Dir::Cache=$PWD/cache")
  apt-get "${APT_OPTIONS[@]}" -q update
}

# Folder with image.tar, the image that holds each pod's namespaces.
pause() { cached_by_key pause build_pause; }
pause_key() { cc -dumpmachine | key "$HERE"/pause/pause.c "$HERE"/kubernetes/image/*.go; }

build_pause() {
  cc -Os -static -s -o "$1/pause" "$HERE/pause/pause.c"
  "$HERE/image" --name localhost/pause:1 --entrypoint '["/pause"]' --add "$1/pause:/pause" --out "$1/image.tar"
}

# Commands that the node needs of the machine, each with its package.
NODE_NEEDS=(ip iproute2 unshare util-linux nsenter util-linux openssl openssl cc "gcc libc6-dev" apt-get apt dpkg dpkg)

on_this_machine() {
  local other="or use a cluster of your own: make demo CLUSTER=current"
  [[ $(uname -s) == Linux ]] || die "the local cluster needs Linux; $other"
  ((EUID == 0)) || die "the local cluster needs root, for namespaces and control groups; repeat with sudo, $other"
}

# Builds what is not in the cache, all at once: downloads and compilers wait for
# different things. Needs progress.sh; `finish` follows.
begin_node_parts() {
  is_cached runtime || begin "Download Debian's containerd and runc" "10 s" runtime
  is_cached kubernetes || begin "Build Kubernetes $KUBERNETES_VERSION, CoreDNS and Helm" "12 min on 2 cores; once" kubernetes
  is_cached pause || begin "Build the pause image" "2 s" pause
}
