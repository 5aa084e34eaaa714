//! InfluxDB, as Micrometer's registry of every generation finds it. The last write happens when the application's
//! context closes, whatever its step.

use super::exporters::{Influx, InfluxTarget};
use super::spring::{Origin, Variable, plain, secret};

/// Boot 2, then 3 and 4.
const PREFIXES: [&str; 2] = ["MANAGEMENT_METRICS_EXPORT_INFLUX", "MANAGEMENT_INFLUX_METRICS_EXPORT"];
/// The token on its way into both: see [`variables`].
const TOKEN: &str = "MILLRACE_INFLUXDB_TOKEN";

/// What leads an application to InfluxDB; without one its exporter is left as the application has it.
///
/// A token is referred to by the kubelet's `$(…)`. Where its Secret is missing, this text stays and the writes are
/// refused; without any token the registry might refuse to start, and the task with it.
pub fn variables(influx: Option<&Influx>) -> Vec<Variable> {
    let Some(influx) = influx else { return Vec::new() };
    let token = match &influx.target {
        InfluxTarget::Bucket { token, .. } => Some(secret(TOKEN, token)),
        InfluxTarget::Database { .. } => None,
    };
    token.into_iter().chain(PREFIXES.iter().flat_map(|prefix| settings(prefix, influx))).collect()
}

fn settings(prefix: &str, influx: &Influx) -> Vec<Variable> {
    let name = |name: &str| format!("{prefix}_{name}");
    let set = |key: &str, value: &str| plain(&name(key), value, Origin::Default);
    let mut all = vec![set("ENABLED", "true"), set("URI", &influx.url)];
    match &influx.target {
        InfluxTarget::Database { database, login } => {
            // An `org` in the image would make it version 2.
            all.extend([set("APIVERSION", "V1"), set("DB", database)]);
            if let Some((user, password)) = login {
                all.extend([secret(&name("USERNAME"), user), secret(&name("PASSWORD"), password)]);
            }
        }
        InfluxTarget::Bucket { org, bucket, .. } => all.extend([
            set("APIVERSION", "V2"),
            set("ORG", org),
            set("BUCKET", bucket),
            set("TOKEN", &format!("$({TOKEN})")),
        ]),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::task_monitoring::SecretKey;

    fn key(key: &str) -> SecretKey {
        SecretKey { name: "influx".into(), key: key.into() }
    }

    fn yaml(target: InfluxTarget) -> Vec<k8s_openapi::api::core::v1::EnvVar> {
        let influx = Influx { url: "http://influxdb.batch.svc:8086".into(), target };
        let all = variables(Some(&influx));
        assert!(all.iter().all(|v| v.origin == Origin::Default));
        all.into_iter().map(|v| v.env).collect()
    }

    #[test]
    fn version_1() {
        let login = Some((key("user"), key("password")));
        insta::assert_yaml_snapshot!(yaml(InfluxTarget::Database { database: "tasks".into(), login }));
    }

    #[test]
    fn version_1_without_a_login() {
        let all = yaml(InfluxTarget::Database { database: "tasks".into(), login: None });
        assert!(all.iter().all(|v| v.value_from.is_none() && !v.name.contains("USERNAME")));
        let databases = all.iter().filter(|v| v.name.ends_with("_DB") && v.value.as_deref() == Some("tasks"));
        assert_eq!(databases.count(), 2, "one for each generation");
    }

    #[test]
    fn version_2() {
        let target = InfluxTarget::Bucket { org: "o".into(), bucket: "b".into(), token: key("token") };
        insta::assert_yaml_snapshot!(yaml(target));
    }

    #[test]
    fn without_one_the_application_is_left_alone() {
        assert_eq!(variables(None), []);
    }
}
