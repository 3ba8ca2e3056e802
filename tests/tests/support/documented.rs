//! Compares answers with the OpenAPI document of their API: status, error code and members.

use std::sync::LazyLock;

use axum::http::{Method, header};
use serde_json::Value;

use super::Answer;

/// The OpenAPI document of an API.
#[derive(Debug)]
pub struct Documented(Value);

pub static COMMAND_API: LazyLock<Documented> =
    LazyLock::new(|| Documented(serde_json::to_value(command_api::openapi()).unwrap()));
pub static QUERY_API: LazyLock<Documented> =
    LazyLock::new(|| Documented(serde_json::to_value(query_api::openapi()).unwrap()));

impl Documented {
    pub fn document(&self) -> &Value {
        &self.0
    }

    /// Fails if an operation answers with a status, an error code or a member that it does not document.
    #[track_caller]
    pub fn check(&self, method: &Method, path: &str, answer: &Answer) {
        let Some((route, operation)) = self.operation(method, path) else { return };
        let (status, place) = (answer.status.as_str(), format!("{method} {route}"));
        let response = self.response(operation, status);
        assert!(response.is_object(), "{place} does not document status {status}: {}", answer.text());
        if *method == Method::HEAD {
            return;
        }
        let content_type = answer.header(header::CONTENT_TYPE).unwrap_or_default();
        if content_type.starts_with("text/csv") {
            assert!(response.pointer("/content/text~1csv").is_some(), "{place} does not document CSV");
        } else if content_type == "application/problem+json" {
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            assert!(codes(response).contains(&code), "{place} does not document {status} {code}");
        } else if let Some(schema) = response.pointer("/content/application~1json/schema") {
            check_members(&self.0, schema, &answer.json(), &place);
        }
    }

    /// The response of an operation for a status, also if it is shared.
    pub fn response<'a>(&'a self, operation: &'a Value, status: &str) -> &'a Value {
        resolved(&self.0, &operation["responses"][status])
    }

    /// The operation with the most literal segments that match the path.
    fn operation(&self, method: &Method, path: &str) -> Option<(&str, &Value)> {
        let method = if *method == Method::HEAD { Method::GET } else { method.clone() };
        let segments: Vec<&str> = path.split('/').collect();
        let matching = self.0["paths"].as_object().unwrap().iter().filter(|(route, _)| {
            let route: Vec<&str> = route.split('/').collect();
            let matches = |(known, segment): (&&str, &&str)| known.starts_with('{') || known == segment;
            route.len() == segments.len() && route.iter().zip(&segments).all(matches)
        });
        let (route, item) = matching.min_by_key(|(route, _)| route.matches('{').count())?;
        Some((route, item.get(method.as_str().to_lowercase())?))
    }
}

/// The response, or the shared one that it refers to.
fn resolved<'a>(document: &'a Value, response: &'a Value) -> &'a Value {
    match response["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => response,
    }
}

/// The error codes of a response: the names of its examples.
pub fn codes(response: &Value) -> Vec<String> {
    let examples = response.pointer("/content/application~1problem+json/examples").and_then(Value::as_object);
    examples.into_iter().flat_map(|examples| examples.keys().cloned()).collect()
}

/// Fails unless `value` has all members that `schema` requires, and no member that it does not name.
pub fn check_members(document: &Value, schema: &Value, value: &Value, place: &str) {
    let schemas = flattened(document, schema);
    let is_any = schemas.iter().all(|schema| {
        ["$ref", "type", "allOf", "oneOf", "properties", "enum"].iter().all(|key| schema.get(key).is_none())
    });
    if is_any {
        return;
    }
    match value {
        Value::Null => assert!(has_type(&schemas, "null"), "{place} is null"),
        Value::Object(members) => {
            let is_map = schemas.iter().any(|schema| schema.get("additionalProperties").is_some());
            for (name, member) in members {
                let property = schemas.iter().find_map(|schema| schema["properties"].get(name));
                match property {
                    Some(property) => check_members(document, property, member, &format!("{place}.{name}")),
                    None => assert!(is_map, "{place}.{name} is not documented"),
                }
            }
            let required = schemas.iter().filter_map(|schema| schema["required"].as_array()).flatten();
            for name in required {
                assert!(members.contains_key(name.as_str().unwrap()), "{place} lacks {name}");
            }
        }
        Value::Array(items) => {
            let item = schemas.iter().find_map(|schema| schema.get("items")).unwrap();
            for value in items {
                check_members(document, item, value, &format!("{place}[]"));
            }
        }
        Value::Bool(_) => assert!(has_type(&schemas, "boolean"), "{place} is {value}"),
        Value::Number(number) => {
            // Only rates and durations have fractions. Money and counts are integers.
            let is_fraction = number.is_f64() && has_type(&schemas, "number");
            assert!(is_fraction || has_type(&schemas, "integer"), "{place} is {value}");
        }
        Value::String(_) => {
            assert!(has_type(&schemas, "string"), "{place} is {value}");
            let words = schemas.iter().filter_map(|schema| schema["enum"].as_array());
            words.for_each(|words| assert!(words.contains(value), "{place} is {value}"));
        }
    }
}

fn has_type(schemas: &[&Value], name: &str) -> bool {
    schemas.iter().any(|schema| match &schema["type"] {
        Value::Array(types) => types.contains(&Value::from(name)),
        only => only == name,
    })
}

/// The schema with all schemas that it refers to or consists of.
fn flattened<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let mut schemas = vec![schema];
    if let Some(reference) = schema["$ref"].as_str() {
        let referred = document.pointer(reference.trim_start_matches('#')).unwrap();
        schemas.extend(flattened(document, referred));
    }
    for composition in ["allOf", "oneOf"] {
        for part in schema[composition].as_array().into_iter().flatten() {
            schemas.extend(flattened(document, part));
        }
    }
    schemas
}
