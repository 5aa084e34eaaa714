# The control group below which the kubelet makes those of the pods.
# shellcheck shell=bash
# Needs lib.sh and STATE.

CGROUPS=/sys/fs/cgroup

make_cgroups() {
  case $(stat -fc %T $CGROUPS) in
  cgroup2fs) make_cgroup_v2 "millrace-$1" ;;
  tmpfs) make_cgroups_v1 "millrace-$1" ;;
  *) say "$CGROUPS holds no control groups; mount them first"; return 1 ;;
  esac
}

# One folder in every hierarchy. A new cpuset is empty, and an empty one can hold
# no process.
make_cgroups_v1() {
  local h f
  for h in "$CGROUPS"/*/; do
    h=${h%/}
    [[ ! -L $h && -f $h/cgroup.procs ]] || continue
    mkdir -p "$h/$1"
    for f in cpuset.cpus cpuset.mems; do
      [[ ! -f $h/$1/$f ]] || cat "$h/$f" >"$h/$1/$f"
    done
  done
}

# Controllers must be handed down from the root; what was not yet is noted, so that
# it can be taken back.
make_cgroup_v2() {
  local c
  for c in $(<"$CGROUPS/cgroup.controllers"); do
    case " $(<"$CGROUPS/cgroup.subtree_control") " in *" $c "*) continue ;; esac
    if echo "+$c" >"$CGROUPS/cgroup.subtree_control" 2>/dev/null; then
      echo "$c" >>"$STATE/cgroup-controllers"
    else
      say "note: the controller $c cannot be enabled for control groups"
    fi
  done
  mkdir -p "$CGROUPS/$1"
}

remove_cgroups() {
  local i c
  for ((i = 0; i < 50; i++)); do
    find $CGROUPS -depth -type d -path "*/millrace-$1*" -regex ".*/millrace-$1\(/.*\)?" -exec rmdir {} + 2>/dev/null || :
    [[ -n $(find $CGROUPS -type d -name "millrace-$1" -print -quit) ]] || break
    nap 0.1 # the kernel lets go of the last processes a little later
  done
  [[ -f $STATE/cgroup-controllers ]] || return 0
  while read -r c; do echo "-$c" >$CGROUPS/cgroup.subtree_control 2>/dev/null || :; done <"$STATE/cgroup-controllers"
  rm "$STATE/cgroup-controllers"
}
