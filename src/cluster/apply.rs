//! Carries plans out, in a fixed order: Job before status, status before event and deletion.

use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::response::Status;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::Cluster;
use super::cache::{Key, Name, job_of};
use super::error::{Error, api_status};
use crate::api::seen::{SeenDefinition, SeenJob, SeenLaunch};
use crate::api::{TaskDefinitionStatus, TaskLaunchStatus};
use crate::launch::retention::Finished;
use crate::launch::{Answer, JobRef, JobStop, LaunchPlan, LaunchSnapshot, MadeJob, Warning};
use crate::names::annotation;

/// What the API server made of a plan.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The Job is there.
    pub job: Option<JobMade>,
    /// The Job was not made, and the decision must be made again with the reason known.
    pub answered: bool,
    /// The status was written.
    pub status_written: bool,
    /// What the written status concerns.
    pub keys: Vec<Key>,
}

/// How a Job came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobMade {
    /// This plan made it.
    Created,
    /// It was there already, made by a predecessor or another operator.
    Adopted,
}

impl Cluster {
    /// Carries a launch's plan out.
    pub async fn apply_launch(
        &self,
        name: &Name,
        s: &LaunchSnapshot,
        plan: &LaunchPlan,
    ) -> Result<Applied, Error> {
        let mut applied = Applied::default();
        if let Some(job) = &plan.create_job {
            self.create_job(name, s, job, &mut applied).await?;
        }
        if let Some(stop) = &plan.stop_job {
            self.stop_job(name, stop).await?;
        }
        if let Some(status) = &plan.status {
            applied.keys = self.write_launch_status(name, s, status).await?;
            applied.status_written = true;
        }
        if let Some(warning) = &plan.warning {
            self.events.warn(&s.launch.object_ref(&()), "Launch", warning).await;
        }
        if let Some(job) = &plan.delete_job {
            self.delete_job(name, job).await?;
        }
        Ok(applied)
    }

    /// Created, never applied: whoever comes second sees that it exists.
    async fn create_job(
        &self,
        name: &Name,
        s: &LaunchSnapshot,
        job: &Job,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let uid = s.launch.metadata.uid.clone().unwrap_or_default();
        let made = |found: Option<&SeenJob>| MadeJob {
            at: s.now,
            name: job.name_any(),
            uid: found.and_then(ResourceExt::uid),
            execution_id: found.and_then(SeenJob::execution_id),
        };
        let answer = match self.post(&name.namespace, job).await {
            Ok(created) => {
                applied.job = Some(JobMade::Created);
                Ok(made(Some(&created)))
            }
            Err(error) => match api_status(&error).map(|status| answer_of(status, s)) {
                Some(Refusal::Exists) => {
                    let found = self.read_job(&job_of(name, &s.launch)).await?;
                    match found.as_ref().filter(|found| !found.is_owned_by(&uid)) {
                        Some(foreign) => Err(Answer::NameTaken(whose(foreign))),
                        // Gone between two requests: it counts as made, so that it is not made a second time.
                        None => {
                            applied.job = Some(JobMade::Adopted);
                            Ok(made(found.as_ref()))
                        }
                    }
                }
                Some(Refusal::Answer(answer)) => Err(answer),
                Some(Refusal::Other) | None => {
                    return Err(Error::request("create", format!("Job {}", job.name_any()), error));
                }
            },
        };
        applied.answered = answer.is_err();
        self.memories.change(name, &uid, |memory| match answer {
            Ok(made) => (memory.job_made, memory.answer) = (Some(made), None),
            Err(answer) => memory.answer = Some(answer),
        });
        Ok(())
    }

    /// The Job is sent whole, and only what we use of it is kept.
    async fn post(&self, namespace: &str, job: &Job) -> Result<SeenJob, kube::Error> {
        let body = serde_json::to_vec(job).map_err(kube::Error::SerdeError)?;
        let request = kube::core::Request::new(Job::url_path(&(), Some(namespace)));
        let request = request.create(&PostParams::default(), body).map_err(kube::Error::BuildRequest)?;
        self.client.request(request).await
    }

    /// Lets the Job controller end the Job: with a deadline of 1 s it is past it at once. The resourceVersion
    /// makes sure that a Job which has ended meanwhile keeps its outcome.
    async fn stop_job(&self, name: &Name, stop: &JobStop) -> Result<(), Error> {
        let api: Api<SeenJob> = Api::namespaced(self.client.clone(), &name.namespace);
        let patch = json!({
            "metadata": {
                "uid": stop.job.uid,
                "resourceVersion": stop.job.resource_version,
                "annotations": { annotation::STOP: stop.why },
            },
            "spec": { "activeDeadlineSeconds": 1 },
        });
        let result = api.patch(&stop.job.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        ignore(result, &[404]).map_err(|e| Error::request("patch", format!("Job {}", stop.job.name), e))
    }

    async fn write_launch_status(
        &self,
        name: &Name,
        s: &LaunchSnapshot,
        status: &TaskLaunchStatus,
    ) -> Result<Vec<Key>, Error> {
        let api: Api<SeenLaunch> = Api::namespaced(self.client.clone(), &name.namespace);
        let over = s.launch.metadata.resource_version.clone().unwrap_or_default();
        let before = s.launch.status.as_result().cloned().unwrap_or_default();
        let patch = status_patch(&over, json!(before), json!(status));
        match api.patch_status(&name.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(written) => {
                if written.final_phase().is_some() {
                    self.memories.forget(name);
                }
                Ok(self.cache.lock().wrote(written, &over))
            }
            Err(e) if code(&e) == Some(404) => Ok(Vec::new()),
            Err(e) => Err(Error::request("patch", format!("status of TaskLaunch {name}"), e)),
        }
    }

    async fn delete_job(&self, name: &Name, job: &JobRef) -> Result<(), Error> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), &name.namespace);
        let params = delete_params(&job.uid, Some(&job.resource_version));
        let result = api.delete(&job.name, &params).await;
        ignore(result, &[404, 409]).map_err(|e| Error::request("delete", format!("Job {}", job.name), e))
    }

    /// Deletes a finished launch that history limits let go. Its Job and pods follow by their owner.
    pub async fn delete_launch(&self, namespace: &str, launch: &Finished) -> Result<(), Error> {
        let api: Api<SeenLaunch> = Api::namespaced(self.client.clone(), namespace);
        let result = api.delete(&launch.name, &delete_params(&launch.uid, None)).await;
        ignore(result, &[404, 409])
            .map_err(|e| Error::request("delete", format!("TaskLaunch {}", launch.name), e))
    }

    /// Writes what we say about a definition.
    pub async fn apply_definition(
        &self,
        name: &Name,
        definition: &SeenDefinition,
        status: &TaskDefinitionStatus,
        warnings: &[Warning],
    ) -> Result<(), Error> {
        let api: Api<SeenDefinition> = Api::namespaced(self.client.clone(), &name.namespace);
        let over = definition.metadata.resource_version.clone().unwrap_or_default();
        let patch = status_patch(&over, Value::Null, json!(status));
        let result = api.patch_status(&name.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        ignore(result, &[404])
            .map_err(|e| Error::request("patch", format!("status of TaskDefinition {name}"), e))?;
        for warning in warnings {
            self.events.warn(&definition.object_ref(&()), "Check", warning).await;
        }
        Ok(())
    }
}

/// A merge patch that makes the status exactly `next`, provided that the object is still at `version`: then a
/// launch that another operator finished stays finished.
pub(super) fn status_patch(version: &str, before: Value, next: Value) -> Value {
    let mut status = next;
    if let (Value::Object(before), Value::Object(next)) = (before, &mut status) {
        for (key, _) in before {
            next.entry(key).or_insert(Value::Null);
        }
    }
    json!({ "metadata": { "resourceVersion": version }, "status": status })
}

pub(super) fn delete_params(uid: &str, resource_version: Option<&str>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: resource_version.map(str::to_owned),
        }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    }
}

fn whose(job: &SeenJob) -> String {
    let owner = job.metadata.owner_references.iter().flatten().next();
    let of = owner.map_or_else(String::new, |owner| format!(" of {} {}", owner.kind, owner.name));
    format!("Job {}{of}", job.name_any())
}

fn code(error: &kube::Error) -> Option<u16> {
    api_status(error).map(|status| status.code)
}

pub(super) fn ignore<T>(result: Result<T, kube::Error>, codes: &[u16]) -> Result<(), kube::Error> {
    match result {
        Err(e) if code(&e).is_some_and(|c| codes.contains(&c)) => Ok(()),
        other => other.map(drop),
    }
}

enum Refusal {
    Exists,
    Answer(Answer),
    Other,
}

/// What an answer to the creation of a Job means.
fn answer_of(status: &Status, s: &LaunchSnapshot) -> Refusal {
    let terminating =
        status.details.iter().flat_map(|d| &d.causes).any(|c| c.reason == "NamespaceTerminating");
    match status.code {
        409 if status.is_already_exists() => Refusal::Exists,
        404 => Refusal::Answer(Answer::NamespaceGoes(s.now)),
        403 if terminating => Refusal::Answer(Answer::NamespaceGoes(s.now)),
        403 => Refusal::Answer(Answer::Refused(s.now, status.message.clone())),
        400 | 422 | 500 if by_admission(&status.message) => {
            Refusal::Answer(Answer::Refused(s.now, status.message.clone()))
        }
        400 | 413 | 422 => Refusal::Answer(Answer::Invalid(status.message.clone())),
        _ => Refusal::Other,
    }
}

/// Webhooks deny with any code (400 where they give none), policies with 422 unless told otherwise, and a webhook
/// that cannot be reached is a 500: all of it may change without the launch.
fn by_admission(message: &str) -> bool {
    let denied = message.contains("admission webhook") && message.contains("denied the request");
    denied || message.contains("failed calling webhook") || message.contains("ValidatingAdmissionPolicy '")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_may_change_its_mind() {
        for said in [
            "admission webhook \"x.example\" denied the request: no",
            "Internal error occurred: failed calling webhook \"x\": connection refused",
            "jobs.batch \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
        ] {
            assert!(by_admission(said), "{said}");
        }
        assert!(!by_admission("Job.batch \"a\" is invalid: spec.template: Required value"));
    }

    #[test]
    fn a_status_patch_removes_what_is_no_longer_said() {
        let patch =
            status_patch("7", json!({"reason": "X", "phase": "Pending"}), json!({"phase": "Running"}));
        assert_eq!(
            patch,
            json!({"metadata": {"resourceVersion": "7"}, "status": {"phase": "Running", "reason": null}})
        );
    }
}
