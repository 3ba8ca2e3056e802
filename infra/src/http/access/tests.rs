use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::Value;
use tower::ServiceExt;
use utoipa::OpenApi;
use utoipa_axum::routes;

use super::*;

#[derive(OpenApi)]
#[openapi()]
struct Description;

#[utoipa::path(get, path = "/open", responses((status = 200, description = "Open.")))]
async fn open() {}

#[utoipa::path(get, path = "/read", responses((status = 200, description = "Read."),
    (status = 404, description = "There is none.")))]
async fn read(caller: Caller) -> String {
    caller.actor(None).principal.into_owned()
}

#[utoipa::path(get, path = "/forgotten", responses((status = 200, description = "Never.")))]
async fn forgotten(_: Caller) {}

fn routes_of(gate: Gate) -> GuardedRoutes<()> {
    GuardedRoutes::new(gate, Description::openapi())
        .open(routes!(open))
        .with(Scope::Read, routes!(read))
        .open(routes!(forgotten))
}

async fn get(gate: Gate, path: &str) -> (u16, String) {
    let router = routes_of(gate).into_router();
    let answer = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn without_keys_every_caller_is_anonymous() {
    assert_eq!(get(Gate::open(), "/read").await, (200, "anonymous".to_owned()));
    assert_eq!(get(Gate::open(), "/open").await.0, 200);
}

#[tokio::test]
async fn a_handler_that_needs_a_caller_fails_on_an_open_route() {
    assert_eq!(get(Gate::open(), "/forgotten").await.0, 500);
}

#[test]
fn a_guarded_operation_documents_its_scope_and_the_answers_without_it() {
    let document: Value = serde_json::to_value(routes_of(Gate::open()).into_document("{}")).unwrap();
    let operation = &document["paths"]["/read"]["get"];
    assert_eq!(operation["security"], serde_json::json!([{ "credentials": ["read"] }]));
    let responses = &operation["responses"];
    assert_eq!(responses["401"]["$ref"], "#/components/responses/Unauthenticated");
    let shared = &document["components"]["responses"]["Unauthenticated"];
    assert_eq!(shared["description"], "`unauthenticated`: The credentials are missing or not valid.");
    assert_eq!(shared["headers"]["WWW-Authenticate"]["$ref"], "#/components/headers/WWW-Authenticate");
    let codes = |status: &str| {
        let examples = &responses[status]["content"]["application/problem+json"]["examples"];
        examples.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(codes("403"), ["forbidden", "wrong_origin"]);
    assert_eq!(codes("404"), ["not_found"]);
    assert_eq!(document["components"]["securitySchemes"]["credentials"]["scheme"], "bearer");
    assert_eq!(document["paths"]["/open"]["get"]["security"], serde_json::json!([]));
}
