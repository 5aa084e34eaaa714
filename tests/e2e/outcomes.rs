//! How tasks end by themselves.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use millrace::api::Phase;
use millrace::names::{annotation, label, reason};
use serde_json::json;

use crate::support::manifest::{little, now, plain, plain_with};
use crate::support::{PLAIN, Space, beside};

#[tokio::test]
async fn a_task_succeeds_and_kubectl_can_wait_for_it() {
    beside("success", async |t: &Space| {
        t.define("hello", plain(&["--termination-message=all 3 files read"])).await;
        let launch = "apiVersion: millrace.dev/v1alpha1\nkind: TaskLaunch\nmetadata: {generateName: hello-}\nspec: {definitionRef: {name: hello}}";
        let created = t.kubectl_with(&["create", "-o", "name", "-f", "-"], launch).await.good();
        let object = created.trim();
        t.kubectl(&["wait", object, "--for=condition=Succeeded", "--timeout=120s"]).await.good();
        t.kubectl(&["wait", object, "--for=condition=Finished", "--timeout=1s"]).await.good();

        let run = t.all_runs().await.pop().unwrap();
        let end = t.ended(&run).await;
        assert_eq!(end.succeeded().message(), "all 3 files read");
        let log = t.log(end.pod()).await;
        for (name, value) in [
            ("EXTERNAL_EXECUTION_ID", end.pod()),
            ("EXECUTION_ID", &end.id().to_string()),
            ("TASK_NAME", "hello"),
            ("NAMESPACE", &t.name),
        ] {
            let line = format!("env MILLRACE_{name}={value}");
            assert!(log.lines().any(|l| l == line), "no {line:?} in {log}");
        }
        assert!(!log.contains("PARENT"), "{log}");

        let job = t.job(&run).await;
        let spec = job.spec.as_ref().unwrap();
        assert_eq!((spec.backoff_limit, spec.ttl_seconds_after_finished), (Some(0), None));
        assert_eq!(job.annotations()[label::EXECUTION_ID], end.id().to_string());
        assert_eq!(job.annotations()[annotation::TASK_NAME], "hello");
        assert_eq!(job.labels()[label::TASK_NAME], "hello");
    })
    .await;
}

#[tokio::test]
async fn exit_codes_and_memory_limits_are_told() {
    beside("failures", async |t: &Space| {
        t.define("three", plain(&["--exit-code=3", "--termination-message=no input for 2026-07"])).await;
        let mut greedy = plain(&["--eat-memory=400"]);
        greedy["resources"] = json!({"requests": {"cpu": "50m"}, "limits": {"memory": "32Mi"}});
        t.define("greedy", greedy).await;
        t.define("absent", json!({"image": PLAIN, "command": ["/no/such/program"]})).await;

        let runs = futures::future::join3(t.launch("three"), t.launch("greedy"), t.launch("absent")).await;
        let three = t.ended(&runs.0).await;
        three.is(Phase::Failed, Some(reason::NON_ZERO_EXIT), Some(3));
        assert_eq!(three.message(), "exit code 3: no input for 2026-07");
        let waited = ["wait", "tl", &runs.0.name, "--for=condition=Succeeded=False", "--timeout=1s"];
        t.kubectl(&waited).await.good();
        let greedy = t.ended(&runs.1).await;
        greedy.is(Phase::Failed, Some(reason::OOM_KILLED), Some(137)).says("memory");
        let absent = t.ended(&runs.2).await;
        assert_eq!(absent.status.phase, Some(Phase::Failed));
        absent.says("/no/such/program");
    })
    .await;
}

#[tokio::test]
async fn a_failed_pod_is_replaced_as_often_as_the_definition_allows() {
    beside("retry", async |t: &Space| {
        // The Job controller waits 10 s before it makes another pod.
        let healthy = (now().as_second() + 8).to_string();
        let retry = json!({"backoffLimit": 1});
        t.define("second", plain_with(&[&format!("--fail-before={healthy}")], &retry)).await;
        t.define("never", plain_with(&["--exit-code=4"], &retry)).await;
        let (second, never) = futures::future::join(t.launch("second"), t.launch("never")).await;

        let end = t.ended(&second).await;
        assert_eq!(end.succeeded().status.attempts, Some(2));
        assert!(t.log(end.pod()).await.contains(&format!("EXTERNAL_EXECUTION_ID={}", end.pod())));
        let end = t.ended(&never).await;
        end.is(Phase::Failed, Some(reason::NON_ZERO_EXIT), Some(4));
        assert_eq!(end.status.attempts, Some(2));
        for run in [second, never] {
            let pods = t.recorder.seen().pods;
            assert_eq!(pods.values().filter(|p| p.job.as_ref() == Some(&run.job_name())).count(), 2);
        }
    })
    .await;
}

#[tokio::test]
async fn a_native_sidecar_ends_with_the_task_whose_exit_code_counts() {
    beside("sidecar", async |t: &Space| {
        let sidecar = json!({"name": "companion", "image": PLAIN, "restartPolicy": "Always",
            "args": ["--run-for=24h", "--term-exit-code=7"]});
        let spec = |exit: &str| {
            json!({"args": [exit], "resources": little(), "podTemplate": {"spec": {
                "terminationGracePeriodSeconds": 5,
                "initContainers": [sidecar],
                "containers": [{"name": "main", "image": PLAIN, "args": ["--exit-code=9"]}]}}})
        };
        t.define("good", spec("--exit-code=0")).await;
        t.define("bad", spec("--exit-code=3")).await;
        let (good, bad) = futures::future::join(t.launch("good"), t.launch("bad")).await;
        t.ended(&good).await.succeeded();
        t.ended(&bad).await.is(Phase::Failed, Some(reason::NON_ZERO_EXIT), Some(3));

        // Identity goes to the task alone.
        let job: Job = t.job(&good).await;
        let pod = job.spec.unwrap().template.spec.unwrap();
        assert!(pod.init_containers.unwrap()[0].env.is_none());
        assert!(!pod.containers[0].env.as_ref().unwrap().is_empty());
    })
    .await;
}
