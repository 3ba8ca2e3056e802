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

use super::Code;

/// Most characters of a text in an answer. Texts repeat parts of the request, which may be long.
const TEXT_CHARS_MAX: usize = 500;

/// One wrong part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A member (`lines[2].quantity`), a parameter or a header.
    pub field: String,
    pub message: String,
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

/// The JSON of a [`Problem`] (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// A page that explains the code, relative to the API.
    #[serde(rename = "type")]
    pub type_uri: String,
    pub title: &'static str,
    pub status: u16,
    /// Stable; branch on this.
    pub code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Further members of some codes, such as `shortages`.
    #[serde(flatten)]
    pub members: Map<String, Value>,
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
        Self::new(Code::InvalidParameter).error(name, message)
    }

    /// Describes this occurrence. Must not contain the text of an internal error.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(shortened(detail.into()));
        self
    }

    pub fn error(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: shortened(field.into()), message: shortened(message.into()) });
        self
    }

    /// A further member of the body.
    /// The same problem of a member of the request: its wrong members are inside this one.
    pub fn within(mut self, member: &str) -> Self {
        for error in &mut self.errors {
            error.field = format!("{member}.{}", error.field);
        }
        self
    }

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
        let body = ProblemBody {
            type_uri: format!("/problems/{}", self.code),
            title: self.code.title(),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: self.detail,
            errors: self.errors,
            members: self.members,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        headers.extend(self.headers);
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
