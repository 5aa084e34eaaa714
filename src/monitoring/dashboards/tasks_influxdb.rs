//! The dashboard `scdf-tasks` for InfluxDB 1 (InfluxQL). Applications write there themselves; nobody repairs what
//! they say, so a run is known by the tag `application`, `<task>-<execution id>`, which every generation has on every
//! meter. (Spring Cloud Task 2 puts the id of its own database, or `unknown`, into `task_execution_id`.) Times are
//! milliseconds. InfluxQL cannot give two tags one name: where dialects differ, a table has a column for each.

use super::panel::{Dashboard, Panel, Row, Source, Variable, choice, now, over_time, rows};

const CHOSEN_TASKS: &str = r#""task_namespace" =~ /^$task_namespace$/ AND "task_name" =~ /^$task_name$/"#;
const RUN: &str = r#""task_namespace", "task_name", "application""#;

/// The dashboard; `alone` where there is none for Prometheus.
pub(super) fn dashboard(alone: bool) -> Dashboard {
    let (uid, title) =
        if alone { ("scdf-tasks", "Tasks") } else { ("scdf-tasks-influxdb", "Tasks (InfluxDB)") };
    Dashboard {
        uid,
        title,
        description: "Runs of Spring Cloud Tasks and Spring Batch jobs of every Spring Boot generation, as they wrote \
                      them to InfluxDB.",
        source: Source::Influx,
        variables: variables(),
        rows: vec![overview(), over_the_time(), one_run(), batch()],
    }
}

fn variables() -> Vec<Variable> {
    vec![
        choice(
            "task_namespace",
            "Namespace",
            r#"SHOW TAG VALUES FROM "process_uptime" WITH KEY = "task_namespace""#,
        ),
        choice(
            "task_name",
            "Task",
            r#"SHOW TAG VALUES FROM "process_uptime" WITH KEY = "task_name" WHERE "task_namespace" =~ /^$task_namespace$/"#,
        ),
        choice(
            "task_execution_id",
            "Execution id",
            format!(r#"SHOW TAG VALUES FROM "process_uptime" WITH KEY = "application" WHERE {CHOSEN_TASKS}"#),
        )
        .regex("/-([0-9]+)$/")
        .newest_first(),
        choice(
            "job_name",
            "Batch job",
            format!(
                r#"SHOW TAG VALUES FROM "spring_batch_job" WITH KEY IN ("name", "spring_batch_job_name") WHERE {CHOSEN_TASKS}"#
            ),
        ),
    ]
}

/// Points of chosen runs within the time range that also fit `more`, which begins with `AND`.
fn from(measurement: &str, more: &str) -> String {
    format!(
        r#"FROM "{measurement}" WHERE {CHOSEN_TASKS} AND "application" =~ /-$task_execution_id$/ {more} AND $timeFilter"#
    )
}

/// A timer writes zeros in each step in which nothing happened.
const HAPPENED: &str = r#"AND "count" > 0"#;

/// The job's name is chosen; it stands in one of two tags.
fn of_job(boot2: &str, newer: &str) -> String {
    format!(r#"AND ("{boot2}" =~ /^$job_name$/ OR "{newer}" =~ /^$job_name$/)"#)
}

fn overview() -> Row {
    let task = from("spring_cloud_task", HAPPENED);
    let failed =
        format!(r#"{HAPPENED} AND ("task_status" = 'failure' OR "spring_cloud_task_status" = 'failure')"#);
    let active = from("spring_cloud_task_active", "");
    Row {
        id: 1,
        title: "Overview",
        panels: vec![
            Panel::stat(11, "Runs", "Runs that ended in this time, as their applications told.")
                .nothing_is_zero()
                .query(now(format!(r#"SELECT COUNT("sum") {task}"#), "")),
            Panel::stat(12, "Failed runs", "Those of them that failed, as their applications told.")
                .nothing_is_zero()
                .query(now(format!(r#"SELECT COUNT("sum") {}"#, from("spring_cloud_task", &failed)), "")),
            Panel::stat(13, "Active now", "Runs at work, as their applications told. They tell once a minute, and when \
                        they end.")
                .nothing_is_zero()
                .query(now(
                    format!(
                        r#"SELECT SUM("at_work") FROM (SELECT LAST("active_tasks") AS "at_work" {active} GROUP BY "application", "task_external_execution_id")"#
                    ),
                    "",
                )),
            Panel::stat(14, "Median duration", "Half of the runs took no longer.")
                .unit("ms")
                .query(now(format!(r#"SELECT MEDIAN("sum") {task}"#), "")),
            Panel::stat(15, "Longest run", "Duration of the longest run that ended.")
                .unit("ms")
                .query(now(format!(r#"SELECT MAX("sum") {task}"#), "")),
            Panel::table(17, "Runs that ended", "One row for each pod: when and how it ended, and how long its task took. \
                         Status and exit code of Spring Boot 2 stand in columns of their own.")
                .size(24, 10)
                .query(rows(format!(
                    r#"SELECT LAST("sum") AS "duration" {task} GROUP BY {RUN}, "task_external_execution_id", "spring_cloud_task_status", "spring_cloud_task_exit_code", "error", "task_status", "task_exit_code", "task_exception""#
                )))
                .columns(&[
                    ("task_namespace", "Namespace", None),
                    ("task_name", "Task", None),
                    ("application", "Run", None),
                    ("task_external_execution_id", "Pod", None),
                    ("spring_cloud_task_status", "Status", None),
                    ("spring_cloud_task_exit_code", "Exit code", None),
                    ("error", "Exception", None),
                    ("task_status", "Status (Boot 2)", None),
                    ("task_exit_code", "Exit code (Boot 2)", None),
                    ("task_exception", "Exception (Boot 2)", None),
                    ("duration", "Duration", Some("ms")),
                ]),
        ],
    }
}

fn over_the_time() -> Row {
    let task = from("spring_cloud_task", HAPPENED);
    let by_task = r#"GROUP BY time($__interval), "task_name" fill(none)"#;
    Row {
        id: 2,
        title: "One task over time",
        panels: vec![
            Panel::bars(21, "Runs that ended", "Each run counts once, where it ended.")
                .query(over_time(format!(r#"SELECT COUNT("sum") {task} {by_task}"#), "$tag_task_name")),
            Panel::points(
                22,
                "Duration",
                "Duration of runs, where they ended; of several in one step the longest.",
            )
            .unit("ms")
            .query(over_time(format!(r#"SELECT MAX("sum") {task} {by_task}"#), "$tag_task_name")),
            Panel::lines(
                24,
                "Time at work",
                "For how long runs had been at work when their applications last told.",
            )
            .size(24, 8)
            .unit("ms")
            .query(over_time(
                format!(
                    r#"SELECT MAX("duration") {} GROUP BY time($__interval), "application" fill(none)"#,
                    from("spring_cloud_task_active", "")
                ),
                "$tag_application",
            )),
        ],
    }
}

fn one_run() -> Row {
    let by_run = r#"GROUP BY time($__interval), "application" fill(none)"#;
    let memory = from("jvm_memory_used", "");
    Row {
        id: 3,
        title: "One run",
        panels: vec![
            Panel::text(31, "Its logs", "The command that prints the log of the chosen run.", super::LOGS),
            Panel::lines(33, "Memory of the JVM", "Used heap and other memory. A run that wrote once is a point.")
                .unit("bytes")
                .query(over_time(
                    format!(
                        r#"SELECT SUM("used") FROM (SELECT LAST("value") AS "used" {memory} GROUP BY time($__interval), "application", "area", "id" fill(none)) WHERE $timeFilter GROUP BY time($__interval), "application", "area" fill(none)"#
                    ),
                    "$tag_application $tag_area",
                )),
            Panel::lines(34, "CPU", "Share of the machine's processors that the JVM used lately, by its own account.")
                .unit("percentunit")
                .query(over_time(
                    format!(r#"SELECT LAST("value") {} {by_run}"#, from("process_cpu_usage", "")),
                    "$tag_application",
                )),
            Panel::table(37, "Lifetime of the JVM", "From its start to its last metrics. The task itself takes less.")
                .size(12, 8)
                .query(rows(format!(
                    r#"SELECT LAST("value") AS "lifetime" {} GROUP BY {RUN}"#,
                    from("process_uptime", "")
                )))
                .columns(&[
                    ("task_namespace", "Namespace", None),
                    ("task_name", "Task", None),
                    ("application", "Run", None),
                    ("lifetime", "Lifetime", Some("ms")),
                ]),
            Panel::table(38, "Log: warnings and errors", "Lines that the application logged.")
                .size(24, 8)
                .query(rows(format!(
                    r#"SELECT SUM("value") AS "lines" {} GROUP BY {RUN}, "level""#,
                    from("logback_events", r#"AND ("level" = 'warn' OR "level" = 'error')"#)
                )))
                .columns(&[
                    ("task_namespace", "Namespace", None),
                    ("task_name", "Task", None),
                    ("application", "Run", None),
                    ("level", "Level", None),
                    ("lines", "Lines", None),
                ]),
        ],
    }
}

fn batch() -> Row {
    let jobs = format!("{HAPPENED} {}", of_job("name", "spring_batch_job_name"));
    let steps = format!("{HAPPENED} {}", of_job("job_name", "spring_batch_step_job_name"));
    Row {
        id: 4,
        title: "Spring Batch",
        panels: vec![
            Panel::table(41, "Jobs", "Batch jobs that ended, with their exit status and duration. Name and status of \
                         Spring Boot 2 stand in columns of their own.")
                .query(rows(format!(
                    r#"SELECT LAST("sum") AS "duration" {} GROUP BY {RUN}, "spring_batch_job_name", "spring_batch_job_status", "name", "status""#,
                    from("spring_batch_job", &jobs)
                )))
                .columns(&[
                    ("application", "Run", None),
                    ("spring_batch_job_name", "Job", None),
                    ("spring_batch_job_status", "Status", None),
                    ("name", "Job (Boot 2)", None),
                    ("status", "Status (Boot 2)", None),
                    ("duration", "Duration", Some("ms")),
                ]),
            Panel::table(42, "Steps", "Steps that ended, with their exit status and duration.")
                .query(rows(format!(
                    r#"SELECT LAST("sum") AS "duration" {} GROUP BY {RUN}, "spring_batch_step_job_name", "spring_batch_step_name", "spring_batch_step_status", "job_name", "name", "status""#,
                    from("spring_batch_step", &steps)
                )))
                .columns(&[
                    ("application", "Run", None),
                    ("spring_batch_step_job_name", "Job", None),
                    ("spring_batch_step_name", "Step", None),
                    ("spring_batch_step_status", "Status", None),
                    ("job_name", "Job (Boot 2)", None),
                    ("name", "Step (Boot 2)", None),
                    ("status", "Status (Boot 2)", None),
                    ("duration", "Duration", Some("ms")),
                ]),
            items(43, "Items read", "item_read", "Reads of chunk-oriented steps; the one that finds the end counts too. \
                  FAILURE: a read that failed, which the step skips or ends with."),
            items(44, "Items processed", "item_process", "FAILURE: an item whose processing failed, which is skipped or \
                  tried again if the step allows that."),
            items(45, "Chunks written", "chunk_write", "FAILURE: a chunk whose writing failed."),
        ],
    }
}

fn items(id: u32, title: &str, what: &str, description: &str) -> Panel {
    let own = format!("spring_batch_{what}");
    let job = format!("{own}_job_name");
    let [step, status] = ["step_name", "status"].map(|tag| format!("{own}_{tag}"));
    let chosen = format!("{HAPPENED} {}", of_job("job_name", &job));
    Panel::table(id, title, description)
        .query(rows(format!(
            r#"SELECT SUM("count") AS "count" {} GROUP BY {RUN}, "{job}", "{step}", "{status}", "job_name", "step_name", "status""#,
            from(&own, &chosen)
        )))
        .columns(&[
            ("application", "Run", None),
            (&job, "Job", None),
            (&step, "Step", None),
            (&status, "Status", None),
            ("job_name", "Job (Boot 2)", None),
            ("step_name", "Step (Boot 2)", None),
            ("status", "Status (Boot 2)", None),
            ("count", "Count", None),
        ])
}
