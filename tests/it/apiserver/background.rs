//! The Job controller and pods that move by themselves, beside the operator under test.

use serde_json::Value;

use super::{job::JobController, object, pod::has_ended, server::ApiServer, store::Store};

impl JobController {
    /// Runs in the background, a step after each thing that happens, until the guard is dropped.
    pub fn run(server: &ApiServer) -> Running {
        Self::run_with(server, |_| None)
    }

    /// The same; pods that have not ended are also moved: `fate` says how each shall end.
    pub fn run_with(server: &ApiServer, fate: impl Fn(&Value) -> Option<Fate> + Send + 'static) -> Running {
        let server = server.clone();
        let mut activity = server.activity.subscribe();
        Running(tokio::spawn(async move {
            loop {
                activity.borrow_and_update();
                // Its own changes are activity too: without one it would never sleep.
                let busy = server.with_quietly(|store| Self::step(store) | meet_fates(store, &fate));
                if busy {
                    tokio::task::yield_now().await;
                } else if activity.changed().await.is_err() {
                    return;
                }
            }
        }))
    }
}

/// How a pod moves on by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Starts, and stays.
    Runs,
    /// Starts if it has not, and ends with this code and termination message.
    Ends(i64, String),
}

/// A controller in the background; dropping it stops it.
#[must_use]
pub struct Running(tokio::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A pod moves one stage a step, so that watches can see each.
fn meet_fates(store: &mut Store, fate: &impl Fn(&Value) -> Option<Fate>) -> bool {
    let before = store.revision();
    let moving = |pod: &&Value| !has_ended(pod) && !object::is_deleting(pod);
    let pods: Vec<Value> = store.all("pods").into_iter().filter(moving).cloned().collect();
    for (pod, fate) in pods.iter().filter_map(|pod| Some((pod, fate(pod)?))) {
        let mut actor = store.pod(object::namespace(pod), object::name(pod));
        match (pod["status"]["phase"].as_str(), fate) {
            (Some("Running"), Fate::Ends(code, message)) => _ = actor.finish(code, &message),
            (Some("Running"), Fate::Runs) => {}
            _ => _ = actor.start(),
        }
    }
    store.revision() != before
}
