//! What the metadata of a stream says. The server keeps it as events `$metadata` of the stream `$$NAME`.

use serde_json::Value;

use super::records::Stored;

/// The type of the events that hold metadata.
pub const METADATA_TYPE: &str = "$metadata";
/// The first readable revision of a deleted stream.
pub const DELETED: u64 = i64::MAX.cast_unsigned();

/// The metadata of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamMetadata {
    /// The first revision that can be read: `$tb`, truncate before.
    pub truncate_before: u64,
    /// The users and groups that may read the stream; `None` without a rule.
    pub readers: Option<Vec<String>>,
}

/// The stream that holds the metadata of a stream.
pub fn metadata_stream(stream: &str) -> String {
    format!("$${stream}")
}

/// The stream that an event describes, with its metadata. `None` for any other event.
pub fn described(event: &Stored) -> Option<(&str, StreamMetadata)> {
    let stream = event.stream.strip_prefix("$$").filter(|_| event.type_name == METADATA_TYPE)?;
    let json: Value = serde_json::from_slice(&event.data).unwrap_or_default();
    let readers = match &json["$acl"]["$r"] {
        Value::String(reader) => Some(vec![reader.clone()]),
        Value::Array(readers) => Some(readers.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        _ => None,
    };
    Some((stream, StreamMetadata { truncate_before: json["$tb"].as_u64().unwrap_or(0), readers }))
}
