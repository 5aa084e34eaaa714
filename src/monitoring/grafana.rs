//! Grafana, or the dashboards for a Grafana of the user's own.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::dashboards;
use super::network::{self, Port};
use super::object::{Kind, Object, Part, set};
use super::offer::{host, port};
use super::pods::{Pod, Resources, http_probe, literal, workload};
use super::{Stack, volumes};
use crate::api::task_monitoring::{
    AdminSecret, Dashboards, GrafanaExternal, InfluxExternal, InfluxVersion, Mode, SecretKey, ServiceType,
    Storage,
};

const IMAGE: &str = "grafana/grafana:13.2.3";
const CLAIM: &str = "grafana-data";
/// As in the official image.
const USER: i64 = 472;
const PORT: &str = "http-grafana";
/// Name of the ConfigMap with dashboards.
const DASHBOARDS: &str = "grafana-dashboards";
/// Files of dashboards: tasks and the operator from Prometheus, tasks from InfluxDB.
const FILES: [&str; 3] = ["tasks.json", "millrace.json", "tasks-influxdb.json"];

/// All objects of Grafana.
pub(super) fn build(stack: &Stack<'_>) -> Vec<Object> {
    let spec = &stack.spec.grafana;
    match (spec.mode, &spec.external) {
        (Mode::Managed, _) => managed(stack),
        (Mode::External, Some(external)) => for_others(stack, external),
        _ => Vec::new(),
    }
}

/// The dashboards of the stack: file name and JSON text.
fn dashboards(stack: &Stack<'_>) -> BTreeMap<&'static str, String> {
    let [tasks, operator, influxdb] = FILES;
    let mut all = BTreeMap::new();
    let prometheus = stack.spec.prometheus.mode != Mode::Disabled;
    if prometheus {
        all.insert(tasks, dashboards::tasks_prometheus());
        all.insert(operator, dashboards::operator());
    }
    if stack.spec.influxdb.mode != Mode::Disabled {
        all.insert(influxdb, dashboards::tasks_influxdb(!prometheus));
    }
    all
}

fn managed(stack: &Stack<'_>) -> Vec<Object> {
    let spec = &stack.spec.grafana;
    let part = Part::Grafana;
    let number = spec.service.port.unwrap_or(port::GRAFANA);
    let ports = [Port { name: PORT, number, target: port::GRAFANA }];
    let files = json!({
        "datasources.yaml": yaml(&json!({"apiVersion": 1, "datasources": datasources(stack)})),
        "dashboards.yaml": yaml(&json!({"apiVersion": 1, "providers": [{
            "name": "millrace",
            "type": "file",
            "allowUiUpdates": false,
            "options": {"path": "/var/lib/grafana-dashboards"},
        }]})),
    });
    let dashboards = json!(dashboards(stack));
    // Grafana asks everybody for a password; it is there for people.
    let rule = json!({"ports": [{"port": port::GRAFANA, "protocol": "TCP"}]});
    let mut all = vec![
        deployment(stack, &json!([files, dashboards])),
        Object::new(part, Kind::ConfigMap, part.name(), json!({"data": files})),
        Object::new(part, Kind::ConfigMap, DASHBOARDS, json!({"data": dashboards})),
        network::service(stack, part, &spec.service, ServiceType::NodePort, &ports),
        network::policy(stack, part, &[rule]),
    ];
    all.extend(spec.storage.as_ref().and_then(|storage| volumes::claim(part, CLAIM, storage)));
    if spec.admin_secret.is_none() {
        let user = json!({"type": "Opaque", "stringData": {AdminSecret::default_username_key(): "admin"}});
        let mut secret = Object::new(part, Kind::Secret, part.name(), user);
        secret.random = vec!["admin-password"];
        all.push(secret);
    }
    all
}

fn deployment(stack: &Stack<'_>, configuration: &Value) -> Object {
    let spec = &stack.spec.grafana;
    let part = Part::Grafana;
    let kept = Storage { ephemeral: true, size: "1Gi".to_owned(), ..Storage::default() };
    let pod = Pod {
        part,
        options: &spec.pod,
        image: IMAGE,
        user: USER,
        resources: Resources { cpu: "100m", memory: "256Mi", memory_limit: "512Mi" },
        container: json!({
            "env": env(stack),
            "ports": [{"name": PORT, "containerPort": port::GRAFANA, "protocol": "TCP"}],
            // The first start makes the database.
            "startupProbe": http_probe("/api/health", PORT, 5, 60),
            "livenessProbe": http_probe("/api/health", PORT, 10, 6),
            "readinessProbe": http_probe("/api/health", PORT, 5, 3),
            "volumeMounts": [
                mount("data", "/var/lib/grafana", None),
                mount("tmp", "/tmp", None),
                mount("provisioning", "/etc/grafana/provisioning/datasources/millrace.yaml", Some("datasources.yaml")),
                mount("provisioning", "/etc/grafana/provisioning/dashboards/millrace.yaml", Some("dashboards.yaml")),
                mount("dashboards", "/var/lib/grafana-dashboards", None),
            ],
        }),
        volumes: vec![
            volumes::data("data", CLAIM, spec.storage.as_ref().unwrap_or(&kept)),
            volumes::scratch("tmp", "256Mi"),
            volumes::files("provisioning", part.name()),
            volumes::files("dashboards", DASHBOARDS),
        ],
        more: json!({}),
        annotations: json!({}),
        configuration: configuration.clone(),
    };
    let template = pod.template(stack);
    // Two pods cannot have one database.
    let body = workload(stack, part, 1, &template, json!({"strategy": {"type": "Recreate"}}));
    Object::new(part, Kind::Deployment, part.name(), body)
}

fn mount(volume: &str, path: &str, file: Option<&str>) -> Value {
    let mut mount = json!({"name": volume, "mountPath": path});
    if let Some(file) = file {
        set(&mut mount, &["subPath"], json!(file));
        set(&mut mount, &["readOnly"], json!(true));
    }
    mount
}

fn env(stack: &Stack<'_>) -> Vec<Value> {
    let spec = &stack.spec.grafana;
    let admin = spec.admin_secret.clone().unwrap_or_else(|| AdminSecret {
        name: Part::Grafana.name().to_owned(),
        username_key: AdminSecret::default_username_key(),
        password_key: AdminSecret::default_password_key(),
    });
    let plain = |name: &str, value: &str| json!({"name": name, "value": value});
    let mut env = vec![
        from_secret("GF_SECURITY_ADMIN_USER", &admin.name, &admin.username_key),
        from_secret("GF_SECURITY_ADMIN_PASSWORD", &admin.name, &admin.password_key),
        // It talks to nobody that was not asked for.
        plain("GF_ANALYTICS_REPORTING_ENABLED", "false"),
        plain("GF_ANALYTICS_CHECK_FOR_UPDATES", "false"),
        plain("GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "false"),
        plain("GF_NEWS_NEWS_FEED_ENABLED", "false"),
        plain("GF_PLUGINS_PREINSTALL_DISABLED", "true"),
    ];
    if let Some(url) = &spec.external_url {
        // Grafana expands what it reads, too: twice is once for each.
        env.push(plain("GF_SERVER_ROOT_URL", &literal(&literal(url))));
    }
    if let Some(influx) = external_influx(stack) {
        for (name, key) in secrets_of(influx) {
            env.push(from_secret(name, &key.name, &key.key));
        }
    }
    env
}

fn from_secret(variable: &str, name: &str, key: &str) -> Value {
    json!({"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}})
}

fn external_influx<'a>(stack: &Stack<'a>) -> Option<&'a InfluxExternal> {
    let spec = &stack.spec.influxdb;
    spec.external.as_ref().filter(|_| spec.mode == Mode::External)
}

/// What Grafana needs to log in at InfluxDB: variables, and where their values are.
fn secrets_of(influx: &InfluxExternal) -> Vec<(&'static str, &SecretKey)> {
    let all = match influx.version {
        InfluxVersion::V1 => {
            [("INFLUXDB_USERNAME", &influx.username), ("INFLUXDB_PASSWORD", &influx.password)].to_vec()
        }
        InfluxVersion::V2 => [("INFLUXDB_TOKEN", &influx.token)].to_vec(),
    };
    all.into_iter().filter_map(|(name, key)| Some((name, key.as_ref()?))).collect()
}

fn datasources(stack: &Stack<'_>) -> Vec<Value> {
    let prometheus = &stack.spec.prometheus;
    let url = match (prometheus.mode, &prometheus.external) {
        (Mode::Managed, _) => {
            let number = prometheus.service.port.unwrap_or(port::PROMETHEUS);
            Some(format!("http://{}:{number}", host(Part::Prometheus, stack.namespace)))
        }
        (Mode::External, Some(external)) => Some(literal(&external.url)),
        _ => None,
    };
    let prometheus = url.map(|url| {
        let interval = format!("{}s", prometheus.scrape_interval_seconds);
        source(
            "prometheus",
            "Prometheus",
            &url,
            true,
            &json!({"timeInterval": interval, "httpMethod": "POST"}),
        )
    });
    let influx = influx_source(stack, prometheus.is_none());
    prometheus.into_iter().chain(influx).collect()
}

fn influx_source(stack: &Stack<'_>, default: bool) -> Option<Value> {
    let spec = &stack.spec.influxdb;
    let database = literal(&spec.database);
    if spec.mode == Mode::Managed {
        let number = spec.service.port.unwrap_or(port::INFLUXDB);
        let url = format!("http://{}:{number}", host(Part::InfluxDb, stack.namespace));
        return Some(source("influxdb", "InfluxDB", &url, default, &json!({"dbName": database})));
    }
    let influx = external_influx(stack)?;
    let url = literal(&influx.url);
    let mut data = Map::new();
    let mut secure = Map::new();
    let mut user = None;
    match influx.version {
        InfluxVersion::V1 => {
            data.insert("dbName".to_owned(), json!(database));
            user = influx.username.as_ref().map(|_| "$INFLUXDB_USERNAME");
            if influx.password.is_some() {
                secure.insert("password".to_owned(), json!("$INFLUXDB_PASSWORD"));
            }
        }
        // Version 2 answers InfluxQL for a database that is mapped to the bucket of the same name.
        InfluxVersion::V2 => {
            data.insert("dbName".to_owned(), json!(literal(influx.bucket.as_deref().unwrap_or_default())));
            data.insert("httpHeaderName1".to_owned(), json!("Authorization"));
            secure.insert("httpHeaderValue1".to_owned(), json!("Token $INFLUXDB_TOKEN"));
        }
    }
    let mut source = source("influxdb", "InfluxDB", &url, default, &Value::Object(data));
    if let Some(user) = user {
        set(&mut source, &["user"], json!(user));
    }
    if !secure.is_empty() {
        set(&mut source, &["secureJsonData"], Value::Object(secure));
    }
    Some(source)
}

/// A data source whose uid, which links and dashboards name, is its type.
fn source(kind: &str, name: &str, url: &str, default: bool, data: &Value) -> Value {
    json!({
        "name": name,
        "type": kind,
        "uid": kind,
        "access": "proxy",
        "url": url,
        "isDefault": default,
        "editable": false,
        "jsonData": data,
    })
}

/// Strings become scalars, whatever they hold.
fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}

/// For a Grafana of the user's own.
fn for_others(stack: &Stack<'_>, external: &GrafanaExternal) -> Vec<Object> {
    let part = Part::Grafana;
    let files = dashboards(stack);
    match external.dashboards {
        Dashboards::Manual => Vec::new(),
        Dashboards::ConfigMap => {
            let labels = if external.labels.is_empty() {
                json!({"grafana_dashboard": "1"})
            } else {
                json!(external.labels)
            };
            let mut metadata = json!({"labels": labels});
            if let Some(folder) = &external.folder {
                set(&mut metadata, &["annotations"], json!({"grafana_folder": folder}));
            }
            let body = json!({"metadata": metadata, "data": files});
            vec![Object::new(part, Kind::ConfigMap, DASHBOARDS, body)]
        }
        Dashboards::GrafanaDashboard => files
            .into_iter()
            .map(|(file, text)| {
                let mut spec = json!({
                    "instanceSelector": {"matchLabels": external.labels},
                    "allowCrossNamespaceImport": true,
                    "json": text,
                });
                if let Some(folder) = &external.folder {
                    set(&mut spec, &["folder"], json!(folder));
                }
                Object::new(part, Kind::GrafanaDashboard, name_of(stack, file), json!({"spec": spec}))
            })
            .collect(),
    }
}

/// All objects that it can have of kinds that are not watched.
pub(super) fn unwatched(stack: &Stack<'_>) -> Vec<(Kind, String)> {
    FILES.map(|file| (Kind::GrafanaDashboard, name_of(stack, file))).into()
}

/// Of the resource that carries a dashboard.
fn name_of(stack: &Stack<'_>, file: &str) -> String {
    format!("millrace-{}-{}", stack.name, file.trim_end_matches(".json"))
}
