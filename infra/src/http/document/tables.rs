//! The answers of lists: as CSV, with the URL of the next page and a tag of the content.

use serde_json::{Map, Value, json};

/// Adds them to an operation that takes `format`.
pub(super) fn add_tables(operation: &mut Map<String, Value>) {
    let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    let is_table = parameters.into_iter().any(|parameter| parameter["name"] == "format");
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    let Some(page) = responses.get_mut("200").filter(|_| is_table) else { return };
    page["content"]["text/csv"] = json!({ "schema": { "type": "string" } });
    page["headers"]["Link"] = json!({
        "description": "The URL of the next page, with `rel=\"next\"`. Absent on the last page.",
        "schema": { "type": "string" },
    });
    page["headers"]["ETag"] = json!({
        "description": "A weak tag of the content, for `If-None-Match`.",
        "schema": { "type": "string", "pattern": "^W/\"[0-9a-f]+\"$" },
    });
    let known = json!({ "description": "The caller already has this content (`If-None-Match`)." });
    responses.insert("304".to_owned(), known);
}
