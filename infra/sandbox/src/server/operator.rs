//! Requests of operators and tests: they read the ledger, settle charges, refunds and
//! disputes, refund money and open disputes without a request of the platform, and change the script.
//! The script draws no faults for them. An outage refuses those about charges.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use domain::{Amount, RefundId};
use infra::http::{Code, Problem};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Api,
    extract::{Body, Charge, ChargeAnd},
    method_of, problem_of,
};
use crate::{
    account::{Account, ChargeRefusal},
    ledger::ChargeKey,
    resource::{ChargePage, ChargeResource, LedgerTotals, RefundTerms},
    script::SandboxScript,
};

const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChargePageQuery {
    #[serde(default)]
    cursor: Option<i64>,
    #[serde(default)]
    limit: Option<usize>,
}

pub(super) async fn list(
    State(api): State<Api>,
    page: Result<Query<ChargePageQuery>, QueryRejection>,
) -> Result<Json<ChargePage>, Problem> {
    let Query(page) =
        page.map_err(|rejection| Problem::new(Code::InvalidParameter).detail(rejection.body_text()))?;
    let limit = page.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::invalid_parameter("limit", "must be from 1 to 200"));
    }
    api.ledger.page(page.cursor.unwrap_or_default(), limit).await.map(Json).map_err(problem_of)
}

pub(super) async fn totals(State(api): State<Api>) -> Result<Json<LedgerTotals>, Problem> {
    api.ledger.totals().await.map(Json).map_err(problem_of)
}

pub(super) async fn script(State(api): State<Api>) -> Json<SandboxScript> {
    Json(api.script.get())
}

pub(super) async fn set_script(
    State(api): State<Api>,
    Body(script): Body<Value>,
) -> Result<Json<SandboxScript>, Problem> {
    let script = SandboxScript::from_json(script)
        .map_err(|error| Problem::new(Code::InvalidRequest).detail(error.problem().to_owned()))?;
    api.script.set(script);
    // Wakes the tasks that wait under the old script.
    api.ledger.due.settlement.notify_one();
    api.ledger.due.notice.notify_one();
    Ok(Json(script))
}

pub(super) async fn complete(
    State(api): State<Api>,
    Charge(key): Charge,
) -> Result<Json<ChargeResource>, Problem> {
    settle(&api, key, |account, now| account.settle(true, now)).await
}

pub(super) async fn abandon(
    State(api): State<Api>,
    Charge(key): Charge,
) -> Result<Json<ChargeResource>, Problem> {
    settle(&api, key, |account, now| account.settle(false, now)).await
}

pub(super) async fn complete_refund(
    State(api): State<Api>,
    ChargeAnd(key, id): ChargeAnd<RefundId>,
) -> Result<Json<ChargeResource>, Problem> {
    settle(&api, key, move |account, now| account.settle_refund(id, true, now)).await
}

pub(super) async fn abandon_refund(
    State(api): State<Api>,
    ChargeAnd(key, id): ChargeAnd<RefundId>,
) -> Result<Json<ChargeResource>, Problem> {
    settle(&api, key, move |account, now| account.settle_refund(id, false, now)).await
}

/// Refunds money without a request of the platform, as from a provider's dashboard.
pub(super) async fn refund(
    State(api): State<Api>,
    Charge(key): Charge,
    Body(RefundTerms { amount }): Body<RefundTerms>,
) -> Result<Json<ChargeResource>, Problem> {
    let (script, refund_id) = (api.script.get(), RefundId(Uuid::new_v4()));
    settle(&api, key, move |account, now| {
        let draw_key = key.draw_key("refund at the provider", account.events);
        account.refund(refund_id, amount, script.refund(draw_key, method_of(account)), now)
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DisputeTerms {
    /// If omitted: all that is captured and neither refunded nor disputed.
    #[serde(default)]
    amount: Option<Amount>,
}

pub(super) async fn dispute(
    State(api): State<Api>,
    Charge(key): Charge,
    Body(DisputeTerms { amount }): Body<DisputeTerms>,
) -> Result<Json<ChargeResource>, Problem> {
    settle(&api, key, move |account, now| account.dispute(amount, now)).await
}

pub(super) async fn win_dispute(
    State(api): State<Api>,
    ChargeAnd(key, id): ChargeAnd<String>,
) -> Result<Json<ChargeResource>, Problem> {
    settle(&api, key, move |account, now| account.settle_dispute(&id, true, now)).await
}

pub(super) async fn lose_dispute(
    State(api): State<Api>,
    ChargeAnd(key, id): ChargeAnd<String>,
) -> Result<Json<ChargeResource>, Problem> {
    settle(&api, key, move |account, now| account.settle_dispute(&id, false, now)).await
}

async fn settle(
    api: &Api,
    key: ChargeKey,
    change: impl FnOnce(&mut Account, domain::Timestamp) -> Result<(), ChargeRefusal> + Send + 'static,
) -> Result<Json<ChargeResource>, Problem> {
    let settling = api.ledger.change(key, api.script.get(), |view, known| {
        let mut account = known.ok_or(ChargeRefusal::Unknown)?;
        change(&mut account, view.now)?;
        Ok(account)
    });
    settling.await.map(|(account, _)| Json(account.charge)).map_err(problem_of)
}
