//! What Grafana does with a dashboard before it asks a data source: it puts what is chosen into the queries.

use std::collections::BTreeMap;

use serde_json::Value;

/// What is chosen above the panels: no value is All.
pub type Choice = BTreeMap<&'static str, Vec<String>>;

/// A dashboard as Grafana reads it.
#[derive(Debug)]
pub struct Dashboard(Value);

/// A query of a panel.
#[derive(Debug)]
pub struct Query {
    /// Id, type and title of the panel.
    pub panel: (u64, String, String),
    /// Number of this query in the panel.
    pub number: usize,
    /// The query, with what is to be put in.
    pub text: String,
    /// Whether it is asked for over time, and the step of that in seconds.
    pub over_time: Option<u32>,
}

impl Dashboard {
    /// Reads its text.
    pub fn read(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    fn list(&self, path: &str) -> &[Value] {
        self.0.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// Panels, without rows.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        self.list("/panels").iter().filter(|panel| panel["type"] != "row")
    }

    /// Name, query and pattern of the variables that are asked for.
    pub fn variables(&self) -> Vec<(String, String, String)> {
        let variables = self.list("/templating/list").iter().filter(|variable| variable["type"] == "query");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let query = |v: &Value| text(if v["query"].is_string() { &v["query"] } else { &v["query"]["query"] });
        variables.map(|v| (text(&v["name"]), query(v), text(&v["regex"]))).collect()
    }

    /// Queries of all panels; `field` is where the data source finds their text.
    pub fn queries(&self, field: &str) -> Vec<Query> {
        let mut all = Vec::new();
        for panel in self.panels() {
            let text = |name: &str| panel[name].as_str().unwrap().to_owned();
            let step = match panel["interval"].as_str() {
                Some("1m") => 60,
                None | Some("15s") => 15,
                other => panic!("an unknown step: {other:?}"),
            };
            for (number, target) in panel["targets"].as_array().into_iter().flatten().enumerate() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
                all.push(Query {
                    panel: (panel["id"].as_u64().unwrap(), text("type"), text("title")),
                    number,
                    text: target[field].as_str().unwrap().to_owned(),
                    over_time: (target["range"] == true).then_some(step),
                });
            }
        }
        all
    }
}

/// The query with what is chosen. Grafana takes one value as it is, and several as alternatives.
pub fn put_in(query: &str, choice: &Choice, range_seconds: u32, step_seconds: u32) -> String {
    let mut values = vec![
        ("__range", format!("{range_seconds}s")),
        ("__interval", format!("{step_seconds}s")),
        // Grafana: at least four scrapes.
        ("__rate_interval", format!("{}s", step_seconds.max(60))),
    ];
    values.extend(choice.iter().map(|(name, values)| match &**values {
        [] => (*name, ".+".to_owned()),
        [one] => (*name, one.clone()),
        several => (*name, format!("({})", several.join("|"))),
    }));
    // `$task_name` begins `$task_namespace`.
    values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let text = values.iter().fold(query.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value)
    });
    let left: Vec<&str> = text
        .split('$')
        .skip(1)
        .filter(|rest| !rest.starts_with(['1', '/', '"']) && !rest.starts_with("timeFilter"))
        .collect();
    assert!(left.is_empty(), "nothing is put in for {left:?}");
    text
}
