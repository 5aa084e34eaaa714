//! The chart: renders, refuses what it does not know, gives exactly the rights it says, and is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use clap::Parser;
use serde_json::{Map, Value, json};

use super::{documents, files, read, root, run, succeeds, text};

const RELEASE: &str = "millrace";
const NAMESPACE: &str = "millrace-system";

/// helm, from MILLRACE_HELM or PATH.
pub(super) fn helm() -> Command {
    let mut command = Command::new(std::env::var_os("MILLRACE_HELM").unwrap_or_else(|| "helm".into()));
    command.current_dir(root());
    let found = command.arg("version").output();
    assert!(
        found.is_ok(),
        "no helm in PATH and none named in MILLRACE_HELM: run `make unit`, or first `export $(tests/tools)`"
    );
    let mut command = Command::new(command.get_program());
    command.current_dir(root());
    command
}

/// The objects of the chart with these further arguments of helm.
pub(super) fn render(args: &[&str]) -> Vec<Value> {
    documents(&run(helm()
        .args(["template", RELEASE, "charts/millrace", "--namespace", NAMESPACE])
        .args(args)))
}

/// Arguments of helm for the cases that everything is tried with. `everything` turns parts off (to differ from the
/// defaults), which the last case turns on again.
pub(super) const CASES: [(&str, &[&str]); 4] = [
    ("default", &[]),
    (
        "namespaced",
        &["--set", "watchNamespaces={batch,reports},crds.install=false,rbac.aggregateRoles=false"],
    ),
    (
        "everything but",
        &["--values", "tests/it/contract/everything.yaml", "--set", "serviceMonitor.enabled=false"],
    ),
    (
        "everything on",
        &[
            "--values",
            "tests/it/contract/everything.yaml",
            "--set",
            "crds.install=true,rbac.create=true,rbac.aggregateRoles=true,serviceAccount.create=true,service.enabled=true,networkPolicy.enabled=true",
        ],
    ),
];

/// What the chart lets the operator do, as (API group, resource, verb); the core group is "". `namespaced` is the
/// form with Roles.
pub fn chart_rules(namespaced: bool) -> BTreeSet<(String, String, String)> {
    rules_of(if namespaced { CASES[1].1 } else { CASES[0].1 })
}

/// What it may do besides with `monitoring.integrations`.
pub fn integration_rules() -> BTreeSet<(String, String, String)> {
    let all = rules_of(&["--set", "monitoring.integrations=true"]);
    all.difference(&chart_rules(false)).cloned().collect()
}

fn rules_of(args: &[&str]) -> BTreeSet<(String, String, String)> {
    let objects = render(args);
    let mut allowed = BTreeSet::new();
    for object in bound_roles(&objects) {
        for rule in object["rules"].as_array().unwrap() {
            allowed.extend(triples(rule));
        }
    }
    allowed
}

/// Roles and ClusterRoles that a binding gives to the operator.
fn bound_roles(objects: &[Value]) -> Vec<&Value> {
    let account = objects.iter().find(|o| o["kind"] == "ServiceAccount").unwrap();
    let subject =
        json!({"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": NAMESPACE});
    let bindings = objects.iter().filter(|o| text(o, "/kind").ends_with("Binding"));
    bindings
        .map(|binding| {
            assert_eq!(binding["subjects"], json!([subject]), "only the operator is bound");
            let role = |o: &&Value| {
                o["kind"] == binding["roleRef"]["kind"]
                    && o["metadata"]["name"] == binding["roleRef"]["name"]
                    && o["metadata"]["namespace"] == binding["metadata"]["namespace"]
            };
            objects.iter().find(role).unwrap_or_else(|| panic!("{binding} binds what is not there"))
        })
        .collect()
}

fn triples(rule: &Value) -> Vec<(String, String, String)> {
    let words = |key: &str| -> Vec<String> {
        rule[key].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let mut all = Vec::new();
    for group in words("apiGroups") {
        for resource in words("resources") {
            all.extend(words("verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
        }
    }
    all
}

fn find<'a>(objects: &'a [Value], kind: &str) -> Option<&'a Value> {
    objects.iter().find(|o| o["kind"] == kind)
}

#[test]
fn chart_crate_and_application_have_one_version() {
    let chart = documents(&read("charts/millrace/Chart.yaml")).remove(0);
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let crds: Vec<String> = documents(text(&chart, "/annotations/artifacthub.io~1crds"))
        .remove(0)
        .as_array()
        .unwrap()
        .iter()
        .map(|crd| text(crd, "/name").to_owned())
        .collect();
    let ours: Vec<String> =
        millrace::api::all_crds().into_iter().map(|crd| crd.metadata.name.unwrap()).collect();
    assert_eq!(crds, ours, "CRDs in the annotations of Chart.yaml");
}

#[test]
fn helm_lints_and_packages_it_with_the_crds() {
    let out = std::env::temp_dir().join(format!("millrace-chart-{}", std::process::id()));
    run(helm().args(["lint", "--strict", "charts/millrace"]));
    run(helm().args(["package", "charts/millrace", "--destination"]).arg(&out));
    let package = out.join(format!("millrace-{}.tgz", env!("CARGO_PKG_VERSION")));
    let listed = run(Command::new("tar").arg("tzf").arg(&package));
    let rendered = documents(&run(helm().args(["template", "x"]).arg(&package)));
    std::fs::remove_dir_all(&out).unwrap();
    for crd in files("crds") {
        let name = format!("millrace/definitions/{}", crd.file_name().unwrap().to_str().unwrap());
        assert!(listed.lines().any(|line| line == name), "{name} is not in the package");
    }
    assert_eq!(
        rendered.iter().filter(|o| o["kind"] == "CustomResourceDefinition").count(),
        files("crds").len()
    );
}

/// The values of values.yaml: path → default. What the schema leaves to Kubernetes (maps, resources) is one value.
fn leaves(values: &Map<String, Value>, schema: &Value, prefix: &str, into: &mut BTreeMap<String, Value>) {
    for (key, value) in values {
        let path = format!("{prefix}{key}");
        let schema = &schema["properties"][key];
        assert!(!schema.is_null(), "{path} is not in values.schema.json");
        match value {
            Value::Object(inner)
                if schema["properties"].is_object() && !["resources", "affinity"].contains(&key.as_str()) =>
            {
                leaves(inner, schema, &format!("{path}."), into);
            }
            _ => drop(into.insert(path, value.clone())),
        }
    }
}

fn values_and_schema() -> (BTreeMap<String, Value>, Value) {
    let values = documents(&read("charts/millrace/values.yaml")).remove(0);
    let schema: Value = serde_json::from_str(&read("charts/millrace/values.schema.json")).unwrap();
    let mut all = BTreeMap::new();
    leaves(values.as_object().unwrap(), &schema, "", &mut all);
    (all, schema)
}

#[test]
fn every_value_is_in_the_readme_with_its_default_and_used_by_a_template() {
    let (values, _) = values_and_schema();
    let readme = read("charts/millrace/README.md");
    let templates: String = files("charts/millrace/templates").iter().map(read).collect();
    for (path, default) in &values {
        let shown = if path == "resources" { "see `values.yaml`".to_owned() } else { format!("`{default}`") };
        assert!(
            readme.contains(&format!("| `{path}` | {shown} | ")),
            "README.md: want a row | `{path}` | {shown} |"
        );
        assert!(templates.contains(&format!(".Values.{path}")), "no template uses {path}");
    }
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let rows: BTreeSet<&str> = rows.map(|(path, _)| path).collect();
    assert_eq!(rows, values.keys().map(String::as_str).collect(), "rows of README.md and values");
    for used in templates.split(".Values.").skip(1) {
        let path: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        assert!(values.contains_key(path.trim_end_matches('.')), "templates use {path}, which is no value");
    }
}

#[test]
fn the_case_of_everything_sets_every_value() {
    let (values, schema) = values_and_schema();
    let case = documents(&read("tests/it/contract/everything.yaml")).remove(0);
    let mut set = BTreeMap::new();
    leaves(case.as_object().unwrap(), &schema, "", &mut set);
    for (path, default) in &values {
        assert!(set.get(path).is_some_and(|value| value != default), "{path} is not set, or as by default");
    }
}

#[test]
fn the_schema_is_closed_and_described_throughout() {
    fn walk(schema: &Value, path: &str) {
        assert!(path.is_empty() || !text(schema, "/description").is_empty(), "{path} has no description");
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            walk(inner, &format!("{path}.{key}"));
        }
        if schema["properties"].is_object() {
            let open = path == ".global";
            assert_eq!(schema["additionalProperties"], json!(open), "additionalProperties of {path}");
        } else if schema["type"] == "object" {
            assert!(!schema["additionalProperties"].is_null(), "{path}: say what it may hold");
        }
        if schema["type"] == "array" {
            walk(&schema["items"], &format!("{path}[]"));
        }
    }
    let (_, schema) = values_and_schema();
    walk(&schema, "");
}

#[test]
fn unknown_and_impossible_values_are_refused() {
    for (set, told) in [
        ("nope=1", "nope"),
        ("image.nope=1", "nope"),
        ("rbac.nope=1", "nope"),
        ("replicas=2", "replicas"),
        ("watchNamespaces=batch", "watchNamespaces"),
        ("watchNamespaces={Batch}", "watchNamespaces"),
        ("logFormat=xml", "logFormat"),
        ("concurrency=0", "concurrency"),
        ("image.digest=latest", "digest"),
        ("tolerations[0].kye=x", "kye"),
        ("service.enabled=false,serviceMonitor.enabled=true", "needs service.enabled"),
    ] {
        let result = succeeds(helm().args(["template", "x", "charts/millrace", "--set", set]));
        assert!(result.as_ref().is_err_and(|e| e.contains(told)), "{set}: {result:?}");
    }
}

#[test]
fn the_operators_rights_are_the_same_in_both_forms_and_stay_small() {
    let (cluster, namespaced) = (chart_rules(false), chart_rules(true));
    assert_eq!(cluster, namespaced);
    assert!(!cluster.is_empty());
    for (group, resource, verb) in &cluster {
        assert!(resource != "secrets" || verb == "create", "no Secret is ever read");
        assert!(
            !group.contains('*') && !resource.contains('*') && !verb.contains('*'),
            "{group} {resource} {verb}"
        );
        assert!(!["escalate", "bind", "impersonate", "deletecollection"].contains(&verb.as_str()));
        assert!(!(resource == "pods" && (verb == "create" || verb == "delete")), "Jobs make pods");
    }
    let objects = render(CASES[1].1);
    assert!(
        !objects.iter().any(|o| text(o, "/kind").starts_with("Cluster")),
        "nothing cluster-wide when namespaced"
    );
    for namespace in ["batch", "reports"] {
        let found =
            objects.iter().any(|o| o["kind"] == "RoleBinding" && o["metadata"]["namespace"] == namespace);
        assert!(found, "no rights in {namespace}");
    }
    let records = |o: &&Value| triples(o).iter().any(|(_, r, v)| r == "configmaps" && v == "update");
    let rules = objects.iter().filter(|o| o["kind"] == "Role").flat_map(|o| o["rules"].as_array().unwrap());
    for rule in rules.filter(records) {
        assert_eq!(rule["resourceNames"], json!([millrace::names::execution_ids::CONFIG_MAP]));
    }
}

#[test]
fn every_right_has_its_reason_beside_it() {
    let rules = read("charts/millrace/templates/_rules.tpl");
    let lines: Vec<&str> = rules.lines().collect();
    let mut count = 0;
    for pair in lines.windows(2).filter(|pair| pair[1].starts_with("- apiGroups")) {
        count += 1;
        // Of several rules of one reason the first has it.
        let follows = pair[0].starts_with("  verbs");
        assert!(pair[0].starts_with("# ") || follows && count > 1, "no reason above {}", pair[1]);
    }
    assert!(count > 5);
}

#[test]
fn people_get_roles_that_kubernetes_own_roles_include() {
    let objects = render(&[]);
    let role = |name: &str| {
        let found = objects.iter().find(|o| o["kind"] == "ClusterRole" && o["metadata"]["name"] == name);
        let role = found.unwrap_or_else(|| panic!("no ClusterRole {name}"));
        let labels = role["metadata"]["labels"].as_object().unwrap();
        let into: Vec<&str> =
            labels.keys().filter_map(|l| l.strip_prefix("rbac.authorization.k8s.io/aggregate-to-")).collect();
        let verbs: BTreeSet<_> = role["rules"].as_array().unwrap().iter().flat_map(triples).collect();
        (into.join(" "), verbs)
    };
    let may = |verbs: &BTreeSet<(String, String, String)>, resource: &str, verb: &str| {
        verbs.contains(&("millrace.dev".to_owned(), resource.to_owned(), verb.to_owned()))
    };
    let (into, view) = role("millrace-view");
    assert_eq!(into, "admin edit view");
    assert!(view.iter().all(|(_, _, verb)| ["get", "list", "watch"].contains(&verb.as_str())));
    let (into, launch) = role("millrace-launch");
    assert_eq!(into, "admin edit");
    assert!(may(&launch, "tasklaunches", "create") && !may(&launch, "taskdefinitions", "create"));
    let (into, edit) = role("millrace-edit-definitions");
    assert_eq!(into, "admin edit");
    assert!(may(&edit, "taskdefinitions", "create") && !may(&edit, "tasklaunches", "create"));
    for (_, resource, _) in view.iter().chain(&launch).chain(&edit) {
        assert!(!resource.contains("status"), "only the operator writes status");
    }
}

#[test]
fn the_pod_satisfies_the_standard_restricted() {
    for (case, args) in CASES {
        let objects = render(args);
        let deployment = find(&objects, "Deployment").unwrap();
        assert_eq!(deployment["spec"]["replicas"], 1, "{case}");
        assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate", "{case}");
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{case}");
        assert!(pod["securityContext"]["runAsUser"].as_i64().unwrap() > 0, "{case}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{case}");
        assert!(pod["volumes"].is_null() && pod["hostNetwork"].is_null(), "{case}");
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{case}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{case}");
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{case}");
            assert!(container["resources"]["requests"]["memory"].is_string(), "{case}");
            assert!(
                container["livenessProbe"].is_object() && container["readinessProbe"].is_object(),
                "{case}"
            );
        }
    }
}

#[test]
fn selectors_ports_and_namespaces_fit_together() {
    for (case, args) in CASES {
        let objects = render(args);
        let deployment = find(&objects, "Deployment").unwrap();
        let labels = deployment["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
        let selects = |selector: &Value| {
            let selector = selector.as_object().unwrap();
            !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        assert!(selects(&deployment["spec"]["selector"]["matchLabels"]), "{case}");
        let port = &deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"];
        if let Some(service) = find(&objects, "Service") {
            assert!(selects(&service["spec"]["selector"]), "{case}");
            assert_eq!(service["spec"]["ports"][0]["targetPort"], *port, "{case}");
            if let Some(monitor) = find(&objects, "ServiceMonitor") {
                let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
                assert!(
                    wanted.iter().all(|(key, value)| service["metadata"]["labels"].get(key) == Some(value))
                );
                assert_eq!(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
            }
        }
        if let Some(policy) = find(&objects, "NetworkPolicy") {
            assert!(selects(&policy["spec"]["podSelector"]["matchLabels"]), "{case}");
            assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"], *port, "{case}");
            assert!(policy["spec"]["egress"].is_null(), "{case}");
        }
        for object in &objects {
            let cluster_wide = ["CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"];
            let wanted = !cluster_wide.contains(&text(object, "/kind"));
            assert_eq!(
                object["metadata"]["namespace"].is_string(),
                wanted,
                "{case}: namespace of {}",
                object["kind"]
            );
        }
    }
}

#[test]
fn everything_on_makes_every_kind_and_uses_every_setting() {
    let objects = render(CASES[3].1);
    let kinds: BTreeSet<&str> = objects.iter().map(|o| text(o, "/kind")).collect();
    for kind in [
        "CustomResourceDefinition",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "Service",
        "ServiceMonitor",
        "NetworkPolicy",
    ] {
        assert!(kinds.contains(kind), "{kind}");
    }
    let pod = &find(&objects, "Deployment").unwrap()["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    assert_eq!(text(container, "/image").split_once('@').unwrap().0, "example/millrace");
    assert_eq!(pod["spec"]["priorityClassName"], "system-cluster-critical");
    assert_eq!(pod["metadata"]["labels"]["example.org/e"], "f");
    assert_eq!(container["env"].as_array().unwrap().len(), 4);
    assert_eq!(
        find(&objects, "ServiceMonitor").unwrap()["metadata"]["labels"]["release"],
        "kube-prometheus-stack"
    );
}

#[test]
fn the_operator_understands_the_arguments_that_the_chart_gives_it() {
    for (case, args) in CASES {
        let objects = render(args);
        let container =
            find(&objects, "Deployment").unwrap()["spec"]["template"]["spec"]["containers"][0].clone();
        let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().to_owned());
        // In the pod the environment says it.
        let line =
            ["millrace".to_owned()].into_iter().chain(args).chain(["--operator-namespace=x".to_owned()]);
        let parsed = millrace::cli::Cli::try_parse_from(line);
        assert!(parsed.is_ok(), "{case}: {}", parsed.unwrap_err());
    }
}

#[test]
fn crds_can_be_left_out_and_are_kept_at_uninstall() {
    let objects = render(&["--set", "crds.install=false"]);
    assert!(find(&objects, "CustomResourceDefinition").is_none());
    for crd in render(&[]).iter().filter(|o| o["kind"] == "CustomResourceDefinition") {
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}
