//! The script of the sandbox: which faults it causes, and how often.
//!
//! Each random draw depends only on the seed and the request, so the same payments and the same seed give the
//! same faults.

use std::{str::FromStr, time::Duration};

use domain::PaymentId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The largest mean duration.
const MEAN_MS_MAX: u64 = 60_000;
/// The longest drawn duration, in multiples of its mean.
const MEANS_MAX: f64 = 10.0;
const SLOW: Duration = Duration::from_secs(3);

/// Probabilities and mean durations. By default nothing fails. Payment methods named in [`TestMethod`] are
/// not random.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxScript {
    /// Selects the random draws.
    pub seed: u64,
    /// Share of charges that are declined permanently.
    pub declines: Probability,
    /// Share of charges that are declined and can be retried.
    pub soft_declines: Probability,
    /// Share of charges that stay pending and complete after `pending_ms`.
    pub pending: Probability,
    pub pending_ms: MeanMs,
    /// Share of requests whose connection is closed before they take effect.
    pub lost_requests: Probability,
    /// Share of requests that take effect and whose connection is closed without an answer.
    pub lost_answers: Probability,
    /// Share of requests that get 500 and have no effect.
    pub errors: Probability,
    /// Share of requests that get 500 and take effect.
    pub errors_after: Probability,
    /// The delay of answers.
    pub delay_ms: MeanMs,
    /// Share of refunds that fail.
    pub refund_failures: Probability,
    /// Share of refunds that stay pending and settle after `refund_pending_ms`.
    pub refunds_pending: Probability,
    pub refund_pending_ms: MeanMs,
    /// Shares of notices that are never sent, sent twice, or sent after later ones.
    pub lost_webhooks: Probability,
    pub duplicate_webhooks: Probability,
    pub reordered_webhooks: Probability,
    /// The delay from an event to its notice.
    pub webhook_delay_ms: MeanMs,
    /// Refuses every request about charges and sends no notice.
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

/// A malformed script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ORDERLY_SANDBOX_SCRIPT: {0}")]
pub struct InvalidScript(String);

impl InvalidScript {
    /// The problem without the name of the setting.
    pub fn problem(&self) -> &str {
        &self.0
    }
}

/// Payment methods with a fixed outcome, independent of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestMethod {
    /// Approved.
    Ok,
    /// Declined permanently.
    Decline,
    /// Declined; can be retried.
    DeclineSoft,
    /// Declined once in each payment, then approved.
    DeclineOnce,
    /// Pending until a request completes or abandons it.
    NeedsAction,
    /// Answered after 3 seconds.
    Slow,
    /// The request that makes the charge gets no answer.
    LostAnswer,
    /// Every request to charge gets 500 and makes no charge.
    Error,
    /// The request that makes the charge gets 500.
    ErrorAfter,
    /// Its refunds fail.
    RefundFails,
    /// Its refunds stay pending until a request completes or abandons them.
    RefundPending,
    /// Any other method: faults are random.
    Other,
}

/// What the client gets instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed without an answer.
    Dropped,
    /// Status 500.
    Error,
}

/// How a request that took effect is answered: after the delay, and not at all or with 500 if there is a
/// fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ending {
    pub delay: Duration,
    pub fault: Option<Fault>,
}

/// The bank's decision on a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeVerdict {
    Approved,
    Declined { retryable: bool },
    Pending(Wait),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefundVerdict {
    pub fails: bool,
    /// What the refund waits for before it settles. `None` if it settles at once.
    pub pending: Option<Wait>,
}

/// What a pending charge or refund waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Time(Duration),
    /// A request that completes or abandons it.
    Request,
}

/// The delays of the copies of one notice. Empty if it is never sent.
pub type NoticeDelays = Vec<Duration>;

/// The request that a random draw is for.
#[derive(Debug, Clone, Copy)]
pub struct DrawKey<'a> {
    pub payment: PaymentId,
    pub charge: u32,
    /// The operation, for example `capture 100` or `void`.
    pub operation: &'a str,
    /// Counts the requests for this operation.
    pub attempt: u64,
}

impl SandboxScript {
    /// True if requests can fail or be delayed at random, so that attempts must be counted.
    pub fn disturbs_requests(&self) -> bool {
        let chances = [self.lost_requests, self.lost_answers, self.errors, self.errors_after];
        chances.into_iter().any(|chance| chance.0 > 0.0) || self.delay_ms.0 > 0
    }

    /// The fault that prevents the effect of a request. `creates`: the request makes a charge of this method.
    pub fn before(&self, draw_key: DrawKey<'_>, method: TestMethod, creates: bool) -> Option<Fault> {
        match method {
            TestMethod::Other => {
                self.fault(draw_key, ("lost_requests", self.lost_requests), ("errors", self.errors))
            }
            TestMethod::Error if creates => Some(Fault::Error),
            _ => None,
        }
    }

    /// The answer to a request that took effect. `created`: the request made a charge of this method.
    pub fn after(&self, draw_key: DrawKey<'_>, method: TestMethod, created: bool) -> Ending {
        let at_once = Ending::default();
        match method {
            TestMethod::Other => {
                let (lost, error) =
                    (("lost_answers", self.lost_answers), ("errors_after", self.errors_after));
                let delay = self.duration(draw_key, "delay", self.delay_ms);
                Ending { delay, fault: self.fault(draw_key, lost, error) }
            }
            TestMethod::Slow if created => Ending { delay: SLOW, ..at_once },
            TestMethod::LostAnswer if created => Ending { fault: Some(Fault::Dropped), ..at_once },
            TestMethod::ErrorAfter if created => Ending { fault: Some(Fault::Error), ..at_once },
            _ => at_once,
        }
    }

    fn fault(
        &self,
        draw_key: DrawKey<'_>,
        (lost, losses): (&str, Probability),
        (error, errors): (&str, Probability),
    ) -> Option<Fault> {
        if self.happens(draw_key, lost, losses) {
            Some(Fault::Dropped)
        } else if self.happens(draw_key, error, errors) {
            Some(Fault::Error)
        } else {
            None
        }
    }

    /// The bank's decision on a new charge. `declined_before`: an earlier charge of this payment with the
    /// same method failed.
    pub fn charge(&self, draw_key: DrawKey<'_>, method: TestMethod, declined_before: bool) -> ChargeVerdict {
        match method {
            TestMethod::Decline => ChargeVerdict::Declined { retryable: false },
            TestMethod::DeclineSoft => ChargeVerdict::Declined { retryable: true },
            TestMethod::DeclineOnce if !declined_before => ChargeVerdict::Declined { retryable: true },
            TestMethod::NeedsAction => ChargeVerdict::Pending(Wait::Request),
            TestMethod::Other => self.drawn_charge(draw_key),
            _ => ChargeVerdict::Approved,
        }
    }

    fn drawn_charge(&self, draw_key: DrawKey<'_>) -> ChargeVerdict {
        let drawn = self.draw(draw_key, "verdict");
        if drawn < self.declines.0 {
            ChargeVerdict::Declined { retryable: false }
        } else if drawn < self.declines.0 + self.soft_declines.0 {
            ChargeVerdict::Declined { retryable: true }
        } else if self.happens(draw_key, "pending", self.pending) {
            let wait = self.duration(draw_key, "pending_ms", self.pending_ms);
            ChargeVerdict::Pending(Wait::Time(wait))
        } else {
            ChargeVerdict::Approved
        }
    }

    /// The bank's decision on a refund of a charge with this method.
    pub fn refund(&self, draw_key: DrawKey<'_>, method: TestMethod) -> RefundVerdict {
        match method {
            TestMethod::RefundFails => RefundVerdict { fails: true, pending: None },
            TestMethod::RefundPending => RefundVerdict { fails: false, pending: Some(Wait::Request) },
            TestMethod::Other => {
                let waits = self.happens(draw_key, "refunds_pending", self.refunds_pending);
                let wait = self.duration(draw_key, "refund_pending_ms", self.refund_pending_ms);
                RefundVerdict {
                    fails: self.happens(draw_key, "refund_failures", self.refund_failures),
                    pending: waits.then_some(Wait::Time(wait)),
                }
            }
            _ => RefundVerdict { fails: false, pending: None },
        }
    }

    /// Notices are lost, delayed and repeated for every payment method.
    pub fn notice_delays(&self, draw_key: DrawKey<'_>) -> NoticeDelays {
        /// The mean of an extra delay, so that later notices overtake this one.
        const OVERTAKEN: MeanMs = MeanMs(500);
        if self.happens(draw_key, "lost_webhooks", self.lost_webhooks) {
            return Vec::new();
        }
        let mut delay = self.duration(draw_key, "webhook_delay", self.webhook_delay_ms);
        if self.happens(draw_key, "reordered_webhooks", self.reordered_webhooks) {
            delay += self.duration(draw_key, "reordered_by", OVERTAKEN);
        }
        let mut delays = vec![delay];
        if self.happens(draw_key, "duplicate_webhooks", self.duplicate_webhooks) {
            delays.push(delay + self.duration(draw_key, "duplicated_after", OVERTAKEN));
        }
        delays
    }

    fn happens(&self, draw_key: DrawKey<'_>, chance: &str, probability: Probability) -> bool {
        probability.0 > 0.0 && self.draw(draw_key, chance) < probability.0
    }

    fn duration(&self, draw_key: DrawKey<'_>, chance: &str, mean: MeanMs) -> Duration {
        if mean.0 == 0 {
            return Duration::ZERO;
        }
        let means = -(1.0 - self.draw(draw_key, chance)).ln();
        Duration::from_millis(mean.0).mul_f64(means.min(MEANS_MAX))
    }

    /// From 0 to 1, excluding 1.
    fn draw(&self, draw_key: DrawKey<'_>, chance: &str) -> f64 {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(draw_key.payment.0);
        hash.update(draw_key.charge.to_be_bytes());
        hash.update(draw_key.attempt.to_be_bytes());
        hash.update(draw_key.operation);
        hash.update([0]);
        hash.update(chance);
        let digest = hash.finalize();
        let bytes: [u8; 4] = [digest[0], digest[1], digest[2], digest[3]];
        f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }

    fn check(self) -> Result<Self, InvalidScript> {
        if self.declines.0 + self.soft_declines.0 > 1.0 {
            return Err(InvalidScript("declines and soft_declines together are more than 1".to_owned()));
        }
        Ok(self)
    }

    /// Parses a script from JSON.
    pub fn from_json(value: Value) -> Result<Self, InvalidScript> {
        let script: Self = serde_json::from_value(value).map_err(|error| InvalidScript(error.to_string()))?;
        script.check()
    }
}

/// Parses a setting: `declines=0.2,lost_answers=0.2,seed=7`.
impl FromStr for SandboxScript {
    type Err = InvalidScript;

    fn from_str(text: &str) -> Result<Self, InvalidScript> {
        let mut members = Map::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, text)) = part.split_once('=') else {
                return Err(InvalidScript(format!(
                    "{part:?}: expected NAME=VALUE,…, for example declines=0.2"
                )));
            };
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
            // Parses each member alone, so that the error can name it.
            let alone = Map::from_iter([(name.to_owned(), value.clone())]);
            Self::from_json(Value::from(alone))
                .map_err(|InvalidScript(error)| InvalidScript(format!("{part}: {error}")))?;
            if members.insert(name.to_owned(), value).is_some() {
                return Err(InvalidScript(format!("{name} appears twice")));
            }
        }
        Self::from_json(Value::from(members))
    }
}

impl TestMethod {
    /// The behaviour of a payment method with this token.
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
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err("a probability must be from 0 to 1") }
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
        if value <= MEAN_MS_MAX { Ok(Self(value)) } else { Err("a mean duration must be at most 60000 ms") }
    }
}

impl From<MeanMs> for u64 {
    fn from(mean: MeanMs) -> Self {
        mean.0
    }
}

#[cfg(test)]
mod tests;
