//! Actions of operators: a parked reaction runs again, a webhook is sent again.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use infra::{auth::Scope, http::path::Id};
use maud::{Markup, html};
use serde_json::Value;

use super::{
    confirm::{self, Confirmation, Request},
    on_order::check_scope,
};
use crate::{
    QueryApi,
    pages::{
        Refused,
        layout::Section,
        url,
        view::{Fields, Posted, View},
    },
};

/// `GET /stuck/{id}/retry`
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub(in crate::pages) async fn retry_form(view: View, Id(id): Id<String>) -> Result<Response, Refused> {
    check_scope(&view, Scope::Admin)?;
    Ok(confirm::page(&view, &of_reaction(&id), &Fields::default()))
}

/// `POST /stuck/{id}/retry`
pub(in crate::pages) async fn retry(
    State(api): State<Arc<QueryApi>>,
    Id(id): Id<String>,
    posted: Posted,
) -> Result<Response, Refused> {
    let path = format!("/v1/reactions/{}/retry", url::segment(&id));
    run(&api, posted, &path, &of_reaction(&id)).await
}

/// `GET /system/webhooks/{id}/{delivery}/retry`
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub(in crate::pages) async fn resend_form(
    view: View,
    Id((id, delivery)): Id<(String, String)>,
) -> Result<Response, Refused> {
    check_scope(&view, Scope::Admin)?;
    Ok(confirm::page(&view, &of_delivery(&id, &delivery), &Fields::default()))
}

/// `POST /system/webhooks/{id}/{delivery}/retry`
pub(in crate::pages) async fn resend(
    State(api): State<Arc<QueryApi>>,
    Id((id, delivery)): Id<(String, String)>,
    posted: Posted,
) -> Result<Response, Refused> {
    let (of, one) = (url::segment(&id), url::segment(&delivery));
    let path = format!("/v1/webhook-subscriptions/{of}/deliveries/{one}/retry");
    run(&api, posted, &path, &of_delivery(&id, &delivery)).await
}

async fn run(
    api: &QueryApi,
    posted: Posted,
    path: &str,
    confirmation: &Confirmation,
) -> Result<Response, Refused> {
    let Posted { view, fields, parts } = posted;
    check_scope(&view, Scope::Admin)?;
    let Some(request) = Request::sent(&fields) else {
        return Ok(confirm::page(&view, confirmation, &fields));
    };
    match confirm::send(api, &parts, path, &request).await? {
        Ok(_) => Ok(Redirect::to(&confirmation.back).into_response()),
        Err(outcome) => Ok(confirm::refused(&view, confirmation, &request, &fields, &outcome)),
    }
}

fn of_reaction(id: &str) -> Confirmation {
    let effects = vec![
        html! { "The process manager carries out the parked reaction within about a second, and then those that wait behind it." },
        html! { "Money and stock: what the reaction was to do. It counts once, however often it runs." },
        html! { "If it fails again, it stays parked." },
    ];
    confirmation(
        Section::Stuck,
        "Run the reaction again",
        &format!("/stuck/{}/retry", url::segment(id)),
        "/stuck",
        effects,
    )
}

fn of_delivery(id: &str, delivery: &str) -> Confirmation {
    let effects = vec![
        html! { "The receiver gets " code { (delivery) } " again, also if it has accepted it before." },
        html! { "It has the same " code { "webhook-id" } ", so a receiver that has it already leaves it aside." },
        html! { "Money and stock: do not change." },
    ];
    let back = format!("/system/webhooks/{}", url::segment(id));
    let address = format!("{back}/{}/retry", url::segment(delivery));
    confirmation(Section::System, "Send the webhook again", &address, &back, effects)
}

fn confirmation(
    section: Section,
    title: &str,
    address: &str,
    back: &str,
    effects: Vec<Markup>,
) -> Confirmation {
    Confirmation {
        section,
        title: title.to_owned(),
        address: address.to_owned(),
        back: back.to_owned(),
        fields: html! {},
        effects: Ok(effects),
        body: Some(Value::Object(serde_json::Map::new())),
        button: title.to_owned(),
    }
}
