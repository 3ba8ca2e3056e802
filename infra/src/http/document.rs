//! The OpenAPI document of an API.
//!
//! utoipa derives paths and schemas from the handlers. This module adds what all operations share, so that no handler
//! repeats it: problems and headers as components, examples, and schemas that say exactly what an answer contains.

mod responses;
mod schemas;
mod tables;

use axum::body::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

/// The methods of a path item that are operations.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// An OpenAPI 3.1 document.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Document(Value);

impl Document {
    /// `examples` is a JSON object: for each operation id, the `request` and the `answer` of an example.
    pub(super) fn new(api: &OpenApi, examples: &str) -> Self {
        let mut document = serde_json::to_value(api).expect("a document has string keys");
        let examples: Value = serde_json::from_str(examples).expect("the examples are part of this program");
        document["servers"] = json!([{ "url": "/", "description": "This server." }]);
        document["info"]["license"] = json!({ "name": "Apache 2.0", "identifier": "Apache-2.0" });
        schemas::name_lists(&mut document);
        let requests = schemas::of_requests(&document);
        schemas::complete(&mut document, &requests);
        let bodies = document["components"]["schemas"].clone();
        for operation in operations(&mut document) {
            complete(operation, &bodies);
            let example = operation["operationId"].as_str().and_then(|id| examples.get(id)).cloned();
            add_examples(operation, &example.unwrap_or_default());
        }
        responses::share(&mut document);
        schemas::remove_unused(&mut document, "schemas");
        Self(document)
    }

    /// One document of several APIs, for a proxy that serves them under one host name. Leaves out the paths of a single
    /// process, such as `/livez`: every API has them.
    pub fn combined(title: &str, description: &str, apis: &[&Self]) -> Self {
        let mut all = json!({
            "openapi": "3.1.0",
            "info": { "title": title, "description": description },
            "servers": [{ "url": "/" }],
            "paths": {},
            "components": {},
            "tags": [],
        });
        for Self(api) in apis {
            all["info"]["version"] = api["info"]["version"].clone();
            all["info"]["license"] = api["info"]["license"].clone();
            let paths = api["paths"].as_object().into_iter().flatten();
            for (path, item) in paths.filter(|(path, _)| path.starts_with("/v1/")) {
                merge(&mut all["paths"][path], item);
            }
            for (kind, components) in api["components"].as_object().into_iter().flatten() {
                merge(&mut all["components"][kind], components);
            }
            for tag in api["tags"].as_array().into_iter().flatten() {
                let tags = all["tags"].as_array_mut().expect("made above");
                if !tags.iter().any(|known| known["name"] == tag["name"]) && tag["name"] != "health" {
                    tags.push(tag.clone());
                }
            }
        }
        for kind in ["schemas", "responses", "examples", "headers"] {
            schemas::remove_unused(&mut all, kind);
        }
        Self(all)
    }

    /// The document as JSON.
    pub fn json(&self) -> Bytes {
        serde_json::to_vec(&self.0).expect("a document has string keys").into()
    }

    /// The document as JSON for readers.
    pub fn pretty(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("a document has string keys")
    }
}

/// Adds the members of `from`.
fn merge(into: &mut Value, from: &Value) {
    if into.is_null() {
        *into = json!({});
    }
    let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) else { return };
    for (name, value) in from {
        into.insert(name.clone(), value.clone());
    }
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let items = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let operations = items.filter_map(Value::as_object_mut).flatten();
    operations
        .filter(|(method, _)| METHODS.contains(&method.as_str()))
        .filter_map(|(_, operation)| operation.as_object_mut())
}

/// Adds what follows from the parts of an operation. `schemas` are those of the document.
fn complete(operation: &mut Map<String, Value>, schemas: &Value) {
    operation.entry("security").or_insert_with(|| json!([]));
    responses::add_headers(operation, schemas);
    tables::add_tables(operation);
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    // An optional parameter is left out; it has no null.
    for types in
        parameters.into_iter().flatten().filter_map(|parameter| parameter.pointer_mut("/schema/type"))
    {
        if let Some(name) =
            types.as_array().and_then(|types| types.iter().find(|name| **name != "null")).cloned()
        {
            *types = name;
        }
    }
    let Some(body) = operation.get_mut("requestBody") else { return };
    let schema = responses::json_schema(body);
    let required = schema.and_then(|name| schemas[name]["required"].as_array());
    // An empty body counts as an object without members.
    let has_required = schema.is_none() || required.is_some_and(|required| !required.is_empty());
    body["required"] = json!(has_required);
}

fn add_examples(operation: &mut Map<String, Value>, example: &Value) {
    if let Some(request) = example.get("request")
        && let Some(content) =
            operation.get_mut("requestBody").and_then(|body| body.pointer_mut(JSON_CONTENT))
    {
        content["example"] = request.clone();
    }
    if let Some(answer) = example.get("answer")
        && let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut)
    {
        let successes = responses.iter_mut().filter(|(status, _)| status.starts_with('2'));
        for content in successes.filter_map(|(_, response)| response.pointer_mut(JSON_CONTENT)) {
            content["example"] = answer.clone();
        }
    }
}

/// The JSON content of a body or of a response.
const JSON_CONTENT: &str = "/content/application~1json";

#[cfg(test)]
mod tests;
