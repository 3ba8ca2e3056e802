//! The reaction to OrderPlaced: reserve, allocate or reject, request the payment.

use std::collections::BTreeMap;

use domain::{
    CommandContext, Decider, Event, EventId, OrderId, RecordedEvent, Revision, Sku,
    checkout::{payment_requests, react_to_order, settle},
    order::{Order, OrderDecider, OrderEvent, OrderStateSummary},
    payment::PaymentDecider,
    stock::{StockCommand, StockDecider},
};
use futures::future::try_join_all;
use uuid::Uuid;

use super::{Checkout, reserving::Reserved};
use crate::{
    executor::{ExecuteError, Flow, Outcome},
    pages::Pages,
};

/// An order whose OrderPlaced event is recorded.
#[derive(Debug, Clone, Copy)]
pub struct PlacedOrder<'a> {
    pub id: OrderId,
    /// What the order reserves.
    pub units: &'a BTreeMap<Sku, u32>,
    /// The OrderPlaced event.
    pub placed: EventId,
    pub correlation_id: Uuid,
    /// True if this flow has recorded the event. Otherwise an earlier run may hold units of the order.
    pub is_new: bool,
}

/// How the reaction to OrderPlaced ended.
#[derive(Debug, Clone)]
pub struct PlacedOutcome {
    pub order: OrderStateSummary,
    pub order_revision: Option<Revision>,
    /// False if an earlier run had allocated or rejected the order.
    pub by_this_run: bool,
}

impl Checkout {
    /// Runs the reaction to OrderPlaced, from the reservations to the payment request or the releases. Submits
    /// each step without waiting for the one before, where the store allows that; returns when the last step
    /// is durable.
    ///
    /// All steps run in `flow`: if an earlier step failed, the later ones are refused. The caller holds the
    /// order's lock.
    pub async fn run_placed(
        &self,
        order: PlacedOrder<'_>,
        flow: Flow,
    ) -> Result<PlacedOutcome, ExecuteError> {
        let Reserved { held, shortages } = self.reserve(order, flow).await?;
        let is_short = !shortages.is_empty();

        let PlacedOrder { id, placed, correlation_id, .. } = order;
        let command = settle(id, shortages);
        let settle_context = reaction::<OrderDecider>(&id, &command, placed, correlation_id);
        let settling = EventId::of_command(settle_context.id, 0);
        let settled = if is_short {
            // Units are released only after the rejection is durable.
            self.orders.finish_in(flow, &id, command, settle_context).await?
        } else {
            self.orders.submit_in(flow, &id, command, settle_context).await?
        };
        let by_this_run = matches!(settled.outcome, Outcome::Recorded);

        let requests = payment_requests(id, &settled.summary);
        if requests.is_empty() && !is_short {
            // Nothing to pay: wait for the order's own last append.
            self.orders.read(&id, |_, _| ()).await?;
        }
        try_join_all(requests.into_iter().map(async |(payment_id, request)| {
            let context = reaction::<PaymentDecider>(&payment_id, &request, settling, correlation_id);
            if by_this_run {
                self.payments.create_in(flow, &payment_id, request, context).await
            } else {
                self.payments.finish_in(flow, &payment_id, request, context).await
            }
        }))
        .await?;
        if flow.is_superseded(&**self.store()) {
            return Err(ExecuteError::Superseded);
        }
        if by_this_run {
            self.handled.insert(placed);
            if !is_short || self.release_rejected(order, held, settling).await {
                self.handled.insert(settling);
            }
        }
        Ok(PlacedOutcome { order: settled.summary, order_revision: settled.revision, by_this_run })
    }

    /// The event that settled an order and so decided its first answer.
    pub async fn settling(&self, id: OrderId) -> Result<Option<(RecordedEvent, OrderEvent)>, ExecuteError> {
        let settles = |event: &OrderEvent| {
            matches!(event, OrderEvent::Allocated(_) | OrderEvent::Rejected(_)) || ends(event)
        };
        self.first_of(id, settles).await
    }

    /// Requests the payments of an order that was allocated earlier, if a crash prevented that. The caller holds the
    /// order's lock.
    pub async fn request_payments(
        &self,
        id: OrderId,
        (allocated, event): (&RecordedEvent, &OrderEvent),
        correlation_id: Uuid,
    ) -> Result<(), ExecuteError> {
        let order = self.order(id).await?.state;
        if !self.misses_payment(&order).await? {
            return Ok(());
        }
        self.run(id, react_to_order(id, event, &order), allocated.id, correlation_id).await?;
        // A payment of an order that has ended since is never requested, only closed.
        if order.status().is_final()
            && self.misses_payment(&order).await?
            && let Some((ending, event)) = self.first_of(id, ends).await?
        {
            self.run(id, react_to_order(id, &event, &order), ending.id, correlation_id).await?;
        }
        Ok(())
    }

    /// True if a payment of the order has no event yet.
    async fn misses_payment(&self, order: &Order) -> Result<bool, ExecuteError> {
        for tender in order.tenders() {
            if self.payments.read(&tender.payment_id, |_, revision| revision.is_none()).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first event of an order that is such an event.
    async fn first_of(
        &self,
        id: OrderId,
        is_sought: impl Fn(&OrderEvent) -> bool,
    ) -> Result<Option<(RecordedEvent, OrderEvent)>, ExecuteError> {
        let (log, stream) = (self.store().log(), id.into());
        let mut pages = Pages::of(&*log, &stream, 0..=Revision::MAX);
        while let Some(page) = pages.next().await? {
            for recorded in page {
                if let Event::Order(event) = recorded.decode()?
                    && is_sought(&event)
                {
                    return Ok(Some((recorded, event)));
                }
            }
        }
        Ok(None)
    }

    /// Releases what a rejected order holds, by the commands of the reaction to its rejection. If that fails,
    /// returns false: the process manager runs the reaction.
    async fn release_rejected(&self, order: PlacedOrder<'_>, held: Vec<Sku>, rejected: EventId) -> bool {
        let held = if order.is_new { held } else { order.units.keys().cloned().collect() };
        let releasing = held.into_iter().map(async |sku| {
            let command = StockCommand::Release { order_id: order.id, quantity: order.units[&sku] };
            let context = reaction::<StockDecider>(&sku, &command, rejected, order.correlation_id);
            self.stock.execute_reaction(&sku, command, &context).await
        });
        match try_join_all(releasing).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(order.id = %order.id, %error,
                    "Cannot release the units of a rejected order; the process manager releases them");
                false
            }
        }
    }
}

fn ends(event: &OrderEvent) -> bool {
    matches!(event, OrderEvent::Cancelled(_) | OrderEvent::Expired(_))
}

/// The context of a reaction's command to the aggregate `id`.
pub(super) fn reaction<A: Decider>(
    id: &A::Id,
    command: &A::Command,
    cause: EventId,
    correlation_id: Uuid,
) -> CommandContext {
    CommandContext::reaction(cause, correlation_id, &id.clone().into(), A::command_name(command))
}
