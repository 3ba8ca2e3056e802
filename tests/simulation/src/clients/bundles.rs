//! Buyers who compete for one bundle of SKUs. All of them want the last unit of every SKU at the same moment.

use std::sync::Arc;

use domain::Sku;
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use super::send_until_final;
use crate::{
    environment::Environment,
    plan::{BUNDLE_SKUS, EMPTY_SKU},
    platform::Platform,
    request::{Action, Request},
};

/// Receives one unit of each SKU of the bundle, and lets the buyers order the bundle at once. One of them must get
/// it, however the faults interleave their reservations.
///
/// Keys are the same in each life, so buyers whose requests a crash cut off send them again.
pub async fn compete(env: Arc<Environment>, platform: Platform) {
    if env.plan.bundle_buyers == 0 {
        return;
    }
    let items = BUNDLE_SKUS.iter().filter_map(|name| Some((Sku::new(name).ok()?, 1))).collect();
    let receiving = Request::new("bundle".to_owned(), Action::ReceiveMany { items });
    send_until_final(&env, &platform, &receiving).await;
    let requests: Vec<Request> = (0..=env.plan.bundle_buyers).map(buy).collect();
    let answers = join_all(requests.iter().map(|request| send_until_final(&env, &platform, request))).await;
    let winners = answers.iter().flatten().filter(|answer| answer.status == StatusCode::CREATED).count();
    if winners != 1 {
        env.fail(format!("fairness: {winners} of {} buyers got the only bundle", answers.len()));
    }
}

/// The order of one buyer. Each names the SKUs in another sequence. The first order also has a line that cannot be
/// filled, so it must take no units from the others.
fn buy(buyer: usize) -> Request {
    let mut skus = BUNDLE_SKUS;
    skus.rotate_left(buyer % BUNDLE_SKUS.len());
    if buyer.is_multiple_of(2) {
        skus.reverse();
    }
    let unfillable = (buyer == 0).then_some(EMPTY_SKU);
    let line = |sku| json!({"sku": sku, "quantity": 1, "unit_price": 100});
    let lines: Vec<Value> = skus.into_iter().chain(unfillable).map(line).collect();
    let body = json!({"currency": "GBP", "country": "United Kingdom", "lines": lines, "payment_due_at": Value::Null});
    Request::new(format!("bundle {buyer}"), Action::Place { body, respond_async: false })
}
