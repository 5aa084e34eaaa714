//! Grafana's dashboards, as the JSON texts that it takes. The queries of a dashboard are composed from a few functions,
//! since every generation of Spring names labels in its own way and each panel shows all of them.

mod operator;
mod panel;
mod tasks_influxdb;
mod tasks_prometheus;

/// How to find what a run printed, and what the operator says of it.
const LOGS: &str = "Choose one task and one execution id above. While its pod exists:

```
kubectl logs -n ${task_namespace:text} -l millrace.dev/execution-id=${task_execution_id:text} --tail=-1
```

What the operator knows of it:

```
kubectl get tasklaunches -n ${task_namespace:text} -o wide | grep -w ${task_execution_id:text}
```
";

/// Tasks, from Prometheus. SCDF's links open it.
pub fn tasks_prometheus() -> String {
    tasks_prometheus::dashboard().render()
}

/// Tasks, from InfluxDB. Where it stands `alone`, SCDF's links open it; beside the one for Prometheus it has an address
/// of its own.
pub fn tasks_influxdb(alone: bool) -> String {
    tasks_influxdb::dashboard(alone).render()
}

/// The operator and the metrics proxy themselves, from Prometheus.
pub fn operator() -> String {
    operator::dashboard().render()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn all() -> [Value; 4] {
        [tasks_prometheus(), tasks_influxdb(true), tasks_influxdb(false), operator()]
            .map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn addresses_and_variables_are_those_of_scdfs_links() {
        let addresses =
            all().map(|d| format!("{}/{}", d["uid"].as_str().unwrap(), d["title"].as_str().unwrap()));
        assert_eq!(
            addresses,
            [
                "scdf-tasks/Tasks",
                "scdf-tasks/Tasks",
                "scdf-tasks-influxdb/Tasks (InfluxDB)",
                "millrace/Millrace"
            ]
        );
        for dashboard in &all()[..3] {
            let variables = dashboard["templating"]["list"].as_array().unwrap();
            let names: Vec<&str> = variables.iter().map(|v| v["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["datasource", "task_namespace", "task_name", "task_execution_id", "job_name"]);
            // A link that names a task and then All beside it needs a variable that takes several values.
            assert!(variables[1..].iter().all(|v| v["multi"] == true && v["includeAll"] == true));
        }
    }

    #[test]
    fn ids_are_unique_and_every_panel_stands_in_its_place() {
        for dashboard in all() {
            let panels = dashboard["panels"].as_array().unwrap();
            let ids: BTreeSet<u64> = panels.iter().map(|p| p["id"].as_u64().unwrap()).collect();
            assert_eq!(ids.len(), panels.len());
            let mut taken = BTreeSet::new();
            for panel in panels {
                let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
                for x in at("x")..at("x") + at("w") {
                    assert!(x < 24, "{panel}");
                    for y in at("y")..at("y") + at("h") {
                        assert!(taken.insert((x, y)), "two panels in one place: {panel}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_panel_takes_a_rate_of_a_run() {
        for word in ["rate(", "increase(", "delta("] {
            assert!(!tasks_prometheus().contains(word), "{word}: a run has one sample");
        }
    }
}
