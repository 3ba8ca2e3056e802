//! A payment provider whose ledger survives every crash of the platform. It declines charges, hangs, loses
//! answers, gets requests late, and sends notices late, twice and out of order. It does each request once,
//! and fails the run if a payment is charged twice or refunded beyond its captured amount.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{Router, body::Body};
use domain::{
    Amount, PaymentId, RefundId, Timestamp,
    payment::{CaptureMode, ChargeEnding, ProviderReport},
};
use http::{HeaderMap, header};
use infra::payment_provider::{
    Book, BookPage, ChargeAnswer, ChargeRequest, Notice, NoticeContent, NoticeError, PaymentProvider, Period,
    ProviderError, RefundAnswer, RefundRequest,
};
use serde_json::{Value, json};
use tokio::time;
use tower::ServiceExt;

use crate::{
    environment::Environment,
    isolation,
    ledger::{Charge, ChargeName, Ledger, OutgoingNotice, Refund, name_of_reference},
    own_moves,
};

/// The name in the path of its webhooks.
pub const NAME: &str = "simulated";
/// The provider waits this long for the answer to a notice.
const NOTICE_TIME_MAX: Duration = Duration::from_secs(15);

/// The provider behind its network.
pub struct SimulatedProvider(pub Arc<Environment>);

impl fmt::Debug for SimulatedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedProvider")
    }
}

/// What the network does to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    Through,
    NotReached,
    /// The request is lost; the platform gets an unknown outcome.
    RequestLost,
    AnswerLost,
    /// The request arrives after the platform has stopped waiting for it.
    Late,
    /// The request may arrive, and is never answered.
    Hangs {
        arrives: bool,
    },
}

impl SimulatedProvider {
    /// Draws what the network does to a request about a payment, and waits for its latency.
    async fn send(&self, payment: PaymentId) -> Passage {
        let env = &self.0;
        if isolation::hangs(env, payment) {
            return Passage::Hangs { arrives: env.draw(fastrand::Rng::bool) };
        }
        let calm = env.is_calm();
        let (passage, latency_ms) = env.draw(|rng| {
            let drawn = match rng.u32(0..100) {
                _ if calm => Passage::Through,
                0..7 => Passage::NotReached,
                7..14 => Passage::RequestLost,
                14..27 => Passage::AnswerLost,
                27..32 => Passage::Late,
                _ => Passage::Through,
            };
            let is_slow = !calm && rng.u32(0..20) == 0;
            (drawn, if is_slow { rng.u64(0..40_000) } else { rng.u64(0..300) })
        });
        time::sleep(Duration::from_millis(latency_ms)).await;
        env.hear().await;
        passage
    }

    /// Executes the request if it arrives in time, and returns its answer if the network delivers it.
    async fn answer<T>(&self, passage: Passage, answer: impl FnOnce() -> T) -> Result<T, ProviderError> {
        let answered = match passage {
            Passage::NotReached => Err(ProviderError::Unreachable("no answer".to_owned())),
            Passage::RequestLost | Passage::Late => {
                Err(ProviderError::OutcomeUnknown("the request was lost".to_owned()))
            }
            Passage::AnswerLost => {
                answer();
                Err(ProviderError::OutcomeUnknown("the answer was lost".to_owned()))
            }
            Passage::Through => Ok(answer()),
            Passage::Hangs { arrives } => {
                if arrives {
                    answer();
                }
                std::future::pending().await
            }
        };
        let latency_ms = self.0.draw(|rng| rng.u64(0..200));
        time::sleep(Duration::from_millis(latency_ms)).await;
        self.0.hear().await;
        answered
    }
}

fn name_of(request: &ChargeRequest) -> ChargeName {
    (request.payment_id, request.charge.number)
}

/// Charges, once for each name.
fn charge(env: &Environment, request: &ChargeRequest) -> ChargeAnswer {
    let name = name_of(request);
    let mut ledger = env.ledger.lock();
    if !ledger.charges.contains_key(&name) {
        let others = ledger.charges.iter().filter(|(other, _)| other.0 == name.0);
        let open_charges = others.filter(|(_, charge)| charge.is_open()).count();
        if open_charges > 0 {
            env.fail(format!("money agrees: {} is charged a second time while a charge is open", name.0));
        }
        let mut charge = Charge {
            amount: request.charge.amount,
            is_automatic: request.charge.capture == CaptureMode::Automatic,
            authorized: Amount::ZERO,
            captured: Amount::ZERO,
            ending: None,
            pending_until: None,
            needs_action: false,
        };
        let now = env.elapsed();
        match env.draw(|rng| (rng.u32(0..100), rng.u64(0..40_000))) {
            (0..10, _) => charge.decline(true),
            (10..20, _) => charge.decline(false),
            (roll @ 20..32, ms) => {
                charge.pending_until = Some(now + Duration::from_millis(ms));
                charge.needs_action = roll < 26;
            }
            _ => charge.approve(),
        }
        env.note(format!("provider: charge {name:?} {charge:?}"));
        ledger.charges.insert(name, charge);
        notify_of_charge(env, &mut ledger, name);
    }
    let charge = &ledger.charges[&name];
    if charge.amount != request.charge.amount && charge.amount.is_positive() {
        env.fail(format!("money agrees: charge {name:?} is requested again with another amount"));
    }
    answer_of(charge, charge.report(name))
}

/// The report with the action that the customer has to take.
fn answer_of(charge: &Charge, report: ProviderReport) -> ChargeAnswer {
    let waits = charge.pending_until.is_some() && charge.needs_action;
    ChargeAnswer { report, next_action: waits.then(|| json!({"url": "https://bank.example"})) }
}

fn void(env: &Environment, request: &ChargeRequest) -> ProviderReport {
    let name = name_of(request);
    let mut ledger = env.ledger.lock();
    let charge = ledger.charges.entry(name).or_insert(Charge {
        amount: Amount::ZERO,
        is_automatic: false,
        authorized: Amount::ZERO,
        captured: Amount::ZERO,
        ending: Some(ChargeEnding::Voided),
        pending_until: None,
        needs_action: false,
    });
    let is_held = charge.authorized > charge.captured || charge.pending_until.is_some();
    if charge.is_open() && is_held {
        charge.pending_until = None;
        charge.ending = Some(ChargeEnding::Voided);
        env.note(format!("provider: void {name:?}"));
        notify_of_charge(env, &mut ledger, name);
    }
    ledger.charges[&name].report(name)
}

fn notify_of_charge(env: &Environment, ledger: &mut Ledger, name: ChargeName) {
    let report = ledger.charges[&name].report(name);
    notify(env, ledger, NoticeContent::Charge { payment_id: name.0, report });
    own_moves::plan(env, ledger, name);
}

/// Queues a notice with a random delay; one in five is sent twice.
pub fn notify(env: &Environment, ledger: &mut Ledger, content: NoticeContent) {
    let now = env.elapsed();
    let delays: Vec<u64> = env.draw(|rng| {
        let copies = if rng.u32(0..5) == 0 { 2 } else { 1 };
        (0..copies).map(|_| if rng.bool() { rng.u64(0..500) } else { rng.u64(0..60_000) }).collect()
    });
    ledger.contents.push(content);
    let index = ledger.contents.len() - 1;
    for delay in delays {
        ledger.queued += 1;
        ledger.notices.insert(
            ledger.queued,
            OutgoingNotice { due: now + Duration::from_millis(delay), content: index },
        );
    }
}

#[async_trait]
impl PaymentProvider for SimulatedProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn captures_in_parts(&self) -> bool {
        true
    }

    async fn charge(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError> {
        let passage = self.send(request.payment_id).await;
        if passage == Passage::Late {
            let due = self.0.elapsed() + Duration::from_millis(self.0.draw(|rng| rng.u64(0..60_000)));
            self.0.ledger.lock().late.push((due, request.clone()));
        }
        self.answer(passage, || charge(&self.0, request)).await
    }

    async fn capture(
        &self,
        request: &ChargeRequest,
        _amount: Amount,
        total: Amount,
    ) -> Result<ProviderReport, ProviderError> {
        let passage = self.send(request.payment_id).await;
        let name = name_of(request);
        let captured = self.answer(passage, || {
            let mut ledger = self.0.ledger.lock();
            let Some(charge) = ledger.charges.get_mut(&name) else {
                return Err(ProviderError::Refused("no such charge".to_owned()));
            };
            if charge.captured < total {
                if !charge.is_open() || total > charge.authorized {
                    return Err(ProviderError::Refused("not authorized".to_owned()));
                }
                charge.captured = total;
                self.0.note(format!("provider: capture {name:?} up to {total}"));
                notify_of_charge(&self.0, &mut ledger, name);
            }
            Ok(ledger.charges[&name].report(name))
        });
        captured.await?
    }

    async fn void(&self, request: &ChargeRequest) -> Result<ProviderReport, ProviderError> {
        let passage = self.send(request.payment_id).await;
        self.answer(passage, || void(&self.0, request)).await
    }

    async fn look_up(&self, request: &ChargeRequest) -> Result<Option<ChargeAnswer>, ProviderError> {
        let passage = self.send(request.payment_id).await;
        let name = name_of(request);
        let find = || {
            let ledger = self.0.ledger.lock();
            Some(answer_of(ledger.charges.get(&name)?, ledger.report(name)?))
        };
        self.answer(passage, find).await
    }

    async fn look_up_reference(
        &self,
        reference: &str,
    ) -> Result<Option<(PaymentId, ProviderReport)>, ProviderError> {
        let Some(name) = name_of_reference(reference) else { return Ok(None) };
        let passage = self.send(name.0).await;
        let find = || Some((name.0, self.0.ledger.lock().report(name)?));
        self.answer(passage, find).await
    }

    /// No part of the platform that is simulated reads the books.
    async fn read_book(&self, _: Book, _: Period, _: Option<&str>) -> Result<BookPage, ProviderError> {
        Ok(BookPage::default())
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        let passage = self.send(request.charge.payment_id).await;
        self.answer(passage, || refund(&self.0, request)).await?
    }

    fn check_notice_headers(&self, _headers: &HeaderMap, _now: Timestamp) -> Result<(), NoticeError> {
        Ok(())
    }

    fn read_notice(&self, _headers: &HeaderMap, body: &[u8], _now: Timestamp) -> Result<Notice, NoticeError> {
        let notice: Value = serde_json::from_slice(body).map_err(|_| NoticeError::Unreadable)?;
        let number = notice["notice"].as_u64().ok_or(NoticeError::Unreadable)?;
        let place = usize::try_from(number).map_err(|_| NoticeError::Unreadable)?;
        let content = self.0.ledger.lock().contents.get(place).cloned().ok_or(NoticeError::Unreadable)?;
        Ok(Notice { id: format!("notice {number}"), content })
    }
}

fn refund(env: &Environment, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
    let name = name_of(&request.charge);
    let mut ledger = env.ledger.lock();
    if let Some(known) = ledger.refunds.get(&request.refund_id) {
        return Ok(known.answer.clone());
    }
    let requested = ledger.refunds.values().filter(|known| known.charge == name && known.is_requested);
    let successful = requested.filter(|known| !matches!(known.answer, RefundAnswer::Failed { .. }));
    let earlier: i64 = successful.map(|known| known.amount.minor_units()).sum();
    let captured = ledger.charges.get(&name).map_or(0, |charge| charge.captured.minor_units());
    if earlier + request.amount.minor_units() > captured {
        env.fail(format!(
            "money agrees: {name:?} captured {captured}; {earlier} and now {} are refunded",
            request.amount
        ));
        return Err(ProviderError::Refused("more than was captured".to_owned()));
    }
    let (roll, ms) = env.draw(|rng| (rng.u32(0..100), rng.u64(0..40_000)));
    let refunded = || RefundAnswer::Refunded { reference: "re".to_owned() };
    let (answer, pending_until) = match roll {
        // A refund or a dispute of which the platform does not know yet has taken the money.
        _ if request.amount.minor_units() > ledger.left(name) => {
            (RefundAnswer::Failed { reason: "no money is left".to_owned() }, None)
        }
        0..8 if !env.is_calm() => (RefundAnswer::Failed { reason: "not now".to_owned() }, None),
        8..20 => (RefundAnswer::Pending, Some(env.elapsed() + Duration::from_millis(ms))),
        _ => (refunded(), None),
    };
    env.note(format!("provider: refund {} of {}: {answer:?}", request.refund_id, request.amount));
    let entry = Refund {
        charge: name,
        amount: request.amount,
        answer: answer.clone(),
        pending_until,
        is_requested: true,
    };
    ledger.refunds.insert(request.refund_id, entry);
    notify_of_refund(env, &mut ledger, request.refund_id);
    own_moves::plan_return(env, &mut ledger, request.refund_id);
    Ok(answer)
}

pub fn notify_of_refund(env: &Environment, ledger: &mut Ledger, id: RefundId) {
    let refund = &ledger.refunds[&id];
    let (payment_id, report) = (refund.charge.0, refund.report(id));
    notify(env, ledger, NoticeContent::Refund { payment_id, report });
}

/// Runs the provider: settles what is pending and sends the notices that are due, every 500 ms.
pub async fn run(env: Arc<Environment>, routers: Arc<[Router]>) {
    loop {
        settle(&env);
        for number in due_notices(&env) {
            if isolation::hangs_notice(&env, number) {
                send_aside(&env, &routers, number);
            } else {
                send_notice(&env, &routers, number).await;
            }
        }
        time::sleep(Duration::from_millis(500)).await;
    }
}

fn settle(env: &Environment) {
    let now = env.elapsed();
    let is_due = |until: Option<Duration>| until.is_some_and(|until| until <= now);
    let late: Vec<ChargeRequest> = {
        let mut ledger = env.ledger.lock();
        let (arrived, held): (Vec<_>, Vec<_>) = ledger.late.drain(..).partition(|(due, _)| *due <= now);
        ledger.late = held;
        arrived.into_iter().map(|(_, request)| request).collect()
    };
    for request in &late {
        charge(env, request);
    }
    let mut ledger = env.ledger.lock();
    let charges: Vec<ChargeName> =
        ledger.charges.iter().filter(|(_, one)| is_due(one.pending_until)).map(|(name, _)| *name).collect();
    for name in charges {
        let roll = env.draw(|rng| rng.u32(0..4));
        if let Some(charge) = ledger.charges.get_mut(&name) {
            charge.pending_until = None;
            if roll == 0 {
                charge.decline(true);
            } else {
                charge.approve();
            }
            env.note(format!("provider: {name:?} is not pending any more: {charge:?}"));
        }
        notify_of_charge(env, &mut ledger, name);
    }
    let refunds: Vec<RefundId> =
        ledger.refunds.iter().filter(|(_, one)| is_due(one.pending_until)).map(|(id, _)| *id).collect();
    for id in refunds {
        if let Some(refund) = ledger.refunds.get_mut(&id) {
            refund.pending_until = None;
            refund.answer = RefundAnswer::Refunded { reference: "re".to_owned() };
        }
        notify_of_refund(env, &mut ledger, id);
    }
    own_moves::make(env, &mut ledger);
}

fn due_notices(env: &Environment) -> Vec<u64> {
    let now = env.elapsed();
    let ledger = env.ledger.lock();
    let due = ledger.notices.iter().filter(|(_, notice)| notice.due <= now);
    due.map(|(number, _)| *number).collect()
}

/// Sends a notice that gets no answer before its time limit, so that the others do not wait for it.
fn send_aside(env: &Arc<Environment>, routers: &Arc<[Router]>, number: u64) {
    if let Some(notice) = env.ledger.lock().notices.get_mut(&number) {
        notice.due = env.elapsed() + 2 * NOTICE_TIME_MAX;
    }
    let (env, routers) = (Arc::clone(env), Arc::clone(routers));
    tokio::spawn(async move { send_notice(&env, &routers, number).await });
}

async fn send_notice(env: &Environment, routers: &[Router], number: u64) {
    let Some(content) = env.ledger.lock().notices.get(&number).map(|notice| notice.content) else { return };
    let (instance, again_ms) = env.draw(|rng| (rng.usize(0..routers.len()), rng.u64(500..20_000)));
    let request = http::Request::post(format!("/v1/webhooks/{NAME}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(json!({"notice": content}).to_string()));
    let Ok(request) = request else { return };
    let sending = routers[instance].clone().oneshot(request);
    let answered = time::timeout(NOTICE_TIME_MAX, sending).await;
    env.hear().await;
    let is_taken = matches!(&answered, Ok(Ok(response)) if response.status().is_success());
    let is_broken = matches!(&answered, Ok(Ok(response)) if response.status().is_client_error());
    env.note(format!("provider: notice {content} taken: {is_taken}"));
    if is_broken {
        return env.fail(format!("a notice was answered {answered:?}"));
    }
    let now = env.elapsed();
    let mut ledger = env.ledger.lock();
    if is_taken {
        ledger.notices.remove(&number);
    } else if let Some(notice) = ledger.notices.get_mut(&number) {
        notice.due = now + Duration::from_millis(again_ms);
    }
}
