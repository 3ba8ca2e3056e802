//! What the gate measures of the calls to the payment provider.

use std::time::Duration;

use infra::{
    measurements::{
        BREAKER_STATE, Counter, Gauge, Histogram, PROVIDER_CALL_SECONDS, PROVIDER_CALLS,
        PROVIDER_CALLS_UNDER_WAY,
    },
    payment_provider::ProviderError,
};

use super::breaker::Phase;

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    Charge,
    Capture,
    Void,
    LookUp,
    Refund,
}

impl CallKind {
    const ALL: [Self; 5] = [Self::Charge, Self::Capture, Self::Void, Self::LookUp, Self::Refund];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::LookUp => "look_up",
            Self::Refund => "refund",
        }
    }
}

pub(super) struct Measured {
    pub under_way: Gauge,
    /// In the order of [`CallKind::ALL`].
    operations: [Calls; 5],
    phases: [(Phase, Gauge); 3],
}

/// The calls of one operation, by their outcome.
struct Calls {
    answered: Counter,
    refused: Counter,
    unreachable: Counter,
    outcome_unknown: Counter,
    credentials: Counter,
    not_sent: Counter,
    duration: Histogram,
}

impl Measured {
    pub fn of(provider: &str) -> Self {
        let measured = Self {
            under_way: PROVIDER_CALLS_UNDER_WAY.with([provider]),
            operations: CallKind::ALL.map(|kind| Calls::of(provider, kind)),
            phases: Phase::ALL.map(|phase| (phase, BREAKER_STATE.with([provider, phase.as_str()]))),
        };
        measured.set_phase(Phase::Closed);
        measured
    }

    pub fn count_unsent(&self, kind: CallKind) {
        self.calls(kind).not_sent.increment(1);
    }

    pub fn count(&self, kind: CallKind, error: Option<&ProviderError>, took: Duration) {
        let calls = self.calls(kind);
        calls.duration.record(took);
        let counter = match error {
            None => &calls.answered,
            Some(ProviderError::Refused(_)) => &calls.refused,
            Some(ProviderError::Unreachable(_)) => &calls.unreachable,
            Some(ProviderError::OutcomeUnknown(_)) => &calls.outcome_unknown,
            Some(ProviderError::Credentials(_)) => &calls.credentials,
        };
        counter.increment(1);
    }

    pub fn set_phase(&self, current: Phase) {
        for (phase, gauge) in &self.phases {
            gauge.set(if *phase == current { 1.0 } else { 0.0 });
        }
    }

    fn calls(&self, kind: CallKind) -> &Calls {
        let [charge, capture, void, look_up, refund] = &self.operations;
        match kind {
            CallKind::Charge => charge,
            CallKind::Capture => capture,
            CallKind::Void => void,
            CallKind::LookUp => look_up,
            CallKind::Refund => refund,
        }
    }
}

impl Calls {
    fn of(provider: &str, kind: CallKind) -> Self {
        let operation = kind.as_str();
        let counter = |outcome| PROVIDER_CALLS.with([provider, operation, outcome]);
        Self {
            answered: counter("answered"),
            refused: counter("refused"),
            unreachable: counter("unreachable"),
            outcome_unknown: counter("outcome_unknown"),
            credentials: counter("credentials"),
            not_sent: counter("not_sent"),
            duration: PROVIDER_CALL_SECONDS.with([provider, operation]),
        }
    }
}
