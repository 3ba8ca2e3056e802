//! A payment provider with a ledger of its own, which outlives every crash of the platform. It declines, hangs, loses
//! answers, lets requests arrive late, and sends notices late, twice and out of order; but it does each thing once, and
//! sees to it that nobody is charged twice.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::body::Body;
use domain::{
    Amount, PaymentId, RefundId, Timestamp,
    payment::{CaptureMode, ChargeEnding, ProviderReport},
};
use http::{HeaderMap, header};
use infra::payment_provider::{
    ChargeAnswer, ChargeRequest, Notice, NoticeContent, NoticeError, PaymentProvider, ProviderError,
    RefundAnswer, RefundRequest,
};
use serde_json::{Value, json};
use tokio::time;
use tower::ServiceExt;

use crate::{platform::Platform, world::World};

/// As in the path of its webhooks.
pub const NAME: &str = "simulated";

type Name = (PaymentId, u32);

/// What the provider knows, for ever. Moments are those of [`World::elapsed`].
#[derive(Debug, Default)]
pub struct Ledger {
    charges: BTreeMap<Name, Charge>,
    refunds: BTreeMap<RefundId, Refund>,
    /// To be sent, each until it is taken in.
    notices: BTreeMap<u64, Outgoing>,
    /// Everything that was ever sent, by its number: a notice says only which it is.
    contents: Vec<NoticeContent>,
    /// Requests that the network holds back.
    late: Vec<(Duration, ChargeRequest)>,
    queued: u64,
}

#[derive(Debug)]
struct Charge {
    amount: Amount,
    is_automatic: bool,
    authorized: Amount,
    captured: Amount,
    ending: Option<ChargeEnding>,
    /// The customer, or a bank, is awaited until then.
    pending_until: Option<Duration>,
}

#[derive(Debug)]
struct Refund {
    charge: Name,
    amount: Amount,
    answer: RefundAnswer,
    pending_until: Option<Duration>,
}

#[derive(Debug)]
struct Outgoing {
    due: Duration,
    content: usize,
}

impl Charge {
    fn report(&self, number: u32) -> ProviderReport {
        ProviderReport {
            charge: number,
            reference: format!("ch_{number}"),
            authorized: self.authorized,
            captured: self.captured,
            ending: self.ending.clone(),
        }
    }

    fn is_going_on(&self) -> bool {
        self.ending.is_none()
    }

    fn approve(&mut self) {
        self.authorized = self.amount;
        if self.is_automatic {
            self.captured = self.amount;
        }
    }

    fn decline(&mut self, retryable: bool) {
        self.ending = Some(ChargeEnding::Failed { reason: Some("declined".to_owned()), retryable });
    }
}

impl Ledger {
    /// Nothing is awaited and nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        self.notices.is_empty()
            && self.late.is_empty()
            && self.charges.values().all(|charge| charge.pending_until.is_none())
            && self.refunds.values().all(|refund| refund.pending_until.is_none())
    }

    /// What was taken for a payment, and what was given back of it.
    pub fn totals(&self, payment: PaymentId) -> (i64, i64) {
        let of_payment = |name: &Name| name.0 == payment;
        let charges = self.charges.iter().filter(|(name, _)| of_payment(name));
        let captured = charges.map(|(_, charge)| charge.captured.minor_units()).sum();
        let refunds = self.refunds.values().filter(|refund| of_payment(&refund.charge));
        let refunded = refunds.filter(|refund| matches!(refund.answer, RefundAnswer::Refunded { .. }));
        (captured, refunded.map(|refund| refund.amount.minor_units()).sum())
    }

    /// What is still held of the customer's money without having been taken.
    pub fn held(&self, payment: PaymentId) -> i64 {
        let charges = self.charges.iter().filter(|(name, charge)| name.0 == payment && charge.is_going_on());
        charges.map(|(_, charge)| charge.authorized.saturating_sub(charge.captured).minor_units()).sum()
    }
}

/// The provider as the platform reaches it.
pub struct SimulatedProvider(pub Arc<World>);

impl fmt::Debug for SimulatedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedProvider")
    }
}

/// What the network does to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    Through,
    NotReached,
    /// The request is lost; the platform does not know that.
    RequestLost,
    AnswerLost,
    /// The request comes through much later than the platform waits for it.
    Late,
}

impl SimulatedProvider {
    async fn pass(&self) -> Passage {
        let world = &self.0;
        let calm = world.is_calm();
        let (passage, latency_ms) = world.draw(|rng| {
            let passage = match rng.u32(0..100) {
                _ if calm => Passage::Through,
                0..7 => Passage::NotReached,
                7..14 => Passage::RequestLost,
                14..27 => Passage::AnswerLost,
                27..32 => Passage::Late,
                _ => Passage::Through,
            };
            let latency_ms = if !calm && rng.u32(0..20) == 0 { rng.u64(0..40_000) } else { rng.u64(0..300) };
            (passage, latency_ms)
        });
        time::sleep(Duration::from_millis(latency_ms)).await;
        world.hear().await;
        passage
    }

    /// The answer on its way back.
    async fn answer<T>(&self, passage: Passage, answer: impl FnOnce() -> T) -> Result<T, ProviderError> {
        let answered = match passage {
            Passage::NotReached => Err(ProviderError::Unreachable("nobody answers".to_owned())),
            Passage::RequestLost | Passage::Late => {
                Err(ProviderError::OutcomeUnknown("the request was lost".to_owned()))
            }
            Passage::AnswerLost => {
                answer();
                Err(ProviderError::OutcomeUnknown("the answer was lost".to_owned()))
            }
            Passage::Through => Ok(answer()),
        };
        let latency_ms = self.0.draw(|rng| rng.u64(0..200));
        time::sleep(Duration::from_millis(latency_ms)).await;
        self.0.hear().await;
        answered
    }
}

fn name_of(request: &ChargeRequest) -> Name {
    (request.payment_id, request.charge.number)
}

/// Does what is asked, once.
fn charge(world: &World, request: &ChargeRequest) -> ChargeAnswer {
    let name = name_of(request);
    let mut ledger = world.ledger.lock();
    if !ledger.charges.contains_key(&name) {
        let others = ledger.charges.iter().filter(|(other, _)| other.0 == name.0);
        let taken = others.filter(|(_, charge)| charge.is_going_on()).count();
        if taken > 0 {
            world.fail(format!("money agrees: {} is charged a second time while a charge goes on", name.0));
        }
        let mut charge = Charge {
            amount: request.charge.amount,
            is_automatic: request.charge.capture == CaptureMode::Automatic,
            authorized: Amount::ZERO,
            captured: Amount::ZERO,
            ending: None,
            pending_until: None,
        };
        let now = world.elapsed();
        match world.draw(|rng| (rng.u32(0..100), rng.u64(0..40_000))) {
            (0..10, _) => charge.decline(true),
            (10..20, _) => charge.decline(false),
            (20..32, ms) => charge.pending_until = Some(now + Duration::from_millis(ms)),
            _ => charge.approve(),
        }
        world.note(format!("provider: charge {name:?} {charge:?}"));
        ledger.charges.insert(name, charge);
        notify_of_charge(world, &mut ledger, name);
    }
    let charge = &ledger.charges[&name];
    if charge.amount != request.charge.amount && charge.amount.is_positive() {
        world.fail(format!("money agrees: charge {name:?} is asked for again with another amount"));
    }
    ChargeAnswer::from(charge.report(name.1))
}

fn void(world: &World, request: &ChargeRequest) -> ProviderReport {
    let name = name_of(request);
    let mut ledger = world.ledger.lock();
    let charge = ledger.charges.entry(name).or_insert(Charge {
        amount: Amount::ZERO,
        is_automatic: false,
        authorized: Amount::ZERO,
        captured: Amount::ZERO,
        ending: Some(ChargeEnding::Voided),
        pending_until: None,
    });
    let is_held = charge.authorized > charge.captured || charge.pending_until.is_some();
    if charge.is_going_on() && is_held {
        charge.pending_until = None;
        charge.ending = Some(ChargeEnding::Voided);
        world.note(format!("provider: void {name:?}"));
        notify_of_charge(world, &mut ledger, name);
    }
    ledger.charges[&name].report(name.1)
}

fn notify_of_charge(world: &World, ledger: &mut Ledger, name: Name) {
    let report = ledger.charges[&name].report(name.1);
    notify(world, ledger, NoticeContent::Charge { payment_id: name.0, report });
}

/// Sends a notice some time, and one in five twice.
fn notify(world: &World, ledger: &mut Ledger, content: NoticeContent) {
    let now = world.elapsed();
    let delays: Vec<u64> = world.draw(|rng| {
        let copies = if rng.u32(0..5) == 0 { 2 } else { 1 };
        (0..copies).map(|_| if rng.bool() { rng.u64(0..500) } else { rng.u64(0..60_000) }).collect()
    });
    ledger.contents.push(content);
    let content = ledger.contents.len() - 1;
    for delay in delays {
        ledger.queued += 1;
        ledger.notices.insert(ledger.queued, Outgoing { due: now + Duration::from_millis(delay), content });
    }
}

#[async_trait]
impl PaymentProvider for SimulatedProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn charge(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError> {
        let passage = self.pass().await;
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
        let passage = self.pass().await;
        let name = name_of(request);
        let captured = self.answer(passage, || {
            let mut ledger = self.0.ledger.lock();
            let Some(charge) = ledger.charges.get_mut(&name) else {
                return Err(ProviderError::Refused("no such charge".to_owned()));
            };
            if charge.captured < total {
                if !charge.is_going_on() || total > charge.authorized {
                    return Err(ProviderError::Refused("not authorized".to_owned()));
                }
                charge.captured = total;
                self.0.note(format!("provider: capture {name:?} up to {total}"));
                notify_of_charge(&self.0, &mut ledger, name);
            }
            Ok(ledger.charges[&name].report(name.1))
        });
        captured.await?
    }

    async fn void(&self, request: &ChargeRequest) -> Result<ProviderReport, ProviderError> {
        let passage = self.pass().await;
        self.answer(passage, || void(&self.0, request)).await
    }

    async fn look_up(&self, request: &ChargeRequest) -> Result<Option<ChargeAnswer>, ProviderError> {
        let passage = self.pass().await;
        let name = name_of(request);
        let find = || self.0.ledger.lock().charges.get(&name).map(|charge| charge.report(name.1).into());
        self.answer(passage, find).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        let passage = self.pass().await;
        self.answer(passage, || refund(&self.0, request)).await?
    }

    fn read_notice(&self, _headers: &HeaderMap, body: &[u8], _now: Timestamp) -> Result<Notice, NoticeError> {
        let body: Value = serde_json::from_slice(body).map_err(|_| NoticeError::Unreadable)?;
        let number = body["notice"].as_u64().ok_or(NoticeError::Unreadable)?;
        let place = usize::try_from(number).map_err(|_| NoticeError::Unreadable)?;
        let content = self.0.ledger.lock().contents.get(place).cloned().ok_or(NoticeError::Unreadable)?;
        Ok(Notice { id: format!("notice {number}"), content })
    }
}

fn refund(world: &World, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
    let name = name_of(&request.charge);
    let mut ledger = world.ledger.lock();
    if let Some(known) = ledger.refunds.get(&request.refund_id) {
        return Ok(known.answer.clone());
    }
    let given = ledger.refunds.values().filter(|known| known.charge == name);
    let given = given.filter(|known| !matches!(known.answer, RefundAnswer::Failed { .. }));
    let given: i64 = given.map(|known| known.amount.minor_units()).sum();
    let captured = ledger.charges.get(&name).map_or(0, |charge| charge.captured.minor_units());
    if given + request.amount.minor_units() > captured {
        world.fail(format!(
            "money agrees: {name:?} captured {captured}; {given} and now {} are refunded",
            request.amount
        ));
        return Err(ProviderError::Refused("more than was captured".to_owned()));
    }
    let (lot, ms) = world.draw(|rng| (rng.u32(0..100), rng.u64(0..40_000)));
    let refunded = || RefundAnswer::Refunded { reference: "re".to_owned() };
    let (answer, pending_until) = match lot {
        0..8 if !world.is_calm() => (RefundAnswer::Failed { reason: "not now".to_owned() }, None),
        8..20 => (RefundAnswer::Pending, Some(world.elapsed() + Duration::from_millis(ms))),
        _ => (refunded(), None),
    };
    world.note(format!("provider: refund {} of {}: {answer:?}", request.refund_id, request.amount));
    let entry = Refund { charge: name, amount: request.amount, answer: answer.clone(), pending_until };
    ledger.refunds.insert(request.refund_id, entry);
    notify_of_refund(world, &mut ledger, request.refund_id);
    Ok(answer)
}

fn notify_of_refund(world: &World, ledger: &mut Ledger, id: RefundId) {
    let (payment_id, answer) = (ledger.refunds[&id].charge.0, ledger.refunds[&id].answer.clone());
    notify(world, ledger, NoticeContent::Refund { payment_id, refund_id: id, answer });
}

/// Lets time pass at the provider: what was awaited comes, and notices are sent. For ever.
pub async fn go_on(world: Arc<World>, platform: Platform) {
    loop {
        settle(&world);
        for number in due_notices(&world) {
            send_notice(&world, &platform, number).await;
        }
        time::sleep(Duration::from_millis(500)).await;
    }
}

fn settle(world: &World) {
    let now = world.elapsed();
    let is_due = |until: Option<Duration>| until.is_some_and(|until| until <= now);
    let late: Vec<ChargeRequest> = {
        let mut ledger = world.ledger.lock();
        let (arrived, held): (Vec<_>, Vec<_>) = ledger.late.drain(..).partition(|(due, _)| *due <= now);
        ledger.late = held;
        arrived.into_iter().map(|(_, request)| request).collect()
    };
    for request in &late {
        charge(world, request);
    }
    let mut ledger = world.ledger.lock();
    let charges: Vec<Name> =
        ledger.charges.iter().filter(|(_, one)| is_due(one.pending_until)).map(|(name, _)| *name).collect();
    for name in charges {
        let lot = world.draw(|rng| rng.u32(0..4));
        if let Some(charge) = ledger.charges.get_mut(&name) {
            charge.pending_until = None;
            if lot == 0 {
                charge.decline(true);
            } else {
                charge.approve();
            }
            world.note(format!("provider: {name:?} is no longer pending: {charge:?}"));
        }
        notify_of_charge(world, &mut ledger, name);
    }
    let refunds: Vec<RefundId> =
        ledger.refunds.iter().filter(|(_, one)| is_due(one.pending_until)).map(|(id, _)| *id).collect();
    for id in refunds {
        if let Some(refund) = ledger.refunds.get_mut(&id) {
            refund.pending_until = None;
            refund.answer = RefundAnswer::Refunded { reference: "re".to_owned() };
        }
        notify_of_refund(world, &mut ledger, id);
    }
}

fn due_notices(world: &World) -> Vec<u64> {
    let now = world.elapsed();
    let ledger = world.ledger.lock();
    let due = ledger.notices.iter().filter(|(_, notice)| notice.due <= now);
    due.map(|(number, _)| *number).collect()
}

async fn send_notice(world: &World, platform: &Platform, number: u64) {
    let Some(content) = world.ledger.lock().notices.get(&number).map(|notice| notice.content) else { return };
    let (instance, again_ms) = world.draw(|rng| (rng.usize(0..platform.routers.len()), rng.u64(500..20_000)));
    let request = http::Request::post(format!("/v1/webhooks/{NAME}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(json!({"notice": content}).to_string()));
    let Ok(request) = request else { return };
    let sending = platform.routers[instance].clone().oneshot(request);
    let answered = time::timeout(Duration::from_secs(15), sending).await;
    world.hear().await;
    let is_taken = matches!(&answered, Ok(Ok(response)) if response.status().is_success());
    let is_broken = matches!(&answered, Ok(Ok(response)) if response.status().is_client_error());
    world.note(format!("provider: notice {content} taken: {is_taken}"));
    if is_broken {
        return world.fail(format!("a notice was answered {answered:?}"));
    }
    let now = world.elapsed();
    let mut ledger = world.ledger.lock();
    if is_taken {
        ledger.notices.remove(&number);
    } else if let Some(notice) = ledger.notices.get_mut(&number) {
        notice.due = now + Duration::from_millis(again_ms);
    }
}
