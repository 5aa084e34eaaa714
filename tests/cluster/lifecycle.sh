# Starting and stopping the node.
# shellcheck shell=bash disable=SC2164 # who sources this stops on errors
# Needs lib.sh, artefacts.sh and pki.sh. STATE is the cluster's only folder.

COMPONENTS=(containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy volumes dns)

# node_pids PROGRAM: the processes that hold our namespaces: `unshare`, and its
# child `bash`, which is pid 1 inside. Found by their arguments, so that no record
# can be stale.
node_pids() {
  local p args
  for p in /proc/[0-9]*; do
    mapfile -d '' args 2>/dev/null <"$p/cmdline" || continue
    [[ -z ${1-} || ${args[0]-} == "$1" ]] || continue
    if [[ " ${args[*]} " == *" $STATE/node.sh init "* ]]; then echo "${p#/proc/}"; fi
  done
}

running() { PID1=$(node_pids bash) && [[ -n $PID1 ]]; }

in_node() {
  nsenter -t "$PID1" -m -n -p -u -i -- env -i HOME=/run/node/state/tmp TMPDIR=/run/node/state/tmp \
    PATH=/run/node/runtime/usr/bin:/run/node/runtime/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    LD_LIBRARY_PATH="$(<"$STATE/library-path")" "$@"
}

node() { in_node bash /run/node/state/node.sh "$@"; }

kube() { KUBECONFIG=$STATE/kubeconfig KUBERC=off KUBECACHEDIR=$STATE/tmp/kubectl "$STATE/bin/kubectl" "$@"; }

# From nothing to a Ready node. KUBERNETES, RUNTIME and PAUSE are its parts.
start_node() {
  unlock
  lay_out_state
  make_namespaces
  connect
  configure
  make_cgroups "$(<"$STATE/number")"
  start_component containerd etcd kube-apiserver
  wait_for containerd 30
  load_images "$PAUSE/image.tar"
  wait_for kube-apiserver 60
  start_component kube-controller-manager kube-scheduler kubelet kube-proxy
  kube apply -f "$STATE/config/base.yaml" >/dev/null
  start_component volumes dns
  wait_for node 60
  wait_for volumes 30
  wait_for dns 30
  touch "$STATE/complete"
}

lay_out_state() {
  local name
  # Private: keys, and the data of whatever runs in the cluster.
  mkdir -m 700 "$STATE"
  mkdir "$STATE"/{pki,config,log,pids,data,tmp,bin,node-bin,flags,loaded}
  cp "$HERE/node.sh" "$STATE/node.sh"
  for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy volumes; do
    ln -s /run/node/kubernetes/node "$STATE/node-bin/$name"
  done
  ln -s /run/node/kubernetes/dns /run/node/runtime/usr/bin/containerd "$STATE/node-bin/"
  ln -s "$KUBERNETES/node" "$STATE/bin/kubectl"
  ln -s "$KUBERNETES/helm" "$STATE/bin/helm"
  (cd "$RUNTIME" && printf '/run/node/runtime/%s:' usr/lib/*-linux-gnu* lib/*-linux-gnu* | sed 's/:$//') >"$STATE/library-path"
  set_flags kube-apiserver
}

# Further flags of the API server; kept for its restarts until they are set anew.
set_flags() {
  [[ $1 == kube-apiserver && -n ${MILLRACE_APISERVER_FLAGS+set} ]] || return 0
  echo "$MILLRACE_APISERVER_FLAGS" >"$STATE/flags/$1"
}

make_namespaces() {
  setsid unshare --mount --net --pid --uts --ipc --fork --kill-child=KILL --mount-proc --propagation private \
    bash "$STATE/node.sh" init "$STATE" "$KUBERNETES" "$RUNTIME" >"$STATE/log/init.log" 2>&1 </dev/null &
  disown
  local i
  for ((i = 0; i < 100; i++)); do
    if [[ -s $STATE/started ]]; then break; fi
    nap 0.05
  done
  running && [[ -s $STATE/started ]] && return
  say "the namespaces cannot be made: $(<"$STATE/log/init.log")"
  say "this needs root with all rights (a privileged container, not a plain one)"
  return 1
}

# One number per cluster of the machine names its link, networks and cgroup. The
# kernel refuses a second link of a name, so two clusters never get the same.
connect() {
  local n
  for ((n = 1; n <= 250; n++)); do
    if ip -4 route show table all | grep -qE "\b10\.(77|96|244)\.$n\."; then continue; fi
    if ip link add "millrace-$n" type veth peer name eth0 netns "$PID1" 2>>"$STATE/log/init.log"; then break; fi
  done
  ((n <= 250)) || { say "no link to the node can be made: $(tail -n 1 "$STATE/log/init.log")"; return 1; }
  echo "$n" >"$STATE/number"
  ip addr add "10.77.$n.1/30" dev "millrace-$n"
  ip link set "millrace-$n" up
  in_node bash -euc "
    ip link set lo up
    ip addr add 10.77.$n.2/30 dev eth0
    ip link set eth0 up
    ip route add default via 10.77.$n.1
    echo 1 >/proc/sys/net/ipv4/ip_forward
    [[ -e /proc/sys/net/bridge ]] || modprobe br_netfilter
    echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables"
  ip route add "10.244.$n.0/24" via "10.77.$n.2"
  ip route add "10.96.$n.0/24" via "10.77.$n.2"
}

configure() {
  local n
  n=$(<"$STATE/number")
  cp -r "$HERE/config" "$STATE/"
  find "$STATE/config" -type f -exec sed -i "s/@N@/$n/g; s/@SNAPSHOTTER@/$(<"$STATE/snapshotter")/g" {} +
  make_pki "$STATE/pki" "$n"
  cp "$STATE/pki/admin.conf" "$STATE/kubeconfig"
}

start_component() {
  local name
  for name; do node start "$name"; done
}

# ready COMPONENT, or `node` for the node as a whole.
ready() {
  case $1 in
  kube-apiserver) node probe "$1" && [[ $(kube get --raw /readyz --request-timeout=5s 2>/dev/null) == ok ]] ;;
  node) [[ $(kube get node/node1 -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]] &&
    kube get serviceaccount/default >/dev/null 2>&1 ;;
  *) node probe "$1" ;;
  esac
}

# wait_for WHAT SECONDS: ends early when a component ended; says which log to read.
wait_for() {
  local end=$((SECONDS + $2)) name failed=
  until ready "$1"; do
    for name in "${COMPONENTS[@]}"; do
      [[ ! -f $STATE/pids/$name ]] || node alive "$name" || failed="$name ended"
    done
    ((SECONDS < end)) || failed="$1 is not ready after $2 s"
    if [[ -n $failed ]]; then
      name=${failed%% *}
      [[ $name != node ]] || name=kubelet
      say "$failed; the end of $STATE/log/$name.log:"
      tail -n 15 "$STATE/log/$name.log" >&2
      return 1
    fi
    nap 0.1
  done
}

# load_images TAR…: into the node's containerd. A file that has not changed since
# it was loaded is not loaded again.
load_images() {
  local tar mark
  for tar; do
    [[ -f $tar ]] || die "$tar: no such image; build it first"
    mark=$STATE/loaded/$(stat -Lc '%n %s %Y' "$tar" | key)
    [[ -f $mark ]] && continue
    in_node ctr -a /run/containerd/containerd.sock -n k8s.io images import \
      --snapshotter "$(<"$STATE/snapshotter")" - <"$tar" >/dev/null
    touch "$mark"
  done
}

# stop_node: ends everything that runs; logs stay.
stop_node() {
  local pid i n
  n=$(cat "$STATE/number" 2>/dev/null || :)
  for ((i = 0; i < 100; i++)); do
    pid=$(node_pids)
    [[ -n $pid ]] || break
    # Pid 1 of the namespaces: the kernel ends every process in them with it.
    # shellcheck disable=SC2086
    kill -KILL $pid 2>/dev/null || :
    nap 0.1
  done
  [[ -n $n ]] || return 0
  if ip link show "millrace-$n" >/dev/null 2>&1; then ip link del "millrace-$n" 2>/dev/null || :; fi
  remove_cgroups "$n"
}

# leftovers: what of the cluster is still on the machine; nothing, after `down`.
leftovers() {
  local n
  n=$(cat "$STATE/number" 2>/dev/null || :)
  node_pids | sed 's/^/process: /'
  grep -F " ${STATE// /\\040}" /proc/self/mountinfo | sed 's/^/mount: /' || :
  [[ -n $n ]] || return 0
  ip -br link show | grep -E "^millrace-$n(@| )" | sed 's/^/link: /' || :
  ip -4 route show table all | grep -E "\b10\.(77|96|244)\.$n\." | sed 's/^/route: /' || :
  find /sys/fs/cgroup -type d -name "millrace-$n" 2>/dev/null | sed 's/^/cgroup: /'
}
