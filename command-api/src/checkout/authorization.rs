//! Authorisations that have run out.

use domain::{
    CommandContext, PaymentId,
    payment::{Payment, PaymentCommand},
};

use super::Checkout;
use crate::executor::{ExecuteError, Outcome};

impl Checkout {
    /// Ends the authorisation of a payment if it has run out, so that the customer can be charged again. The provider
    /// may say so later, or never.
    pub async fn end_authorization(&self, id: PaymentId) -> Result<(), ExecuteError> {
        let now = self.clock.now();
        let read = move |payment: &Payment, revision| (payment.has_run_out(now), revision);
        let (has_run_out, revision) = self.payments.read(&id, read).await?;
        if !has_run_out {
            return Ok(());
        }
        let command = PaymentCommand::EndAuthorization { now };
        let context = CommandContext::timed(&id.into(), id.0, command.name(), revision);
        let executed = self.payments.execute_reaction(&id, command, &context).await?;
        if let (Outcome::Recorded, Some(last)) = (executed.outcome, executed.revision) {
            self.react_to_command(id, &context, last, false).await?;
        }
        Ok(())
    }
}
