//! A managed InfluxDB: what tasks write to it by themselves is there when they have ended, also after its pod was
//! replaced.

use futures::future::join_all;
use millrace::names::reason;
use serde_json::{Value, json};

use crate::monitoring::{says, spring, spring_run};
use crate::support::stack::{INFLUXDB, Stack, off, volume};
use crate::support::{End, Space, beside};

async fn define(t: &Space) {
    let mut old = spring("boot27", json!({"app.run-for": "200ms"}));
    old["spring"] = json!({"bootVersion": "2"});
    t.define("boot27", old).await;
    t.define("boot35", spring("boot35", json!({"app.run-for": "200ms"}))).await;
}

/// Of a run in a measurement, which has one series: its tags, and the sum of a field. (Where a minute begins while it
/// runs, it writes then too.)
async fn sum(stack: &Stack<'_>, end: &End, measurement: &str, field: &str) -> (Value, Value) {
    let query = format!(
        "SELECT sum(\"{field}\") FROM \"{measurement}\" WHERE task_external_execution_id = '{}' GROUP BY *",
        end.pod()
    );
    let series = stack.influxql(&query).await;
    (series["tags"].clone(), series["values"][0][1].clone())
}

/// What a run counted, under its identity, and what only its end wrote.
async fn wrote(t: &Space, stack: &Stack<'_>, end: &End, task: &str) {
    let (tags, value) = sum(stack, end, "app_runs", "value").await;
    assert_eq!(value, json!(1), "{task}: {tags}");
    let identity = json!({
        "task_name": task,
        "task_execution_id": end.id().to_string(),
        "task_external_execution_id": end.pod(),
        "task_parent_execution_id": "unknown",
        "task_namespace": t.name,
        "application": format!("{task}-{}", end.id()),
    });
    for (tag, value) in identity.as_object().unwrap() {
        assert_eq!(tags[tag], *value, "{task}: {tag} in {tags}");
    }
    let (tags, count) = sum(stack, end, "spring_cloud_task", "count").await;
    assert_eq!((&count, &tags["task_name"]), (&json!(1), &json!(task)), "{tags}");
}

#[tokio::test]
async fn tasks_write_to_a_managed_influxdb() {
    beside("influxdb", async |t: &Space| {
        let influxdb = json!({"mode": "Managed", "image": INFLUXDB, "storage": volume()});
        let spec = json!({"prometheus": off(), "proxy": off(), "grafana": off(), "influxdb": influxdb});
        let stack = Stack::of(t, "influx", &spec).await;
        stack.ready().await;
        define(t).await;
        let tasks = ["boot27", "boot35"];
        let ends = join_all(tasks.map(|task| spring_run(t, task))).await;
        for (end, task) in ends.iter().zip(tasks) {
            says(end.succeeded(), "Unknown", reason::NOT_OBSERVABLE, "");
            wrote(t, &stack, end, task).await;
        }
        stack.replace("influxdb-0").await;
        for (end, task) in ends.iter().zip(tasks) {
            wrote(t, &stack, end, task).await;
        }
    })
    .await;
}
