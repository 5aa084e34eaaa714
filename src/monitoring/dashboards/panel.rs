//! Parts of dashboards, as Grafana's JSON has them: only what we use, in current panel types.

use serde_json::{Map, Value, json};

/// Where the queries of a dashboard go: `prometheus` or `influxdb`, by the variable `datasource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// PromQL.
    Prometheus,
    /// InfluxQL.
    Influx,
}

impl Source {
    const fn kind(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Influx => "influxdb",
        }
    }

    fn reference(self) -> Value {
        json!({ "type": self.kind(), "uid": "${datasource}" })
    }
}

/// How a query's answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One value per series, at the end of the time range.
    AtTheEnd,
    /// The same as rows of a table.
    Table,
    /// Over time.
    Range,
}

/// A query.
#[derive(Clone, Debug)]
pub struct Target {
    text: String,
    legend: String,
    form: Form,
}

/// One value per series, at the end of the time range.
pub fn now(text: impl Into<String>, legend: &str) -> Target {
    Target { text: text.into(), legend: legend.to_owned(), form: Form::AtTheEnd }
}

/// Rows at the end of the time range: labels and a column `Value`.
pub fn rows(text: impl Into<String>) -> Target {
    Target { text: text.into(), legend: String::new(), form: Form::Table }
}

/// Values over time.
pub fn over_time(text: impl Into<String>, legend: &str) -> Target {
    Target { text: text.into(), legend: legend.to_owned(), form: Form::Range }
}

/// A panel.
#[derive(Clone, Debug)]
pub struct Panel {
    id: u32,
    kind: &'static str,
    title: String,
    description: String,
    width: u32,
    height: u32,
    targets: Vec<Target>,
    unit: &'static str,
    custom: Value,
    options: Value,
    overrides: Vec<Value>,
    transformations: Vec<Value>,
    /// No step is shorter.
    least_step: Option<&'static str>,
    /// What stands there when a query has no answer.
    no_value: Option<&'static str>,
}

impl Panel {
    fn new(id: u32, kind: &'static str, title: &str, description: &str) -> Self {
        Self {
            id,
            kind,
            title: title.to_owned(),
            description: description.to_owned(),
            width: 12,
            height: 8,
            targets: Vec::new(),
            unit: "short",
            custom: json!({}),
            options: json!({}),
            overrides: Vec::new(),
            transformations: Vec::new(),
            least_step: None,
            no_value: None,
        }
    }

    /// Big numbers.
    pub fn stat(id: u32, title: &str, description: &str) -> Self {
        let options = json!({
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto",
            "textMode": "auto", "wideLayout": true, "showPercentChange": false, "percentChangeColorMode": "standard",
        });
        Self { options, width: 4, height: 4, ..Self::new(id, "stat", title, description) }
    }

    /// Lines; a run that was seen once is a point.
    pub fn lines(id: u32, title: &str, description: &str) -> Self {
        let custom = json!({
            "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "fillOpacity": 5,
            "showPoints": "always", "pointSize": 5, "spanNulls": 120_000,
        });
        Self { custom, least_step: Some("15s"), ..Self::time_series(id, title, description) }
    }

    /// Points alone: events.
    pub fn points(id: u32, title: &str, description: &str) -> Self {
        let custom = json!({ "drawStyle": "points", "showPoints": "always", "pointSize": 6 });
        Self { custom, least_step: Some("1m"), ..Self::time_series(id, title, description) }
    }

    /// Stacked bars: counts per interval. Recorded counts are a minute each, so no step may be shorter.
    pub fn bars(id: u32, title: &str, description: &str) -> Self {
        let custom = json!({
            "drawStyle": "bars", "lineWidth": 0, "fillOpacity": 70, "showPoints": "never",
            "stacking": { "mode": "normal", "group": "A" },
        });
        Self { custom, least_step: Some("1m"), ..Self::time_series(id, title, description) }
    }

    fn time_series(id: u32, title: &str, description: &str) -> Self {
        let options = json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        });
        Self { options, ..Self::new(id, "timeseries", title, description) }
    }

    /// Rows.
    pub fn table(id: u32, title: &str, description: &str) -> Self {
        let options = json!({ "showHeader": true, "cellHeight": "sm" });
        Self { options, width: 24, ..Self::new(id, "table", title, description) }
    }

    /// Markdown.
    pub fn text(id: u32, title: &str, description: &str, content: &str) -> Self {
        let options = json!({ "mode": "markdown", "content": content });
        Self { options, ..Self::new(id, "text", title, description) }
    }

    /// Of 24 columns.
    pub fn size(self, width: u32, height: u32) -> Self {
        Self { width, height, ..self }
    }

    /// Unit of its values, as Grafana names units.
    pub fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// InfluxDB counts nothing as nothing, not as 0.
    pub fn nothing_is_zero(self) -> Self {
        Self { no_value: Some("0"), ..self }
    }

    /// A further query.
    pub fn query(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// For a table: one row per set of labels, with a column for each query. `columns`: what each column (a label, or
    /// `Value #A`, `Value #B`, … of the queries; `Value` if there is one) is called, and its unit; in this order.
    pub fn columns(mut self, columns: &[(&str, &str, Option<&str>)]) -> Self {
        let order: Map<String, Value> =
            columns.iter().enumerate().map(|(at, (from, ..))| ((*from).to_owned(), json!(at))).collect();
        let names: Map<String, Value> =
            columns.iter().map(|(from, to, _)| ((*from).to_owned(), json!(to))).collect();
        let hidden = json!({ "Time": true });
        self.transformations = vec![
            json!({ "id": "merge", "options": {} }),
            json!({
                "id": "organize",
                "options": { "excludeByName": hidden, "indexByName": order, "renameByName": names },
            }),
        ];
        let with_unit = columns.iter().filter_map(|(_, to, unit)| Some((to, (*unit)?)));
        self.overrides.extend(with_unit.map(|(to, unit)| {
            json!({
                "matcher": { "id": "byName", "options": to },
                "properties": [{ "id": "unit", "value": unit }],
            })
        }));
        self
    }

    fn render(&self, source: Source, at: (u32, u32)) -> Value {
        let (x, y) = at;
        let mut panel = json!({
            "id": self.id,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "gridPos": { "h": self.height, "w": self.width, "x": x, "y": y },
            "options": self.options,
        });
        let Some(fields) = panel.as_object_mut().filter(|_| self.kind != "text") else { return panel };
        fields.insert("datasource".into(), source.reference());
        let targets = ('A'..='Z').zip(&self.targets).map(|(id, target)| render_target(target, source, id));
        fields.insert("targets".into(), targets.collect());
        let mut defaults = json!({ "unit": self.unit, "custom": self.custom });
        if let Some((defaults, text)) = defaults.as_object_mut().zip(self.no_value) {
            defaults.insert("noValue".into(), json!(text));
        }
        fields.insert("fieldConfig".into(), json!({ "defaults": defaults, "overrides": self.overrides }));
        if !self.transformations.is_empty() {
            fields.insert("transformations".into(), json!(self.transformations));
        }
        if let Some(step) = self.least_step {
            fields.insert("interval".into(), json!(step));
        }
        panel
    }
}

fn render_target(target: &Target, source: Source, id: char) -> Value {
    let Target { text, legend, form } = target;
    match source {
        Source::Prometheus => json!({
            "refId": id,
            "datasource": source.reference(),
            "editorMode": "code",
            "expr": text,
            "legendFormat": legend,
            "instant": *form != Form::Range,
            "range": *form == Form::Range,
            "format": if *form == Form::Table { "table" } else { "time_series" },
        }),
        Source::Influx => json!({
            "refId": id,
            "datasource": source.reference(),
            "rawQuery": true,
            "query": text,
            "alias": legend,
            "resultFormat": if *form == Form::Table { "table" } else { "time_series" },
        }),
    }
}

/// A row of panels, which stand beside each other as long as they fit.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its id.
    pub id: u32,
    /// Its title.
    pub title: &'static str,
    /// What stands in it.
    pub panels: Vec<Panel>,
}

/// What is chosen above the panels.
#[derive(Clone, Debug)]
pub struct Variable {
    name: &'static str,
    label: &'static str,
    query: String,
    regex: &'static str,
    sort: u8,
}

/// A variable of several values or all of them. All is `.+`: whoever has such a label. (Without that Grafana would name
/// each of thousands of runs in the query.)
pub fn choice(name: &'static str, label: &'static str, query: impl Into<String>) -> Variable {
    Variable { name, label, query: query.into(), regex: "", sort: 1 }
}

impl Variable {
    /// What to take of each line that the query gives.
    pub fn regex(self, regex: &'static str) -> Self {
        Self { regex, ..self }
    }

    /// The highest number first.
    pub fn newest_first(self) -> Self {
        Self { sort: 4, ..self }
    }

    fn render(&self, source: Source) -> Value {
        let query = match source {
            Source::Prometheus => json!({ "query": self.query, "refId": self.name }),
            Source::Influx => json!(self.query),
        };
        json!({
            "type": "query",
            "name": self.name,
            "label": self.label,
            "datasource": source.reference(),
            "query": query,
            "regex": self.regex,
            "refresh": 2,
            "sort": self.sort,
            "multi": true,
            "includeAll": true,
            "allValue": ".+",
            "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
            "options": [],
            "hide": 0,
            "skipUrlSync": false,
        })
    }
}

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Its address: `/d/<uid>/…`.
    pub uid: &'static str,
    /// Its title, of which Grafana makes the rest of the address.
    pub title: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// Where its queries go.
    pub source: Source,
    /// What is chosen above.
    pub variables: Vec<Variable>,
    /// From top to bottom.
    pub rows: Vec<Row>,
}

impl Dashboard {
    /// The JSON text.
    pub fn render(&self) -> String {
        let datasource = json!({
            "type": "datasource", "name": "datasource", "label": "Data source", "query": self.source.kind(),
            "refresh": 1, "regex": "", "multi": false, "includeAll": false, "options": [], "hide": 0,
            "skipUrlSync": false,
        });
        let variables = self.variables.iter().map(|v| v.render(self.source));
        let dashboard = json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["millrace"],
            "schemaVersion": 39,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "10s",
            "time": { "from": "now-1h", "to": "now" },
            "fiscalYearStartMonth": 0,
            "links": [{
                "type": "dashboards", "title": "Millrace", "tags": ["millrace"], "asDropdown": true,
                "icon": "external link", "includeVars": false, "keepTime": true, "targetBlank": false,
                "tooltip": "", "url": "",
            }],
            "annotations": { "list": [] },
            "templating": { "list": std::iter::once(datasource).chain(variables).collect::<Vec<_>>() },
            "panels": self.panels(),
        });
        // Maps of strings are always JSON.
        let mut text = serde_json::to_string_pretty(&dashboard).unwrap_or_default();
        text.push('\n');
        text
    }

    fn panels(&self) -> Vec<Value> {
        let (mut all, mut y) = (Vec::new(), 0);
        for row in &self.rows {
            all.push(json!({
                "id": row.id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": { "h": 1, "w": 24, "x": 0, "y": y },
            }));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in &row.panels {
                if x + panel.width > 24 {
                    (x, y, height) = (0, y + height, 0);
                }
                all.push(panel.render(self.source, (x, y)));
                x += panel.width;
                height = height.max(panel.height);
            }
            y += height;
        }
        all
    }
}
