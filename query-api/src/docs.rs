//! The OpenAPI document, from the same list that makes the routes.

use std::{collections::BTreeMap, sync::Arc};

use axum::Router;
use infra::http::{Code, FieldError, problem::ProblemBody};
use utoipa::{
    IntoResponses, OpenApi, ToSchema,
    openapi::{self, Content, Ref, RefOr, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{QueryApi, health, orders, payments, projections, sales, stock, stuck, timeline};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Orderly query API",
        description = "Read models of orders, stock, payments and sales. They follow the event log; `min_revision` \
                       waits for what a command has just done. Errors are RFC 9457 problems: branch on `code`, \
                       /problems explains each.",
    ),
    tags(
        (name = "orders"), (name = "stock"), (name = "payments"), (name = "sales"), (name = "operations"),
    ),
    components(schemas(ProblemBody, FieldError)),
)]
struct Documentation;

/// Every documented route.
pub fn documented_routes() -> OpenApiRouter<Arc<QueryApi>> {
    OpenApiRouter::with_openapi(Documentation::openapi())
        .routes(routes!(orders::orders))
        .routes(routes!(stuck::stuck_orders))
        .routes(routes!(orders::order))
        .routes(routes!(timeline::timeline))
        .routes(routes!(stock::stock_list))
        .routes(routes!(stock::stock))
        .routes(routes!(stock::reservations))
        .routes(routes!(payments::payments))
        .routes(routes!(payments::payment))
        .routes(routes!(sales::sales))
        .routes(routes!(projections::projections))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
}

/// `/openapi.json`, and `/docs`, which shows it without loading anything from elsewhere.
pub fn pages(documentation: openapi::OpenApi) -> Router {
    let offline = Config::default().validator_url("none");
    SwaggerUi::new("/docs").url("/openapi.json", documentation).config(offline).into()
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $($code:ident)*;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                described(&[$(Code::$code),*])
            }
        }
    )*};
}

problems! {
    /// What every query may be answered with.
    QueryProblems = InvalidParameter Overloaded Unavailable Internal;
    ListProblems = InvalidParameter InvalidCursor Overloaded Unavailable Internal;
    /// A list under a resource that has to exist.
    SublistProblems = InvalidParameter InvalidCursor NotFound Overloaded Unavailable Internal;
    ResourceProblems =
        InvalidParameter NotFound Overloaded Unavailable RevisionNotReached ProjectionParked Internal;
    /// A list of what happened to a resource.
    TimelineProblems =
        InvalidParameter InvalidCursor NotFound Overloaded Unavailable RevisionNotReached ProjectionParked
        Internal;
    Unready = Unavailable Internal;
}

/// One response for each status, which lists the codes it may carry.
fn described(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status = BTreeMap::<String, Vec<String>>::new();
    for code in codes {
        let line = format!("`{}`: {}.", code.as_str(), code.title());
        by_status.entry(code.status().as_str().to_owned()).or_default().push(line);
    }
    let body = || Content::builder().schema(Some(Ref::from_schema_name(ProblemBody::name()))).build();
    let response = |lines: Vec<String>| {
        Response::builder().description(lines.join(" ")).content("application/problem+json", body()).build()
    };
    by_status.into_iter().map(|(status, lines)| (status, response(lines).into())).collect()
}
