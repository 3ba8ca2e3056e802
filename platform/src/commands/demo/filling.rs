//! Places the orders of the past weeks.

use std::sync::atomic::{AtomicU64, Ordering};

use domain::{OrderId, PaymentId, ShipmentId, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::plan::{self, Charge, Fate, OrderBody, PlannedOrder};
use crate::{
    commands::{
        Failure,
        import::client::{CommandClient, PostError, Refusal},
    },
    config::CallerSettings,
    progress::ProgressDisplay,
};

/// The shop, as its checkout and its warehouse see it.
#[derive(Debug, Clone)]
pub(super) struct Shop {
    client: CommandClient,
    concurrency: usize,
}

/// What became of the orders.
#[derive(Debug, Default)]
pub(super) struct Filled {
    pub placed: u64,
    pub shipped: u64,
    pub returned: u64,
    pub cancelled: u64,
    pub declined: u64,
    pub refused: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Placed {
    pub order_id: OrderId,
    payment_id: Option<PaymentId>,
}

#[derive(Debug, Deserialize)]
struct Shipped {
    shipment_id: ShipmentId,
}

#[derive(Debug, Serialize)]
struct ReceiptsBody {
    receipts: Vec<ReceiptItem>,
}

#[derive(Debug, Serialize)]
struct ReceiptItem {
    sku: &'static str,
    quantity: u32,
    reference: &'static str,
}

#[derive(Debug, Serialize)]
struct ShipmentBody {
    carrier: &'static str,
}

#[derive(Debug, Serialize)]
struct DeliveryBody {
    shipment_id: ShipmentId,
}

#[derive(Debug, Serialize)]
struct ReturnBody {
    lines: [ReturnedLine; 1],
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct ReturnedLine {
    line: u32,
    quantity: u32,
    restock: bool,
}

#[derive(Debug, Serialize)]
struct CancelBody {
    note: &'static str,
}

impl Shop {
    pub fn new(command_url: &str, concurrency: usize) -> Result<Self, Failure> {
        let url = command_url.parse().map_err(|error| Failure::new(format!("{command_url}: {error}")))?;
        let caller = CallerSettings { api_key: None };
        Ok(Self { client: CommandClient::new(&url, &caller, concurrency)?, concurrency })
    }

    pub async fn fill(&self, seed: u64, now: Timestamp, orders: u32) -> Result<Filled, Failure> {
        let orders = plan::orders(seed, now, orders);
        let receipt = |(sku, quantity)| ReceiptItem { sku, quantity, reference: "opening stock" };
        let receipts = plan::receipts(seed, &orders).into_iter().map(receipt).collect();
        self.client
            .post::<IgnoredAny>("/v1/stock/receipts", "demo/stock", &ReceiptsBody { receipts })
            .await?;

        let progress = ProgressDisplay::start("orders", orders.len() as u64);
        let counts = Counts::default();
        let (progress, counts_of_all) = (&progress, &counts);
        stream::iter(&orders)
            .map(Ok::<_, PostError>)
            .try_for_each_concurrent(self.concurrency, |order| async move {
                self.carry_out(order, counts_of_all).await?;
                progress.advance();
                Ok(())
            })
            .await?;
        Ok(counts.into())
    }

    /// Places an order and lets its fate happen.
    async fn carry_out(
        &self,
        PlannedOrder { body, fate }: &PlannedOrder,
        counts: &Counts,
    ) -> Result<(), PostError> {
        let key = format!("demo/{}", body.reference);
        let Some(placed) = accepted(self.place(body, &key).await)? else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        counts.placed.fetch_add(1, Ordering::Relaxed);
        let order_id = placed.order_id;
        match fate {
            Fate::Stuck => return Ok(()),
            Fate::Declined => {
                counts.declined.fetch_add(1, Ordering::Relaxed);
                return self.charge(&placed, "decline_soft", &key).await;
            }
            Fate::Cancelled | Fate::Paid | Fate::Shipped | Fate::Delivered | Fate::Returned => {
                self.charge(&placed, "ok", &key).await?;
            }
        }
        if *fate == Fate::Cancelled {
            counts.cancelled.fetch_add(1, Ordering::Relaxed);
            let body = CancelBody { note: "changed their mind" };
            return self.act(order_id, "cancel", &key, &body).await.map(drop);
        }
        if *fate >= Fate::Shipped
            && let Some(shipment_id) = self.ship(order_id, &key).await?
        {
            counts.shipped.fetch_add(1, Ordering::Relaxed);
            if *fate >= Fate::Delivered {
                self.act(order_id, "deliveries", &key, &DeliveryBody { shipment_id }).await?;
            }
            if *fate == Fate::Returned && self.take_back(order_id, &key).await? {
                counts.returned.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    pub async fn place(&self, body: &OrderBody, key: &str) -> Result<Placed, PostError> {
        self.client.post("/v1/orders", key, body).await.map(|answer| answer.body)
    }

    async fn charge(&self, placed: &Placed, method: &'static str, key: &str) -> Result<(), PostError> {
        let Some(payment) = placed.payment_id else { return Ok(()) };
        let path = format!("/v1/payments/{payment}/charge");
        accepted(self.client.post::<IgnoredAny>(&path, key, &Charge { method }).await).map(drop)
    }

    /// `None` if the order cannot be shipped, because it is not paid.
    pub async fn ship(&self, order: OrderId, key: &str) -> Result<Option<ShipmentId>, PostError> {
        let path = format!("/v1/orders/{order}/shipments");
        let body = ShipmentBody { carrier: "Royal Mail" };
        let shipped = accepted(self.client.post::<Shipped>(&path, key, &body).await)?;
        Ok(shipped.map(|answer| answer.body.shipment_id))
    }

    /// A unit of the first line comes back.
    pub async fn take_back(&self, order: OrderId, key: &str) -> Result<bool, PostError> {
        let line = ReturnedLine { line: 1, quantity: 1, restock: true };
        self.act(order, "returns", key, &ReturnBody { lines: [line], reason: "does not fit" }).await
    }

    /// True if the platform has accepted it.
    async fn act(
        &self,
        order: OrderId,
        action: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<bool, PostError> {
        let path = format!("/v1/orders/{order}/{action}");
        accepted(self.client.post::<IgnoredAny>(&path, key, body).await).map(|answer| answer.is_some())
    }
}

/// `None` if the platform refused the command, for example because too few units are in stock.
pub(super) fn accepted<T>(outcome: Result<T, PostError>) -> Result<Option<T>, PostError> {
    match outcome {
        Ok(answer) => Ok(Some(answer)),
        Err(PostError::Refused(Refusal { code, detail, .. })) => {
            tracing::debug!(
                refusal.code = code,
                refusal.detail = detail,
                "A command of the demo was refused"
            );
            Ok(None)
        }
        Err(unreachable @ PostError::Unreachable { .. }) => Err(unreachable),
    }
}

#[derive(Debug, Default)]
struct Counts {
    placed: AtomicU64,
    shipped: AtomicU64,
    returned: AtomicU64,
    cancelled: AtomicU64,
    declined: AtomicU64,
    refused: AtomicU64,
}

impl From<Counts> for Filled {
    fn from(counts: Counts) -> Self {
        Self {
            placed: counts.placed.into_inner(),
            shipped: counts.shipped.into_inner(),
            returned: counts.returned.into_inner(),
            cancelled: counts.cancelled.into_inner(),
            declined: counts.declined.into_inner(),
            refused: counts.refused.into_inner(),
        }
    }
}
