//! Each fault does what it says, to the request it is meant for.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Error,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams},
};
use serde_json::json;

use super::super::{ApiServer, Fault, Rule, Status, Verb};
use super::{config_map, maps, refusal};

/// Sends one request of a verb about the map `a`.
async fn send(api: &Api<ConfigMap>, verb: Verb) -> Result<(), Error> {
    let patch = Patch::Merge(json!({"data": {"a": "patched"}}));
    match verb {
        Verb::Get => api.get("a").await.map(drop),
        Verb::List => api.list(&ListParams::default()).await.map(drop),
        Verb::Watch => api.watch(&WatchParams::default(), "0").await.map(drop),
        Verb::Create => api.create(&PostParams::default(), &config_map("a")).await.map(drop),
        Verb::Update => {
            let mut map = config_map("a");
            map.data = Some([("a".to_owned(), "updated".to_owned())].into());
            api.replace("a", &PostParams::default(), &map).await.map(drop)
        }
        Verb::Patch => api.patch("a", &PatchParams::default(), &patch).await.map(drop),
        Verb::Delete => api.delete("a", &DeleteParams::default()).await.map(drop),
        Verb::Discover => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_hits_every_verb_once() {
    for fault in Fault::all() {
        for verb in Verb::ALL {
            let row = format!("{verb}: {fault}");
            let server = ApiServer::new();
            if verb != Verb::Create {
                server.put(&config_map("a"));
            }
            let before = server.with(|store| store.revision());
            let rule = server.inject(Rule::on(verb, "configmaps", fault.clone()));
            let first = tokio::time::timeout(Duration::from_mins(1), send(&maps(&server), verb)).await;
            let changed = server.with(|store| store.revision()) != before;

            assert_eq!(server.fired(rule), 1, "{row}");
            let late = matches!(fault, Fault::Delay(_));
            let applies = late || matches!(fault, Fault::ResetAfter | Fault::AnswerAfter(_));
            assert_eq!(changed, applies && verb.is_write(), "{row}");
            match &fault {
                Fault::Hang => assert!(first.is_err(), "{row}"),
                Fault::Delay(_) => first.unwrap().unwrap(),
                // A watch opens; its first line is not an event.
                Fault::Garbage => assert!(verb == Verb::Watch || first.unwrap().is_err(), "{row}"),
                Fault::Answer(status) | Fault::AnswerAfter(status) => {
                    let refused = refusal(first.unwrap());
                    assert_eq!((refused.code, refused.reason), (status.code, status.reason.clone()), "{row}");
                }
                _ => assert!(matches!(first, Ok(Err(Error::Service(_)))), "{row}"),
            }
            let entry = server.record().entries()[0].clone();
            assert_eq!((entry.request.verb, entry.changed), (verb, changed), "{row}");
            assert_eq!(entry.fault, if late { None } else { Some(fault.to_string()) }, "{row}");
        }
    }
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_exists() {
    let server = ApiServer::new();
    server.inject(Rule::on(Verb::Create, "configmaps", Fault::ResetAfter));
    let api = maps(&server);
    assert!(matches!(send(&api, Verb::Create).await, Err(Error::Service(_))));
    assert_eq!(refusal(send(&api, Verb::Create).await).reason, "AlreadyExists");
    let log = "   1 operator create configmaps default/ -> 0 changed [reset after it was applied]\n   \
               2 operator create configmaps default/ -> 409\n";
    assert_eq!(server.record().to_string(), log);
}

#[tokio::test]
async fn rules_choose_client_subresource_name_and_occurrence() {
    let server = ApiServer::new();
    server.put(&super::job("a"));
    let fault = || Fault::answer(500, "InternalError", "no");
    let patch = Patch::Merge(json!({"metadata": {"labels": {"x": "1"}}}));
    let rules = [
        Rule::on(Verb::Patch, "jobs", fault()).by("other"),
        Rule::on(Verb::Patch, "jobs", fault()).subresource("status"),
        Rule::on(Verb::Patch, "jobs.batch", fault()).named("b"),
        Rule::new(fault()).plural("pods").always(),
        Rule::on(Verb::Patch, "jobs", fault()).subresource("").nth(2).times(2),
    ];
    let ids = rules.map(|rule| server.inject(rule));
    let jobs = super::jobs(&server);
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        outcomes.push(jobs.patch("a", &PatchParams::default(), &patch).await.is_ok());
    }
    assert_eq!(outcomes, [true, false, false, true, true]);
    assert!(jobs.patch_status("a", &PatchParams::default(), &patch).await.is_err());
    assert_eq!(ids.map(|id| server.fired(id)), [0, 1, 0, 0, 2]);
    server.clear_faults();
    jobs.patch_status("a", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_throttled_client_is_told_how_long_to_wait() {
    let server = ApiServer::new();
    let status = Status::new(429, "TooManyRequests", "slow down").retry_after(7);
    server.inject(Rule::on(Verb::List, "configmaps", Fault::Answer(status)));
    let refused = refusal(send(&maps(&server), Verb::List).await);
    assert_eq!(refused.details.unwrap().retry_after_seconds, 7);
}

#[tokio::test]
async fn a_stale_list_shows_the_past() {
    let server = ApiServer::new();
    server.put(&config_map("a"));
    let past = server.with(|store| store.revision());
    server.with(|store| store.remove("configmaps", "default", "a"));
    server.inject(Rule::new(Fault::StaleList(past)));
    let list = maps(&server).list(&ListParams::default()).await.unwrap();
    assert_eq!((list.items.len(), list.metadata.resource_version), (1, Some(past.to_string())));
    assert_eq!(maps(&server).list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test]
async fn a_crash_between_writes_is_a_rule() {
    let server = ApiServer::new();
    let api = maps(&server);
    let rule = server.inject(Rule::on_writes(Fault::ResetBefore).by("operator").nth(2).always());
    let verbs = [Verb::Create, Verb::Get, Verb::Patch, Verb::Get, Verb::Delete];
    let mut outcomes = Vec::new();
    for verb in verbs {
        outcomes.push(send(&api, verb).await.is_ok());
    }
    assert_eq!((outcomes.as_slice(), server.fired(rule)), (&[true, true, false, true, false][..], 2));
}

#[tokio::test]
async fn a_kind_that_is_removed_ends_its_watches() {
    let server = ApiServer::new();
    let events = maps(&server).watch(&WatchParams::default(), "0").await.unwrap();
    server.with(|store| store.unregister("configmaps"));
    let events: Vec<_> = futures::TryStreamExt::try_collect(events).await.unwrap();
    assert!(events.is_empty());
    assert_eq!(refusal(send(&maps(&server), Verb::Watch).await).code, 404);
}
