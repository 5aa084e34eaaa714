//! The dashboard `scdf-tasks` for Prometheus.
//!
//! A run that ended has one sample of each series, so a panel that looks at the whole time range takes the last value
//! within it, and none takes a rate. Dialects of labels: Boot 2 (`task_status`, `name`), Boot 3 and 4
//! (`spring_cloud_task_status`, `spring_batch_job_name`); of the long task timer: `_active_count` and
//! `_duration_sum` up to Micrometer 1.12, `_count` and `_sum` after it.

use super::panel::{Dashboard, Panel, Row, Source, Variable, choice, now, over_time, rows};

/// Runs that are chosen above.
const CHOSEN: &str =
    r#"task_namespace=~"$task_namespace",task_name=~"$task_name",task_execution_id=~"$task_execution_id""#;
/// Tasks that are chosen above, for recorded series, which know no runs.
const CHOSEN_TASKS: &str = r#"task_namespace=~"$task_namespace",task_name=~"$task_name""#;
const RUN: &str = "task_namespace, task_name, task_execution_id";
const POD: &str = "task_namespace, task_name, task_execution_id, task_external_execution_id";

/// The dashboard.
pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "scdf-tasks",
        title: "Tasks",
        description: "Runs of Spring Cloud Tasks and Spring Batch jobs of every Spring Boot generation, and what the \
                      operator saw of them.",
        source: Source::Prometheus,
        variables: variables(),
        rows: vec![overview(), over_the_time(), one_run(), batch(), seen_by_the_operator()],
    }
}

fn variables() -> Vec<Variable> {
    vec![
        // A task that never said anything is known to the operator alone.
        choice(
            "task_namespace",
            "Namespace",
            "query_result(group by (task_namespace) (label_replace(last_over_time(millrace_definition_info[$__range]), \
             \"task_namespace\", \"$1\", \"namespace\", \"(.+)\") or on (task_namespace) \
             last_over_time(process_uptime_seconds{task_namespace!=\"\"}[$__range])))",
        )
        .regex(r#"/task_namespace="([^"]+)"/"#),
        choice(
            "task_name",
            "Task",
            "query_result(group by (task_name) \
             (last_over_time(millrace_definition_info{namespace=~\"$task_namespace\"}[$__range]) or on (task_name) \
             last_over_time(process_uptime_seconds{task_namespace=~\"$task_namespace\",task_name!=\"\"}[$__range])))",
        )
        .regex(r#"/task_name="([^"]+)"/"#),
        choice(
            "task_execution_id",
            "Execution id",
            format!("label_values({{{CHOSEN_TASKS},task_execution_id!=\"\"}}, task_execution_id)"),
        )
        .newest_first(),
        choice(
            "job_name",
            "Batch job",
            format!(
                "query_result(count by (job_name) ({}))",
                one_job(&last("spring_batch_job_seconds_count"))
            ),
        )
        .regex(r#"/job_name="([^"]+)"/"#),
    ]
}

/// The last value of each chosen series within the time range.
fn last(metric: &str) -> String {
    last_where(metric, "")
}

/// The same of series that also match `more`, which begins with a comma.
fn last_where(metric: &str, more: &str) -> String {
    format!("last_over_time({metric}{{{CHOSEN}{more}}}[$__range])")
}

/// For panels over time: the last value within each step, so that a run stands where it ended.
fn at(metric: &str, more: &str) -> String {
    format!("last_over_time({metric}{{{CHOSEN}{more}}}[$__interval])")
}

/// One label that every dialect has under another name.
fn one_name(expr: &str, label: &str, dialects: &[&str]) -> String {
    dialects.iter().fold(expr.to_owned(), |expr, dialect| {
        format!(r#"label_replace({expr}, "{label}", "$1", "{dialect}", "(.+)")"#)
    })
}

/// How runs ended: `status`, `exit_code` and `failure` in one dialect.
fn ends(metric: &str) -> String {
    let expr = one_name(&last(metric), "status", &["task_status", "spring_cloud_task_status"]);
    let expr = one_name(&expr, "exit_code", &["task_exit_code", "spring_cloud_task_exit_code"]);
    one_name(&expr, "failure", &["task_exception", "error"])
}

/// `job_name` and `status` of a batch job.
fn one_job(expr: &str) -> String {
    let expr = one_name(expr, "job_name", &["name", "spring_batch_job_name", "spring_batch_job_active_name"]);
    one_name(&expr, "status", &["spring_batch_job_status"])
}

/// Batch jobs that are chosen above.
fn jobs(metric: &str) -> String {
    let of = |label: &str| last_where(metric, &format!(",{label}=~\"$job_name\""));
    one_job(&format!("({} or {})", of("name"), of("spring_batch_job_name")))
}

/// `job_name`, `step_name` and `status` of the steps of chosen jobs.
fn steps(metric: &str) -> String {
    let of = |label: &str| last_where(metric, &format!(",{label}=~\"$job_name\""));
    let both = format!("({} or {})", of("job_name"), of("spring_batch_step_job_name"));
    let expr = one_name(&both, "job_name", &["spring_batch_step_job_name"]);
    let expr = one_name(&expr, "step_name", &["name", "spring_batch_step_name"]);
    one_name(&expr, "status", &["spring_batch_step_status"])
}

/// What steps did to items: `what` is `item_read`, `item_process` or `chunk_write`, `status` `SUCCESS` or `FAILURE`.
fn items(what: &str, status: &str) -> String {
    let metric = format!("spring_batch_{what}_seconds_count");
    let own = format!("spring_batch_{what}");
    let boot2 = last_where(&metric, &format!(",job_name=~\"$job_name\",status=\"{status}\""));
    let newer = last_where(&metric, &format!(",{own}_job_name=~\"$job_name\",{own}_status=\"{status}\""));
    let expr = one_name(&format!("({boot2} or {newer})"), "job_name", &[&format!("{own}_job_name")]);
    let expr = one_name(&expr, "step_name", &[&format!("{own}_step_name")]);
    format!("sum by ({RUN}, job_name, step_name) ({expr})")
}

/// A series of the operator's for each definition, of those whose tasks are chosen; it knows no runs.
fn of_definitions(expr: &str) -> String {
    format!(
        "({expr}) * on (namespace, definition) group_left (task_name) max by (namespace, definition, task_name) \
         (last_over_time(millrace_definition_info{{namespace=~\"$task_namespace\",task_name=~\"$task_name\"}}[$__range]))"
    )
}

fn overview() -> Row {
    let ended = last("spring_cloud_task_seconds_count");
    let failed =
        |label: &str| last_where("spring_cloud_task_seconds_count", &format!(",{label}=\"failure\""));
    let failed = format!("({} > 0 or {} > 0)", failed("task_status"), failed("spring_cloud_task_status"));
    let runs = |of: &str| format!("count(count by ({RUN}) ({of})) or vector(0)");
    let seconds = format!("max by ({RUN}) ({} > 0)", last("spring_cloud_task_seconds_sum"));
    let active = of_definitions("sum by (namespace, definition) (millrace_definition_active)");
    Row {
        id: 1,
        title: "Overview",
        panels: vec![
            Panel::stat(11, "Runs", "Runs that ended in this time, as their applications told.")
                .query(now(runs(&format!("{ended} > 0")), "")),
            Panel::stat(
                12,
                "Failed runs",
                "Those of them that failed, as their applications told. What no \
                        application could tell stands in the last row.",
            )
            .query(now(runs(&failed), "")),
            Panel::stat(
                13,
                "Active now",
                "Launches that have begun and not ended, waiting ones among them, as the \
                        operator sees them.",
            )
            .query(now(format!("sum({active}) or vector(0)"), "")),
            Panel::stat(14, "Median duration", "Half of the runs took no longer.")
                .unit("s")
                .query(now(format!("quantile(0.5, {seconds})"), "")),
            Panel::stat(15, "Longest run", "Duration of the longest run that ended.")
                .unit("s")
                .query(now(format!("max({seconds})"), "")),
            Panel::stat(16, "Tasks", "Tasks of which a run ended.").query(now(
                format!("count(count by (task_namespace, task_name) ({ended} > 0)) or vector(0)"),
                "",
            )),
            runs_table(),
        ],
    }
}

/// Its second query takes the labels of the first, so that both make one row.
fn runs_table() -> Panel {
    let labels = format!("{POD}, status, exit_code, failure");
    let took = format!("max by ({labels}) ({} > 0)", ends("spring_cloud_task_seconds_sum"));
    let ended = format!(
        "max by ({POD}) ({} + {}) * 1000",
        last("process_start_time_seconds"),
        last("process_uptime_seconds")
    );
    let ended = format!("0 * {took} + on ({POD}) group_left () ({ended})");
    Panel::table(
        17,
        "Runs that ended",
        "One row for each pod: how it ended and how long its task took, as the \
                 application told; when its last metrics were taken.",
    )
    .size(24, 10)
    .query(rows(took))
    .query(rows(ended))
    .columns(&[
        ("Value #B", "Ended", Some("dateTimeAsIso")),
        ("task_namespace", "Namespace", None),
        ("task_name", "Task", None),
        ("task_execution_id", "Execution id", None),
        ("task_external_execution_id", "Pod", None),
        ("status", "Status", None),
        ("exit_code", "Exit code", None),
        ("failure", "Exception", None),
        ("Value #A", "Duration", Some("s")),
    ])
}

fn over_the_time() -> Row {
    let recorded = format!("task_name:spring_cloud_task_seconds:count1m{{{CHOSEN_TASKS}}}");
    Row {
        id: 2,
        title: "One task over time",
        panels: vec![
            Panel::bars(21, "Runs that ended", "Each run counts once, in the minute after its end. Recorded by \
                        Prometheus for tasks, not for single runs: a chosen execution id changes nothing here.")
                .query(over_time(
                    format!("sum by (task_name, status) (sum_over_time({recorded}[$__interval]))"),
                    "{{task_name}} {{status}}",
                )),
            Panel::points(22, "Duration", "Duration of runs, where they ended; of several in one step the longest.")
                .unit("s")
                .query(over_time(
                    format!(
                        "max by (task_namespace, task_name) ({} > 0)",
                        at("spring_cloud_task_seconds_sum", "")
                    ),
                    "{{task_name}}",
                )),
            Panel::lines(23, "Active runs", "Runs at work, as their applications told. Short ones end before anybody \
                         asks.")
                .query(over_time(
                    format!(
                        "sum by (task_namespace, task_name) ({{__name__=~\"spring_cloud_task_active_seconds_(active_)?count\",{CHOSEN}}})"
                    ),
                    "{{task_name}}",
                )),
            Panel::lines(24, "Time at work", "For how long the runs that are at work have been so.")
                .unit("s")
                .query(over_time(
                    format!(
                        "max by (task_name, task_execution_id) ({{__name__=~\"spring_cloud_task_active_seconds_(duration_)?sum\",{CHOSEN}}} > 0)"
                    ),
                    "{{task_name}} {{task_execution_id}}",
                )),
        ],
    }
}

fn one_run() -> Row {
    let gc = format!(
        "sum by (task_name, task_execution_id) ({}) or sum by (task_name, task_execution_id) (0 * {})",
        last("jvm_gc_pause_seconds_sum"),
        last("jvm_threads_live_threads")
    );
    let legend = "{{task_name}} {{task_execution_id}}";
    let by_run = |expr: String| format!("max by (task_name, task_execution_id) ({expr})");
    let end = format!(
        "max by (task_name, task_execution_id, task_external_execution_id, status, exit_code, failure) ({} > 0)",
        ends("spring_cloud_task_seconds_sum")
    );
    Row {
        id: 3,
        title: "One run",
        panels: vec![
            Panel::text(31, "Its logs", "The command that prints the log of the chosen run.", super::LOGS),
            Panel::table(
                32,
                "How it ended",
                "Status, exit code and exception, as the application told; an application \
                         that was killed tells nothing.",
            )
            .size(12, 8)
            .query(rows(end))
            .columns(&[
                ("task_name", "Task", None),
                ("task_execution_id", "Execution id", None),
                ("task_external_execution_id", "Pod", None),
                ("status", "Status", None),
                ("exit_code", "Exit code", None),
                ("failure", "Exception", None),
                ("Value", "Duration", Some("s")),
            ]),
            Panel::lines(
                33,
                "Memory of the JVM",
                "Used heap and other memory. A run that was seen once is a point.",
            )
            .unit("bytes")
            .query(over_time(
                format!("sum by (task_name, task_execution_id, area) ({})", at("jvm_memory_used_bytes", "")),
                "{{task_name}} {{task_execution_id}} {{area}}",
            )),
            Panel::lines(
                34,
                "CPU",
                "Share of the machine's processors that the JVM used lately, by its own account.",
            )
            .unit("percentunit")
            .query(over_time(by_run(at("process_cpu_usage", "")), legend)),
            Panel::lines(35, "Threads", "Live threads.")
                .query(over_time(by_run(at("jvm_threads_live_threads", "")), legend)),
            Panel::stat(36, "Pauses for garbage", "Time that the JVM stood still, in all.")
                .size(4, 8)
                .unit("s")
                .query(now(gc, legend)),
            Panel::stat(
                37,
                "Lifetime of the JVM",
                "From its start to its last metrics. The task itself takes less.",
            )
            .size(4, 8)
            .unit("s")
            .query(now(by_run(last("process_uptime_seconds")), legend)),
            Panel::stat(38, "Log: warnings and errors", "Lines that the application logged.")
                .size(4, 8)
                .query(now(
                    format!(
                        "sum by (task_name, task_execution_id, level) ({})",
                        last_where("logback_events_total", ",level=~\"warn|error\"")
                    ),
                    "{{task_name}} {{task_execution_id}} {{level}}",
                )),
        ],
    }
}

fn batch() -> Row {
    let active = |label: &str| {
        format!(
            "{{__name__=~\"spring_batch_job_active_seconds_(active_)?count\",{CHOSEN},{label}=~\"$job_name\"}}"
        )
    };
    let active = format!(
        "({} or {} or {})",
        active("name"),
        active("spring_batch_job_active_name"),
        active("spring_batch_job_name")
    );
    let failed = ["item_read", "item_process", "chunk_write"].map(|what| {
        // A step without a failure has no such series, and the sum of what is not there is nothing.
        let none = format!("0 * {}", items("item_read", "SUCCESS"));
        format!("({} or {none})", items(what, "FAILURE"))
    });
    Row {
        id: 4,
        title: "Spring Batch",
        panels: vec![
            Panel::table(41, "Jobs", "Batch jobs that ended, with their exit status and duration.")
                .size(12, 8)
                .query(rows(format!(
                    "max by ({RUN}, job_name, status) ({})",
                    jobs("spring_batch_job_seconds_sum")
                )))
                .columns(&[
                    ("task_namespace", "Namespace", None),
                    ("task_name", "Task", None),
                    ("task_execution_id", "Execution id", None),
                    ("job_name", "Job", None),
                    ("status", "Status", None),
                    ("Value", "Duration", Some("s")),
                ]),
            Panel::table(42, "Steps", "Steps that ended, with their exit status and duration. Spring Boot 3 and 4 tell \
                         only of steps that are beans.")
                .size(12, 8)
                .query(rows(format!(
                    "max by ({RUN}, job_name, step_name, status) ({})",
                    steps("spring_batch_step_seconds_sum")
                )))
                .columns(&[
                    ("task_namespace", "Namespace", None),
                    ("task_name", "Task", None),
                    ("task_execution_id", "Execution id", None),
                    ("job_name", "Job", None),
                    ("step_name", "Step", None),
                    ("status", "Status", None),
                    ("Value", "Duration", Some("s")),
                ]),
            Panel::table(43, "Items", "What chunk-oriented steps read (the read that finds the end counts too), \
                         processed, wrote in chunks, and what failed: a failed item is skipped or tried again if the step \
                         allows that, else it ends the step.")
                .size(24, 8)
                .query(rows(items("item_read", "SUCCESS")))
                .query(rows(items("item_process", "SUCCESS")))
                .query(rows(items("chunk_write", "SUCCESS")))
                .query(rows(failed.join(" + ")))
                .columns(&[
                    ("task_namespace", "Namespace", None),
                    ("task_name", "Task", None),
                    ("task_execution_id", "Execution id", None),
                    ("job_name", "Job", None),
                    ("step_name", "Step", None),
                    ("Value #A", "Reads", None),
                    ("Value #B", "Processed", None),
                    ("Value #C", "Chunks written", None),
                    ("Value #D", "Skipped or failed", None),
                ]),
            Panel::lines(44, "Active jobs", "Batch jobs at work, as their applications told.")
                .size(24, 8)
                .query(over_time(
                    format!("sum by (task_name, job_name) ({})", one_job(&active)),
                    "{{task_name}} {{job_name}}",
                )),
        ],
    }
}

fn seen_by_the_operator() -> Row {
    let last_of = |metric: &str| {
        of_definitions(&format!("max by (namespace, definition) (last_over_time({metric}[$__range]))"))
    };
    let ended = |outcome: &str, window: &str| {
        of_definitions(&format!(
            "sum by (namespace, definition, outcome) \
             (sum_over_time(definition:millrace_definition_runs:count1m{outcome}[{window}]))"
        ))
    };
    let failed = |outcome: &str| {
        let of_all = last_of("millrace_definition_last_run_succeeded");
        format!(
            "sum by (namespace, definition, task_name) ({}) or 0 * {of_all}",
            ended(&format!("{{outcome=\"{outcome}\"}}"), "$__range")
        )
    };
    Row {
        id: 5,
        title: "What the operator saw",
        panels: vec![
            Panel::table(51, "Definitions", "Of each definition the last launch that this operator saw end (1: it \
                         succeeded), and how many ended in this time. An application that was killed, or never \
                         started, counts here and nowhere else.")
                .query(rows(last_of("millrace_definition_last_run_succeeded")))
                .query(rows(last_of("millrace_definition_last_run_exit_code")))
                .query(rows(last_of("millrace_definition_last_run_duration_seconds")))
                .query(rows(failed("Succeeded")))
                .query(rows(failed("Failed")))
                .columns(&[
                    ("namespace", "Namespace", None),
                    ("definition", "Definition", None),
                    ("task_name", "Task", None),
                    ("Value #A", "Last: succeeded", None),
                    ("Value #B", "Last: exit code", None),
                    ("Value #C", "Last: duration", Some("s")),
                    ("Value #D", "Succeeded", None),
                    ("Value #E", "Failed", None),
                ]),
            Panel::bars(52, "Launches that ended", "Each once, by outcome.")
                .query(over_time(
                    format!("sum by (definition, outcome) ({})", ended("", "$__interval")),
                    "{{definition}} {{outcome}}",
                )),
            Panel::lines(53, "Launches that have not ended", "By phase, those that wait among them.")
                .query(over_time(
                    format!(
                        "sum by (phase) ({})",
                        of_definitions("sum by (namespace, definition, phase) (millrace_definition_active)")
                    ),
                    "{{phase}}",
                )),
            Panel::lines(54, "Oldest that waits or runs", "Since the creation of a launch that waits, and since the \
                         start of one that runs.")
                .unit("s")
                .query(over_time(
                    format!(
                        "max by (definition, phase) ({})",
                        of_definitions(
                            "max by (namespace, definition, phase) (time() - \
                             millrace_definition_oldest_active_timestamp_seconds)"
                        )
                    ),
                    "{{definition}} {{phase}}",
                )),
            Panel::bars(55, "Metrics of ended launches", "Whether a proxy got the metrics of launches that ended.")
                .query(over_time(
                    format!(
                        "sum by (definition, received) ({})",
                        of_definitions(
                            "sum by (namespace, definition, received) \
                             (sum_over_time(definition:millrace_definition_run_metrics:count1m[$__interval]))"
                        )
                    ),
                    "{{definition}} {{received}}",
                )),
        ],
    }
}
