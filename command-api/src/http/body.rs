//! Request bodies: JSON, bounded in size and time.

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, Request},
};
use http::{HeaderMap, header, request::Parts};
use infra::http::{Code, Problem};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::error::Category;

use super::CommandApi;

/// The codes of a body that is not valid.
pub(super) const REJECTIONS: &[Code] = &[
    Code::MalformedJson,
    Code::InvalidRequest,
    Code::UnsupportedMediaType,
    Code::PayloadTooLarge,
    Code::RequestTimeout,
];

/// A JSON body. An empty body counts as `{}`, for commands with only optional members.
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
            _ => Err(Problem::new(Code::MalformedJson).detail("the body ended early")),
        },
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let malformed = |error: &serde_json::Error| Problem::new(Code::MalformedJson).detail(error.to_string());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            Category::Data => {
                let field = if path == "." { "body".to_owned() } else { path };
                Problem::invalid_request(field, inner.to_string())
            }
            Category::Syntax | Category::Eof | Category::Io => malformed(&inner),
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    if has_unnamed_members(bytes) {
        return Err(Problem::invalid_request("body", "expected an object, found an array"));
    }
    Ok(parsed)
}

/// Detects an object that is written as an array of its values, which serde accepts as well.
///
/// No request has an array that is not the value of a member, so any `[` without a `:` before it is one.
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

/// A member that may be omitted (`None`) and may be null (`Some(None)`). Needs `deserialize_with =
/// "optional_field"`.
#[allow(clippy::option_option, reason = "omitted and null differ")]
pub(super) type OptionalField<T> = Option<Option<T>>;

pub(super) fn optional_field<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<OptionalField<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
