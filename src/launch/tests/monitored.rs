//! Launches and their namespace's monitoring: who takes part, how long a launch waits, what is said at the end.

use serde_json::json;

use super::*;

fn unready(case: Case) -> Case {
    case.offered(|offer| offer.proxy_ready = false)
}

fn mode(case: Case, mode: &str) -> Case {
    case.definition(&json!({"image": "i", "metrics": {"mode": mode}}))
}

#[test]
fn a_launch_waits_for_its_proxy_a_bounded_time() {
    let waits = "Pending ProxyNotReady (waits up to 30 s for the metrics proxy of TaskMonitoring monitoring/tasks; runs without if it does not come) [+Accepted/Accepted -Started/ProxyNotReady]; next in 27s";
    let short = "Pending ProxyNotReady (waits up to 5 s for the metrics proxy of TaskMonitoring monitoring/tasks; runs without if it does not come) [+Accepted/Accepted -Started/ProxyNotReady]; next in 2s";
    let inherits = |case: Case| case.offered(|o| (o.proxy_ready, o.by_default) = (false, false));
    check([
        ("ready", Case::at_second(0).offered(|_| ()), "want ExecutionId"),
        ("usually nothing is written", unready(Case::at_second(0)), "next in 2s"),
        ("it says so", unready(Case::at_second(3)), waits),
        ("once", unready(Case::at_second(3)).and_then(20), "next in 10s"),
        ("it comes", unready(Case::at_second(3)).and_then(4).offered(|_| ()), "want ExecutionId"),
        ("it does not come", unready(Case::at_second(3)).and_then(30), "want Launch"),
        ("and then", unready(Case::at_second(30)).id(42), "create; next in 5s"),
        (
            "no patience",
            Case::at_second(0).offered(|o| (o.proxy_ready, o.patience) = (false, Duration::ZERO)),
            "want ExecutionId",
        ),
        (
            "little patience",
            Case::at_second(0).offered(|o| (o.proxy_ready, o.patience) = (false, Duration::from_secs(1))),
            "next in 1s",
        ),
        ("an hour behind", unready(Case::at_second(-3600)), "want ExecutionId"),
        (
            "never longer than half of the start deadline",
            unready(
                Case::at_second(3)
                    .definition(&json!({"image": "i", "runPolicy": {"startDeadlineSeconds": 10}})),
            ),
            short,
        ),
        (
            "not for a task that is not monitored",
            mode(unready(Case::at_second(3)), "Disabled"),
            "want ExecutionId",
        ),
        ("nor by default", inherits(Case::at_second(3)), "want ExecutionId"),
        ("but where the definition asks for it", mode(inherits(Case::at_second(3)), "Enabled"), waits),
        ("what cannot run says that first", unready(Case::at_second(1)).no_definition(), "next in 1s"),
        (
            "stopped while it waits",
            unready(Case::at_second(3)).and_then(4).shut_down(),
            "Stopped Stopped (stopped before its Job was made) [+Accepted/Accepted -Started/NeverStarted +Finished/Stopped -Succeeded/Stopped -MetricsReceived/NeverStarted]",
        ),
    ]);
}

#[test]
fn the_job_says_where_its_metrics_go() {
    let annotations = |case: Case| case.id(42).decide().create_job.unwrap().metadata.annotations.unwrap();
    let monitored = annotations(Case::at_second(0).offered(|_| ()));
    assert_eq!(monitored[annotation::MONITORING], "monitoring/tasks");
    assert_eq!(monitored[annotation::OBSERVABLE], "true");
    let outside = annotations(Case::at_second(0).offered(|offer| offer.observable = false));
    assert_eq!(outside[annotation::OBSERVABLE], "false");
    for not in [Case::at_second(0), mode(Case::at_second(0).offered(|_| ()), "Disabled")] {
        let annotations = annotations(not);
        assert!(!annotations.contains_key(annotation::MONITORING), "{annotations:?}");
    }
}

fn over(job: AJob) -> Case {
    Case::at_second(9).job(job.complete(8)).pod(APod::new().exited(0, 2, 7)).offered(|_| ())
}

fn received(case: Case) -> String {
    let status = case.decide().status.expect("a status");
    let condition = status.conditions.iter().find(|c| c.type_ == "MetricsReceived").expect("the condition");
    format!("{} {}: {}", condition.status, condition.reason, condition.message)
}

#[test]
fn whether_the_metrics_arrived_is_asked_once_at_the_end() {
    let never = "Failed DeadlineExceeded (not started within activeDeadlineSeconds: its Job has no pod yet) [+Accepted/Accepted -Started/NeverStarted +Finished/DeadlineExceeded -Succeeded/DeadlineExceeded -MetricsReceived/NeverStarted]; warn DeadlineExceeded";
    let running = Case::at_second(3).job(AJob::new().monitored("true")).pod(APod::new().running(2));
    check([
        ("not before the end", running.offered(|_| ()), "next in 3s"),
        ("at the end", over(AJob::new().monitored("true")), "want Arrival"),
        (
            "also where the stack is gone meanwhile",
            over(AJob::new().monitored("true")).with(|s| s.offer = None),
            "want Arrival",
        ),
        (
            "not where nobody can tell",
            over(AJob::new().monitored("false")),
            "Succeeded exit 0 after 5s [+Accepted/Accepted +Started/ContainerStarted +Finished/Completed +Succeeded/Completed ?MetricsReceived/NotObservable]",
        ),
        (
            "not of what never ran",
            Case::at_second(9).job(
                AJob::new().monitored("true").past_its_deadline(8).with(json!({"status": {"failed": 0}})),
            ),
            never,
        ),
    ]);
    let asked = arrival::asked(&over(AJob::new().monitored("true")).snapshot()).unwrap();
    assert_eq!((asked.stack.as_str(), asked.execution_id), ("monitoring/tasks", 42));
    assert_eq!(asked.pod, Some(format!("{}-abcde", the_jobs_name())));
    assert_eq!((asked.started, asked.ended), (Some(at(2)), Some(at(7))));
    let addressed = APod::new().exited(0, 2, 7).with(json!({"status": {"podIP": "10.1.2.3"}}));
    let case = Case::at_second(9).job(AJob::new().monitored("true").complete(8)).pod(addressed);
    assert_eq!(arrival::asked(&case.snapshot()).unwrap().address, Some([10, 1, 2, 3].into()));
}

#[test]
fn what_is_said_of_the_metrics() {
    let tcp = |pushed| Arrival::Received { door: "tcp".to_owned(), series: 97, pushed };
    let told = |arrival: Arrival| {
        received(over(AJob::new().monitored("true")).with(|s| s.evidence.arrival = Some(arrival)))
    };
    let lines = [
        told(tcp(true)),
        told(tcp(false)),
        told(Arrival::NoBody { connected: true }),
        told(Arrival::NoBody { connected: false }),
        told(Arrival::Unreachable("proxy 10.0.0.7:8080 did not answer within 2 s".to_owned())),
        told(Arrival::NotObservable),
        received(over(AJob::new().monitored("false"))),
        received(over(AJob::new())),
        received(over(AJob::new()).with(|s| s.offer = None)),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

/// Nothing is wrong with the client of a task that was killed before anybody could ask it.
#[test]
fn what_is_said_of_a_run_that_was_killed_in_its_first_seconds() {
    let told = |code: i32, why: &str, seconds: i64, connected: bool| {
        let end =
            json!({"exitCode": code, "reason": why, "startedAt": time(2), "finishedAt": time(2 + seconds)});
        let case = Case::at_second(200).job(AJob::new().monitored("true").over_its_limit(190));
        let case = case.pod(APod::new().ended(&end)).offered(|_| ());
        received(case.with(|s| s.evidence.arrival = Some(Arrival::NoBody { connected })))
    };
    for (code, why, how) in [
        (137, "Error", "False NoBody: it was killed (exit code 137) before anything of it was pulled"),
        (143, "Error", "False NoBody: it was killed (exit code 143) before anything of it was pulled"),
        (137, "OOMKilled", "False NoBody: it was killed (OOMKilled) before anything of it was pulled"),
    ] {
        for connected in [true, false] {
            let sentence = told(code, why, 5, connected);
            assert!(
                sentence.starts_with(how) && sentence.contains("terminationGracePeriodSeconds"),
                "{sentence}"
            );
        }
    }
    for (code, seconds) in [(137, 61), (1, 5), (0, 5)] {
        let sentence = told(code, "Error", seconds, false);
        assert!(
            sentence.contains("is a client or exporter on the class path?"),
            "{code} {seconds}: {sentence}"
        );
    }
}

/// A Job that somebody deleted cannot say who its metrics went to; the stack of now can.
#[test]
fn metrics_of_a_lost_job_are_asked_for_as_well() {
    let lost = || {
        Case::at_second(60)
            .told(&json!({"phase": "Running", "jobName": "x", "executionId": 42, "podName": "p", "startTime": time(2)}))
            .with(|s| s.evidence.job_is_gone = true)
    };
    check([
        ("monitored", lost().offered(|_| ()), "want Arrival"),
        (
            "not monitored",
            lost(),
            "Failed JobLost after 58s (its Job was deleted before it ended; it is never run again by itself: create another TaskLaunch) [+Accepted/Accepted +Started/ContainerStarted +Finished/JobLost -Succeeded/JobLost]; warn JobLost",
        ),
    ]);
    let asked = arrival::asked(&lost().offered(|_| ()).snapshot()).unwrap();
    assert_eq!((asked.execution_id, asked.pod.as_deref(), asked.started), (42, Some("p"), Some(at(2))));
}

#[test]
fn the_dashboard_of_a_run() {
    let url = |case: Case| case.decide().status.and_then(|status| status.dashboard_url);
    let job = || AJob::new().monitored("false");
    let ended = |change: fn(&mut Offer)| over(job()).offered(change);
    let start = (CREATED + 2 - 60) * 1000;
    let path = |to: &str| {
        format!(
            "/d/scdf-tasks/tasks?var-task_namespace=batch&var-task_name=Nightly_Import&var-task_execution_id=42&from={start}&to={to}"
        )
    };
    let to = ((CREATED + 7 + 60) * 1000).to_string();
    assert_eq!(url(ended(|_| ())), Some(format!("https://grafana.example.com{}", path(&to))));
    assert_eq!(url(ended(|offer| offer.grafana = Some(String::new()))), Some(path(&to)));
    assert_eq!(url(ended(|offer| offer.grafana = None)), None);
    assert_eq!(url(over(job()).with(|s| s.offer = None)), None);
    assert_eq!(url(over(AJob::new())), None, "of another's metrics there is nothing to see");

    let running = |now| Case::at_second(now).job(job()).pod(APod::new().running(2)).offered(|_| ());
    let begun = running(7);
    assert_eq!(url(begun.clone()), Some(format!("https://grafana.example.com{}", path("now"))));
    assert_eq!(begun.and_then(99).decide().status, None, "it does not change while the task runs");

    let odd = job().annotated(annotation::TASK_NAME, "a b&c");
    assert!(url(over(odd)).unwrap().contains("&var-task_name=a%20b%26c&"));
}
