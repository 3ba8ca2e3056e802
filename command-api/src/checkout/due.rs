//! Orders whose payment is overdue.

use domain::{
    CommandContext, OrderId, Timestamp,
    checkout::{WhenDue, when_due},
    order::{OrderCommand, PAYMENTS_MAX},
};
use futures::future::try_join_all;

use super::Checkout;
use crate::executor::ExecuteError;

impl Checkout {
    /// Expires an order whose payment was due at `now` or earlier. Money that its payments have captured is
    /// recorded on the order first. False if the order must wait for an answer of the provider.
    pub async fn settle_due(&self, order_id: OrderId, now: Timestamp) -> Result<bool, ExecuteError> {
        let _guard = self.locks.try_lock(order_id)?;
        // Once more than the order has payments: after the money of each is recorded, the order may still not be paid in
        // full.
        for _ in 0..=PAYMENTS_MAX {
            let order = self.order(order_id).await?;
            let reading = order
                .state
                .tenders()
                .iter()
                .map(|tender| self.payments.read(&tender.payment_id, |payment, _| payment.clone()));
            let payments = try_join_all(reading).await?;
            let command = match when_due(&order.state, &payments, now) {
                WhenDue::Nothing => return Ok(true),
                WhenDue::Wait => {
                    tracing::debug!(order.id = %order_id,
                        "An overdue order does not expire yet: the outcome of a payment is unknown");
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
