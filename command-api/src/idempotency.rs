//! Idempotency keys: the header, the command id computed from it, and the fingerprint of the content.

use domain::{CommandContext, CommandId, Idempotency, actor::PERSON_CHARS_MAX, text};
use http::HeaderMap;
use infra::http::{Code, Problem};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Most characters of an `Idempotency-Key`, without quotes.
pub const KEY_CHARS_MAX: usize = 255;

/// Version of the request schemas behind fingerprints. Increase it when a member is added or a default
/// changes, so that fingerprints of different versions are never compared.
pub const SCHEMA: u16 = 1;

/// The codes of headers that are not valid.
pub const REJECTIONS: &[Code] = &[Code::IdempotencyKeyMissing, Code::InvalidParameter];

/// Reads the `Idempotency-Key` header: an RFC 8941 string (`"abc"`) or the bare characters.
pub fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let missing = || Problem::new(Code::IdempotencyKeyMissing);
    let invalid = |reason: &str| Problem::invalid_parameter("Idempotency-Key", reason);
    let mut values = headers.get_all("idempotency-key").iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(invalid("the header is given more than once"));
    }
    // `to_str` accepts tabs, which proxies may change to spaces.
    let text = value.to_str().ok().filter(|text| !text.contains('\t'));
    let text = text.ok_or_else(|| invalid("only visible ASCII characters are allowed"))?.trim();
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let key = match quoted {
        Some(inner) => unescape(inner).ok_or_else(|| invalid("the quoted string is not well formed"))?,
        None if text.contains('"') => return Err(invalid("the quoted string is not well formed")),
        None => text.to_owned(),
    };
    match key.chars().count() {
        0 => Err(missing()),
        1..=KEY_CHARS_MAX => Ok(key),
        _ => Err(invalid("a key has at most 255 characters")),
    }
}

/// `\"` and `\\` are the only escapes of an RFC 8941 string.
fn unescape(inner: &str) -> Option<String> {
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => text.push(chars.next().filter(|next| matches!(next, '"' | '\\'))?),
            '"' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

/// Reads the `Orderly-Actor` header: the person behind the caller. It is no part of the command, so a retry by
/// another person gets the first answer.
pub fn person(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let invalid = |reason: String| Problem::invalid_parameter("Orderly-Actor", reason);
    let mut values = headers.get_all("orderly-actor").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid("the header is given more than once".to_owned()));
    }
    let person = str::from_utf8(value.as_bytes()).map_err(|_| invalid("is not UTF-8".to_owned()))?.trim();
    text::check_within(person, PERSON_CHARS_MAX).map_err(|error| invalid(error.to_string()))?;
    Ok(Some(person.to_owned()))
}

/// The context of a command with this canonical path, key and decoded body. Different callers may use the same
/// key. `caller` is [`infra::auth::Caller::idempotency_name`].
pub fn context(caller: &str, path: &str, key: String, content: &impl Serialize) -> CommandContext {
    let id = CommandId::of_request(caller, "POST", path, &key);
    CommandContext::external(id, Idempotency { key, fingerprint: fingerprint(content), schema: SCHEMA })
}

/// SHA-256 of the decoded body as canonical JSON (members in declared order, no white space), in hex. Bodies
/// that differ only in white space or in the order of members have the same fingerprint.
fn fingerprint(content: &impl Serialize) -> String {
    let json =
        serde_json::to_vec(content).expect("request types have string keys and no failing serializers");
    hex::encode(Sha256::digest(&json))
}

#[cfg(test)]
mod tests;
