//! Answers to requests that hyper cannot parse. hyper's own ones have no body.

use std::{error::Error, io};

use axum::{body::to_bytes, response::IntoResponse};
use domain::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::connection::HEAD_BYTES_MAX;
use crate::http::{Code, Problem, cors};

/// Of a head that is too large, the URL is the cause if it is longer.
const URL_BYTES_MAX: usize = HEAD_BYTES_MAX / 2;

/// The problem of a request whose head could not be read. `None` if an answer is no use: the client is gone,
/// or has sent nothing.
///
/// `head` is what has arrived of the head. It is empty if the head is complete.
pub(super) fn problem(error: &hyper::Error, head: &[u8]) -> Option<Problem> {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let is_late = cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut);
    let code = if is_late && !head.is_empty() {
        Code::RequestTimeout
    } else if error.is_parse_too_large() {
        let line_bytes = first_line(head).unwrap_or(head).len();
        if line_bytes > URL_BYTES_MAX { Code::UriTooLong } else { Code::HeadersTooLarge }
    } else if error.is_parse() {
        if first_line(head).is_some_and(has_other_version) {
            Code::HttpVersion
        } else {
            Code::MalformedRequest
        }
    } else {
        return None;
    };
    Some(Problem::new(code))
}

/// The request line, if it is complete.
fn first_line(head: &[u8]) -> Option<&[u8]> {
    let end = head.iter().position(|byte| *byte == b'\n')?;
    Some(head[..end].trim_ascii_end())
}

/// True for `GET / HTTP/2.0` and the like.
fn has_other_version(line: &[u8]) -> bool {
    let version = line.rsplit(|byte| *byte == b' ').next().and_then(|word| word.strip_prefix(b"HTTP/"));
    let is_version = |version: &&[u8]| matches!(version, [b'0'..=b'9'] | [b'0'..=b'9', b'.', b'0'..=b'9']);
    version.filter(is_version).is_some_and(|version| version != b"1.0" && version != b"1.1")
}

/// The bytes of an answer that ends its connection.
pub(super) async fn last_answer(problem: Problem, is_encrypted: bool) -> Vec<u8> {
    let (mut parts, body) = problem.into_response().into_parts();
    cors::protect(&mut parts.headers, is_encrypted);
    // The body of a problem is in memory.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()).unwrap_or_default();
    let mut answer = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    let rest = format!("content-length: {}\r\nconnection: close\r\ndate: {date}\r\n\r\n", body.len());
    answer.extend(rest.into_bytes());
    answer.extend(body);
    answer
}
