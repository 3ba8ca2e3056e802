//! Money that moves at the provider without a request of the platform: refunds from its dashboard, disputes that are
//! opened, won and lost, and paid refunds that come back.

use std::time::Duration;

use domain::{
    Amount, RefundId,
    payment::{DisputeReport, DisputeState},
};
use infra::payment_provider::{NoticeContent, RefundAnswer};

use crate::{
    environment::Environment,
    ledger::{ChargeName, Dispute, Ledger, Refund, reference_of},
    provider::{notify, notify_of_refund},
};

/// A move that the provider will make.
#[derive(Debug, Clone)]
pub struct OwnMove {
    pub due: Duration,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Refund(ChargeName),
    Dispute(ChargeName),
    Decide { dispute: String, is_won: bool },
    Return(RefundId),
}

/// Plans the moves of a charge that has captured money, once: one charge in eight is refunded at the provider, and one
/// in eight is disputed.
pub fn plan(env: &Environment, ledger: &mut Ledger, name: ChargeName) {
    let has_money = ledger.charges.get(&name).is_some_and(|charge| charge.captured.is_positive());
    if !has_money || !ledger.planned.insert(name) {
        return;
    }
    let (roll, ms) = env.draw(|rng| (rng.u32(0..16), rng.u64(0..60_000)));
    let what = match roll {
        0 | 1 => What::Refund(name),
        2 | 3 => What::Dispute(name),
        _ => return,
    };
    ledger.own_moves.push(OwnMove { due: env.elapsed() + Duration::from_millis(ms), what });
}

/// Plans the failure of one paid refund in sixteen, and of one in four that the provider made by itself.
pub fn plan_return(env: &Environment, ledger: &mut Ledger, id: RefundId) {
    let Some(refund) = ledger.refunds.get(&id) else { return };
    let is_paid = matches!(refund.answer, RefundAnswer::Refunded { .. });
    let sixteenths = if refund.is_requested { 1 } else { 4 };
    let (roll, ms) = env.draw(|rng| (rng.u32(0..16), rng.u64(0..60_000)));
    if is_paid && roll < sixteenths {
        ledger
            .own_moves
            .push(OwnMove { due: env.elapsed() + Duration::from_millis(ms), what: What::Return(id) });
    }
}

/// Makes the moves that are due.
pub fn make(env: &Environment, ledger: &mut Ledger) {
    let now = env.elapsed();
    let (due, later) = ledger.own_moves.drain(..).partition(|planned: &OwnMove| planned.due <= now);
    ledger.own_moves = later;
    for planned in due {
        env.note(format!("provider: {:?}", planned.what));
        match planned.what {
            What::Refund(name) => refund(env, ledger, name),
            What::Dispute(name) => dispute(env, ledger, name),
            What::Decide { dispute, is_won } => decide(env, ledger, &dispute, is_won),
            What::Return(id) => give_back(env, ledger, id),
        }
    }
}

/// A part of what is left of a charge.
fn draw_part(env: &Environment, ledger: &Ledger, name: ChargeName) -> Option<Amount> {
    let left = ledger.left(name);
    let drawn = (left > 0).then(|| env.draw(|rng| rng.i64(1..=left)))?;
    Amount::new(drawn).ok()
}

fn refund(env: &Environment, ledger: &mut Ledger, name: ChargeName) {
    let Some(amount) = draw_part(env, ledger, name) else { return };
    let reference = format!("re_own_{}", ledger.refunds.len());
    let id = RefundId::of_provider(name.0, &reference);
    let answer = RefundAnswer::Refunded { reference };
    let entry = Refund { charge: name, amount, answer, pending_until: None, is_requested: false };
    ledger.refunds.insert(id, entry);
    if env.draw(fastrand::Rng::bool) {
        notify_of_refund(env, ledger, id);
    } else {
        notify(env, ledger, NoticeContent::Moved { reference: reference_of(name) });
    }
    plan_return(env, ledger, id);
}

fn dispute(env: &Environment, ledger: &mut Ledger, name: ChargeName) {
    let Some(amount) = draw_part(env, ledger, name) else { return };
    let id = format!("dp_{}", ledger.disputes.len());
    ledger.disputes.insert(id.clone(), Dispute { charge: name, amount, state: DisputeState::Open });
    notify_of_dispute(env, ledger, &id);
    let (is_won, ms) = env.draw(|rng| (rng.bool(), rng.u64(0..60_000)));
    let due = env.elapsed() + Duration::from_millis(ms);
    ledger.own_moves.push(OwnMove { due, what: What::Decide { dispute: id, is_won } });
}

fn decide(env: &Environment, ledger: &mut Ledger, id: &str, is_won: bool) {
    if let Some(dispute) = ledger.disputes.get_mut(id) {
        dispute.state = if is_won { DisputeState::Won } else { DisputeState::Lost };
    }
    notify_of_dispute(env, ledger, id);
}

fn give_back(env: &Environment, ledger: &mut Ledger, id: RefundId) {
    if let Some(refund) = ledger.refunds.get_mut(&id) {
        refund.answer = RefundAnswer::Failed { reason: "account_closed".to_owned() };
    }
    notify_of_refund(env, ledger, id);
}

/// Half of the notices name only the charge, as Stripe's do.
fn notify_of_dispute(env: &Environment, ledger: &mut Ledger, id: &str) {
    let Some(dispute) = ledger.disputes.get(id) else { return };
    let (payment_id, reference) = (dispute.charge.0, reference_of(dispute.charge));
    let report = dispute.report(id);
    if env.draw(fastrand::Rng::bool) {
        notify(env, ledger, NoticeContent::Dispute { payment_id, report });
    } else {
        notify(env, ledger, NoticeContent::Moved { reference });
    }
}

impl Dispute {
    pub fn report(&self, id: &str) -> DisputeReport {
        DisputeReport {
            charge: self.charge.1,
            reference: id.to_owned(),
            amount: self.amount,
            reason: Some("fraudulent".to_owned()),
            state: self.state,
        }
    }
}
