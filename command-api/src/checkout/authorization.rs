//! Authorisations that have run out.

use domain::{
    CommandContext, PaymentId, Timestamp,
    payment::{Charge, Payment, PaymentCommand},
};

use super::Checkout;
use crate::executor::{ExecuteError, Outcome};

/// What became of an authorisation that was to run out by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOut {
    /// Its end or its later time is recorded, or the payment has no such authorisation.
    Settled,
    /// The provider still holds the money of a prepaid order, which would be cancelled with it.
    Held,
    /// The provider has not answered.
    Unanswered,
}

impl Checkout {
    /// Looks up an authorisation that was to run out by now, and records what the provider says: few providers send a
    /// webhook. If its time has passed for the provider too, ends it, so that the customer can be charged again.
    pub async fn settle_run_out(&self, id: PaymentId) -> Result<RunOut, ExecuteError> {
        let now = self.clock.now();
        let read =
            move |payment: &Payment, _| payment.has_run_out(now).then(|| payment.charge_under_way().cloned());
        let Some(charge) = self.payments.read(&id, read).await? else { return Ok(RunOut::Settled) };
        if let Some(reference) = charge.as_ref().and_then(|charge| self.reference_here(charge)) {
            match self.look_up_reference(reference).await {
                Ok(Some((of, report))) if of == id => {
                    self.record_run_out(id, PaymentCommand::Report { report, is_answer: false }).await?;
                }
                // The provider does not have it.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(payment.id = %id, %error,
                        "Cannot look up an authorisation that has run out; it stays until the provider answers");
                    return Ok(RunOut::Unanswered);
                }
            }
        }
        self.record_run_out(id, PaymentCommand::EndAuthorization { now }).await?;
        let is_held = self.has_run_out(id, now).await?;
        Ok(if is_held { RunOut::Held } else { RunOut::Settled })
    }

    /// The id of a charge at the present provider.
    fn reference_here<'a>(&self, charge: &'a Charge) -> Option<&'a str> {
        let provider = self.provider()?;
        let is_its_own = charge.provider.is_empty() || charge.provider == provider.name();
        charge.reference.as_deref().filter(|_| is_its_own)
    }

    async fn has_run_out(&self, id: PaymentId, now: Timestamp) -> Result<bool, ExecuteError> {
        self.payments.read(&id, move |payment, _| payment.has_run_out(now)).await
    }

    async fn record_run_out(&self, id: PaymentId, command: PaymentCommand) -> Result<(), ExecuteError> {
        let revision = self.payments.read(&id, |_, revision| revision).await?;
        let context = CommandContext::timed(&id.into(), id.0, command.name(), revision);
        let executed = self.payments.execute_reaction(&id, command, &context).await?;
        match (executed.outcome, executed.revision) {
            (Outcome::Recorded, Some(last)) => self.react_to_command(id, &context, last, false).await,
            (Outcome::Refused(refusal), _) => {
                tracing::warn!(payment.id = %id, %refusal,
                    "The payment refused the report of an authorisation that has run out; it is not recorded");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
