//! What the sandbox is told to do wrong.
//!
//! Chance is drawn from the seed and from what is asked, so a run over the same payments with the same seed meets the
//! same fate.

use std::{str::FromStr, time::Duration};

use domain::PaymentId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The most that a mean duration may be.
const MEAN_MS_MAX: u64 = 60_000;
/// A drawn duration is at most so many times its mean.
const MEANS_MAX: f64 = 10.0;
const SLOW: Duration = Duration::from_secs(3);

/// Probabilities and mean durations; by default nothing goes wrong. Means of payment that [`Method`] names are not
/// subject to chance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Other seeds draw other chances.
    pub seed: u64,
    /// Of charges: declined for good.
    pub declines: Probability,
    /// Of charges: declined, and the customer may try again.
    pub soft_declines: Probability,
    /// Of charges: pending, and completed after `pending_ms`.
    pub pending: Probability,
    pub pending_ms: MeanMs,
    /// Of requests: the connection ends before anything is done.
    pub lost_requests: Probability,
    /// Of requests: the connection ends when it is done, without an answer.
    pub lost_answers: Probability,
    /// Of requests: 500, and nothing is done.
    pub errors: Probability,
    /// Of requests: 500, and it is done.
    pub errors_after: Probability,
    /// From when something is done to its answer.
    pub delay_ms: MeanMs,
    /// Of refunds.
    pub refund_failures: Probability,
    /// Of refunds: pending, and settled after `refund_pending_ms`.
    pub refunds_pending: Probability,
    pub refund_pending_ms: MeanMs,
    /// Of webhooks: never sent, sent twice, overtaken by later ones.
    pub lost_webhooks: Probability,
    pub duplicate_webhooks: Probability,
    pub reordered_webhooks: Probability,
    /// From an event to its webhook.
    pub webhook_delay_ms: MeanMs,
    /// Every request about charges is refused, and no webhook is sent.
    pub outage: bool,
}

/// From 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Probability(f64);

/// The mean of an exponential distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct MeanMs(u64);

/// A script that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ORDERLY_SANDBOX_SCRIPT: {0}")]
pub struct InvalidScript(String);

impl InvalidScript {
    /// What is wrong with it, apart from the setting's name.
    pub fn problem(&self) -> &str {
        &self.0
    }
}

/// Means of payment that always do the same, whatever the script says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Ok,
    /// Declined for good.
    Decline,
    /// Declined, and the customer may try again.
    DeclineSoft,
    /// Declined once in each payment, then fine.
    DeclineOnce,
    /// Pending until someone completes or abandons it.
    NeedsAction,
    /// Answered after 3 seconds.
    Slow,
    /// The answer to the request that makes the charge is lost.
    LostAnswer,
    /// 500 each time, and no charge is made.
    Error,
    /// 500 in answer to the request that makes the charge.
    ErrorAfter,
    /// Its refunds fail.
    RefundFails,
    /// Its refunds are pending until someone completes or abandons them.
    RefundPending,
    /// Anything else: subject to chance.
    Other,
}

/// How a request ends that gets no proper answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends without an answer.
    Dropped,
    Error,
}

/// What becomes of a request when it is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ending {
    pub delay: Duration,
    pub fault: Option<Fault>,
}

/// What the bank says to a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeVerdict {
    Approved,
    Declined { retryable: bool },
    Pending(Wait),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefundVerdict {
    pub fails: bool,
    pub pending: Option<Wait>,
}

/// What ends the wait for a bank or a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Time(Duration),
    /// Until someone completes or abandons it.
    Someone,
}

/// What becomes of one webhook: the delays of its copies; none is sent where there is none.
pub type Deliveries = Vec<Duration>;

/// What chance is drawn for.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    pub payment: PaymentId,
    pub charge: u32,
    /// What happens, for example `capture` or the id of a refund.
    pub what: &'a str,
    /// Counts how often that was asked for.
    pub attempt: u64,
}

impl Script {
    /// Whether requests can go wrong, so that they have to be counted.
    pub fn disturbs_requests(&self) -> bool {
        let chances = [self.lost_requests, self.lost_answers, self.errors, self.errors_after];
        chances.into_iter().any(|chance| chance.0 > 0.0) || self.delay_ms.0 > 0
    }

    /// What happens to a request instead of what it asks for. `creates`: a charge of this method.
    pub fn before(&self, occasion: Occasion<'_>, method: Method, creates: bool) -> Option<Fault> {
        match method {
            Method::Other => {
                self.fault(occasion, ("lost_requests", self.lost_requests), ("errors", self.errors))
            }
            Method::Error if creates => Some(Fault::Error),
            _ => None,
        }
    }

    /// What happens to a request when it is done. `created`: a charge of this method.
    pub fn after(&self, occasion: Occasion<'_>, method: Method, created: bool) -> Ending {
        let at_once = Ending::default();
        match method {
            Method::Other => {
                let (lost, error) =
                    (("lost_answers", self.lost_answers), ("errors_after", self.errors_after));
                let delay = self.duration(occasion, "delay", self.delay_ms);
                Ending { delay, fault: self.fault(occasion, lost, error) }
            }
            Method::Slow if created => Ending { delay: SLOW, ..at_once },
            Method::LostAnswer if created => Ending { fault: Some(Fault::Dropped), ..at_once },
            Method::ErrorAfter if created => Ending { fault: Some(Fault::Error), ..at_once },
            _ => at_once,
        }
    }

    fn fault(
        &self,
        occasion: Occasion<'_>,
        (lost, losses): (&str, Probability),
        (error, errors): (&str, Probability),
    ) -> Option<Fault> {
        if self.happens(occasion, lost, losses) {
            Some(Fault::Dropped)
        } else if self.happens(occasion, error, errors) {
            Some(Fault::Error)
        } else {
            None
        }
    }

    /// `declined_before`: of this payment, with the same method.
    pub fn charge(&self, occasion: Occasion<'_>, method: Method, declined_before: bool) -> ChargeVerdict {
        match method {
            Method::Decline => ChargeVerdict::Declined { retryable: false },
            Method::DeclineSoft => ChargeVerdict::Declined { retryable: true },
            Method::DeclineOnce if !declined_before => ChargeVerdict::Declined { retryable: true },
            Method::NeedsAction => ChargeVerdict::Pending(Wait::Someone),
            Method::Other => self.drawn_charge(occasion),
            _ => ChargeVerdict::Approved,
        }
    }

    fn drawn_charge(&self, occasion: Occasion<'_>) -> ChargeVerdict {
        let drawn = self.draw(occasion, "verdict");
        if drawn < self.declines.0 {
            ChargeVerdict::Declined { retryable: false }
        } else if drawn < self.declines.0 + self.soft_declines.0 {
            ChargeVerdict::Declined { retryable: true }
        } else if self.happens(occasion, "pending", self.pending) {
            let wait = self.duration(occasion, "pending_ms", self.pending_ms);
            ChargeVerdict::Pending(Wait::Time(wait))
        } else {
            ChargeVerdict::Approved
        }
    }

    pub fn refund(&self, occasion: Occasion<'_>, method: Method) -> RefundVerdict {
        match method {
            Method::RefundFails => RefundVerdict { fails: true, pending: None },
            Method::RefundPending => RefundVerdict { fails: false, pending: Some(Wait::Someone) },
            Method::Other => {
                let waits = self.happens(occasion, "refunds_pending", self.refunds_pending);
                let wait = self.duration(occasion, "refund_pending_ms", self.refund_pending_ms);
                RefundVerdict {
                    fails: self.happens(occasion, "refund_failures", self.refund_failures),
                    pending: waits.then_some(Wait::Time(wait)),
                }
            }
            _ => RefundVerdict { fails: false, pending: None },
        }
    }

    /// Webhooks go wrong whatever the method.
    pub fn deliveries(&self, occasion: Occasion<'_>) -> Deliveries {
        /// How long a webhook is held back so that others overtake it.
        const OVERTAKEN: MeanMs = MeanMs(500);
        if self.happens(occasion, "lost_webhooks", self.lost_webhooks) {
            return Vec::new();
        }
        let mut delay = self.duration(occasion, "webhook_delay", self.webhook_delay_ms);
        if self.happens(occasion, "reordered_webhooks", self.reordered_webhooks) {
            delay += self.duration(occasion, "reordered_by", OVERTAKEN);
        }
        let mut deliveries = vec![delay];
        if self.happens(occasion, "duplicate_webhooks", self.duplicate_webhooks) {
            deliveries.push(delay + self.duration(occasion, "duplicated_after", OVERTAKEN));
        }
        deliveries
    }

    fn happens(&self, occasion: Occasion<'_>, chance: &str, probability: Probability) -> bool {
        probability.0 > 0.0 && self.draw(occasion, chance) < probability.0
    }

    fn duration(&self, occasion: Occasion<'_>, chance: &str, mean: MeanMs) -> Duration {
        if mean.0 == 0 {
            return Duration::ZERO;
        }
        let means = -(1.0 - self.draw(occasion, chance)).ln();
        Duration::from_millis(mean.0).mul_f64(means.min(MEANS_MAX))
    }

    /// From 0 to 1, without 1.
    fn draw(&self, occasion: Occasion<'_>, chance: &str) -> f64 {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(occasion.payment.0);
        hash.update(occasion.charge.to_be_bytes());
        hash.update(occasion.attempt.to_be_bytes());
        hash.update(occasion.what);
        hash.update([0]);
        hash.update(chance);
        let digest = hash.finalize();
        let bytes: [u8; 4] = [digest[0], digest[1], digest[2], digest[3]];
        f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }

    fn check(self) -> Result<Self, InvalidScript> {
        if self.declines.0 + self.soft_declines.0 > 1.0 {
            return Err(InvalidScript("declines and soft_declines are more than 1 together".to_owned()));
        }
        Ok(self)
    }

    /// From JSON.
    pub fn from_json(value: Value) -> Result<Self, InvalidScript> {
        let script: Self = serde_json::from_value(value).map_err(|error| InvalidScript(error.to_string()))?;
        script.check()
    }
}

/// As in a setting: `declines=0.2,lost_answers=0.2,seed=7`.
impl FromStr for Script {
    type Err = InvalidScript;

    fn from_str(text: &str) -> Result<Self, InvalidScript> {
        let mut members = Map::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, given)) = part.split_once('=') else {
                return Err(InvalidScript(format!(
                    "{part:?}: expected NAME=VALUE,…, for example declines=0.2"
                )));
            };
            let value = serde_json::from_str(given).unwrap_or_else(|_| Value::from(given));
            // A member at a time, so that the error can name it.
            let alone = Map::from_iter([(name.to_owned(), value.clone())]);
            Self::from_json(Value::from(alone))
                .map_err(|InvalidScript(error)| InvalidScript(format!("{part}: {error}")))?;
            if members.insert(name.to_owned(), value).is_some() {
                return Err(InvalidScript(format!("{name} is given twice")));
            }
        }
        Self::from_json(Value::from(members))
    }
}

impl Method {
    pub fn of(token: &str) -> Self {
        match token {
            "ok" => Self::Ok,
            "decline" => Self::Decline,
            "decline_soft" => Self::DeclineSoft,
            "decline_once" => Self::DeclineOnce,
            "needs_action" => Self::NeedsAction,
            "slow" => Self::Slow,
            "lost_answer" => Self::LostAnswer,
            "error" => Self::Error,
            "error_after" => Self::ErrorAfter,
            "refund_fails" => Self::RefundFails,
            "refund_pending" => Self::RefundPending,
            _ => Self::Other,
        }
    }
}

impl TryFrom<f64> for Probability {
    type Error = &'static str;

    fn try_from(value: f64) -> Result<Self, &'static str> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err("a probability is from 0 to 1") }
    }
}

impl From<Probability> for f64 {
    fn from(probability: Probability) -> Self {
        probability.0
    }
}

impl TryFrom<u64> for MeanMs {
    type Error = &'static str;

    fn try_from(value: u64) -> Result<Self, &'static str> {
        if value <= MEAN_MS_MAX { Ok(Self(value)) } else { Err("a mean duration is at most 60000 ms") }
    }
}

impl From<MeanMs> for u64 {
    fn from(mean: MeanMs) -> Self {
        mean.0
    }
}

#[cfg(test)]
mod tests;
