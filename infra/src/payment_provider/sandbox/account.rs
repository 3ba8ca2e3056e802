//! What the ledger keeps of one charge, and how its money moves: pure functions, each done once however often it is asked
//! for.

use std::collections::BTreeMap;

use domain::{Amount, PaymentId, RefundId, Timestamp, payment::CaptureMode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    resource::{
        ChargeResource, ChargeStatus, EventKind, Failure, Movement, MovementKind, RefundResource,
        RefundStatus, Terms,
    },
    script::{ChargeVerdict, RefundVerdict, Wait},
};

/// The most refunds of a charge.
const REFUNDS_MAX: usize = 1_000;
/// How a customer who never comes back is reported, and a card that has been refused.
const ABANDONED: &str = "abandoned";
const DECLINED: &str = "card_declined";
const DECLINED_FOR_NOW: &str = "insufficient_funds";
const ACCOUNT_CLOSED: &str = "account_closed";

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub charge: ChargeResource,
    /// When a pending charge completes by itself.
    completes_at: Option<Timestamp>,
    /// What becomes of pending refunds.
    plans: BTreeMap<RefundId, RefundPlan>,
    /// Events so far, those in `news` as well.
    pub events: u64,
    /// Not announced yet.
    #[serde(skip)]
    pub news: Vec<News>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct RefundPlan {
    fails: bool,
    settles_at: Option<Timestamp>,
}

/// An event, and the charge as it stood then.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    /// Counts the events of the charge, from 1.
    pub number: u64,
    pub kind: EventKind,
    pub refund_id: Option<RefundId>,
    pub charge: ChargeResource,
}

/// Why something is not done with a charge. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such charge, or no such refund of it")]
    Unknown,
    #[error("it was asked for with other terms before")]
    OtherTerms,
    #[error("{left} minor units are left for that")]
    TooLarge { left: Amount },
    #[error("an amount is a positive number of minor units")]
    NoAmount,
    #[error("the charge is {}", .0.as_str())]
    Status(ChargeStatus),
    #[error("it is settled")]
    Settled,
    #[error("a charge has at most {REFUNDS_MAX} refunds")]
    TooManyRefunds,
}

impl ChargeStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Failed => "failed",
            Self::Voided => "voided",
        }
    }
}

impl Account {
    fn new(payment_id: PaymentId, number: u32, now: Timestamp) -> Self {
        let charge = ChargeResource {
            payment_id,
            charge: number,
            reference: format!("sandbox-{payment_id}-{number}"),
            terms: None,
            status: ChargeStatus::Pending,
            authorized: Amount::ZERO,
            captured: Amount::ZERO,
            refunded: Amount::ZERO,
            failure: None,
            next_action: None,
            refunds: Vec::new(),
            movements: Vec::new(),
            created_at: now,
            updated_at: now,
        };
        Self { charge, completes_at: None, plans: BTreeMap::new(), events: 0, news: Vec::new() }
    }

    /// A charge that was not asked for before.
    pub fn open(
        (payment_id, number): (PaymentId, u32),
        terms: Terms,
        verdict: ChargeVerdict,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if !terms.amount.is_positive() {
            return Err(Refusal::NoAmount);
        }
        let mut account = Self::new(payment_id, number, now);
        account.charge.terms = Some(terms);
        match verdict {
            ChargeVerdict::Approved => account.approve(now),
            ChargeVerdict::Declined { retryable } => {
                let reason = if retryable { DECLINED_FOR_NOW } else { DECLINED };
                account.fail(reason, retryable, now);
            }
            ChargeVerdict::Pending(wait) => {
                match wait {
                    Wait::Time(time) => account.completes_at = Some(later(now, time)),
                    Wait::Someone => {
                        let path = format!("/v1/charges/{payment_id}/{number}");
                        let (complete, abandon) = (format!("{path}/complete"), format!("{path}/abandon"));
                        account.charge.next_action = Some(json!({"complete": complete, "abandon": abandon}));
                    }
                }
                account.announce(EventKind::ChargePending, None, now);
            }
        }
        Ok(account)
    }

    /// Stands for a charge that was given up before it was asked for: whoever asks later gets nothing.
    pub fn given_up(payment_id: PaymentId, number: u32, now: Timestamp) -> Self {
        let mut account = Self::new(payment_id, number, now);
        account.charge.status = ChargeStatus::Voided;
        account.announce(EventKind::ChargeVoided, None, now);
        account
    }

    /// Asked for again.
    pub fn repeat(&self, terms: &Terms) -> Result<(), Refusal> {
        match &self.charge.terms {
            Some(known) if known != terms => Err(Refusal::OtherTerms),
            Some(_) | None => Ok(()),
        }
    }

    fn approve(&mut self, now: Timestamp) {
        let Some(terms) = &self.charge.terms else { return };
        let (amount, capture) = (terms.amount, terms.capture);
        self.completes_at = None;
        self.charge.next_action = None;
        self.charge.status = ChargeStatus::Authorized;
        self.charge.authorized = amount;
        self.moved(MovementKind::Authorization, amount, now);
        match capture {
            CaptureMode::Automatic => self.take(amount, now),
            CaptureMode::Manual => self.announce(EventKind::ChargeAuthorized, None, now),
        }
    }

    fn fail(&mut self, reason: &str, retryable: bool, now: Timestamp) {
        self.completes_at = None;
        self.charge.next_action = None;
        self.charge.status = ChargeStatus::Failed;
        self.charge.failure = Some(Failure { reason: reason.to_owned(), retryable });
        self.announce(EventKind::ChargeFailed, None, now);
    }

    /// Captures until `total` is captured in all.
    pub fn capture(&mut self, total: Amount, now: Timestamp) -> Result<(), Refusal> {
        if !total.is_positive() {
            return Err(Refusal::NoAmount);
        }
        if total <= self.charge.captured {
            return Ok(());
        }
        match self.charge.status {
            ChargeStatus::Authorized if total > self.charge.authorized => {
                Err(Refusal::TooLarge { left: self.charge.authorized.saturating_sub(self.charge.captured) })
            }
            ChargeStatus::Authorized => {
                self.take(total.saturating_sub(self.charge.captured), now);
                Ok(())
            }
            ChargeStatus::Captured => Err(Refusal::TooLarge { left: Amount::ZERO }),
            ChargeStatus::Pending | ChargeStatus::Failed | ChargeStatus::Voided => {
                Err(Refusal::Status(self.charge.status))
            }
        }
    }

    fn take(&mut self, amount: Amount, now: Timestamp) {
        self.charge.captured = self.charge.captured.saturating_add(amount);
        if self.charge.captured == self.charge.authorized {
            self.charge.status = ChargeStatus::Captured;
        }
        self.moved(MovementKind::Capture, amount, now);
        self.announce(EventKind::ChargeCaptured, None, now);
    }

    /// Gives back what is not captured. One that has failed or is captured in full has nothing to give back.
    pub fn void(&mut self, now: Timestamp) {
        match self.charge.status {
            ChargeStatus::Captured | ChargeStatus::Failed | ChargeStatus::Voided => return,
            ChargeStatus::Pending => {}
            ChargeStatus::Authorized => {
                let left = self.charge.authorized.saturating_sub(self.charge.captured);
                self.moved(MovementKind::Release, left, now);
            }
        }
        self.completes_at = None;
        self.charge.next_action = None;
        self.charge.status = ChargeStatus::Voided;
        self.announce(EventKind::ChargeVoided, None, now);
    }

    /// The customer has done what a pending charge waits for, or never will.
    pub fn settle(&mut self, completed: bool, now: Timestamp) -> Result<(), Refusal> {
        match (self.charge.status, completed) {
            (ChargeStatus::Pending, true) => self.approve(now),
            (ChargeStatus::Pending, false) => self.fail(ABANDONED, true, now),
            (ChargeStatus::Authorized | ChargeStatus::Captured, true) | (ChargeStatus::Failed, false) => {}
            (status, _) => return Err(Refusal::Status(status)),
        }
        Ok(())
    }

    /// Pays back. A pending refund counts as paid back until it fails.
    pub fn refund(
        &mut self,
        refund_id: RefundId,
        amount: Amount,
        verdict: RefundVerdict,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if let Some(known) = self.charge.refund(refund_id) {
            return if known.amount == amount { Ok(()) } else { Err(Refusal::OtherTerms) };
        }
        if !amount.is_positive() {
            return Err(Refusal::NoAmount);
        }
        if self.charge.refunds.len() >= REFUNDS_MAX {
            return Err(Refusal::TooManyRefunds);
        }
        let under_way = self.charge.refunds.iter().filter(|refund| refund.status == RefundStatus::Pending);
        let under_way = under_way.fold(Amount::ZERO, |sum, refund| sum.saturating_add(refund.amount));
        let left = self.charge.captured.saturating_sub(self.charge.refunded).saturating_sub(under_way);
        if amount > left {
            return Err(Refusal::TooLarge { left });
        }
        let reference = format!("sandbox-refund-{refund_id}");
        let (status, reason) = (RefundStatus::Pending, None);
        self.charge.refunds.push(RefundResource { refund_id, reference, amount, status, reason });
        let Some(wait) = verdict.pending else {
            return self.settle_refund(refund_id, !verdict.fails, now);
        };
        let settles_at = match wait {
            Wait::Time(time) => Some(later(now, time)),
            Wait::Someone => None,
        };
        self.plans.insert(refund_id, RefundPlan { fails: verdict.fails, settles_at });
        self.charge.updated_at = now;
        Ok(())
    }

    pub fn settle_refund(&mut self, id: RefundId, succeeds: bool, now: Timestamp) -> Result<(), Refusal> {
        let refund = self.charge.refunds.iter_mut().find(|refund| refund.refund_id == id);
        let refund = refund.ok_or(Refusal::Unknown)?;
        match (refund.status, succeeds) {
            (RefundStatus::Pending, _) => {}
            (RefundStatus::Succeeded, true) | (RefundStatus::Failed, false) => return Ok(()),
            (RefundStatus::Succeeded, false) | (RefundStatus::Failed, true) => return Err(Refusal::Settled),
        }
        let amount = refund.amount;
        self.plans.remove(&id);
        if succeeds {
            refund.status = RefundStatus::Succeeded;
            self.charge.refunded = self.charge.refunded.saturating_add(amount);
            self.moved(MovementKind::Refund, amount, now);
            self.announce(EventKind::RefundSucceeded, Some(id), now);
        } else {
            refund.status = RefundStatus::Failed;
            refund.reason = Some(ACCOUNT_CLOSED.to_owned());
            self.announce(EventKind::RefundFailed, Some(id), now);
        }
        Ok(())
    }

    /// When something here settles by itself.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.plans.values().filter_map(|plan| plan.settles_at).chain(self.completes_at).min()
    }

    /// Settles what is due.
    pub fn settle_due(&mut self, now: Timestamp) -> Result<(), Refusal> {
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if is_due(self.completes_at) {
            self.approve(now);
        }
        let due: Vec<(RefundId, bool)> = self
            .plans
            .iter()
            .filter(|(_, plan)| is_due(plan.settles_at))
            .map(|(id, plan)| (*id, plan.fails))
            .collect();
        due.into_iter().try_for_each(|(id, fails)| self.settle_refund(id, !fails, now))
    }

    fn moved(&mut self, kind: MovementKind, amount: Amount, at: Timestamp) {
        self.charge.movements.push(Movement { kind, amount, at });
    }

    fn announce(&mut self, kind: EventKind, refund_id: Option<RefundId>, now: Timestamp) {
        self.charge.updated_at = now;
        self.events += 1;
        let charge = self.charge.clone();
        self.news.push(News { number: self.events, kind, refund_id, charge });
    }
}

fn later(now: Timestamp, by: std::time::Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
