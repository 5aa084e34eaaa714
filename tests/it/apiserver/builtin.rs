//! The little that the real server knows about particular kinds and a controller can see.

use serde_json::{Value, json};

use super::{kind::Kind, object, status::Status};

/// Defaults set on creation.
pub fn complete(kind: &Kind, object: &mut Value) {
    match kind.resource().as_str() {
        "jobs.batch" => complete_job(object),
        "pods" => object["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"}),
        "namespaces" => {
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"] = json!({"phase": "Active"});
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object["metadata"]["name"].clone();
        }
        _ => {}
    }
}

/// Selector, labels of the pods and the fields that default, as `batch/v1` fills them in.
fn complete_job(job: &mut Value) {
    let (uid, name) = (job["metadata"]["uid"].clone(), job["metadata"]["name"].clone());
    let spec = &mut job["spec"];
    for (field, value) in [
        ("parallelism", json!(1)),
        ("completions", json!(1)),
        ("backoffLimit", json!(6)),
        ("suspend", json!(false)),
        ("completionMode", json!("NonIndexed")),
        ("manualSelector", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
    ] {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
    if spec["selector"].is_null() {
        spec["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
        let labels = &mut spec["template"]["metadata"]["labels"];
        for prefix in ["", "batch.kubernetes.io/"] {
            labels[format!("{prefix}controller-uid")] = uid.clone();
            labels[format!("{prefix}job-name")] = name.clone();
        }
    }
}

/// Names, and what is immutable once written.
pub fn validate(kind: &Kind, object: &Value) -> Result<(), Status> {
    let name = object::name(object);
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let framed = !name.starts_with(['-', '.']) && !name.ends_with(['-', '.']);
    if name.len() > 253 || !name.chars().all(allowed) || !framed {
        let problem = format!(
            "Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
             characters, '-' or '.', and must start and end with an alphanumeric character"
        );
        return Err(Status::invalid(kind, name, "metadata.name", &problem));
    }
    // A Job's name becomes a label of its pods.
    if kind.resource() == "jobs.batch" && name.len() > 63 {
        let problem = format!("Invalid value: \"{name}\": must be no more than 63 bytes");
        return Err(Status::invalid(kind, name, "spec.template.labels", &problem));
    }
    Ok(())
}

pub fn validate_update(kind: &Kind, old: &Value, new: &Value) -> Result<(), Status> {
    if kind.resource() != "jobs.batch" {
        return Ok(());
    }
    // A Job that has never started may still have its template's scheduling changed; not here.
    for field in ["template", "selector", "completions"] {
        if old["spec"][field] != new["spec"][field] {
            let problem = format!("Invalid value: {}: field is immutable", new["spec"][field]);
            return Err(Status::invalid(kind, object::name(old), &format!("spec.{field}"), &problem));
        }
    }
    Ok(())
}
