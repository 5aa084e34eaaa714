//! Publishes Warning events. That one is lost never fails what it tells of.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::launch::Warning;
use crate::names::MANAGER;

/// Publishes events in our name.
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Publishes with `client`; `instance` tells which process it was.
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes a warning about an object.
    pub async fn warn(&self, about: &ObjectReference, action: &str, warning: &Warning) {
        let event = Event {
            type_: EventType::Warning,
            reason: warning.reason.clone(),
            note: Some(warning.message.clone()),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(%error, about = about.name, reason = warning.reason, "an event could not be published");
        }
    }
}
