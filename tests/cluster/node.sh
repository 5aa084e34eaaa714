#!/usr/bin/env bash
# What runs inside the node's namespaces:
#
#   node.sh init STATE KUBERNETES RUNTIME   pid 1: mounts, then reaps orphans
#   node.sh start COMPONENT                 starts one, records its pid
#   node.sh stop COMPONENT SIGNAL           ends one, waits until it is gone
#   node.sh alive COMPONENT | probe COMPONENT
#
# In here the cluster's folder is always /run/node/state, so that no path is too
# long for a socket and none is hidden by what is mounted.
set -euo pipefail
S=/run/node/state

init() {
  # Ours over /run and /var: containerd, the kubelet and CNI write to fixed paths
  # below them, and must not meet the machine's own.
  mount -t tmpfs tmpfs /mnt
  mkdir /mnt/{state,kubernetes,runtime}
  mount --bind "$1" /mnt/state
  mount --bind "$2" /mnt/kubernetes
  mount --bind "$3" /mnt/runtime
  mount -t tmpfs -o mode=755 tmpfs /run
  mount -t tmpfs -o mode=755 tmpfs /var
  mkdir -p /run/node /var/{log,lib,tmp,run}
  mount --move /mnt /run/node
  mount --make-rshared /
  hostname node1
  mkfifo /run/node/idle
  exec 9<>/run/node/idle
  snapshotter >$S/snapshotter
  echo $$ >$S/started
  # Orphans of every component become children of this shell, which reaps them
  # while it waits here for ever.
  while :; do read -ru 9 _ || :; done
}

# The folder may lie on a file system that cannot carry overlayfs.
snapshotter() {
  local d=$S/data/probe
  mkdir -p $d/{lower,upper,work,merged}
  if mount -t overlay overlay -o "lowerdir=$d/lower,upperdir=$d/upper,workdir=$d/work" $d/merged 2>/dev/null; then
    umount $d/merged
    echo overlayfs
  else
    echo native
  fi
  rm -rf $d
}

start() {
  local program=$S/node-bin/$1 flags extra=()
  if alive "$1"; then return; fi
  mapfile -t flags <"$S/config/flags/$1"
  [[ ! -f $S/flags/$1 ]] || read -ra extra <"$S/flags/$1"
  setsid "$program" "${flags[@]}" ${extra[@]+"${extra[@]}"} >>"$S/log/$1.log" 2>&1 </dev/null &
  echo $! >"$S/pids/$1"
}

alive() { [[ -f $S/pids/$1 ]] && kill -0 "$(<"$S/pids/$1")" 2>/dev/null; }

# A component that does not end within 3 s of its signal is killed.
stop() {
  local i
  if ! alive "$1"; then return; fi
  kill "-$2" "$(<"$S/pids/$1")"
  for ((i = 0; i < 30; i++)); do
    alive "$1" || { rm -f "$S/pids/$1"; return; }
    sleep 0.1
  done
  kill -KILL "$(<"$S/pids/$1")"
  rm -f "$S/pids/$1"
}

# Does it answer? The API server is asked from outside, with a client certificate.
probe() {
  local ip
  ip=10.77.$(<$S/number).2
  case $1 in
  etcd) http_ok 127.0.0.1 2379 /health ;;
  kube-apiserver) tcp_ok "$ip" 6443 ;;
  kube-controller-manager) tcp_ok 127.0.0.1 10257 ;;
  kube-scheduler) tcp_ok 127.0.0.1 10259 ;;
  kubelet) http_ok 127.0.0.1 10248 /healthz ;;
  kube-proxy) http_ok 127.0.0.1 10256 /healthz ;;
  volumes) http_ok 127.0.0.1 10260 /healthz ;;
  containerd) timeout 2 /run/node/runtime/usr/bin/ctr -a /run/containerd/containerd.sock version >/dev/null 2>&1 ;;
  dns) http_ok "$ip" 8181 /ready ;;
  esac
}

tcp_ok() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

http_ok() {
  local line
  line=$(
    exec 2>/dev/null 3<>"/dev/tcp/$1/$2" || exit 1
    printf 'GET %s HTTP/1.0\r\n\r\n' "$3" >&3
    read -rt 2 line <&3
    echo "$line"
  ) && [[ $line == *" 200 "* ]]
}

"$@"
