# Long steps with progress: what, how long so far, what was expected.
# shellcheck shell=bash
# Needs lib.sh. Steps run in process groups of their own, so that an interrupt
# can end each with all its children.

declare -A STEP_NAME=() STEP_LOG=() STEP_START=() STEP_EXPECTED=()
# Where the output of steps goes while they run; shown only if one fails.
STEP_LOGS=$(mktemp -d "${TMPDIR:-/tmp}/millrace-steps.XXXXXX")

# begin WHAT EXPECTED COMMAND…: starts a step in the background.
begin() {
  local what=$1 expected=$2 log
  shift 2
  say "==> $what (expected: $expected)"
  log=$(mktemp "$STEP_LOGS/XXXXXX")
  set -m
  (set -e && "$@") >"$log" 2>&1 </dev/null &
  set +m
  STEP_NAME[$!]=$what STEP_LOG[$!]=$log STEP_START[$!]=$SECONDS STEP_EXPECTED[$!]=${expected%%[,;]*}
}

# finish: waits for all steps; the first that fails ends the others and us.
finish() {
  local pid ticks=0 terminal=0 every=10
  [[ -t 2 ]] && terminal=1 every=1
  while ((${#STEP_NAME[@]})); do
    for pid in "${!STEP_NAME[@]}"; do
      kill -0 "$pid" 2>/dev/null || ended "$pid" "$terminal"
    done
    ((${#STEP_NAME[@]})) || break
    nap 0.2
    ((++ticks % (5 * every))) || tick "$terminal"
  done
}

step() { begin "$@"; finish; }

# A sleep without a process: a left-over `sleep` would hold the output open.
nap() { read -rt "$1" _ <> <(:) || :; }

tick() {
  local pid line=
  for pid in "${!STEP_NAME[@]}"; do
    line+="${line:+; }${STEP_NAME[$pid]}: $(duration $((SECONDS - STEP_START[$pid]))) (expected ${STEP_EXPECTED[$pid]})"
  done
  if (($1)); then printf '\r\033[K    … %s' "${line:0:${COLUMNS:-100}}" >&2; else say "    … $line"; fi
}

ended() {
  local pid=$1 code=0 what=${STEP_NAME[$1]} log=${STEP_LOG[$1]} took
  took=$(duration $((SECONDS - STEP_START[$1])))
  wait "$pid" || code=$?
  unset "STEP_NAME[$pid]" "STEP_LOG[$pid]" "STEP_START[$pid]"
  (($2)) && printf '\r\033[K' >&2
  if ((code == 0)); then say "    $what: done in $took"; return; fi
  say "    $what: FAILED after $took; the end of its output:"
  tail -n 40 "$log" | sed 's/^/    | /' >&2
  exit 1
}

duration() { if (($1 < 100)); then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi; }

end_steps() {
  local pid
  for pid in "${!STEP_NAME[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || :; done
  rm -rf "$STEP_LOGS"
}
trap end_steps EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
