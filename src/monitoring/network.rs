//! Services, and who may reach which port.

use serde_json::{Value, json};

use super::Stack;
use super::object::{Kind, Object, Part, selector, set};
use crate::api::task_monitoring::{MonitoringScope, Service, ServiceType};
use crate::names::label;

/// A port of a Service: its name, the number that clients use, the container's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    pub name: &'static str,
    pub number: i32,
    pub target: i32,
}

/// The Service of a part. `asked` speaks of the first of `ports`.
pub(super) fn service(
    stack: &Stack<'_>,
    part: Part,
    asked: &Service,
    default: ServiceType,
    ports: &[Port],
) -> Object {
    let node = type_of(asked, default) == ServiceType::NodePort;
    let ports: Vec<Value> = ports
        .iter()
        .enumerate()
        .map(|(index, port)| {
            let mut said = json!({
                "name": port.name, "port": port.number, "targetPort": port.target, "protocol": "TCP",
            });
            if let (0, true, Some(number)) = (index, node, asked.node_port) {
                set(&mut said, &["nodePort"], json!(number));
            }
            said
        })
        .collect();
    let body = json!({"spec": {
        "type": if node { "NodePort" } else { "ClusterIP" },
        "selector": selector(stack, part),
        "ports": ports,
    }});
    Object::new(part, Kind::Service, part.name(), body)
}

/// What kind of Service it is.
pub(super) fn type_of(asked: &Service, default: ServiceType) -> ServiceType {
    asked.type_.unwrap_or(default)
}

/// Whether whoever reaches a node may reach the part: the traffic comes from anywhere then.
fn is_open(asked: &Service, default: ServiceType) -> bool {
    type_of(asked, default) == ServiceType::NodePort
}

/// Who may reach the pods of a part, port by port. No rule, no way in.
pub(super) fn policy(stack: &Stack<'_>, part: Part, rules: &[Value]) -> Object {
    let body = json!({"spec": {
        "podSelector": {"matchLabels": selector(stack, part)},
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }});
    Object::new(part, Kind::NetworkPolicy, part.name(), body)
}

/// A rule: `ports` for `peers`; for everybody where the part's Service is open at the nodes. Nobody is no rule: the
/// API would take an empty list for everybody.
pub(super) fn rule(ports: &[i32], peers: &[Value], service: &Service, default: ServiceType) -> Option<Value> {
    let ports: Vec<Value> = ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
    if is_open(service, default) {
        return Some(json!({"ports": ports}));
    }
    (!peers.is_empty()).then(|| json!({"ports": ports, "from": peers}))
}

/// The pods of another part of the stack.
pub(super) fn pods_of(stack: &Stack<'_>, part: Part) -> Value {
    json!({"podSelector": {"matchLabels": selector(stack, part)}})
}

/// The pods of launches whose metrics the stack takes.
pub(super) fn tasks(stack: &Stack<'_>) -> Value {
    let mut peer =
        json!({"podSelector": {"matchExpressions": [{"key": label::LAUNCH, "operator": "Exists"}]}});
    if stack.spec.scope == MonitoringScope::Cluster {
        set(&mut peer, &["namespaceSelector"], json!({}));
    }
    peer
}

/// All pods of the namespace `name`.
pub(super) fn namespace(name: &str) -> Value {
    json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}})
}

/// All pods of all namespaces.
pub(super) fn any_namespace() -> Value {
    json!({"namespaceSelector": {}})
}

/// Host and port; an address with colons in brackets.
pub(super) fn authority(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
