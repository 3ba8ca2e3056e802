//! Charging a payment again after the provider has declined it.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use domain::PaymentId;
use infra::{
    auth::Scope,
    http::path::{Id, NoSuch, PathId},
    read_models::PaymentRow,
};
use maud::html;
use serde_json::json;

use super::{
    confirm::{self, Confirmation, Request},
    on_order::check_scope,
};
use crate::{
    QueryApi,
    pages::{
        Refused,
        format::{money, short_id},
        layout::Section,
        view::{Fields, Posted, View},
    },
};

/// `GET /payments/{id}/charge`
pub(in crate::pages) async fn charge_form(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Id(id): Id<PaymentId>,
) -> Result<Response, Refused> {
    check_scope(&view, Scope::PaymentsWrite)?;
    let row = row_of(&api, id).await?;
    let mut given = Fields::default();
    if let Some(charge) = row.payment.charge() {
        given.add("method", &charge.method);
    }
    Ok(confirm::page(&view, &confirmation(&row, &given), &given))
}

/// `POST /payments/{id}/charge`
pub(in crate::pages) async fn charge(
    State(api): State<Arc<QueryApi>>,
    Id(id): Id<PaymentId>,
    posted: Posted,
) -> Result<Response, Refused> {
    let Posted { view, fields, parts } = posted;
    check_scope(&view, Scope::PaymentsWrite)?;
    let confirmation = confirmation(&row_of(&api, id).await?, &fields);
    let Some(request) = Request::sent(&fields) else {
        return Ok(confirm::page(&view, &confirmation, &fields));
    };
    match confirm::send(&api, &parts, &format!("/v1/payments/{id}/charge"), &request).await? {
        Ok(answer) => {
            let revision = answer.json()["revision"].as_u64();
            let fresh = revision.map(|revision| format!("?min_revision={revision}")).unwrap_or_default();
            Ok(Redirect::to(&format!("/payments/{id}{fresh}")).into_response())
        }
        Err(outcome) => Ok(confirm::refused(&view, &confirmation, &request, &fields, &outcome)),
    }
}

async fn row_of(api: &QueryApi, id: PaymentId) -> Result<PaymentRow, Refused> {
    let row = api.query(api.queries.payment(id)).await?;
    Ok(row.ok_or(NoSuch(PaymentId::RESOURCE))?)
}

fn confirmation(row: &PaymentRow, given: &Fields) -> Confirmation {
    let (id, payment) = (row.payment_id, &row.payment);
    let method = given.text("method");
    let body = method.map(|method| {
        let capture = payment.charge().map(|charge| charge.capture).unwrap_or_default();
        json!({"method": method, "capture": capture})
    });
    let effects = match (method, payment.charge()) {
        _ if !payment.is_retryable() => Err(vec!["the payment cannot be charged again".to_owned()]),
        (Some(method), Some(charge)) => {
            let amount = payment.amount().saturating_sub(payment.captured());
            Ok(vec![
                html! { "Money: " (charge.provider) " is asked to take " strong { (money(amount, payment.currency())) } " by " code { (method) } },
                html! { "If it agrees, the order is paid and can be shipped. If it declines, nothing changes." },
                html! { "Stock: does not change. The order keeps what is reserved for it." },
            ])
        }
        (_, _) => Err(vec!["enter what the provider calls the card or account".to_owned()]),
    };
    let fields = html! {
        label for="method" { "Means of payment " span.muted { "the provider's token" } }
        input #method name="method" required maxlength="255" spellcheck="false" value=(method.unwrap_or_default());
    };
    Confirmation {
        section: Section::Payments,
        title: format!("Charge again: payment {}", short_id(id)),
        address: format!("/payments/{id}/charge"),
        back: format!("/payments/{id}"),
        fields,
        effects,
        body,
        button: "Charge".to_owned(),
    }
}
