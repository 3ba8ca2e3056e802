//! Request bodies: JSON.

use std::{collections::BTreeMap, fmt};

use axum::{
    body::HttpBody,
    extract::{FromRequest, Request},
};
use http::{HeaderMap, header};
use infra::http::{Code, Problem};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor},
};
use serde_json::error::Category;

use utoipa::ToSchema;

use super::{
    SharedApi,
    faults::{self, AcceptedBody},
};

/// The codes of a body that is not valid, besides those of a body that cannot be read.
pub(super) const REJECTIONS: &[Code] =
    &[Code::MalformedJson, Code::InvalidRequest, Code::UnsupportedMediaType];

/// A JSON body. An empty body counts as `{}`, for commands with only optional members.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned + ToSchema + 'static> FromRequest<SharedApi> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &SharedApi) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !body.is_end_stream() {
            check_format(&parts.headers)?;
        }
        let bytes = api.bodies.read(body).await?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        let parsed = parse(&bytes)?;
        if let Some(accepted) = parts.extensions.get::<AcceptedBody>() {
            accepted.keep::<T>(bytes);
        }
        Ok(Self(parsed))
    }
}

/// Refuses a body that is not plain JSON in UTF-8, before it is read.
fn check_format(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = || Problem::new(Code::UnsupportedMediaType);
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return Err(unsupported().detail("the body has a content coding; send it without one"));
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let (essence, parameters) = media_type.split_once(';').unwrap_or((media_type, ""));
    let essence = essence.trim().to_ascii_lowercase();
    if essence != "application/json" && !(essence.starts_with("application/") && essence.ends_with("+json")) {
        return Err(unsupported());
    }
    let mut parameters = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let charset = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    match charset {
        Some((_, charset)) if !charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8") => {
            Err(unsupported().detail("the body has another charset than UTF-8"))
        }
        Some(_) | None => Ok(()),
    }
}

fn parse<T: DeserializeOwned + ToSchema + 'static>(bytes: &[u8]) -> Result<T, Problem> {
    let malformed = |error: &serde_json::Error| Problem::new(Code::MalformedJson).detail(error.to_string());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            Category::Data => {
                let member = if path == "." { "body" } else { &path };
                faults::problem::<T>(bytes, faults::of_serde(member, &inner))
            }
            Category::Syntax | Category::Eof | Category::Io => malformed(&inner),
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    if has_unnamed_members(bytes) {
        return Err(faults::problem::<T>(bytes, faults::of_list()));
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

/// A map that refuses a key given twice: of two values, only the caller knows which one counts.
pub(super) fn unique_keys<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct UniqueKeys;

    impl<'de> Visitor<'de> for UniqueKeys {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = entries.next_entry()? {
                if map.insert(key, value).is_some() {
                    return Err(A::Error::custom("a key is given more than once"));
                }
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(UniqueKeys)
}
