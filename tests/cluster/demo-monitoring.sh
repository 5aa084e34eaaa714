# The monitoring of the demo's namespace, and what Prometheus then knows of its runs.
# shellcheck shell=bash
# Needs demo and monitoring.sh.

STACK=monitoring

# set_up_monitoring LOCAL: 1 where only the images that were loaded are there.
set_up_monitoring() {
  local here='{"spec":{"prometheus":{"image":"'$PROMETHEUS_NAME'"},"grafana":{"mode":"Disabled"}}}'
  # As in the guide of SCDF: admin, password. Else the operator would make up a password.
  kubectl -n $NAMESPACE create secret generic grafana --dry-run=client -o yaml \
    --from-literal=admin-username=admin --from-literal=admin-password=password | kubectl -n $NAMESPACE apply -f -
  if (($1)); then
    kubectl patch --local -f "$EXAMPLES/monitoring.yaml" --type=merge -p "$here" -o yaml
  else
    cat "$EXAMPLES/monitoring.yaml"
  fi | kubectl -n $NAMESPACE apply -f -
  kubectl -n $NAMESPACE wait --for=condition=Ready "taskmonitoring/$STACK" --timeout=5m || monitoring_does_not_start
}

monitoring_does_not_start() {
  kubectl -n $NAMESPACE get "taskmonitoring/$STACK" \
    -o 'jsonpath={range .status.conditions[*]}{.type}{" "}{.status}{" "}{.reason}{": "}{.message}{"\n"}{end}'
  kubectl -n $NAMESPACE get pods -o wide
  return 1
}

# compare LAUNCH…: the operator's own table beside what Prometheus knows of the same
# runs, matched by execution id and pod. Any difference is an error.
compare() {
  local table code=0
  kubectl -n $NAMESPACE get "$@" -o 'jsonpath={range .items[*]}{.status.executionId}{"\t"}{.status.podName}{"\t"}{.spec.definitionRef.name}{"\t"}{.status.phase}{"\t"}{.status.exitCode}{"\t"}{.status.duration}{"\t"}{.status.conditions[?(@.type=="MetricsReceived")].status}{"\n"}{end}' >"$STEP_LOGS/runs"
  step "Wait until Prometheus has scraped the ${#} runs" "10 s" scraped
  table=$(awk -F '\t' -f "$HERE/demo-compare.awk" "$STEP_LOGS/series" "$STEP_LOGS/runs") || code=$?
  printf '%s\n' "$table"
  ((code == 0)) || die "Prometheus and the operator disagree; see: kubectl -n $NAMESPACE get tasklaunches -o wide"
  say "Prometheus and the operator agree on all ${#} runs."
}

# A run that ended is shown by one scrape or two; after that it must be looked back at.
ask_prometheus() {
  local ids
  ids=$(cut -f1 "$STEP_LOGS/runs" | paste -sd '|')
  # From inside its pod, so that no policy of the network is in the way.
  kubectl -n $NAMESPACE exec prometheus-0 -c prometheus -- promtool query instant http://localhost:9090 \
    "last_over_time({__name__=~\"spring_cloud_task_seconds_(count|sum)\",task_namespace=\"$NAMESPACE\",task_execution_id=~\"$ids\"}[1h])"
}

scraped() {
  local end=$((SECONDS + 60))
  while ask_prometheus >"$STEP_LOGS/series"; ((2 * $(wc -l <"$STEP_LOGS/runs") > $(wc -l <"$STEP_LOGS/series"))); do
    ((SECONDS < end)) || { echo "Prometheus does not have all of these runs:"; cat "$STEP_LOGS/runs"; return 1; }
    nap 1
  done
}

# How to see it.
say_grafana() {
  local how
  how=$(kubectl -n $NAMESPACE get "taskmonitoring/$STACK" -o 'jsonpath={.status.openGrafana}')
  say ""
  if [[ -n $how ]]; then
    say "Grafana:          $how"
    say "                  then /d/scdf-tasks/tasks?refresh=10s as admin, password"
  else
    say "Grafana:          Disabled here, because this cluster reaches no registry to pull its image from;"
    say "                  on a cluster that does (make demo CLUSTER=current) it runs"
  fi
}
