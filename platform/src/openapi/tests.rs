use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::*;

fn value(document: &Document) -> Value {
    serde_json::to_value(document).unwrap()
}

#[test]
fn operation_ids_are_unique_over_both_apis() {
    let all = value(combined());
    let mut operations = BTreeMap::<String, String>::new();
    for (path, item) in all["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let first = operations.insert(id.clone(), format!("{method} {path}"));
            assert_eq!(first, None, "{id} of {method} {path}");
        }
    }
    assert_eq!(operations["placeOrder"], "post /v1/orders");
    assert_eq!(operations["getOrder"], "get /v1/orders/{id}");
    assert!(!all["paths"].as_object().unwrap().contains_key("/livez"));
}

#[test]
fn a_component_of_both_apis_is_the_same_in_both() {
    let [commands, queries] = [command_api::openapi(), query_api::openapi()].map(value);
    let components =
        |api: &Value, kind: &str| api["components"][kind].as_object().cloned().unwrap_or_default();
    for kind in ["schemas", "responses", "headers", "examples"] {
        let others: Map<String, Value> = components(&queries, kind);
        for (name, component) in components(&commands, kind) {
            if let Some(other) = others.get(&name) {
                assert_eq!(component, *other, "{kind} {name}");
            }
        }
    }
}

#[test]
fn a_path_of_both_apis_has_reads_in_one_and_commands_in_the_other() {
    let [commands, queries] = [command_api::openapi(), query_api::openapi()].map(value);
    for (path, item) in commands["paths"].as_object().unwrap() {
        let is_of_process = !path.starts_with("/v1/");
        if let Some(other) = queries["paths"].get(path).filter(|_| !is_of_process) {
            let reads: Vec<&String> = other.as_object().unwrap().keys().collect();
            assert_eq!(reads, ["get"], "{path}");
            assert!(item.get("get").is_none(), "{path}");
        }
    }
}
