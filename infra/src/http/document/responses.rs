//! The responses of operations: their headers, and problems that many of them share.

use serde_json::{Map, Value, json};

use super::{JSON_CONTENT, operations};
use crate::http::{Code, answers::described_code, problem::ProblemBody};

/// The content of a problem.
const PROBLEM_EXAMPLES: &str = "/content/application~1problem+json/examples";

/// The headers of responses: name, schema and meaning.
fn headers() -> [(&'static str, Value, &'static str); 8] {
    let text = || json!({ "type": "string" });
    [
        ("Allow", text(), "The supported methods."),
        (
            "ETag",
            json!({ "type": "string", "pattern": "^\"[0-9]+\"$" }),
            "The revision of the resource, in quotes, for `If-Match`, `If-None-Match` and `min_revision`.",
        ),
        (
            "Idempotent-Replayed",
            json!({ "type": "string", "enum": ["true"] }),
            "Marks the answer of an earlier request with this `Idempotency-Key`. Absent otherwise.",
        ),
        (
            "Location",
            json!({ "type": "string", "format": "uri-reference" }),
            "The path of the created resource, which the query API serves, or the command API for a subscription.",
        ),
        ("Preference-Applied", text(), "The preference of `Prefer` that was honoured."),
        (
            "Retry-After",
            json!({ "type": "integer", "minimum": 0 }),
            "Seconds after which a retry can succeed. Use the same `Idempotency-Key`.",
        ),
        ("WWW-Authenticate", text(), "What the credentials lack."),
        ("X-Request-Id", text(), "Names this answer in the log: that of the request if it is plain."),
    ]
}

/// The name of the schema of a JSON body.
pub(super) fn json_schema(body: &Value) -> Option<&str> {
    let reference = body.pointer(JSON_CONTENT)?["schema"]["$ref"].as_str()?;
    reference.strip_prefix("#/components/schemas/")
}

/// Adds the headers that follow from the parameters, the status and the body.
pub(super) fn add_headers(operation: &mut Map<String, Value>, schemas: &Value) {
    let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    let parameters: Vec<String> =
        parameters.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect();
    let takes = |name: &str| parameters.iter().any(|parameter| parameter == name);
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for (status, response) in responses {
        let has_revision =
            json_schema(response).is_some_and(|name| has_member(schemas, &schemas[name], "revision"));
        let is_success = status.starts_with('2');
        let mut names = headers_of_status(status);
        if is_success && has_revision && (takes("If-Match") || takes("If-None-Match")) {
            names.push("ETag");
        }
        // The rejection of an order is recorded, and answers as an order does.
        let is_rejection = response.pointer(PROBLEM_EXAMPLES).is_some_and(|examples| {
            status == "409" && takes("Prefer") && examples.get(Code::InsufficientStock.as_str()).is_some()
        });
        if is_rejection {
            names.push("ETag");
        }
        if takes("Idempotency-Key") && (is_success || is_rejection) {
            names.push("Idempotent-Replayed");
        }
        if is_success && takes("Prefer") {
            names.push("Preference-Applied");
        }
        let given = response.get("headers").and_then(Value::as_object).into_iter().flatten();
        let mut all: Map<String, Value> = given.map(|(name, _)| (name.clone(), reference(name))).collect();
        all.extend(names.into_iter().map(|name| (name.to_owned(), reference(name))));
        response["headers"] = Value::Object(all);
    }
}

fn headers_of_status(status: &str) -> Vec<&'static str> {
    let mut names = vec!["X-Request-Id"];
    match status {
        "304" | "412" => names.push("ETag"),
        "401" => names.push("WWW-Authenticate"),
        "405" => names.push("Allow"),
        "429" | "503" => names.push("Retry-After"),
        _ => {}
    }
    names
}

fn reference(header: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{header}") })
}

fn has_member(schemas: &Value, schema: &Value, member: &str) -> bool {
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let referred = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    schema["properties"].get(member).is_some()
        || referred.is_some_and(|name| has_member(schemas, &schemas[name], member))
        || parts.into_iter().any(|part| has_member(schemas, part, member))
}

/// Moves to the components: each header, the example of each code, and each response with a single code.
pub(super) fn share(document: &mut Value) {
    let mut shared = Map::new();
    for operation in operations(document) {
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for response in responses.into_iter().flat_map(Map::values_mut) {
            let examples = response.pointer(PROBLEM_EXAMPLES).and_then(Value::as_object);
            let codes: Vec<&String> = examples.into_iter().flat_map(Map::keys).collect();
            let [name] = codes.as_slice() else { continue };
            let Some(code) = Code::ALL.iter().find(|code| code.as_str() == *name) else { continue };
            // An operation may describe the response itself.
            if response["description"] != described_code(*code) {
                continue;
            }
            let name = pascal_case(code.as_str());
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            shared.insert(name, std::mem::replace(response, reference));
        }
    }
    let components = &mut document["components"];
    components["responses"] = Value::Object(shared);
    let header = |(name, schema, description): (&str, Value, &str)| {
        (name.to_owned(), json!({ "schema": schema, "description": description }))
    };
    components["headers"] = headers().into_iter().map(header).collect();
    let example = |code: &Code| {
        let value = ProblemBody::of(*code);
        (
            code.as_str().to_owned(),
            json!({ "summary": code.title(), "description": code.help(), "value": value }),
        )
    };
    components["examples"] = Code::ALL.iter().map(example).collect();
    for kind in ["responses", "headers", "examples"] {
        super::schemas::remove_unused(document, kind);
    }
}

fn pascal_case(code: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    };
    code.split('_').map(capital).collect()
}
