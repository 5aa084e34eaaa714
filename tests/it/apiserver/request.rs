//! One API call as data, and its parsing from HTTP.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use super::{kind::qualified, status::Status, watch::Cursor};

/// What RBAC calls the verb, except that `get` of a group's resource list is `Discover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    Discover,
}

impl Verb {
    /// All verbs on resources.
    pub const ALL: [Self; 7] =
        [Self::Get, Self::List, Self::Watch, Self::Create, Self::Update, Self::Patch, Self::Delete];

    pub fn is_write(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Patch | Self::Delete)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Discover => "discover",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Merge,
    Strategic,
    Json,
    Apply,
}

/// One call. Names that a call does not have are empty.
#[derive(Clone, Debug)]
pub struct Request {
    pub client: String,
    pub verb: Verb,
    pub group: String,
    pub version: String,
    pub plural: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub patch: Option<PatchType>,
    pub query: BTreeMap<String, String>,
    pub body: Option<Value>,
    /// `Accept: …as=PartialObjectMetadata…`
    pub metadata_only: bool,
}

/// What the server answers. A watch that was opened carries its cursor.
#[derive(Clone, Debug)]
pub struct Response {
    pub code: u16,
    pub body: Value,
    pub retry_after: Option<u64>,
    pub watch: Option<Cursor>,
}

impl Response {
    pub fn ok(body: Value) -> Self {
        Self { code: 200, body, retry_after: None, watch: None }
    }

    pub fn is_ok(&self) -> bool {
        self.code < 400
    }
}

impl From<Status> for Response {
    fn from(status: Status) -> Self {
        Self { code: status.code, body: status.to_value(), retry_after: status.retry_after, watch: None }
    }
}

impl Request {
    /// A request from its parts, without a client; a body makes the content type matter.
    pub fn call(
        client: &str,
        method: &str,
        uri: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Self, Status> {
        let built =
            http::Request::builder().method(method).uri(uri).header(http::header::CONTENT_TYPE, content_type);
        let (head, ()) = built.body(()).map_err(|why| Status::bad_request(why.to_string()))?.into_parts();
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        Self::from_http(client, &head, &bytes)
    }

    /// Reads a request as kube builds it (`kube::core::Request` or a client), so that an explorer
    /// can use kube's own builders without a client.
    pub fn from_http(client: &str, head: &http::request::Parts, body: &[u8]) -> Result<Self, Status> {
        let segments: Vec<String> =
            head.uri.path().split('/').filter(|s| !s.is_empty()).map(decode).collect();
        let query = parse_query(head.uri.query().unwrap_or_default());
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let target = Target::parse(&segments).ok_or_else(Status::no_such_resource)?;
        let header = |name| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let content_type = header(http::header::CONTENT_TYPE);
        let body = match body {
            [] => None,
            bytes => Some(
                serde_json::from_slice(bytes)
                    .map_err(|e| Status::bad_request(format!("error decoding the request body: {e}")))?,
            ),
        };
        let verb = verb_of(&head.method, &target, &query)?;
        let patch = if verb == Verb::Patch { Some(patch_type(content_type)?) } else { None };
        Ok(Self {
            client: client.to_owned(),
            verb,
            group: target.group.to_owned(),
            version: target.version.to_owned(),
            plural: target.plural.to_owned(),
            subresource: target.subresource.to_owned(),
            namespace: target.namespace.to_owned(),
            name: target.name.to_owned(),
            patch,
            query,
            body,
            metadata_only: header(http::header::ACCEPT).contains("as=PartialObjectMetadata"),
        })
    }

    /// `jobs.batch`
    pub fn resource(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    /// Whether `plural` (`jobs` or `jobs.batch`) means this request's resource.
    pub fn is_on(&self, plural: &str) -> bool {
        plural == self.plural || plural == self.resource()
    }

    pub fn query(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }

    pub fn flag(&self, key: &str) -> bool {
        matches!(self.query(key), "true" | "1")
    }
}

#[derive(Default)]
struct Target<'a> {
    group: &'a str,
    version: &'a str,
    namespace: &'a str,
    plural: &'a str,
    name: &'a str,
    subresource: &'a str,
}

impl<'a> Target<'a> {
    fn parse(path: &[&'a str]) -> Option<Self> {
        let (group, version, rest) = match path {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let base = Self { group, version, ..Self::default() };
        Some(match rest {
            // A namespace's own subresources look like resources within it.
            ["namespaces", name, sub @ ("status" | "finalize")] => {
                Self { plural: "namespaces", name, subresource: sub, ..base }
            }
            ["namespaces", namespace, plural] => Self { namespace, plural, ..base },
            ["namespaces", namespace, plural, name] => Self { namespace, plural, name, ..base },
            ["namespaces", namespace, plural, name, subresource] => {
                Self { namespace, plural, name, subresource, ..base }
            }
            [] => base,
            [plural] => Self { plural, ..base },
            [plural, name] => Self { plural, name, ..base },
            [plural, name, subresource] => Self { plural, name, subresource, ..base },
            _ => return None,
        })
    }
}

fn verb_of(
    method: &http::Method,
    target: &Target<'_>,
    query: &BTreeMap<String, String>,
) -> Result<Verb, Status> {
    let watches = query.get("watch").is_some_and(|w| w == "true" || w == "1");
    Ok(match (method.as_str(), target.name.is_empty()) {
        ("GET", _) if target.plural.is_empty() => Verb::Discover,
        ("GET", true) if watches => Verb::Watch,
        ("GET", true) => Verb::List,
        ("GET", false) => Verb::Get,
        ("POST", true) => Verb::Create,
        ("PUT", false) => Verb::Update,
        ("PATCH", false) => Verb::Patch,
        ("DELETE", false) => Verb::Delete,
        _ => return Err(Status::method_not_allowed()),
    })
}

fn patch_type(content_type: &str) -> Result<PatchType, Status> {
    match content_type {
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        other => Err(Status::unsupported_media_type(other)),
    }
}

fn parse_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|p| !p.is_empty());
    pairs.map(|p| p.split_once('=').unwrap_or((p, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

/// Percent decoding, with `+` for a space as forms write it. Names never contain a plus.
fn decode(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let escaped = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, escaped) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
