//! Every fault of a body, in plain words.
//!
//! serde and the domain stop at the first fault. So a refused body is compared with the JSON Schema of its type, the
//! schema that the OpenAPI document shows. An accepted body is not compared, and costs no more than its memory.

use std::{
    any::TypeId,
    collections::HashMap,
    fmt::Write,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
};

use axum::{
    extract::Request,
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::Timestamp;
use infra::http::{
    Code, FieldError, Problem,
    body::ReadBody,
    vocabulary::{CURRENCY_PATTERN, NO_CONTROL_CHARACTER, SKU_PATTERN},
};
use jsonschema::{
    JsonType, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

/// The most faults of one answer.
const FAULTS_MAX: usize = 100;

/// The body of a request that serde has accepted, until the request is answered.
#[derive(Debug, Clone, Default)]
pub(super) struct AcceptedBody(Arc<OnceLock<(ReadBody, FaultsOf)>>);

type FaultsOf = fn(&Value) -> Vec<FieldError>;

impl AcceptedBody {
    pub(super) fn keep<T: ToSchema + 'static>(&self, body: ReadBody) {
        // A request has one body, so the place is empty.
        let _ = self.0.set((body, of_schema::<T>));
    }

    fn faults(&self) -> Vec<FieldError> {
        let Some((bytes, faults)) = self.0.get() else { return Vec::new() };
        serde_json::from_slice(bytes).map(|body| faults(&body)).unwrap_or_default()
    }
}

/// Completes the answer to a request whose body the domain refuses: adds the faults that the domain did not reach.
pub(super) async fn report_together(mut request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let body = AcceptedBody::default();
    request.extensions_mut().insert(body.clone());
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let faults = body.faults();
    if faults.is_empty() {
        return response;
    }
    // The domain does not tell which entry of a list it refuses; the schema does.
    let is_exact = |error: &FieldError| {
        let named = faults.iter().any(|fault| fault.pointer == error.pointer);
        named || !faults.iter().any(|fault| without_indices(fault) == without_indices(error))
    };
    let problem = problem.retain_errors(is_exact);
    with(problem, faults).into_response()
}

fn without_indices(fault: &FieldError) -> String {
    let steps = fault.pointer.as_deref().unwrap_or_default().split('/');
    let names = steps.filter(|step| !step.bytes().all(|byte| byte.is_ascii_digit()));
    names.collect::<Vec<_>>().join("/")
}

/// The problem of a body that serde refuses because of `first`.
pub(super) fn problem<T: ToSchema + 'static>(bytes: &[u8], first: FieldError) -> Problem {
    let body: Value = match serde_json::from_slice(bytes) {
        Ok(body) => body,
        Err(error) => return Problem::new(Code::MalformedJson).detail(error.to_string()),
    };
    let (same, others): (Vec<_>, Vec<_>) =
        of_schema::<T>(&body).into_iter().partition(|fault| fault.pointer == first.pointer);
    // The schema places these exactly; serde places them at the object around them.
    let is_placed =
        [MISSING_FIELD, UNKNOWN_FIELD, NOT_AN_OBJECT].iter().any(|start| first.message.starts_with(start));
    let refused = Problem::new(Code::InvalidRequest);
    let refused =
        if same.is_empty() && (others.is_empty() || !is_placed) { refused.wrong(first) } else { refused };
    with(with(refused, same), others)
}

/// How messages of serde begin.
const MISSING_FIELD: &str = "missing field";
const UNKNOWN_FIELD: &str = "unknown field";
const NOT_AN_OBJECT: &str = "expected an object, found a list";

/// The fault of a body with an object that is written as the list of its values, which serde accepts.
pub(super) fn of_list() -> FieldError {
    FieldError::of_member("body", NOT_AN_OBJECT)
}

/// The fault that serde found, without its position in the text.
pub(super) fn of_serde(member: &str, error: &serde_json::Error) -> FieldError {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let repeated =
        message.strip_prefix("duplicate field ").map(|name| format!("{name} is given more than once"));
    FieldError::of_member(member, repeated.unwrap_or_else(|| message.to_owned()))
}

/// Adds faults of other members than those that the problem names.
fn with(problem: Problem, faults: Vec<FieldError>) -> Problem {
    let add = |problem: Problem, fault: FieldError| {
        let is_named = problem.errors().iter().any(|error| error.pointer == fault.pointer);
        if is_named || problem.errors().len() == FAULTS_MAX { problem } else { problem.wrong(fault) }
    };
    faults.into_iter().fold(problem, add)
}

/// The faults of a body, compared with the schema of `T`.
fn of_schema<T: ToSchema + 'static>(body: &Value) -> Vec<FieldError> {
    let validator = validator_of::<T>();
    let mut faults = Vec::new();
    fractions(body, &mut String::new(), &mut faults);
    for error in validator.iter_errors(body).take(FAULTS_MAX) {
        faults.extend(described(&error));
    }
    let named = |(pointer, message): Fault| FieldError::at(&pointer, member_at(&pointer, body), message);
    faults.into_iter().map(named).collect()
}

/// A fault: the JSON Pointer of the member, and what is wrong.
type Fault = (String, String);

/// Every number is a whole one. JSON Schema counts 2.0 as such, serde does not.
fn fractions(value: &Value, pointer: &mut String, faults: &mut Vec<Fault>) {
    let length = pointer.len();
    match value {
        Value::Number(number) if number.is_f64() => {
            let message = "expected a whole number, without fraction and exponent, of at most 2^53 - 1";
            faults.push((pointer.clone(), message.to_owned()));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let _ = write!(pointer, "/{index}");
                fractions(item, pointer, faults);
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                pointer.push_str(&step(name));
                fractions(member, pointer, faults);
                pointer.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A step of a JSON Pointer (RFC 6901).
fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The name of a member as the domain writes it, such as `lines[2].quantity`.
fn member_at(pointer: &str, body: &Value) -> String {
    let (mut name, mut value) = (String::new(), Some(body));
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let is_index = value.is_some_and(Value::is_array);
        name = match name.as_str() {
            _ if is_index => format!("{name}[{step}]"),
            "" => step.clone(),
            _ => format!("{name}.{step}"),
        };
        value = value.and_then(|value| match value {
            Value::Array(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
            other => other.get(&step),
        });
    }
    if name.is_empty() { "body".to_owned() } else { name }
}

fn described(error: &ValidationError<'_>) -> Vec<Fault> {
    let at = error.instance_path().as_str().to_owned();
    let one = |message: String| vec![(at.clone(), message)];
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            vec![(at.clone() + &step(property.as_str().unwrap_or_default()), "is required".to_owned())]
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let unknown = |name: &String| (at.clone() + &step(name), "is unknown here".to_owned());
            unexpected.iter().map(unknown).collect()
        }
        ValidationErrorKind::Type { kind } => {
            one(format!("expected {}, found {}", type_names(kind), found(error.instance())))
        }
        ValidationErrorKind::Enum { options } => {
            let words = options.as_array().into_iter().flatten().filter_map(Value::as_str);
            one(format!("is none of {}", words.collect::<Vec<_>>().join(", ")))
        }
        ValidationErrorKind::Minimum { limit } => one(format!("expected at least {limit}")),
        ValidationErrorKind::Maximum { limit } => one(format!("expected at most {limit}")),
        ValidationErrorKind::MinLength { limit: 1 } => one("is empty".to_owned()),
        ValidationErrorKind::MinLength { limit } => one(format!("has fewer than {limit} characters")),
        ValidationErrorKind::MaxLength { limit } => one(format!("has more than {limit} characters")),
        ValidationErrorKind::MinItems { limit: 1 } => one("is an empty list".to_owned()),
        ValidationErrorKind::MinItems { limit } => one(format!("has fewer than {limit} entries")),
        ValidationErrorKind::MaxItems { limit } => one(format!("has more than {limit} entries")),
        ValidationErrorKind::MaxProperties { limit } => one(format!("has more than {limit} members")),
        ValidationErrorKind::Pattern { pattern } => one(mismatch(pattern)),
        ValidationErrorKind::Format { format } => one(malformed(format)),
        ValidationErrorKind::PropertyNames { error } => {
            let name = error.instance().as_str().unwrap_or_default();
            let inner = described(error).into_iter();
            inner.map(|(_, message)| (at.clone() + &step(name), format!("its name {message}"))).collect()
        }
        other => one(format!("is not valid here ({})", other.keyword())),
    }
}

fn mismatch(pattern: &str) -> String {
    match pattern {
        NO_CONTROL_CHARACTER => "has a control character".to_owned(),
        SKU_PATTERN => "has a control character, or white space at an end".to_owned(),
        CURRENCY_PATTERN => "is not an ISO 4217 currency code in capitals, such as GBP".to_owned(),
        other => format!("does not have the form {other}"),
    }
}

fn malformed(format: &str) -> String {
    match format {
        "date-time" => "is not a time of RFC 3339, such as 2026-01-31T12:00:00Z".to_owned(),
        "uuid" => "is not a UUID".to_owned(),
        other => format!("does not have the form {other}"),
    }
}

fn type_names(kind: &TypeKind) -> String {
    let types = match kind {
        TypeKind::Single(one) => vec![*one],
        TypeKind::Multiple(several) => several.iter().collect(),
    };
    // To write null is to leave the member out.
    let named = types.into_iter().filter(|name| *name != JsonType::Null).map(|name| match name {
        JsonType::Null => "null",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a text",
        JsonType::Array => "a list",
        JsonType::Object => "an object",
    });
    named.collect::<Vec<_>>().join(" or ")
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The validator of a type. The first fault of a body of this type compiles it.
fn validator_of<T: ToSchema + 'static>() -> Arc<Validator> {
    static VALIDATORS: LazyLock<Mutex<HashMap<TypeId, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(validators.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(compiled::<T>())))
}

fn compiled<T: ToSchema>() -> Validator {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    let schemas: Map<String, Value> =
        schemas.into_iter().map(|(name, schema)| (name, json!(schema))).collect();
    let mut schema = json!({
        "$ref": format!("#/components/schemas/{}", T::name()),
        "components": { "schemas": schemas },
    });
    prefer_other_than_null(&mut schema);
    // The decoders accept more than RFC 3339 and RFC 9562, so the validator asks them.
    let options = jsonschema::options()
        .should_validate_formats(true)
        .with_format("date-time", |text: &str| text.parse::<Timestamp>().is_ok())
        .with_format("uuid", |text: &str| Uuid::try_parse(text).is_ok())
        .with_format("uri", |_: &str| true);
    options.build(&schema).expect("utoipa makes valid schemas")
}

/// Replaces `oneOf` of a schema and null, so that an error names the fault and not both alternatives.
fn prefer_other_than_null(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let is_null = |part: &Value| part["type"] == "null";
            let parts = object.get("oneOf").and_then(Value::as_array);
            if parts.is_some_and(|parts| parts.len() == 2 && parts.iter().any(is_null)) {
                let parts = object.remove("oneOf").and_then(|parts| parts.as_array().cloned());
                let other = parts.into_iter().flatten().find(|part| !is_null(part));
                object.insert("if".to_owned(), json!({ "not": { "type": "null" } }));
                object.insert("then".to_owned(), other.unwrap_or(json!(true)));
            }
            object.values_mut().for_each(prefer_other_than_null);
        }
        Value::Array(items) => items.iter_mut().for_each(prefer_other_than_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
