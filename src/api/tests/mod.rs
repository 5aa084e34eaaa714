//! What the API server would say to objects of ours, and what we make of what it says.

mod cel;
mod embedded;
mod seen;
mod shapes;

use serde_json::{Value, json};

/// The schema of a kind, as the API server has it.
fn schema_of(kind: &str) -> Value {
    let crd = super::all_crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let version = crd.spec.versions.into_iter().next().unwrap();
    json!(version.schema.unwrap().open_api_v3_schema.unwrap())
}
