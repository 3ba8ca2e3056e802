//! Error answers: RFC 9457 problem details with a stable `code`.

use axum::{
    Json, Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Code, vocabulary::SkuValue};

/// Most characters of a text in an answer. Texts repeat parts of the request, which may be long.
const TEXT_CHARS_MAX: usize = 500;

/// One wrong part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A member (`lines[2].quantity`), a parameter or a header.
    #[schema(example = "lines[2].quantity")]
    pub field: String,
    /// The member as a JSON Pointer (RFC 6901). Empty: the whole body. Omitted for a parameter or a header.
    #[schema(example = "/lines/2/quantity", nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    #[schema(example = "expected at least 1")]
    pub message: String,
}

impl FieldError {
    /// A wrong parameter or header.
    pub fn of_parameter(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: shortened(name.into()), pointer: None, message: shortened(message.into()) }
    }

    /// A wrong member of the body, at a JSON Pointer.
    pub fn at(pointer: &str, member: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: Some(shortened(pointer.to_owned())), ..Self::of_parameter(member, message) }
    }

    /// A wrong member of the body, such as `lines[2].quantity`. Other names, such as those of two members, mean the
    /// whole body.
    pub fn of_member(member: impl Into<String>, message: impl Into<String>) -> Self {
        let member = member.into();
        Self::at(&pointer_of(&member), member, message)
    }
}

fn pointer_of(member: &str) -> String {
    if member == "body" || member.contains(", ") {
        return String::new();
    }
    let steps = member.split(['.', '[']).map(|step| step.trim_end_matches(']'));
    steps.fold(String::new(), |pointer, step| format!("{pointer}/{step}"))
}

/// An error answer. Its code decides the status.
#[derive(Debug, Clone)]
pub struct Problem {
    pub code: Code,
    detail: Option<String>,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The JSON of a [`Problem`] (RFC 9457, `application/problem+json`). [`ProblemSchema`] describes it.
#[derive(Debug, Serialize)]
pub struct ProblemBody {
    #[serde(rename = "type")]
    pub type_uri: String,
    pub title: &'static str,
    pub status: u16,
    pub code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

impl ProblemBody {
    /// The name of its schema.
    pub const SCHEMA: &'static str = "Problem";

    /// The body of a problem that has only its code.
    pub(super) fn of(code: Code) -> Self {
        Self {
            type_uri: format!("/problems/{code}"),
            title: code.title(),
            status: code.status().as_u16(),
            code: code.as_str(),
            detail: None,
            errors: Vec::new(),
            members: Map::new(),
        }
    }
}

/// An error (RFC 9457). Branch on `code`: the texts are not stable.
#[derive(Debug, ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "describes the members of problems; ProblemBody has their values")]
pub struct ProblemSchema {
    /// A page that explains the code, relative to the API.
    #[schema(rename = "type", format = "uri-reference", example = "/problems/not_found")]
    type_uri: String,
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    code: Code,
    /// Describes this occurrence.
    #[schema(nullable = false)]
    detail: Option<String>,
    /// Every wrong part of the request.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
    /// The SKUs with too few units, with `insufficient_stock`.
    #[schema(nullable = false)]
    shortages: Option<Vec<Shortage>>,
    /// The order that was recorded all the same, with `insufficient_stock` and `order_status`. With
    /// `idempotency_key_reused`: the order that was placed under the key.
    #[schema(nullable = false)]
    order_id: Option<Uuid>,
    /// Its revision.
    #[schema(nullable = false)]
    revision: Option<u64>,
    /// The scope that the caller lacks, with `forbidden`.
    #[schema(nullable = false)]
    scope: Option<String>,
    /// The condition of the process, with `not_ready`.
    #[schema(nullable = false)]
    condition: Option<String>,
}

/// A SKU with too few units, and the units that were available at the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Shortage {
    #[schema(value_type = SkuValue)]
    pub sku: String,
    pub requested: u32,
    pub available: u32,
}

impl Problem {
    pub fn new(code: Code) -> Self {
        let (errors, members, headers) = (Vec::new(), Map::new(), Vec::new());
        Self { code, detail: None, errors, members, headers }
    }

    /// 404. `kind` names the kind of resource, such as `order`.
    pub fn no_such(kind: &str) -> Self {
        Self::new(Code::NotFound).detail(format!("the {kind} does not exist"))
    }

    /// 422: one member of the body is not valid.
    pub fn invalid_request(member: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest).error(member, message)
    }

    /// 400: one parameter or header is not valid.
    pub fn invalid_parameter(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter).wrong(FieldError::of_parameter(name, message))
    }

    /// Describes this occurrence. Must not contain the text of an internal error.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(shortened(detail.into()));
        self
    }

    /// One more wrong member of the body.
    pub fn error(self, member: impl Into<String>, message: impl Into<String>) -> Self {
        self.wrong(FieldError::of_member(member, message))
    }

    /// One more wrong part of the request.
    pub fn wrong(mut self, error: FieldError) -> Self {
        self.errors.push(error);
        self
    }

    /// Keeps only some of the wrong parts.
    pub fn retain_errors(mut self, keep: impl FnMut(&FieldError) -> bool) -> Self {
        self.errors.retain(keep);
        self
    }

    /// The wrong parts of the request.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// The same problem of a member of the request: its wrong members are inside this one.
    pub fn within(mut self, member: &str) -> Self {
        for error in &mut self.errors {
            error.field = format!("{member}.{}", error.field);
            error.pointer = error.pointer.take().map(|pointer| format!("/{member}{pointer}"));
        }
        self
    }

    /// A further member of the answer.
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let given = (self.code == Code::InvalidRequest).then(|| self.clone());
        let of_code = ProblemBody::of(self.code);
        let body = ProblemBody { detail: self.detail, errors: self.errors, members: self.members, ..of_code };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        headers.extend(self.headers);
        // For a layer that knows the whole body of the request.
        if let Some(given) = given {
            response.extensions_mut().insert(given);
        }
        response
    }
}

/// `GET /problems` and `GET /problems/{code}`: explains each code, in plain text.
pub fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let describe = |code: Code| format!("{code} ({})\n{}.\n{}\n", code.status(), code.title(), code.help());
    Router::new()
        .route(
            "/problems",
            get(move || async move {
                Code::ALL.iter().map(|code| describe(*code)).collect::<Vec<_>>().join("\n")
            }),
        )
        .route(
            "/problems/{code}",
            get(move |Path(name): Path<String>| async move {
                let code = Code::ALL.iter().find(|code| code.as_str() == name);
                code.map(|code| describe(*code)).ok_or_else(|| Problem::no_such("code"))
            }),
        )
}

/// The fallback of a router: no route has this path.
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub async fn no_such_path() -> Problem {
    Problem::new(Code::NotFound).detail("nothing is served under this path; /docs lists all paths")
}

/// The fallback of a route: it does not support the method.
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub async fn no_such_method() -> Problem {
    Problem::new(Code::MethodNotAllowed)
}

/// Answers a request whose handler panicked. The panic hook logs the panic itself.
pub fn after_panic(_panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    Problem::new(Code::Internal).into_response()
}
