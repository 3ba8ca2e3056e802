//! Finishes orders that an interleaving or a crash left unfinished; called by the sweep of the process
//! manager.

use domain::{
    CommandContext, EventId, OrderId, Sku,
    checkout::{Reaction, Step, releases, reservations},
    order::OrderStatus,
    stock::StockCommand,
};
use infra::traces;
use uuid::Uuid;

use super::Checkout;
use crate::executor::ExecuteError;

impl Checkout {
    /// Releases the units that an ended order still holds. The command id contains the stock's revision, so
    /// each attempt is a new command: an earlier release may have come before the reservation and then had no
    /// effect.
    pub async fn sweep_ended(&self, order_id: OrderId) -> Result<(), ExecuteError> {
        let _guard = self.locks.try_lock(order_id)?;
        let order = self.order(order_id).await?;
        if !order.state.status().is_final() {
            return Ok(());
        }
        // A SKU that cannot be released delays no other one.
        let mut released = Ok(());
        for step in releases(order_id, &order.state) {
            let Step::Stock(sku, command) = step else { continue };
            released = released.and(self.release_again(order_id, sku, command).await);
        }
        released
    }

    async fn release_again(
        &self,
        order_id: OrderId,
        sku: Sku,
        command: StockCommand,
    ) -> Result<(), ExecuteError> {
        let held = self.stock.read(&sku, move |stock, revision| {
            stock.reservation(order_id).filter(|held| !held.released).and(revision)
        });
        let Some(revision) = held.await? else { return Ok(()) };
        let cause = EventId(Uuid::new_v5(&order_id.0, &revision.to_be_bytes()));
        let target = sku.clone().into();
        let context = CommandContext::reaction(cause, order_id.0, &target, "stock.release");
        self.stock.execute_reaction(&sku, command, &context).await?;
        tracing::info!(order.id = %order_id, stock.sku = %sku,
                "Released a reservation that an ended order still held");
        Ok(())
    }

    /// Runs the reaction to OrderPlaced of an order that is still `placed`.
    pub async fn sweep_placed(&self, order_id: OrderId) -> Result<(), ExecuteError> {
        let _guard = self.locks.try_lock(order_id)?;
        let order = self.order(order_id).await?.state;
        if order.status() != OrderStatus::Placed {
            return Ok(());
        }
        let read = self.store().log().read_stream(&order_id.into(), 0, 1).await;
        let Some(placed) = read?.into_iter().next() else { return Ok(()) };
        let metadata = placed.decode_metadata()?;
        let reaction = Reaction::Reserve(reservations(&order));
        let running = self.run(order_id, reaction, placed.id, metadata.correlation_id);
        traces::within(metadata.traceparent, running).await
    }
}
