//! The reaction to OrderPlaced: reserve, allocate or reject, request the payment.

use std::collections::BTreeMap;

use domain::{
    CommandContext, Decider, EventId, OrderId, Revision, Sku,
    checkout::{payment_request, settle},
    order::{OrderDecider, OrderStateSummary, Shortage},
    payment::PaymentDecider,
    stock::{StockCommand, StockDecider, StockRefusal},
};
use futures::future::join_all;
use uuid::Uuid;

use super::Checkout;
use crate::executor::{ExecuteError, Flow, Outcome};

/// How the reaction to OrderPlaced ended.
#[derive(Debug, Clone)]
pub struct PlacedOutcome {
    pub order: OrderStateSummary,
    pub order_revision: Option<Revision>,
    /// False if an earlier run had allocated or rejected the order.
    pub by_this_run: bool,
}

impl Checkout {
    /// Runs the reaction to OrderPlaced, from the reservations to the payment request. Submits each step
    /// without waiting for the one before, where the store allows that; returns when the last step is
    /// durable.
    ///
    /// All steps run in `flow`: if an earlier step failed, the later ones are refused. The caller holds the
    /// order's lock.
    pub async fn run_placed(
        &self,
        order_id: OrderId,
        units: &BTreeMap<Sku, u32>,
        placed: EventId,
        correlation_id: Uuid,
        flow: Flow,
    ) -> Result<PlacedOutcome, ExecuteError> {
        let shortages = self.reserve(order_id, units, placed, correlation_id, flow).await?;
        let nothing_held = shortages.len() == units.len();

        let command = settle(order_id, shortages);
        let settle_context = reaction::<OrderDecider>(&order_id, &command, placed, correlation_id);
        let settling = EventId::of_command(settle_context.id, 0);
        let settled = self.orders.submit_in(flow, &order_id, command, settle_context).await?;
        let by_this_run = matches!(settled.outcome, Outcome::Recorded);

        let order = settled.summary;
        match payment_request(order_id, &order) {
            Some((payment_id, request)) => {
                let request_context =
                    reaction::<PaymentDecider>(&payment_id, &request, settling, correlation_id);
                if by_this_run {
                    self.payments.create_in(flow, &payment_id, request, request_context).await?;
                } else {
                    self.payments.finish_in(flow, &payment_id, request, request_context).await?;
                }
            }
            // Nothing to pay, or rejected: wait for the order's own last append.
            None => self.orders.read(&order_id, |_, _| ()).await?,
        }
        if flow.is_superseded(&**self.store()) {
            return Err(ExecuteError::Superseded);
        }
        if by_this_run {
            self.handled.insert(placed);
            // The reaction to the rejection releases what a rejected order holds.
            if !order.status.is_final() || nothing_held {
                self.handled.insert(settling);
            }
        }
        Ok(PlacedOutcome { order, order_revision: settled.revision, by_this_run })
    }

    /// Reserves the units of every SKU; returns a shortage for each SKU that has too few.
    async fn reserve(
        &self,
        order_id: OrderId,
        units: &BTreeMap<Sku, u32>,
        cause: EventId,
        correlation_id: Uuid,
        flow: Flow,
    ) -> Result<Vec<Shortage>, ExecuteError> {
        let reserving = units.iter().map(async |(sku, &quantity)| {
            let command = StockCommand::Reserve { order_id, quantity };
            let context = reaction::<StockDecider>(sku, &command, cause, correlation_id);
            let executed = self.stock.submit_in(flow, sku, command, context).await?;
            match executed.outcome {
                Outcome::Refused(StockRefusal::Insufficient { requested, available }) => {
                    Ok(Some(Shortage { sku: sku.clone(), requested, available }))
                }
                Outcome::Refused(refusal) => {
                    tracing::error!(order.id = %order_id, stock.sku = %sku, %refusal,
                        "A reservation was refused unexpectedly; it counts as a shortage");
                    let available = executed.summary.available();
                    Ok(Some(Shortage { sku: sku.clone(), requested: quantity, available }))
                }
                _ => Ok(None),
            }
        });
        let outcomes: Vec<Result<Option<Shortage>, ExecuteError>> = join_all(reserving).await;
        outcomes.into_iter().filter_map(Result::transpose).collect()
    }
}

/// The context of a reaction's command to the aggregate `id`.
fn reaction<A: Decider>(
    id: &A::Id,
    command: &A::Command,
    cause: EventId,
    correlation_id: Uuid,
) -> CommandContext {
    CommandContext::reaction(cause, correlation_id, &id.clone().into(), A::command_name(command))
}
