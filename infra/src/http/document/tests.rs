use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};

use super::*;
use crate::http::{
    paging::Listing,
    problem::{FieldError, ProblemSchema},
};

#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct Thing {
    /// Of the thing.
    price: Option<i64>,
    #[schema(nullable = false)]
    note: Option<String>,
    units: u32,
    revision: u64,
    part: Option<Part>,
}

#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct Part {
    name: Option<String>,
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct Wish {
    price: Option<i64>,
}

#[utoipa::path(post, path = "/v1/things", operation_id = "makeThing", request_body = Wish,
    params(("If-Match" = String, Header), ("Idempotency-Key" = String, Header)),
    responses((status = 201, description = "Made.", body = Thing, headers(("Location" = String)))))]
#[allow(dead_code, reason = "only its description is used")]
fn make() {}

#[utoipa::path(get, path = "/v1/things", operation_id = "listThings",
    responses((status = 200, description = "A page.", body = Listing<Thing>)))]
#[allow(dead_code, reason = "only its description is used")]
fn list() {}

#[derive(OpenApi)]
#[openapi(paths(make, list), components(schemas(ProblemSchema, FieldError)), tags((name = "things")))]
struct Things;

fn document() -> Value {
    let examples = r#"{"makeThing": {"request": {"price": 1}, "answer": {"price": 1}}}"#;
    Document::new(&Things::openapi(), examples).0
}

#[test]
fn a_member_that_can_be_null_is_required_in_answers_only() {
    let schemas = document()["components"]["schemas"].take();
    assert_eq!(schemas["Thing"]["required"], json!(["units", "revision", "part", "price"]));
    assert_eq!(schemas["Part"]["required"], json!(["name"]));
    assert_eq!(schemas["Wish"]["required"], Value::Null);
}

#[test]
fn a_list_refers_to_the_schema_of_its_items() {
    let schemas = document()["components"]["schemas"].take();
    let reference = json!({ "$ref": "#/components/schemas/Thing" });
    assert_eq!(schemas["ThingList"]["properties"]["items"]["items"], reference);
    assert_eq!(schemas["ThingList"]["required"], json!(["items", "next_cursor"]));
}

#[test]
fn an_unsigned_number_has_its_whole_range() {
    let units = document()["components"]["schemas"]["Thing"]["properties"]["units"].take();
    assert_eq!(units, json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX }));
}

#[test]
fn a_command_documents_its_headers_examples_and_optional_body() {
    let operation = document()["paths"]["/v1/things"]["post"].take();
    let made = &operation["responses"]["201"];
    let names: Vec<&String> = made["headers"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["ETag", "Idempotent-Replayed", "Location", "X-Request-Id"]);
    assert_eq!(made["content"]["application/json"]["example"], json!({ "price": 1 }));
    assert_eq!(operation["requestBody"]["content"]["application/json"]["example"], json!({ "price": 1 }));
    assert_eq!(operation["requestBody"]["required"], json!(false));
    assert_eq!(operation["security"], json!([]));
}

#[test]
fn a_combined_document_has_the_paths_of_all_apis_without_those_of_one_process() {
    #[utoipa::path(get, path = "/livez", operation_id = "live", responses((status = 200, description = "Up.")))]
    #[allow(dead_code, reason = "only its description is used")]
    fn live() {}
    #[utoipa::path(get, path = "/v1/others", operation_id = "others", responses((status = 200, description = "All.")))]
    #[allow(dead_code, reason = "only its description is used")]
    fn others() {}
    #[derive(OpenApi)]
    #[openapi(paths(live, others))]
    struct Others;

    let others = Document::new(&Others::openapi(), "{}");
    let things = Document::new(&Things::openapi(), "{}");
    let Document(all) = Document::combined("All", "Everything.", &[&things, &others]);
    let paths: Vec<&String> = all["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/v1/others", "/v1/things"]);
    assert!(all["components"]["schemas"]["Thing"].is_object());
}
