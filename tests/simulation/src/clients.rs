//! The clients of the platform: shoppers with their shop, buyers of bundles, a warehouse, and an operator who
//! records refunds and voids by hand. Each repeats a request under its key until the answer is final.

mod bundles;
mod drawing;
mod exchanges;
mod warehouse;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
};
use domain::{
    OrderId, PaymentId,
    order::OrderDecider,
    payment::{ChargeEnding, Payment, PaymentDecider},
};
use futures::future::{join, join_all};
use http::header;
use serde_json::Value;
use tokio::time;
use tower::ServiceExt;

use self::drawing::next_requests;
pub use self::{bundles::compete, warehouse::stock_up};
use crate::{
    environment::Environment,
    oracle,
    platform::Platform,
    request::{Action, Answer, Request, describe},
};

/// Time limit for a final answer when there are no faults.
const PATIENCE: Duration = Duration::from_mins(10);

/// Sends the requests of one shopper until it is done.
pub async fn shop(env: Arc<Environment>, platform: Platform, number: usize) {
    time::sleep(env.draw(|rng| Duration::from_millis(rng.u64(0..3_000)))).await;
    loop {
        let requests = env.with_shopper(number, |shopper| next_requests(shopper, &env));
        if requests.is_empty() {
            return;
        }
        join_all(requests.iter().map(|request| send_or_give_up(&env, &platform, request))).await;
        env.with_shopper(number, |shopper| shopper.pending.clear());
        let pause_ms = env.draw(|rng| if rng.bool() { rng.u64(0..50) } else { rng.u64(0..6_000) });
        time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// Runs the operator, who records open refunds and voids by hand until the process dies.
pub async fn operate(env: Arc<Environment>, platform: Platform) {
    loop {
        for number in 0..env.plan.orders {
            let placing = env.with_shopper(number, |shopper| shopper.placing.clone());
            let Some(placing) = placing else { continue };
            let id = OrderId::of_command(placing.command_id());
            let order = env.folded::<OrderDecider>(&id.into(), usize::MAX);
            let payments = order.tenders().iter().map(|tender| tender.payment_id);
            let requests: Vec<Request> = payments.flat_map(|payment| settlements(&env, payment)).collect();
            join_all(requests.iter().map(|request| send_or_give_up(&env, &platform, request))).await;
        }
        time::sleep(Duration::from_secs(1)).await;
    }
}

/// The requests that settle a lost answer of the provider, and the open void and refunds of a payment. Neither
/// void nor refund if the provider captured it: then the provider settles them.
fn settlements(env: &Environment, payment: PaymentId) -> Vec<Request> {
    let stream = payment.into();
    let (state, revision) = (env.folded::<PaymentDecider>(&stream, usize::MAX), env.len_of(&stream));
    let mut requests: Vec<Request> = settled_as_at_provider(env, payment, &state).into_iter().collect();
    if state.charges().iter().any(|charge| charge.captured.is_positive()) {
        return requests;
    }
    if state.void_requested() && state.charge_under_way().is_none() {
        requests.push(Request::new(format!("void {revision}"), Action::Void { payment }));
    }
    for refund in state.refunds().iter().filter(|refund| refund.state.is_open()) {
        let id = refund.refund_id;
        // Depends on the id alone, so each round makes the same choice.
        let fails = id.0.as_u128() % 5 == 0 && !env.is_calm();
        let action = if fails {
            Action::RefundFailed { payment, refund: id }
        } else {
            Action::Refunded { payment, refund: id }
        };
        requests.push(Request::new("settle".to_owned(), action));
    }
    requests
}

/// Records by hand what the provider's ledger shows of a charge whose answer was lost. The operator looks up
/// every second such payment before the platform does, and records it only if nothing was recorded since.
fn settled_as_at_provider(env: &Environment, id: PaymentId, payment: &Payment) -> Option<Request> {
    payment.unknown_operation().filter(|_| id.0.as_u128().is_multiple_of(2))?;
    let recorded = payment.charge_under_way()?;
    let action = {
        let ledger = env.ledger.lock();
        let charge = ledger.charges.get(&(id, recorded.number))?;
        match &charge.ending {
            Some(ChargeEnding::Failed { retryable, .. }) => {
                Action::Fail { payment: id, retryable: *retryable }
            }
            None if charge.authorized > recorded.authorized => {
                Action::Authorize { payment: id, amount: Some(charge.authorized.minor_units()) }
            }
            None if charge.captured > recorded.captured => {
                let amount = charge.captured.saturating_sub(recorded.captured).minor_units();
                Action::Capture { payment: id, amount: Some(amount) }
            }
            Some(ChargeEnding::Voided) | None => return None,
        }
    };
    let revision = (env.len_of(&id.into()) as u64).checked_sub(1);
    Some(Request { if_revision: revision, ..Request::new(format!("look-up {revision:?}"), action) })
}

/// [`send_until_final`], but disconnects after at most 400 ms from one request in six and never repeats it. The
/// platform must finish what it has recorded.
async fn send_or_give_up(env: &Arc<Environment>, platform: &Platform, request: &Request) {
    let patience = env.draw(|rng| (rng.u32(0..6) == 0).then(|| Duration::from_millis(rng.u64(0..400))));
    match patience {
        Some(patience) if !env.is_calm() => {
            if time::timeout(patience, send(env, platform, request)).await.is_err() {
                env.note(format!("{}: given up", request.name()));
            }
        }
        Some(_) | None => _ = send_until_final(env, platform, request).await,
    }
}

/// Repeats a request under its key until the answer is final. Stops waiting for slow answers. Sends one in
/// ten attempts twice at once.
///
/// Returns the answer; `None` if the run has failed.
async fn send_until_final(env: &Arc<Environment>, platform: &Platform, request: &Request) -> Option<Answer> {
    let name = request.name();
    let mut attempt = 0_u32;
    let answer = loop {
        attempt += 1;
        let (patience, is_doubled, retry_after) = env.draw(|rng| {
            let patience = if rng.u32(0..6) == 0 { rng.u64(0..300) } else { rng.u64(2_000..90_000) };
            (Duration::from_millis(patience), rng.u32(0..10) == 0, Duration::from_millis(rng.u64(1..3_000)))
        });
        let time_limit = if env.is_calm() { PATIENCE } else { patience };
        let answering = async {
            if is_doubled {
                let (first, second) = join(send(env, platform, request), send(env, platform, request)).await;
                if first.is_temporary() { second } else { first }
            } else {
                send(env, platform, request).await
            }
        };
        match time::timeout(time_limit, answering).await {
            Ok(answer) if !answer.is_temporary() => break answer,
            Ok(_) => {}
            Err(_) => {
                env.note(format!("{name}: no answer in time; retrying"));
                if time_limit == PATIENCE {
                    env.fail(format!(
                        "everything drains: {name} has no answer after {PATIENCE:?} without faults"
                    ));
                    return None;
                }
            }
        }
        if attempt > 2_000 {
            env.fail(format!("everything drains: {name} has no final answer after {attempt} attempts"));
            return None;
        }
        time::sleep(retry_after).await;
    };
    let delay = env.draw(|rng| (rng.u32(0..10) == 0).then(|| Duration::from_millis(rng.u64(0..30_000))));
    if let Some(delay) = delay {
        // The network delivers the request once more.
        let (env, platform, request) = (Arc::clone(env), platform.clone(), request.clone());
        tokio::spawn(async move {
            time::sleep(delay).await;
            send(&env, &platform, &request).await;
        });
    }
    Some(answer)
}

/// Sends the request to one of the processes and checks the answer.
async fn send(env: &Environment, platform: &Platform, request: &Request) -> Answer {
    let instance = env.draw(|rng| rng.usize(0..platform.routers.len()));
    let seen_from = env.len_of(&request.stream());
    let answer = exchange(platform.routers[instance].clone(), request).await;
    env.hear().await;
    env.note(format!("{}: {}", request.name(), describe(&answer)));
    if let Err(fault) = oracle::judge(env, request, &answer, seen_from) {
        env.fail(fault);
    }
    env.hear().await;
    answer
}

/// Sends the request to the first process. Does not check the answer.
pub async fn send_once(env: &Environment, platform: &Platform, request: &Request) -> Answer {
    let answer = exchange(platform.routers[0].clone(), request).await;
    env.note(format!("{}: {}", request.name(), describe(&answer)));
    answer
}

async fn exchange(router: Router, request: &Request) -> Answer {
    let mut builder = http::Request::post(request.path().replace(' ', "%20").replace('é', "%C3%A9"))
        .header("idempotency-key", &request.key)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(revision) = request.if_revision {
        builder = builder.header(header::IF_MATCH, format!("\"{revision}\""));
    }
    if matches!(request.action, Action::Place { respond_async: true, .. }) {
        builder = builder.header("prefer", "respond-async");
    }
    let sent = builder.body(Body::from(request.body().to_string())).expect("paths and keys are well formed");
    let Ok(response) = router.oneshot(sent).await;
    let (head, stream) = response.into_parts();
    let body = to_bytes(stream, usize::MAX).await.unwrap_or_default();
    let replayed = head.headers.get("idempotent-replayed").is_some_and(|value| value == "true");
    Answer { status: head.status, replayed, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}
