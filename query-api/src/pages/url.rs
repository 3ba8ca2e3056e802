//! Addresses with names and values that need encoding.

use form_urlencoded::{Serializer, byte_serialize};

/// The path, if it is one of this server. Else the first page: a browser takes `//name` for another host.
pub(super) fn local(path: &str) -> String {
    let is_local = path.starts_with('/') && !path.starts_with("//");
    let is_plain = !path.contains(['\\', '\r', '\n', '\t']);
    if is_local && is_plain { path.to_owned() } else { "/".to_owned() }
}

/// A value in a query string.
pub(super) fn value(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// A segment of a path, in which `+` means itself.
pub(super) fn segment(text: &str) -> String {
    value(text).replace('+', "%20")
}

/// A path with parameters.
pub(super) fn with_query<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let query = Serializer::new(String::new()).extend_pairs(parameters).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
