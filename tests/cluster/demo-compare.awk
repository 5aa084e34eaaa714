# What Prometheus knows of runs beside what the operator says of them.
#   awk -F '\t' -f demo-compare.awk SERIES RUNS
# SERIES: lines of promtool, `name{labels} => value @[time]`. RUNS: execution id, pod, task, phase, exit code,
# duration, MetricsReceived. Ends with 1 if they disagree, and says of each run why.

# Boot 3 and 4 put the meter's name before the labels that are the task's own.
function label(line, name) {
  if (!match(line, "[{ ](spring_cloud_)?" name "=\"[^\"]*\"")) return "-"
  line = substr(line, RSTART, RLENGTH)
  sub(/^[^"]*"/, "", line)
  sub(/"$/, "", line)
  return line
}

# 1h2m3s as a number.
function in_seconds(text, all) {
  all = 0
  while (match(text, /^[0-9]+[hms]/)) {
    all += substr(text, 1, RLENGTH - 1) * (substr(text, RLENGTH, 1) == "h" ? 3600 : substr(text, RLENGTH, 1) == "m" ? 60 : 1)
    text = substr(text, RLENGTH + 1)
  }
  return all
}

function difference(run) {
  if (series[run] != 1 || count[run] != 1) return "seen " series[run] + 0 " times"
  if (task[run] != $3) return "another task"
  if (status[run] != ($4 == "Succeeded" ? "success" : "failure")) return "another outcome"
  if (code[run] != $5) return "another exit code"
  # The operator counts whole seconds, and the start of the JVM too.
  if (seconds[run] <= 0 || seconds[run] > in_seconds($6) + 1) return "another duration"
  if ($7 != "True") return "MetricsReceived is " $7
  return ""
}

FNR == NR {
  # Not the labels of the same name that Spring Cloud Task adds: they are its database's.
  line = $0
  gsub(/spring_cloud_task_(external_)?execution_id="[^"]*", /, "", line)
  run = label(line, "task_execution_id") "\t" label(line, "task_external_execution_id")
  value = line
  sub(/.* => /, "", value)
  sub(/ .*/, "", value)
  if (line ~ /^spring_cloud_task_seconds_sum/) { seconds[run] = value; next }
  series[run]++
  count[run] = value
  task[run] = label(line, "task_name")
  status[run] = label(line, "task_status")
  code[run] = label(line, "task_exit_code")
  next
}

FNR == 1 {
  form = "%-8s %9s  %-30s  %-8s %5s %9s  | %-10s %5s %9s  %-7s  %s\n"
  printf "%51s  %-25s| %s\n", "", "what Prometheus knows", "what the operator says"
  printf form, "TASK", "EXECUTION", "POD", "STATUS", "EXIT", "DURATION", "PHASE", "EXIT", "DURATION", "METRICS", ""
}

{
  run = $1 "\t" $2
  why = difference(run)
  if (why != "") bad = 1
  printf form, $3, $1, $2, status[run], code[run], sprintf("%.1fs", seconds[run]), $4, $5, $6, $7, why
}

END { exit bad }
