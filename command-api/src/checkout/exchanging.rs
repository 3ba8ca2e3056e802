//! Runs an exchange, one step after the other.

use domain::{
    CommandContext, Decider, Event, EventId, ExchangeId, RecordedEvent, Revision,
    checkout::{ExchangeView, Reaction, Step, payment_of_credit, react_to_exchange},
    exchange::{Exchange, ExchangeEvent, ExchangeRequested},
    payment::{PaymentCommand, PaymentDecider},
};
use uuid::Uuid;

use super::Checkout;
use crate::executor::ExecuteError;

/// Steps of one run. An exchange takes at most eight, and each race with another command adds one.
const STEPS_MAX: usize = 32;

/// An exchange whose intent is recorded.
struct Intent {
    id: ExchangeId,
    requested: ExchangeRequested,
    /// The event with the intent. It causes every step.
    cause: EventId,
    correlation_id: Uuid,
}

impl Checkout {
    /// The event that requested an exchange. `None` before it is durable.
    pub async fn requested_exchange(&self, id: ExchangeId) -> Result<Option<RecordedEvent>, ExecuteError> {
        let first = self.store().log().read_stream(&id.into(), 0, 1).await?;
        Ok(first.into_iter().next())
    }

    /// Runs an exchange that was requested to its end; returns when all steps are durable. A repeated run makes only
    /// the steps that are missing.
    pub async fn run_exchange(&self, id: ExchangeId) -> Result<Exchange, ExecuteError> {
        let recorded = self.requested_exchange(id).await?.ok_or(ExecuteError::Conflict)?;
        let Event::Exchange(ExchangeEvent::Requested(requested)) = recorded.decode()? else {
            return Err(ExecuteError::Unreadable(
                format!("exchange-{id} does not begin with its request").into(),
            ));
        };
        let correlation_id = recorded.decode_metadata()?.correlation_id;
        let intent = Intent { id, requested, cause: recorded.id, correlation_id };
        for _ in 0..STEPS_MAX {
            if self.step_of_exchange(&intent).await? {
                return self.exchanges.read(&id, |exchange, _| *exchange).await;
            }
        }
        Err(ExecuteError::Conflict)
    }

    /// Decides and makes the next step. True if there is none.
    async fn step_of_exchange(&self, intent: &Intent) -> Result<bool, ExecuteError> {
        let Intent { id, requested, cause, correlation_id } = intent;
        let new_id = requested.order.order_id;
        // Two runs of one exchange in this process then decide one after the other.
        let guard = self.lock_order(new_id).await?;
        let (first, new) = (self.order(requested.order_id).await?, self.order(new_id).await?);
        let exchange = self.exchanges.read(id, |exchange, _| *exchange).await?;
        let payment_id = payment_of_credit(requested);
        let payment = self.payments.read(&payment_id, |payment, _| payment.clone()).await?;
        let view = ExchangeView {
            exchange_id: *id,
            requested,
            exchange: &exchange,
            first: &first,
            new: &new,
            payment: &payment,
        };
        match react_to_exchange(&view) {
            Reaction::None => return Ok(true),
            reaction @ Reaction::Reserve(_) => {
                let placed = self.recorded_placing(new_id).await?;
                self.run(new_id, reaction, placed, *correlation_id).await?;
            }
            Reaction::Send(steps) => {
                let gives_credit =
                    steps.iter().any(|step| matches!(step, Step::Payment(_, PaymentCommand::GiveCredit)));
                self.send_all(steps, *cause, *correlation_id).await?;
                drop(guard);
                if gives_credit {
                    self.record_credit(intent).await?;
                }
            }
        }
        Ok(false)
    }

    /// Runs the reaction to the captured credit, so that the answer to the request shows an order that is paid. The
    /// process manager runs it too.
    async fn record_credit(&self, intent: &Intent) -> Result<(), ExecuteError> {
        let payment_id = payment_of_credit(&intent.requested);
        let name = PaymentDecider::command_name(&PaymentCommand::GiveCredit);
        let (cause, correlation_id) = (intent.cause, intent.correlation_id);
        let context = CommandContext::reaction(cause, correlation_id, &payment_id.into(), name);
        let revision: Option<Revision> = self.payments.read(&payment_id, |_, revision| revision).await?;
        match revision {
            Some(last) => self.react_to_command(payment_id, &context, last, false).await,
            None => Ok(()),
        }
    }
}
