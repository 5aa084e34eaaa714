//! The kinds as users write them: serde, schema, CEL. No behaviour.

pub mod conditions;
pub mod embedded;
pub mod limits;
pub mod seen;
pub mod task_definition;
pub mod task_launch;
pub mod task_monitoring;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

pub use task_definition::{TaskDefinition, TaskDefinitionSpec, TaskDefinitionStatus};
pub use task_launch::{Phase, TaskLaunch, TaskLaunchSpec, TaskLaunchStatus};
pub use task_monitoring::{TaskMonitoring, TaskMonitoringSpec, TaskMonitoringStatus};

/// All CustomResourceDefinitions, in the order in which they are listed in docs and files.
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![TaskDefinition::crd(), TaskLaunch::crd(), TaskMonitoring::crd()];
    let versions = crds.iter_mut().flat_map(|crd| &mut crd.spec.versions);
    for schema in versions.filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut()) {
        unwrap_descriptions(schema);
    }
    crds
}

/// `kubectl explain` wraps text itself: the line breaks of our doc comments would only get in its way.
fn unwrap_descriptions(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        *description = description.replace('\n', " ");
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        unwrap_descriptions(items);
    }
    schema.properties.iter_mut().flatten().for_each(|(_, property)| unwrap_descriptions(property));
}

#[cfg(test)]
mod tests;
