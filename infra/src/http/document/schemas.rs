//! Schemas that say exactly what a body contains.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{operations, responses::json_schema};

const SCHEMAS: &str = "#/components/schemas/";

/// Names the items of lists. utoipa puts the whole schema of an item into that of its page, `Listing_Order`.
pub(super) fn name_lists(document: &mut Value) {
    const PREFIX: &str = "Listing_";
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    let pages: Vec<String> = schemas.keys().filter(|name| name.starts_with(PREFIX)).cloned().collect();
    for page in &pages {
        let (item, Some(mut schema)) = (&page[PREFIX.len()..], schemas.remove(page)) else { continue };
        let reference = json!({ "$ref": format!("{SCHEMAS}{item}") });
        let inline = std::mem::replace(&mut schema["properties"]["items"]["items"], reference);
        schemas.entry(item).or_insert(inline);
        schemas.insert(list_name(item), schema);
    }
    each_object(document, &mut |object| {
        let reference = object.get("$ref").and_then(Value::as_str);
        let item = reference.and_then(|text| text.strip_prefix(SCHEMAS)?.strip_prefix(PREFIX));
        if let Some(item) = item.map(list_name) {
            object.insert("$ref".to_owned(), json!(format!("{SCHEMAS}{item}")));
        }
    });
}

fn list_name(item: &str) -> String {
    format!("{item}List")
}

/// The names of the schemas that request bodies refer to.
pub(super) fn of_requests(document: &Value) -> BTreeSet<String> {
    let mut copy = document.clone();
    let bodies = operations(&mut copy).filter_map(|operation| operation.get("requestBody"));
    let mut found: BTreeSet<String> = bodies.filter_map(json_schema).map(str::to_owned).collect();
    let mut open: Vec<String> = found.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let mut schema = document["components"]["schemas"][&name].clone();
        for referred in references(&mut schema, SCHEMAS) {
            if found.insert(referred.clone()) {
                open.push(referred);
            }
        }
    }
    found
}

/// Completes every schema. In those of answers, a member that can be null is always present.
pub(super) fn complete(document: &mut Value, requests: &BTreeSet<String>) {
    each_object(document, &mut |object| {
        describe_outside(object);
        bound_unsigned(object);
    });
    let schemas = document["components"]["schemas"].as_object_mut();
    let answers = schemas.into_iter().flatten().filter(|(name, _)| !requests.contains(*name));
    for (_, schema) in answers {
        each_object(schema, &mut require_nullable);
    }
}

/// Moves the description of a nullable reference to its member, where programs look for it.
fn describe_outside(object: &mut Map<String, Value>) {
    let Some(parts) = object.get_mut("oneOf").and_then(Value::as_array_mut) else { return };
    let described = parts.iter_mut().filter_map(Value::as_object_mut).find(|part| part.contains_key("$ref"));
    if let Some(description) = described.and_then(|part| part.remove("description")) {
        object.entry("description").or_insert(description);
    }
}

/// utoipa calls a `u32` an `int32`, which has half its range.
fn bound_unsigned(object: &mut Map<String, Value>) {
    let is_u32 = object.get("format") == Some(&json!("int32")) && object.contains_key("minimum");
    if is_u32 && !object.contains_key("maximum") {
        object.insert("format".to_owned(), json!("int64"));
        object.insert("maximum".to_owned(), json!(u32::MAX));
    }
}

fn require_nullable(object: &mut Map<String, Value>) {
    let properties = object.get("properties").and_then(Value::as_object).into_iter().flatten();
    let nullable: Vec<Value> =
        properties.filter(|(_, schema)| is_nullable(schema)).map(|(name, _)| json!(name)).collect();
    if nullable.is_empty() {
        return;
    }
    let required = object.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        required.extend(nullable);
    }
}

fn is_nullable(schema: &Value) -> bool {
    let is_null = |schema: &Value| schema["type"] == "null";
    let types = schema["type"].as_array().into_iter().flatten();
    let parts = schema["oneOf"].as_array().into_iter().flatten();
    types.into_iter().any(|name| name == "null") || parts.into_iter().any(is_null)
}

/// Removes the components of a kind that nothing refers to.
pub(super) fn remove_unused(document: &mut Value, kind: &str) {
    let prefix = format!("#/components/{kind}/");
    loop {
        let used = references(document, &prefix);
        let Some(components) = document["components"][kind].as_object_mut() else { return };
        let count = components.len();
        components.retain(|name, _| used.contains(name));
        if components.len() == count {
            return;
        }
    }
}

/// The names in all references with this prefix.
fn references(value: &mut Value, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    each_object(value, &mut |object| {
        let reference = object.get("$ref").and_then(Value::as_str);
        found.extend(reference.and_then(|text| text.strip_prefix(prefix)).map(str::to_owned));
    });
    found
}

/// Calls `change` with every object inside `value`, outer ones first.
fn each_object(value: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|member| each_object(member, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_object(item, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
