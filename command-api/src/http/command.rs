//! The command of a request: the ids in its path, its body and its context.

use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request};
use domain::{CommandContext, Revision};
use http::{HeaderMap, header};
use infra::{
    auth::Caller,
    http::{
        Code, Problem,
        path::{self, PathIds, Segments},
    },
};
use serde::{Serialize, Serializer, de::DeserializeOwned};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        Object, Required, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use super::{SharedApi, body::JsonBody};
use crate::idempotency;

/// A command as its endpoint receives it. `Id` is `()`, an id or a pair of ids: those of the route.
#[derive(Debug)]
pub(super) struct Command<Id, Body> {
    pub id: Id,
    pub body: Body,
    /// The command id, the key with the fingerprint of `body`, and `If-Match`.
    pub context: CommandContext,
}

/// Makes [`Problems`](infra::http::Problems) types with every code of the extractor and of the executor, and
/// the codes given.
macro_rules! command_problems {
    ($($name:ident = $($code:ident)*;)*) => {
        infra::problems! {$(
            pub(in crate::http) $name = [
                infra::http::path::REJECTIONS,
                infra::http::body::REJECTIONS,
                crate::http::body::REJECTIONS,
                crate::idempotency::REJECTIONS,
                crate::http::run::REJECTIONS,
                crate::error::EXECUTION_FAILURES
            // A handler that panics answers with it.
            ] Internal $($code)*;
        )*}
    };
}
pub(super) use command_problems;

/// The content of a command. The fingerprint is computed from its JSON.
pub(super) trait Content: Serialize + Sized {
    fn read(request: Request, api: &SharedApi) -> impl Future<Output = Result<Self, Problem>> + Send;
}

impl<T: Serialize + DeserializeOwned + ToSchema + Send + 'static> Content for T {
    async fn read(request: Request, api: &SharedApi) -> Result<Self, Problem> {
        JsonBody::from_request(request, api).await.map(|JsonBody(content)| content)
    }
}

/// The content of a command without a body. A body is ignored.
#[derive(Debug)]
pub(super) struct NoContent;

/// Serializes as `null`, the input of the fingerprint.
impl Serialize for NoContent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl Content for NoContent {
    async fn read(request: Request, api: &SharedApi) -> Result<Self, Problem> {
        // The connection cannot be used again while a body is unread.
        api.bodies.read(request.into_body()).await.map(|_| Self)
    }
}

/// Command ids are computed from the canonical path. So never change the path of a route and never add a
/// prefix: a retry would be executed again.
impl<Id: PathIds + Send, Body: Content + Send> FromRequest<SharedApi> for Command<Id, Body> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &SharedApi) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let segments = Segments::from_request_parts(&mut parts, api).await?;
        let route = parts.extensions.get::<MatchedPath>().cloned();
        let caller = Caller::from_request_parts(&mut parts, api).await?;
        let headers = parts.headers.clone();
        let body = Body::read(Request::from_parts(parts, body), api).await?;
        let id: Id = segments.ids()?;
        let route = route.ok_or_else(|| Problem::new(Code::Internal))?;
        let key = idempotency::key(&headers)?;
        let actor = caller.actor(idempotency::person(&headers)?);
        let canonical = path::canonical(route.as_str(), &id);
        let mut context = idempotency::context(caller.idempotency_name(), &canonical, key, &body).by(actor);
        context.if_revision = if_match(&headers)?;
        Ok(Self { id, body, context })
    }
}

/// `If-Match: "7"`: execute only at revision 7. `*` matches every existing resource.
fn if_match(headers: &HeaderMap) -> Result<Option<Revision>, Problem> {
    let invalid = || {
        let expected = "expected one ETag of this API, such as \"7\"";
        Problem::invalid_parameter("If-Match", expected)
    };
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid());
    }
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let revision = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    // `parse` would also accept a sign.
    let revision = revision.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    revision.and_then(|digits| digits.parse().ok()).map(Some).ok_or_else(invalid)
}

/// Documents the `Idempotency-Key` and `Orderly-Actor` headers.
pub(super) struct IdempotencyKey;

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = "1 to 255 visible ASCII characters, the same on every retry.";
        let key = header_parameter("Idempotency-Key", Required::True, text, "^[ -~]{1,257}$");
        let text = "The person behind the caller, stored with the events of the command: 1 to 255 characters in UTF-8.";
        vec![key, header_parameter("Orderly-Actor", Required::False, text, "^.{1,255}$")]
    }
}

/// Documents the headers of a command for a stream: those of every command and `If-Match`.
pub(super) struct CommandHeaders;

impl IntoParams for CommandHeaders {
    fn into_params(location: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = "Execute the command only at this revision, an `ETag` of an earlier answer.";
        let if_match = header_parameter("If-Match", Required::False, text, r#"^("[0-9]+"|\*)$"#);
        IdempotencyKey::into_params(location).into_iter().chain([if_match]).collect()
    }
}

fn header_parameter(name: &str, required: Required, description: &str, pattern: &str) -> Parameter {
    let schema = Object::builder().schema_type(Type::String).pattern(Some(pattern));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}
