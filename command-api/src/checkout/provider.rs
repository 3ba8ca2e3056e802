//! Sends the open work of a payment to the payment provider, and records the answers.
//!
//! The open work follows from the payment's events alone. So any task may call this, at any time and after
//! any crash: each call sends all open work. A lost answer is recorded as an unknown outcome and looked up
//! later; it never counts as a failure.
//!
//! One task at a time attends a payment ([`desk`]), and only its call takes one of the places of the process
//! ([`gate`]). So requests that repeat a hanging charge take one place together.

mod attendance;
mod breaker;
mod calls;
mod desk;
mod gate;
mod measured;
mod payment;

use std::sync::Arc;

use domain::{PaymentId, payment::ProviderReport};
use infra::{
    health::Health,
    payment_provider::{PaymentProvider, ProviderError},
};
use serde_json::Value;
use uuid::Uuid;

pub use self::gate::PROVIDER_CALLS_MAX;
use self::{attendance::Attendance, desk::Desk, gate::Gate, measured::CallKind};
use super::{Checkout, Parts};
use crate::executor::ExecuteError;

/// The state of a payment's open work after a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProviderStatus {
    /// True if work is still open, so the caller must ask again later.
    pub is_open: bool,
    /// The step that the customer must take before the charge continues.
    pub next_action: Option<Value>,
}

/// Why the provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The payment has just recorded a request.
    NewRequest,
    /// A timer found open work. Only then is a refund that failed requested again.
    Retry,
}

/// A payment provider with the tasks and limits of its calls.
#[derive(Clone)]
pub(super) struct AttendedProvider {
    provider: Arc<dyn PaymentProvider>,
    gate: Arc<Gate>,
    desk: Desk,
}

impl std::fmt::Debug for AttendedProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { provider, gate, desk } = self;
        let mut shown = f.debug_struct("AttendedProvider");
        shown.field("provider", &provider.name()).field("gate", gate).field("desk", desk).finish()
    }
}

impl AttendedProvider {
    pub fn new(provider: Arc<dyn PaymentProvider>, health: Health) -> Self {
        let gate = Arc::new(Gate::new(provider.name(), health));
        Self { provider, gate, desk: Desk::default() }
    }
}

impl Checkout {
    /// Adds the provider that charges, captures, voids and refunds. `health` shows when its calls fail.
    pub fn with_provider(self, provider: Arc<dyn PaymentProvider>, health: Health) -> Self {
        let provider = Some(AttendedProvider::new(provider, health));
        Self(Arc::new(Parts { provider, ..Arc::unwrap_or_clone(self.0) }))
    }

    pub fn provider(&self) -> Option<&Arc<dyn PaymentProvider>> {
        self.provider.as_ref().map(|attended| &attended.provider)
    }

    /// Asks the provider for all open work of this payment, or shares the outcome of the task that asks already.
    /// The task starts at once and does not need the returned future. `None` without a provider, or if too many
    /// payments are attended; the timers ask later.
    pub fn ask_provider(
        &self,
        id: PaymentId,
    ) -> Option<impl Future<Output = Result<ProviderStatus, ExecuteError>> + Send + 'static> {
        self.attend(id, Trigger::NewRequest, true)
    }

    /// [`Checkout::ask_provider`] for work that can wait: `None` also if a call could not be sent at once.
    pub fn try_ask_provider(
        &self,
        id: PaymentId,
        trigger: Trigger,
    ) -> Option<impl Future<Output = Result<ProviderStatus, ExecuteError>> + Send + 'static> {
        let is_free = self.provider.as_ref().is_some_and(|attended| attended.gate.is_free());
        self.attend(id, trigger, is_free)
    }

    /// The state of the provider's charge with this id; see [`PaymentProvider::look_up_reference`]. `None` also without
    /// a provider.
    pub async fn look_up_reference(
        &self,
        reference: &str,
    ) -> Result<Option<(PaymentId, ProviderReport)>, ProviderError> {
        let Some(attended) = &self.provider else { return Ok(None) };
        // The payment is not known yet. This id only counts the failing charges.
        let id = PaymentId(Uuid::new_v5(&Uuid::NAMESPACE_URL, reference.as_bytes()));
        attended.gate.call(id, CallKind::LookUp, attended.provider.look_up_reference(reference)).await
    }

    fn attend(
        &self,
        id: PaymentId,
        trigger: Trigger,
        may_begin: bool,
    ) -> Option<impl Future<Output = Result<ProviderStatus, ExecuteError>> + Send + 'static> {
        let attended = self.provider.as_ref()?;
        let (expected, seat) = attended.desk.join(id, may_begin)?;
        if let Some(seat) = seat {
            // A task of its own: it records the answer even if no request waits for it any more.
            tokio::spawn(Attendance::new(self.clone(), attended.clone(), id, trigger).run(seat));
        }
        Some(expected.outcome())
    }
}
