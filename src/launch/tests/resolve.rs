//! Definition and launch → what runs, or the sentence that says why not.

use serde_json::{Value, json};

use crate::api::{TaskDefinitionSpec, TaskLaunchSpec};
use crate::launch::resolve::{Rejection, ResolvedLaunch, resolve, resolve_definition};
use crate::names::reason::{IDENTITY_RESERVED, INVALID_DEFINITION, OVERRIDE_DENIED};

fn resolved(definition: &Value, launch: &Value) -> Result<ResolvedLaunch, Rejection> {
    let definition: TaskDefinitionSpec = serde_json::from_value(definition.clone()).unwrap();
    let mut whole = json!({"definitionRef": {"name": "nightly"}});
    super::merge(&mut whole, launch.clone());
    let launch: TaskLaunchSpec = serde_json::from_value(whole).unwrap();
    resolve("nightly", &definition, &launch, None)
}

/// The task's container as it would be made, before the operator's own variables.
fn container(definition: &Value, launch: &Value) -> Value {
    let launch = resolved(definition, launch).unwrap();
    let pod = launch.template.spec.unwrap();
    assert_eq!(pod.containers.len(), 1, "one container is the task");
    assert_eq!(pod.containers[0].name, launch.task_container);
    json!(pod.containers[0])
}

fn args(definition: &Value, launch: &Value) -> Vec<String> {
    serde_json::from_value(container(definition, launch)["args"].clone()).unwrap_or_default()
}

fn refusals<'a>(table: impl IntoIterator<Item = (&'a str, Value, Value, &'a str, &'a str)>) {
    for (what, definition, launch, reason, fragment) in table {
        let rejection = resolved(&definition, &launch).expect_err(what);
        assert_eq!(rejection.reason, reason, "{what}: {}", rejection.message);
        assert!(rejection.message.contains(fragment), "{what}: {}", rejection.message);
    }
}

fn template(spec: &Value) -> Value {
    json!({"podTemplate": {"spec": spec}})
}

fn over(mut value: Value, more: Value) -> Value {
    super::merge(&mut value, more);
    value
}

#[test]
fn a_definition_that_cannot_be_launched_is_told_which_field_to_change() {
    let task = json!({"name": "main", "image": "i"});
    let other = json!({"name": "logs", "image": "j"});
    let none = json!({});
    let two = template(&json!({"containers": [task, other]}));
    refusals([
        ("nothing", none.clone(), none.clone(), INVALID_DEFINITION, "give spec.image"),
        (
            "a template without container",
            template(&json!({})),
            none.clone(),
            INVALID_DEFINITION,
            "no container task: add it, or give spec.image",
        ),
        (
            "a container without image",
            template(&json!({"containers": [{"name": "main"}]})),
            none.clone(),
            INVALID_DEFINITION,
            "container main has no image: give spec.image",
        ),
        ("an empty image", json!({"image": ""}), none.clone(), INVALID_DEFINITION, "has no image"),
        (
            "several containers",
            two.clone(),
            none.clone(),
            INVALID_DEFINITION,
            "several containers (main, logs): name the task's in spec.taskContainer",
        ),
        (
            "several containers, the task's named",
            over(two.clone(), json!({"taskContainer": "main"})),
            none.clone(),
            INVALID_DEFINITION,
            "container logs beside the task would keep the Job from ending: make it a native sidecar",
        ),
        (
            "a container beside the one that the image makes",
            over(template(&json!({"containers": [other]})), json!({"taskContainer": "main", "image": "i"})),
            none.clone(),
            INVALID_DEFINITION,
            "container logs beside the task",
        ),
        (
            "a task container that is not there",
            over(template(&json!({"containers": [task]})), json!({"taskContainer": "mian"})),
            none.clone(),
            INVALID_DEFINITION,
            "no container mian: add it, or give spec.image to make it",
        ),
        (
            "a pod that restarts",
            template(&json!({"containers": [task], "restartPolicy": "OnFailure"})),
            none.clone(),
            INVALID_DEFINITION,
            "restartPolicy is OnFailure: leave it out (Never); retries are spec.runPolicy.backoffLimit",
        ),
        (
            "a task container that restarts",
            template(&json!({"containers": [{"name": "main", "image": "i", "restartPolicy": "Always"}]})),
            none.clone(),
            INVALID_DEFINITION,
            "container main has restartPolicy Always",
        ),
        (
            "an annotation that would stop every launch",
            json!({"image": "i", "annotations": {"millrace.dev/stop": "Shutdown"}}),
            none.clone(),
            INVALID_DEFINITION,
            "spec.annotations: millrace.dev/stop is the operator's",
        ),
        (
            "a label of the operator's",
            json!({"image": "i", "labels": {"millrace.dev/launch": "other"}}),
            none.clone(),
            INVALID_DEFINITION,
            "spec.labels: millrace.dev/launch is the operator's",
        ),
    ]);
}

#[test]
fn what_a_definition_may_leave_out() {
    for definition in [
        template(&json!({"containers": [{"name": "main", "image": "i"}], "restartPolicy": "Never"})),
        template(&json!({"containers": [{"name": "main", "image": "i"}], "restartPolicy": ""})),
        over(template(&json!({"containers": []})), json!({"image": "i"})),
        over(template(&json!({"nodeSelector": {"a": "b"}})), json!({"image": "i"})),
        template(&json!({
            "containers": [{"name": "main", "image": "i"}],
            "initContainers": [{"name": "logs", "image": "j", "restartPolicy": "Always"}],
        })),
    ] {
        let spec: TaskDefinitionSpec = serde_json::from_value(definition.clone()).unwrap();
        assert_eq!(resolve_definition("nightly", &spec), Ok(()), "{definition}");
    }
}

#[test]
fn the_short_form_makes_the_container_or_stands_over_the_templates() {
    let none = json!({});
    let whole = json!({
        "image": "i", "command": ["c"], "args": ["a"], "resources": {"limits": {"cpu": "1"}},
        "env": [{"name": "A", "value": "1"}], "envFrom": [{"secretRef": {"name": "s"}}],
    });
    assert_eq!(container(&whole, &none), over(whole.clone(), json!({"name": "task"})));
    assert_eq!(
        container(&json!({"image": "i", "taskContainer": "main"}), &none),
        json!({"name": "main", "image": "i"})
    );

    let theirs = template(&json!({"containers": [{
        "name": "main", "image": "theirs", "args": ["theirs"], "workingDir": "/w",
        "env": [{"name": "A", "value": "theirs"}, {"name": "B", "value": "theirs"}],
        "envFrom": [{"configMapRef": {"name": "theirs"}}],
    }]}));
    assert_eq!(
        container(&over(theirs, whole), &none),
        json!({
            "name": "main", "image": "i", "command": ["c"], "args": ["a"], "workingDir": "/w",
            "resources": {"limits": {"cpu": "1"}},
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "theirs"}],
            "envFrom": [{"configMapRef": {"name": "theirs"}}, {"secretRef": {"name": "s"}}],
        }),
        "single values replace, lists of names are merged"
    );
}

#[test]
fn the_tasks_name_is_the_definitions_unless_it_gives_another() {
    let name = |spec: Value| resolved(&spec, &json!({})).unwrap().task_name;
    assert_eq!(name(json!({"image": "i"})), "nightly");
    assert_eq!(name(json!({"image": "i", "taskName": "Nightly_Import"})), "Nightly_Import");
}

#[test]
fn arguments_come_in_order_and_a_launchs_property_replaces_the_definitions() {
    let definition = json!({
        "image": "i", "args": ["first"], "properties": {"app.chunk-size": "10", "app.mode": "fast"},
        "overrides": {"args": "Any", "properties": ["app.chunk-size"]},
    });
    let args = |launch: Value| args(&definition, &launch);
    assert_eq!(args(json!({})), ["first", "--app.chunk-size=10", "--app.mode=fast"]);
    assert_eq!(
        args(json!({"args": ["last", "-v"]})),
        ["first", "--app.chunk-size=10", "--app.mode=fast", "last", "-v"]
    );
    for spelling in ["app.chunk-size", "app.chunkSize", "app.chunk_size", "APP.CHUNK-SIZE"] {
        assert_eq!(
            args(json!({"properties": {spelling: "20"}})),
            ["first", "--app.chunk-size=20", "--app.mode=fast"],
            "{spelling} as property"
        );
        let given = format!("--{spelling}=20");
        assert_eq!(
            args(json!({"args": [given]})),
            ["first", "--app.mode=fast", given.as_str()],
            "{spelling} as argument"
        );
        assert_eq!(
            args(json!({"args": [given], "properties": {"app.chunk-size": "30"}})),
            ["first", "--app.mode=fast", given.as_str()],
            "{spelling} both ways"
        );
    }
}

/// Spring makes a list, `10,20`, of an option that is given twice.
#[test]
fn a_launchs_property_replaces_also_what_the_definition_gives_as_argument() {
    let definition = json!({
        "image": "i", "args": ["first", "--app.chunkSize=10", "--flag", "second"],
        "overrides": {"properties": ["app.chunk-size", "flag"]},
    });
    let given = json!({"properties": {"app.chunk-size": "20"}});
    assert_eq!(args(&definition, &given), ["first", "--flag", "second", "--app.chunk-size=20"]);
    let given = json!({"args": ["--app.chunk_size=20"]});
    assert_eq!(args(&definition, &given), ["first", "--flag", "second", "--app.chunk_size=20"]);
    // What stands in an argument of its own may belong to the next one.
    let given = json!({"properties": {"flag": "x"}});
    assert_eq!(args(&definition, &given), ["first", "--app.chunkSize=10", "--flag", "second", "--flag=x"]);
}

#[test]
fn nothing_that_a_launch_gives_is_expanded() {
    let definition = json!({
        "image": "i", "args": ["$(HOME)"], "properties": {"a": "$(B)"},
        "overrides": {"args": "Any", "properties": ["c"]},
    });
    let launch = json!({"args": ["$(HOME)", "$$(HOME)", "$", "-$x"], "properties": {"c": "${d} $(E) $$"}});
    assert_eq!(
        args(&definition, &launch),
        ["$(HOME)", "--a=$(B)", "--c=$${d} $$(E) $$$$", "$$(HOME)", "$$$$(HOME)", "$$", "-$$x"]
    );
    let definition = over(definition, json!({"propertiesAs": "Environment"}));
    assert_eq!(
        container(&definition, &launch)["env"],
        json!([{"name": "A", "value": "$(B)"}, {"name": "C", "value": "$${d} $$(E) $$$$"}])
    );
}

#[test]
fn properties_as_environment() {
    let definition = json!({
        "image": "i", "args": ["first"], "propertiesAs": "Environment",
        "env": [{"name": "APP_MODE", "value": "slow"}, {"name": "OTHER", "value": "x"}],
        "properties": {"app.mode": "fast", "app.chunk-size": "10", "app.lists[0].name": "n"},
        "overrides": {"properties": ["app.chunk-size"]},
    });
    let env = |launch: Value| container(&definition, &launch)["env"].clone();
    let expected = |size: &str| {
        json!([
            {"name": "APP_MODE", "value": "fast"},
            {"name": "OTHER", "value": "x"},
            {"name": "APP_CHUNKSIZE", "value": size},
            {"name": "APP_LISTS_0_NAME", "value": "n"},
        ])
    };
    assert_eq!(env(json!({})), expected("10"));
    assert_eq!(args(&definition, &json!({})), ["first"]);
    // APP_CHUNK_SIZE would be app.chunk.size, which the definition did not allow.
    for spelling in ["app.chunk-size", "app.chunkSize", "app.chunk_size", "APP.CHUNK_SIZE"] {
        assert_eq!(env(json!({"properties": {spelling: "20"}})), expected("20"), "{spelling}");
    }
}

#[test]
fn a_spelling_cannot_reach_a_property_that_is_not_allowed() {
    let definition =
        json!({"image": "i", "propertiesAs": "Environment", "overrides": {"properties": ["app.dataurl"]}});
    let container = container(&definition, &json!({"properties": {"app.data_url": "x"}}));
    assert_eq!(container["env"], json!([{"name": "APP_DATAURL", "value": "x"}]));
}

#[test]
fn identity_is_refused_wherever_a_definition_sets_it() {
    let none = json!({});
    let cases = [
        json!({"env": [{"name": "MILLRACE_EXECUTION_ID", "value": "1"}]}),
        json!({"env": [{"name": "SPRING_CLOUD_TASK_EXECUTIONID", "value": "1"}]}),
        json!({"env": [{"name": "SPRING_CLOUD_TASK_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
        json!({"env": [{"name": "spring.cloud.task.external-execution-id", "value": "1"}]}),
        json!({"env": [{"name": "MANAGEMENT_METRICS_TAGS_TASK_NAMESPACE", "value": "x"}]}),
        json!({"args": ["--spring.cloud.task.name=x"]}),
        json!({"args": ["--spring.cloud.task.parentExecutionId=7"]}),
        json!({"command": ["java", "-Dspring.cloud.task.name=x", "-jar", "a.jar"]}),
        json!({"args": ["--management.metrics.tags[task.name]=x"]}),
        json!({"args": ["--spring.cloud.täsk.name=x".replace('ä', "aé")]}),
        json!({"properties": {"spring.cloud.task.execution-id": "1"}}),
        json!({"properties": {"management.metrics.tags.task.name": "x"}, "propertiesAs": "Environment"}),
        json!({"metrics": {"tags": {"task.name": "x"}}}),
        json!({"metrics": {"tags": {"task.execution.id": "1"}}}),
        json!({"env": [{"name": "SPRING_APPLICATION_JSON", "value": "{\"spring.cloud.task.name\": \"x\"}"}]}),
        json!({"env": [{"name": "SPRING_APPLICATION_JSON", "value": "{\"spring\": {\"cloud\": {\"task\": {\"name\": \"x\"}}}}"}]}),
        json!({"env": [{"name": "spring.application.json", "value": "{\"management.metrics.tags\": {\"task.execution.id\": 1}}"}]}),
        json!({"args": ["--spring.application.json={\"millrace\": {\"task-name\": \"x\"}}"]}),
        json!({"properties": {"spring.application.json": "{\"spring.cloud\": {\"task.name\": \"x\"}}"}}),
    ];
    for case in cases {
        let definition = over(json!({"image": "i"}), case);
        let rejection = resolved(&definition, &none).expect_err(&definition.to_string());
        assert_eq!(rejection.reason, IDENTITY_RESERVED, "{definition}");
        assert!(rejection.message.contains("would change the identity of a run"), "{}", rejection.message);
    }
}

#[test]
fn what_only_looks_like_identity_is_left_alone() {
    for case in [
        json!({"env": [{"name": "TASK_NAME", "value": "x"}]}),
        json!({"env": [{"name": "SPRING_APPLICATION_JSON", "value": "{\"a\": {\"name\": \"x\"}, \"b\": [1]}"}]}),
        json!({"env": [{"name": "SPRING_APPLICATION_JSON", "value": "not json"}]}),
        json!({"env": [{"name": "SPRING_APPLICATION_JSON", "value": ""}]}),
        json!({"env": [{"name": "SPRING_APPLICATION_JSON", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
        json!({"args": ["spring.cloud.task.name=x"]}),
        json!({"properties": {"spring.cloud.task.batch.fail-on-job-failure": "true"}}),
        json!({"metrics": {"tags": {"team": "x", "task": "y", "application": "z"}}}),
        json!({"env": [{"name": "ÜBER", "value": "ä→日本"}], "args": ["日本語", "é"]}),
    ] {
        let definition = over(json!({"image": "i"}), case);
        assert!(resolved(&definition, &json!({})).is_ok(), "{definition}");
    }
}

#[test]
fn odd_property_names_are_refused_with_the_rule() {
    for name in [
        "",
        " ",
        "a b",
        "a=b",
        "--a",
        "-a",
        ".a",
        "a\nb",
        "ä",
        "日本",
        "a\u{0}",
        "a,b",
        "${a}",
        &"a".repeat(257),
    ] {
        let definition = json!({"image": "i", "properties": {name: "x"}});
        let rejection = resolved(&definition, &json!({})).expect_err(name);
        assert_eq!(rejection.reason, INVALID_DEFINITION, "{name:?}");
        let definition = json!({"image": "i", "overrides": {"properties": [name]}});
        let rejection = resolved(&definition, &json!({"properties": {name: "x"}})).expect_err(name);
        assert_eq!(rejection.reason, OVERRIDE_DENIED, "{name:?}");
        assert!(rejection.message.contains("is no property name"), "{}", rejection.message);
    }
    for name in ["a", "A_B", "a.b-c[0].d", "1a", "logging.level.[a/b]", &"a".repeat(256)] {
        assert!(resolved(&json!({"image": "i", "properties": {name: "ü"}}), &json!({})).is_ok(), "{name}");
    }
}

#[test]
fn what_a_launch_may_not_add() {
    let plain = json!({"image": "i"});
    refusals([
        (
            "a property",
            plain.clone(),
            json!({"properties": {"app.x": "1"}}),
            OVERRIDE_DENIED,
            "property app.x is not allowed: add \"app.x\" to spec.overrides.properties of the definition",
        ),
        (
            "a property as argument",
            plain.clone(),
            json!({"args": ["--app.x=secret"]}),
            OVERRIDE_DENIED,
            "argument \"--app.x\" is not allowed",
        ),
        (
            "a dash",
            plain.clone(),
            json!({"args": ["-x"]}),
            OVERRIDE_DENIED,
            "set its spec.overrides.args to Any",
        ),
        (
            "any argument",
            json!({"image": "i", "overrides": {"args": "Deny"}}),
            json!({"args": ["x"]}),
            OVERRIDE_DENIED,
            "set spec.overrides.args of the definition to Plain or Any",
        ),
        (
            "identity, even if it is allowed",
            json!({"image": "i", "overrides": {"properties": ["spring.cloud.task.name"]}}),
            json!({"properties": {"spring.cloud.task-name": "x"}}),
            IDENTITY_RESERVED,
            "spring.cloud.task-name would change the identity",
        ),
        (
            "identity in allowed JSON",
            json!({"image": "i", "overrides": {"properties": ["spring.application.json"]}}),
            json!({"properties": {"spring.application.json": "{\"spring\": {\"cloud.task\": {\"name\": 1}}}"}}),
            IDENTITY_RESERVED,
            "spring.cloud.task.name in SPRING_APPLICATION_JSON",
        ),
    ]);
}

/// What the kubelet makes of an argument (k8s.io/kubernetes, third_party/forked/golang/expansion).
fn expanded(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    while at < chars.len() {
        let rest = &chars[at + 1..];
        let end = rest.iter().position(|c| *c == ')');
        match (chars[at], rest.first(), end) {
            ('$', Some('$'), _) => at += 1,
            ('$', Some('('), Some(end)) => {
                out += "EXPANDED";
                at += end + 2;
                continue;
            }
            _ => {}
        }
        out.push(chars[at]);
        at += 1;
    }
    out
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_launchs_argument_arrives_as_it_was_given(text in "[$()aé ]{0,12}") {
        let definition = json!({"image": "i", "args": ["$(A)"], "overrides": {"args": "Any", "properties": ["p"]}});
        let args = args(&definition, &json!({"args": [text], "properties": {"p": text}}));
        let args: Vec<_> = args.iter().map(|arg| expanded(arg)).collect();
        proptest::prop_assert_eq!(args, ["EXPANDED".to_owned(), format!("--p={text}"), text]);
    }

    #[test]
    fn whatever_a_launch_gives_is_resolved_or_refused(arg in ".{0,20}", name in ".{0,20}", value in ".{0,20}") {
        let definition = json!({"image": "i", "overrides": {"args": "Any", "properties": [name, "spring.application.json"]}});
        for launch in [
            json!({"args": [arg, format!("--{name}={value}")], "properties": {name.as_str(): value}}),
            json!({"properties": {"spring.application.json": value}}),
        ] {
            if let Err(rejection) = resolved(&definition, &launch) {
                proptest::prop_assert!(!rejection.message.is_empty());
            }
        }
    }
}
