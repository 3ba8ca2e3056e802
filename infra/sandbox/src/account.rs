//! The account of one charge: pure functions that move its money. A repeated request has no further effect.

use std::collections::BTreeMap;

use domain::{
    Amount, PaymentId, RefundId, Timestamp,
    payment::{CaptureMode, DisputeState},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    books::reference_of,
    resource::{
        ChargeFailure, ChargeResource, ChargeStatus, ChargeTerms, DisputeResource, Movement, MovementKind,
        NoticeKind, RefundResource, RefundStatus,
    },
    script::{ChargeVerdict, RefundVerdict, Wait},
};

/// The most refunds of a charge.
const REFUNDS_MAX: usize = 1_000;
/// The reasons of failed charges and refunds: an abandoned payment, declined cards, a closed account.
const ABANDONED: &str = "abandoned";
const DECLINED: &str = "card_declined";
const DECLINED_FOR_NOW: &str = "insufficient_funds";
const ACCOUNT_CLOSED: &str = "account_closed";
/// The reason of a dispute.
const FRAUDULENT: &str = "fraudulent";

/// A charge, and when its pending parts settle; see the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub charge: ChargeResource,
    /// When a pending charge completes. `None` if it waits for a request.
    completes_at: Option<Timestamp>,
    /// How and when each pending refund settles.
    plans: BTreeMap<RefundId, RefundPlan>,
    /// The number of events so far, `new_events` included.
    pub events: u64,
    /// Events that have no queued notice yet.
    #[serde(skip)]
    pub new_events: Vec<ChargeEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct RefundPlan {
    fails: bool,
    /// `None` if the refund waits for a request.
    settles_at: Option<Timestamp>,
}

/// An event of a charge, with the charge as it was then.
#[derive(Debug, Clone, PartialEq)]
pub struct ChargeEvent {
    /// Numbers the events of the charge, from 1.
    pub number: u64,
    pub kind: NoticeKind,
    pub refund_id: Option<RefundId>,
    pub dispute_id: Option<String>,
    pub charge: ChargeResource,
}

/// Why a request is refused. The charge is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChargeRefusal {
    #[error("the sandbox has no such charge, or the charge has no such refund")]
    Unknown,
    #[error("an earlier request had other terms")]
    OtherTerms,
    #[error("only {left} minor units are left")]
    TooLarge { left: Amount },
    #[error("the amount must be a positive number of minor units")]
    NoAmount,
    #[error("the charge is {}", .0.as_str())]
    Status(ChargeStatus),
    #[error("the refund or the dispute is already settled")]
    Settled,
    #[error("a charge can have at most {REFUNDS_MAX} refunds")]
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
            reference: reference_of(payment_id, number),
            terms: None,
            status: ChargeStatus::Pending,
            authorized: Amount::ZERO,
            captured: Amount::ZERO,
            refunded: Amount::ZERO,
            failure: None,
            next_action: None,
            refunds: Vec::new(),
            disputes: Vec::new(),
            movements: Vec::new(),
            created_at: now,
            updated_at: now,
        };
        Self { charge, completes_at: None, plans: BTreeMap::new(), events: 0, new_events: Vec::new() }
    }

    /// Opens the account of a new charge.
    pub fn open(
        (payment_id, number): (PaymentId, u32),
        terms: ChargeTerms,
        verdict: ChargeVerdict,
        now: Timestamp,
    ) -> Result<Self, ChargeRefusal> {
        if !terms.amount.is_positive() {
            return Err(ChargeRefusal::NoAmount);
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
                    Wait::Request => {
                        let path = format!("/v1/charges/{payment_id}/{number}");
                        let (complete, abandon) = (format!("{path}/complete"), format!("{path}/abandon"));
                        account.charge.next_action = Some(json!({"complete": complete, "abandon": abandon}));
                    }
                }
                account.record_event(NoticeKind::ChargePending, None, now);
            }
        }
        Ok(account)
    }

    /// A charge that was voided before it was requested. A later request for it takes no money.
    pub fn voided_before_request(payment_id: PaymentId, number: u32, now: Timestamp) -> Self {
        let mut account = Self::new(payment_id, number, now);
        account.charge.status = ChargeStatus::Voided;
        account.record_event(NoticeKind::ChargeVoided, None, now);
        account
    }

    /// Checks the terms of a repeated request.
    pub fn repeat(&self, terms: &ChargeTerms) -> Result<(), ChargeRefusal> {
        match &self.charge.terms {
            Some(known) if known != terms => Err(ChargeRefusal::OtherTerms),
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
        self.record_movement(MovementKind::Authorization, amount, now);
        match capture {
            CaptureMode::Automatic => self.take(amount, now),
            CaptureMode::Manual => self.record_event(NoticeKind::ChargeAuthorized, None, now),
        }
    }

    fn fail(&mut self, reason: &str, retryable: bool, now: Timestamp) {
        self.completes_at = None;
        self.charge.next_action = None;
        self.charge.status = ChargeStatus::Failed;
        self.charge.failure = Some(ChargeFailure { reason: reason.to_owned(), retryable });
        self.record_event(NoticeKind::ChargeFailed, None, now);
    }

    /// Raises the captured amount to `total`.
    pub fn capture(&mut self, total: Amount, now: Timestamp) -> Result<(), ChargeRefusal> {
        if !total.is_positive() {
            return Err(ChargeRefusal::NoAmount);
        }
        if total <= self.charge.captured {
            return Ok(());
        }
        match self.charge.status {
            ChargeStatus::Authorized if total > self.charge.authorized => Err(ChargeRefusal::TooLarge {
                left: self.charge.authorized.saturating_sub(self.charge.captured),
            }),
            ChargeStatus::Authorized => {
                self.take(total.saturating_sub(self.charge.captured), now);
                Ok(())
            }
            ChargeStatus::Captured => Err(ChargeRefusal::TooLarge { left: Amount::ZERO }),
            ChargeStatus::Pending | ChargeStatus::Failed | ChargeStatus::Voided => {
                Err(ChargeRefusal::Status(self.charge.status))
            }
        }
    }

    fn take(&mut self, amount: Amount, now: Timestamp) {
        self.charge.captured = self.charge.captured.saturating_add(amount);
        if self.charge.captured == self.charge.authorized {
            self.charge.status = ChargeStatus::Captured;
        }
        self.record_movement(MovementKind::Capture, amount, now);
        self.record_event(NoticeKind::ChargeCaptured, None, now);
    }

    /// Releases the amount that is authorized and not captured. No effect on a failed or fully captured
    /// charge.
    pub fn void(&mut self, now: Timestamp) {
        match self.charge.status {
            ChargeStatus::Captured | ChargeStatus::Failed | ChargeStatus::Voided => return,
            ChargeStatus::Pending => {}
            ChargeStatus::Authorized => {
                let left = self.charge.authorized.saturating_sub(self.charge.captured);
                self.record_movement(MovementKind::Release, left, now);
            }
        }
        self.completes_at = None;
        self.charge.next_action = None;
        self.charge.status = ChargeStatus::Voided;
        self.record_event(NoticeKind::ChargeVoided, None, now);
    }

    /// Settles a pending charge: the customer has completed or abandoned it.
    pub fn settle(&mut self, completed: bool, now: Timestamp) -> Result<(), ChargeRefusal> {
        match (self.charge.status, completed) {
            (ChargeStatus::Pending, true) => self.approve(now),
            (ChargeStatus::Pending, false) => self.fail(ABANDONED, true, now),
            (ChargeStatus::Authorized | ChargeStatus::Captured, true) | (ChargeStatus::Failed, false) => {}
            (status, _) => return Err(ChargeRefusal::Status(status)),
        }
        Ok(())
    }

    /// Refunds an amount. A pending refund reserves its amount until it fails.
    pub fn refund(
        &mut self,
        refund_id: RefundId,
        amount: Amount,
        verdict: RefundVerdict,
        now: Timestamp,
    ) -> Result<(), ChargeRefusal> {
        if let Some(known) = self.charge.refund(refund_id) {
            return if known.amount == amount { Ok(()) } else { Err(ChargeRefusal::OtherTerms) };
        }
        if !amount.is_positive() {
            return Err(ChargeRefusal::NoAmount);
        }
        if self.charge.refunds.len() >= REFUNDS_MAX {
            return Err(ChargeRefusal::TooManyRefunds);
        }
        let left = self.left();
        if amount > left {
            return Err(ChargeRefusal::TooLarge { left });
        }
        let reference = format!("sandbox-refund-{refund_id}");
        let (status, reason, created_at) = (RefundStatus::Pending, None, Some(now));
        self.charge.refunds.push(RefundResource { refund_id, reference, amount, status, reason, created_at });
        let Some(wait) = verdict.pending else {
            return self.settle_refund(refund_id, !verdict.fails, now);
        };
        let settles_at = match wait {
            Wait::Time(time) => Some(later(now, time)),
            Wait::Request => None,
        };
        self.plans.insert(refund_id, RefundPlan { fails: verdict.fails, settles_at });
        self.charge.updated_at = now;
        Ok(())
    }

    /// What is captured and neither refunded, about to be refunded, nor disputed.
    fn left(&self) -> Amount {
        let sum =
            |amounts: &mut dyn Iterator<Item = Amount>| amounts.fold(Amount::ZERO, Amount::saturating_add);
        let pending = self.charge.refunds.iter().filter(|refund| refund.status == RefundStatus::Pending);
        let taken = self.charge.disputes.iter().filter(|dispute| dispute.status.takes_money());
        self.charge
            .captured
            .saturating_sub(self.charge.refunded)
            .saturating_sub(sum(&mut pending.map(|refund| refund.amount)))
            .saturating_sub(sum(&mut taken.map(|dispute| dispute.amount)))
    }

    /// Opens a dispute of this amount, or of all that is left.
    pub fn dispute(&mut self, amount: Option<Amount>, now: Timestamp) -> Result<(), ChargeRefusal> {
        let left = self.left();
        let amount = amount.unwrap_or(left);
        if !amount.is_positive() {
            return Err(ChargeRefusal::NoAmount);
        }
        if amount > left {
            return Err(ChargeRefusal::TooLarge { left });
        }
        let dispute_id = format!("{}-dispute-{}", self.charge.reference, self.charge.disputes.len() + 1);
        let (status, reason) = (DisputeState::Open, FRAUDULENT.to_owned());
        let (id, created_at) = (dispute_id.clone(), Some(now));
        self.charge.disputes.push(DisputeResource { dispute_id: id, amount, status, reason, created_at });
        self.record_movement(MovementKind::Dispute, amount, now);
        self.record_event_of(NoticeKind::DisputeOpened, None, Some(dispute_id), now);
        Ok(())
    }

    /// The bank decides an open dispute.
    pub fn settle_dispute(&mut self, id: &str, is_won: bool, now: Timestamp) -> Result<(), ChargeRefusal> {
        let mut disputes = self.charge.disputes.iter_mut();
        let dispute = disputes.find(|dispute| dispute.dispute_id == id).ok_or(ChargeRefusal::Unknown)?;
        let (status, kind) = if is_won {
            (DisputeState::Won, NoticeKind::DisputeWon)
        } else {
            (DisputeState::Lost, NoticeKind::DisputeLost)
        };
        if dispute.status == status {
            return Ok(());
        }
        if dispute.status != DisputeState::Open {
            return Err(ChargeRefusal::Settled);
        }
        dispute.status = status;
        let amount = dispute.amount;
        if is_won {
            self.record_movement(MovementKind::DisputeReversal, amount, now);
        }
        self.record_event_of(kind, None, Some(id.to_owned()), now);
        Ok(())
    }

    /// Settles a pending refund. A paid refund may fail later; a failed one is not paid later.
    pub fn settle_refund(
        &mut self,
        id: RefundId,
        succeeds: bool,
        now: Timestamp,
    ) -> Result<(), ChargeRefusal> {
        let mut refunds = self.charge.refunds.iter_mut();
        let refund = refunds.find(|refund| refund.refund_id == id).ok_or(ChargeRefusal::Unknown)?;
        match (refund.status, succeeds) {
            (RefundStatus::Pending, _) | (RefundStatus::Succeeded, false) => {}
            (RefundStatus::Succeeded, true) | (RefundStatus::Failed, false) => return Ok(()),
            (RefundStatus::Failed, true) => return Err(ChargeRefusal::Settled),
        }
        let (amount, was_paid) = (refund.amount, refund.status == RefundStatus::Succeeded);
        self.plans.remove(&id);
        if succeeds {
            refund.status = RefundStatus::Succeeded;
            self.charge.refunded = self.charge.refunded.saturating_add(amount);
            self.record_movement(MovementKind::Refund, amount, now);
            self.record_event(NoticeKind::RefundSucceeded, Some(id), now);
        } else {
            refund.status = RefundStatus::Failed;
            refund.reason = Some(ACCOUNT_CLOSED.to_owned());
            if was_paid {
                self.charge.refunded = self.charge.refunded.saturating_sub(amount);
                self.record_movement(MovementKind::RefundReversal, amount, now);
            }
            self.record_event(NoticeKind::RefundFailed, Some(id), now);
        }
        Ok(())
    }

    /// When the charge or the next of its pending refunds settles, or its authorisation runs out. `None` if nothing
    /// happens at a set time.
    pub fn due_at(&self) -> Option<Timestamp> {
        let of_refunds = self.plans.values().filter_map(|plan| plan.settles_at);
        of_refunds.chain(self.completes_at).chain(self.charge.authorized_until()).min()
    }

    /// Settles the charge and those of its refunds that are due.
    pub fn settle_due(&mut self, now: Timestamp) -> Result<(), ChargeRefusal> {
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if is_due(self.completes_at) {
            self.approve(now);
        }
        if is_due(self.charge.authorized_until()) {
            self.void(now);
        }
        let due: Vec<(RefundId, bool)> = self
            .plans
            .iter()
            .filter(|(_, plan)| is_due(plan.settles_at))
            .map(|(id, plan)| (*id, plan.fails))
            .collect();
        due.into_iter().try_for_each(|(id, fails)| self.settle_refund(id, !fails, now))
    }

    fn record_movement(&mut self, kind: MovementKind, amount: Amount, at: Timestamp) {
        self.charge.movements.push(Movement { kind, amount, at });
    }

    fn record_event(&mut self, kind: NoticeKind, refund_id: Option<RefundId>, now: Timestamp) {
        self.record_event_of(kind, refund_id, None, now);
    }

    fn record_event_of(
        &mut self,
        kind: NoticeKind,
        refund_id: Option<RefundId>,
        dispute_id: Option<String>,
        now: Timestamp,
    ) {
        self.charge.updated_at = now;
        self.events += 1;
        let charge = self.charge.clone();
        self.new_events.push(ChargeEvent { number: self.events, kind, refund_id, dispute_id, charge });
    }
}

fn later(now: Timestamp, by: std::time::Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
