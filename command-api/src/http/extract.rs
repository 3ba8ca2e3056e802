//! What handlers take from a request, with problem answers where it is not as it must be.

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::PathRejection},
};
use domain::{CommandContext, Revision};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use infra::http::{Code, Problem};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::error::Category;

use super::CommandApi;
use crate::idempotency;

/// A JSON body. An empty one counts as `{}`, for commands whose members are all optional.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<CommandApi> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &CommandApi) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts, body, api).await?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        if !is_json(&parts.headers) {
            return Err(Problem::new(Code::UnsupportedMediaType));
        }
        parse(&bytes).map(Self)
    }
}

pub(super) async fn read_body(parts: &Parts, body: Body, api: &CommandApi) -> Result<bytes::Bytes, Problem> {
    let bytes_max = api.options.body_bytes_max;
    let too_large =
        || Problem::new(Code::PayloadTooLarge).detail(format!("a body has at most {bytes_max} bytes"));
    let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if declared.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > bytes_max as u64)
    {
        return Err(too_large());
    }
    match tokio::time::timeout(api.options.body_read_timeout, to_bytes(body, bytes_max)).await {
        Err(_) => Err(Problem::new(Code::RequestTimeout)),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => match std::error::Error::source(&error) {
            Some(source) if source.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            _ => Err(Problem::new(Code::MalformedJson).detail("the body broke off")),
        },
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            Category::Data => {
                let field = if path == "." { "body".to_owned() } else { path };
                Problem::new(Code::InvalidRequest).error(field, inner.to_string())
            }
            Category::Syntax | Category::Eof | Category::Io => {
                Problem::new(Code::MalformedJson).detail(inner.to_string())
            }
        }
    })?;
    let rest =
        deserializer.end().map_err(|error| Problem::new(Code::MalformedJson).detail(error.to_string()));
    rest?;
    if has_unnamed_members(bytes) {
        return Err(Problem::new(Code::InvalidRequest).error("body", "expected an object, found an array"));
    }
    Ok(parsed)
}

/// Whether an object was written as an array of its members' values, which serde takes as well: no request has
/// an array that is not the value of a member.
fn has_unnamed_members(json: &[u8]) -> bool {
    let (mut in_string, mut escaped, mut last) = (false, false, b' ');
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        if byte == b'[' && last != b':' {
            return true;
        }
        in_string = byte == b'"';
        if !byte.is_ascii_whitespace() {
            last = byte;
        }
    }
    false
}

/// Path segments, percent-decoded.
#[derive(Debug)]
pub(super) struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<CommandApi> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &CommandApi) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, api).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(PathRejection::FailedToDeserializePathParams(_)) => {
                Err(Problem::new(Code::InvalidParameter).error("path", "not UTF-8, percent-encoded"))
            }
            Err(_) => Err(Problem::new(Code::NotFound)),
        }
    }
}

/// An id from the path; what is no id names nothing.
pub(super) fn id<T: std::str::FromStr>(segment: &str) -> Result<T, Problem> {
    segment.parse().map_err(|_| Problem::new(Code::NotFound))
}

/// The context of a command from its headers: key, fingerprint of `content`, and `If-Match`.
pub(super) fn context(
    headers: &HeaderMap,
    path: &str,
    content: &impl Serialize,
) -> Result<CommandContext, Problem> {
    let key = idempotency::key(headers)?;
    let mut context = idempotency::context(path, key, content);
    context.if_revision = if_match(headers)?;
    Ok(context)
}

/// `If-Match: "7"`: only if the resource stands at revision 7. `*` matches whatever exists.
fn if_match(headers: &HeaderMap) -> Result<Option<Revision>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let revision = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let revision = revision.and_then(|revision| revision.parse().ok());
    let invalid = || {
        Problem::new(Code::InvalidParameter).error("If-Match", "expected one ETag of this API, such as \"7\"")
    };
    revision.map(Some).ok_or_else(invalid)
}

/// A revision as an `ETag`.
pub(super) fn etag(revision: Revision) -> HeaderValue {
    HeaderValue::try_from(format!("\"{revision}\"")).expect("digits and quotes are visible ASCII")
}
