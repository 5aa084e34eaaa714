//! Label and field selectors.

use serde_json::Value;

use super::{kind::Kind, object, status::Status};

/// What a list or watch asks for; the empty selector takes all.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<Label>,
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
enum Label {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Clone, Debug)]
struct Field {
    path: String,
    value: String,
    equal: bool,
}

impl Selector {
    pub fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Status> {
        Ok(Self {
            labels: split_terms(labels).into_iter().map(parse_label).collect::<Result<_, _>>()?,
            fields: split_terms(fields)
                .into_iter()
                .map(|f| parse_field(kind, f))
                .collect::<Result<_, _>>()?,
        })
    }

    pub fn takes(&self, object: &Value) -> bool {
        self.labels.iter().all(|l| l.takes(object)) && self.fields.iter().all(|f| f.takes(object))
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

impl Label {
    fn takes(&self, object: &Value) -> bool {
        let has = |key: &str, values: &[String]| {
            object::label(object, key).is_some_and(|v| values.iter().any(|w| w == v))
        };
        match self {
            Self::In(key, values) => has(key, values),
            Self::NotIn(key, values) => !has(key, values),
            Self::Exists(key) => object::label(object, key).is_some(),
            Self::Absent(key) => object::label(object, key).is_none(),
        }
    }
}

impl Field {
    fn takes(&self, object: &Value) -> bool {
        let found = match object::at_path(object, &self.path) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        (found == self.value) == self.equal
    }
}

/// Splits at commas outside of parentheses.
fn split_terms(selector: &str) -> Vec<&str> {
    let (mut terms, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in selector.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms.into_iter().map(str::trim).filter(|t| !t.is_empty()).collect()
}

fn parse_label(term: &str) -> Result<Label, Status> {
    let unparsable = || Status::bad_request(format!("unable to parse requirement: {term}"));
    if let Some((key, rest)) = term.split_once(" notin ").or_else(|| term.split_once(" in ")) {
        let list = rest.trim().strip_prefix('(').and_then(|r| r.strip_suffix(')')).ok_or_else(unparsable)?;
        let (key, values) = (key.trim().to_owned(), list.split(',').map(|v| v.trim().to_owned()).collect());
        return Ok(if term.contains(" notin ") { Label::NotIn(key, values) } else { Label::In(key, values) });
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Ok(Label::NotIn(key.trim().to_owned(), vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(Label::In(key.trim().to_owned(), vec![value.trim().to_owned()]));
    }
    match term.strip_prefix('!') {
        Some(key) => Ok(Label::Absent(key.trim().to_owned())),
        None if term.contains([' ', '(', ')']) => Err(unparsable()),
        None => Ok(Label::Exists(term.to_owned())),
    }
}

fn parse_field(kind: &Kind, term: &str) -> Result<Field, Status> {
    let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
        (path, value, false)
    } else {
        let (path, value) = term.split_once("==").or_else(|| term.split_once('=')).ok_or_else(|| {
            Status::bad_request(format!("invalid selector: '{term}'; can't understand '{term}'"))
        })?;
        (path, value, true)
    };
    // Custom resources select by name and namespace only, unless their CRD says otherwise.
    if kind.is_custom() && !matches!(path, "metadata.name" | "metadata.namespace") {
        return Err(Status::bad_request(format!("field label not supported: {path}")));
    }
    Ok(Field { path: path.to_owned(), value: value.to_owned(), equal })
}
