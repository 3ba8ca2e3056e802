//! The gate in front of the payment provider: bounds the calls at once, and stops them while the provider fails.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::PaymentId;
use infra::{
    health::Health,
    measurements::UnderWay,
    payment_provider::ProviderError,
    traces::{self, Attribute, Kind, Span},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    breaker::{Breaker, Change, FAILING_PAYMENTS_MAX},
    measured::{CallKind, Measured},
};

/// Calls of one process to the provider at once.
pub const PROVIDER_CALLS_MAX: usize = 64;
/// Time limit of the wait for one of these places. The call is then left to the timers.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(10);
/// A call without an answer after this time has an unknown outcome.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_MAX: Duration = Duration::from_secs(CALL_TIMEOUT.as_secs() + 5);
/// The condition at `/readyz` while calls are stopped.
const CONDITION: &str = "payment_provider";

pub(super) struct Gate {
    provider: &'static str,
    places: Semaphore,
    breaker: Mutex<Breaker>,
    health: Health,
    measured: Measured,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl Gate {
    /// `provider`: the name of the provider.
    pub fn new(provider: &'static str, health: Health) -> Self {
        let (places, breaker) = (Semaphore::new(PROVIDER_CALLS_MAX), Mutex::new(Breaker::new(PROBE_MAX)));
        Self { provider, places, breaker, health, measured: Measured::of(provider) }
    }

    /// True if a call could be sent at once.
    pub fn is_free(&self) -> bool {
        self.places.available_permits() > 0 && self.breaker().admits(Instant::now())
    }

    /// True while no calls are sent because the provider fails.
    pub fn is_stopped(&self) -> bool {
        !self.breaker().admits(Instant::now())
    }

    /// Sends a call about this payment. Fails as [`ProviderError::Unreachable`] if it is not sent.
    pub async fn call<T>(
        &self,
        payment: PaymentId,
        kind: CallKind,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let not_sent = |why: &str| {
            self.measured.count_unsent(kind);
            ProviderError::Unreachable(format!("the call is not sent: {why}"))
        };
        let Ok(Ok(_place)) = timeout(PLACE_WAIT_MAX, self.places.acquire()).await else {
            return Err(not_sent("too many others are under way"));
        };
        if !self.admit() {
            return Err(not_sent("calls of other payments failed"));
        }
        let (_under_way, begun) = (UnderWay::begin(&self.measured.under_way), Instant::now());
        let lost = || ProviderError::OutcomeUnknown(format!("no answer within {} s", CALL_TIMEOUT.as_secs()));
        let mut span = Span::begin("provider call", Kind::Client, traces::current());
        span.describe(|| {
            let (provider, operation) = (self.provider, kind.as_str());
            [Attribute::new("provider", provider), Attribute::new("provider.operation", operation)]
        });
        let call = traces::within(span.context(), call);
        let answer = timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| Err(lost()));
        let error = answer.as_ref().err();
        if let Some(error) = error {
            span.fail(|| error.to_string());
        }
        drop(span);
        self.measured.count(kind, error, begun.elapsed());
        self.note(payment, error);
        answer
    }

    fn admit(&self) -> bool {
        let mut breaker = self.breaker();
        let admits = breaker.admit(Instant::now());
        self.measured.set_phase(breaker.phase());
        admits
    }

    fn note(&self, payment: PaymentId, error: Option<&ProviderError>) {
        let mut breaker = self.breaker();
        let change = match error {
            None | Some(ProviderError::Refused(_)) => breaker.succeeded(),
            Some(
                ProviderError::Unreachable(_)
                | ProviderError::OutcomeUnknown(_)
                | ProviderError::Credentials(_),
            ) => breaker.failed(payment, Instant::now()),
        };
        self.measured.set_phase(breaker.phase());
        // Under the lock of the breaker, so the condition is that of the last change.
        match change {
            None => {}
            Some(Change::Opened) => {
                self.health.degraded(
                    CONDITION,
                    format!(
                        "calls of {FAILING_PAYMENTS_MAX} payments to the provider {} failed in a row; \
                     Orderly probes it and continues when it answers",
                        self.provider
                    ),
                );
                tracing::error!(
                    provider = self.provider,
                    payments = FAILING_PAYMENTS_MAX,
                    "The payment provider fails; its calls stop until it answers a probe"
                );
            }
            Some(Change::Closed) => {
                self.health.resolve(CONDITION);
                tracing::info!(
                    provider = self.provider,
                    "The payment provider answers again; its calls continue"
                );
            }
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
