//! Orders whose payment is overdue.

use domain::{
    CommandContext, OrderId, PaymentId, Timestamp,
    checkout::{WhenDue, when_due},
    order::OrderCommand,
};

use super::Checkout;
use crate::executor::ExecuteError;

impl Checkout {
    /// Expires an order whose payment was due at `now` or earlier. Money that the payment has captured is
    /// recorded on the order first. False if the order must wait for an answer of the provider.
    pub async fn settle_due(&self, order_id: OrderId, now: Timestamp) -> Result<bool, ExecuteError> {
        let _guard = self.locks.try_lock(order_id)?;
        // Twice: after the money is recorded, the order may still not be paid in full.
        for _ in 0..2 {
            let order = self.order(order_id).await?;
            let payment_id = order.state.payment_id().unwrap_or_else(|| PaymentId::of_order(order_id));
            let payment = self.payments.read(&payment_id, |payment, _| payment.clone()).await?;
            let command = match when_due(&order.state, &payment, now) {
                WhenDue::Nothing => return Ok(true),
                WhenDue::Wait => {
                    tracing::debug!(order.id = %order_id,
                        "An overdue order does not expire yet: the outcome of its payment is unknown");
                    return Ok(false);
                }
                WhenDue::Record(command) | WhenDue::Expire(command) => command,
            };
            let expires = matches!(command, OrderCommand::Expire { .. });
            let context = CommandContext::timed(&order_id.into(), order_id.0, command.name(), order.revision);
            self.orders.execute_reaction(&order_id, command, &context).await?;
            if expires {
                tracing::info!(order.id = %order_id, "An order expired: it was not paid in time");
                return Ok(true);
            }
        }
        Ok(true)
    }
}
