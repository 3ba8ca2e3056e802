//! Ships the orders that are credited later, returns their units line by line, and records each refund as
//! paid out.

use std::collections::HashMap;

use domain::{Amount, ReturnId, order::FulfilmentStatus};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    client::{Answer, PostError, Refusal},
    keys::in_key,
    refunds_file::{OrderReturns, RefundsFile, Return},
    report::{RefundsReport, ReturnsOutcome},
    sales::{Everything, Import, PlacedOrder},
};
use crate::{commands::Failure, progress::ProgressDisplay};

#[derive(Serialize)]
struct ReturnBody<'a> {
    lines: [ReturnedLine; 1],
    refund_amount: Amount,
    reason: &'a str,
}

#[derive(Serialize)]
struct ReturnedLine {
    line: u32,
    quantity: u32,
    restock: bool,
}

#[derive(Serialize)]
struct PaidOutBody<'a> {
    reference: &'a str,
}

#[derive(Deserialize)]
struct ReturnAnswer {
    return_id: ReturnId,
    fulfilment_status: FulfilmentStatus,
}

impl Import {
    /// Returns and refunds the orders of a refunds file, `concurrency` orders at once.
    pub(super) async fn refund(
        &self,
        file: &RefundsFile,
        orders: &HashMap<&str, PlacedOrder>,
        concurrency: usize,
        report: &mut RefundsReport,
    ) -> Result<(), Failure> {
        let progress = ProgressDisplay::start("orders refunded", file.orders.len() as u64);
        let refunds = stream::iter(&file.orders).map(|returns| async move {
            let outcome = match orders.get(returns.invoice.as_str()) {
                Some(order) => self.return_order(order, returns).await,
                None => Err(order_not_placed().into()),
            };
            (returns, outcome)
        });
        let mut outcomes = refunds.buffer_unordered(concurrency);
        while let Some((returns, outcome)) = outcomes.next().await {
            progress.advance();
            match outcome {
                Ok(returned) => report.returned(returns, &returned),
                Err(PostError::Refused(refusal)) => report.refuse(&returns.invoice, &refusal),
                Err(unreachable @ PostError::Unreachable { .. }) => return Err(unreachable.into()),
            }
        }
        Ok(())
    }

    /// Sends the returns of an order one after another, because a return may be refused due to the returns
    /// before it.
    async fn return_order<'a>(
        &self,
        order: &PlacedOrder,
        returns: &'a OrderReturns,
    ) -> Result<ReturnsOutcome<'a>, PostError> {
        let key = self.keys.record(&returns.invoice);
        let path = format!("/v1/orders/{}", order.order_id);
        self.ship(&path, &key).await?;
        let mut outcome = ReturnsOutcome::default();
        let mut to_pay_out = Vec::new();
        for part in &returns.returns {
            let key = format!("{key}/returns/{}", self.name_of(part));
            match self
                .client
                .post::<ReturnAnswer>(&format!("{path}/returns"), &key, &ReturnBody::of(part))
                .await
            {
                Ok(Answer { body, replayed }) => {
                    outcome.accepted += 1;
                    outcome.before += u64::from(replayed);
                    outcome.wholly = body.fulfilment_status == FulfilmentStatus::Returned;
                    to_pay_out.push((part, body.return_id));
                }
                Err(PostError::Refused(refusal)) => outcome.refused.push((part, refusal)),
                Err(unreachable @ PostError::Unreachable { .. }) => return Err(unreachable),
            }
        }
        for (part, return_id) in to_pay_out {
            self.pay_out(order, &key, part, return_id, &mut outcome).await?;
        }
        Ok(outcome)
    }

    /// What names a return in its key: its credit line by the number in its invoice, so that another row of the
    /// file changes nothing. Earlier versions named both lines by their rows in the file.
    fn name_of(&self, part: &Return) -> String {
        if self.is_of_earlier_version {
            format!("{}/{}", part.credit_row, part.sale_row)
        } else {
            format!("{}/{}/{}", in_key(&part.credit_invoice), part.credit_line, part.line)
        }
    }

    /// Ships the rest of the order. Accepts an order that is shipped already.
    async fn ship(&self, path: &str, key: &str) -> Result<(), PostError> {
        let (path, key) = (format!("{path}/shipments"), format!("{key}/ship"));
        match self.client.post::<IgnoredAny>(&path, &key, &Everything {}).await {
            Err(PostError::Refused(refusal)) if refusal.code == "nothing_to_ship" => Ok(()),
            shipped => shipped.map(drop),
        }
    }

    /// Records the refund as paid out. The refund has the id of its return. It may not exist yet: the
    /// platform requests it from the payment after it has answered the return.
    async fn pay_out<'a>(
        &self,
        order: &PlacedOrder,
        key: &str,
        part: &'a Return,
        return_id: ReturnId,
        outcome: &mut ReturnsOutcome<'a>,
    ) -> Result<(), PostError> {
        let Some(payment_id) = order.payment_id.filter(|_| part.refund_amount.is_positive()) else {
            return Ok(());
        };
        let path = format!("/v1/payments/{payment_id}/refunds/{return_id}/succeed");
        let key = format!("{key}/refunds/{}", self.name_of(part));
        let body = PaidOutBody { reference: &part.credit_invoice };
        match self.client.post_when_found::<IgnoredAny>(&path, &key, &body).await {
            Ok(_) => outcome.refunded = outcome.refunded.saturating_add(part.refund_amount),
            Err(PostError::Refused(refusal)) => outcome.refused.push((part, refusal)),
            Err(unreachable @ PostError::Unreachable { .. }) => return Err(unreachable),
        }
        Ok(())
    }
}

impl<'a> ReturnBody<'a> {
    fn of(part: &'a Return) -> Self {
        let line = ReturnedLine { line: part.line, quantity: part.quantity, restock: true };
        Self { lines: [line], refund_amount: part.refund_amount, reason: &part.credit_invoice }
    }
}

fn order_not_placed() -> Refusal {
    Refusal::new("order_not_placed", "the order of these credits was refused, or differs from the file")
}
