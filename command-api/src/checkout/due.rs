//! Orders whose payment is due.

use domain::{
    CommandContext, OrderId, PaymentId, Timestamp,
    checkout::{WhenDue, when_due},
    order::OrderCommand,
};

use super::Checkout;
use crate::executor::{ExecuteError, Mode};

impl Checkout {
    /// Expires an order whose payment was due before `now`, unless the payment says otherwise. What the payment has
    /// taken is recorded first; where an answer of the provider is missing, the order waits for it: false.
    pub async fn settle_due(&self, order_id: OrderId, now: Timestamp) -> Result<bool, ExecuteError> {
        let _guard = self.locks.lock(order_id).await;
        // Twice: once the money is recorded, the order may still be short of some.
        for _ in 0..2 {
            let order = self.order(order_id).await?;
            let payment_id = order.state.payment_id().unwrap_or_else(|| PaymentId::of_order(order_id));
            let payment = self.payments.read(&payment_id, |payment, _| payment.clone()).await?;
            let command = match when_due(&order.state, &payment, now) {
                WhenDue::Nothing => return Ok(true),
                WhenDue::Wait => {
                    tracing::debug!(order.id = %order_id, "a payment is due and in doubt: the order waits for the provider");
                    return Ok(false);
                }
                WhenDue::Record(command) | WhenDue::Expire(command) => command,
            };
            let expires = matches!(command, OrderCommand::Expire { .. });
            let context = CommandContext::timed(&order_id.into(), order_id.0, command.name(), order.revision);
            self.orders.execute(&order_id, command, &context, Mode::REACTION).await?;
            if expires {
                tracing::info!(order.id = %order_id, "an order expired: its payment did not come in time");
                return Ok(true);
            }
        }
        Ok(true)
    }
}
