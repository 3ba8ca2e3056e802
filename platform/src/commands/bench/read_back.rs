//! What the read models say after a load: how far they are behind, and whether they hold what was acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use domain::OrderId;
use serde::{Deserialize, Serialize};
use tokio::time;

use super::{buyer::Shop, client::Connection, load::run_clients, server::Target};
use crate::commands::Failure;

/// How long projections may take to catch up after a load.
const DRAIN_MAX: Duration = Duration::from_mins(2);
const DRAIN_POLL: Duration = Duration::from_millis(2);
/// The longest page that the query API gives.
const PAGE_ITEMS: usize = 200;
/// Clients that read everything back.
const READERS: usize = 8;

#[derive(Deserialize)]
struct Projections {
    projections: Vec<Checkpoint>,
}

#[derive(Deserialize)]
struct Checkpoint {
    lag_events: Option<u64>,
}

/// How far the projections were behind when a load ended, and how long they took to catch up.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Drain {
    pub lag_events: u64,
    pub drained_ms: f64,
}

impl Drain {
    /// Waits for every projection to reach the end of the log, which nobody adds to any more.
    pub async fn wait(target: Target) -> Result<Self, Failure> {
        let mut connection = Connection::open(target.query).await?;
        let began = Instant::now();
        let lag_events = lag(&mut connection).await?;
        let mut left = lag_events;
        while left > 0 {
            if began.elapsed() > DRAIN_MAX {
                return Err(Failure::new(format!("projections are still {left} events behind")));
            }
            time::sleep(DRAIN_POLL).await;
            left = lag(&mut connection).await?;
        }
        Ok(Self { lag_events, drained_ms: began.elapsed().as_secs_f64() * 1_000.0 })
    }
}

/// Events that the slowest projection is behind.
async fn lag(connection: &mut Connection) -> Result<u64, Failure> {
    let Projections { projections } = connection.get_json("/v1/projections").await?;
    let slowest = projections.iter().map(|projection| projection.lag_events).max();
    slowest.flatten().ok_or_else(|| Failure::new("the query API does not say how far projections are behind"))
}

#[derive(Deserialize)]
struct Page {
    items: Vec<ListedOrder>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct ListedOrder {
    order_id: OrderId,
}

#[derive(Deserialize)]
struct Stock {
    reserved: u64,
}

/// What was acknowledged beside what the query API serves. Every order of these runs is of one unit.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Agreement {
    pub orders_acknowledged: usize,
    pub orders_read: usize,
    pub units_reserved: u64,
}

impl Agreement {
    /// Reads all orders and levels of the shop's SKUs; fails where an acknowledged order is missing, another
    /// has turned up, or units are held for none.
    pub async fn check(
        shop: &Arc<Shop>,
        target: Target,
        mut acknowledged: Vec<OrderId>,
    ) -> Result<Self, Failure> {
        let next_sku = Arc::new(AtomicUsize::new(0));
        let connections = Connection::open_many(target.query, READERS).await?;
        let readers = connections.into_iter().map(|mut connection| {
            let (shop, next_sku) = (Arc::clone(shop), Arc::clone(&next_sku));
            async move {
                let (mut orders, mut reserved) = (Vec::new(), 0);
                while let Some(sku) = shop.skus().get(next_sku.fetch_add(1, Ordering::Relaxed)) {
                    read_orders(&mut connection, sku, &mut orders).await?;
                    let stock: Stock = connection.get_json(&format!("/v1/stock/{sku}")).await?;
                    reserved += stock.reserved;
                }
                Ok((orders, reserved))
            }
        });
        let (mut read, mut units_reserved) = (Vec::new(), 0);
        for (orders, reserved) in run_clients("read back", DRAIN_MAX, readers).await? {
            read.extend(orders);
            units_reserved += reserved;
        }
        acknowledged.sort_unstable();
        read.sort_unstable();
        let counts =
            Self { orders_acknowledged: acknowledged.len(), orders_read: read.len(), units_reserved };
        if read == acknowledged && units_reserved == acknowledged.len() as u64 {
            return Ok(counts);
        }
        Err(Failure::new(format!("the read models do not hold what was acknowledged: {counts:?}")))
    }
}

async fn read_orders(
    connection: &mut Connection,
    sku: &str,
    orders: &mut Vec<OrderId>,
) -> Result<(), Failure> {
    let first = format!("/v1/orders?status=allocated&sku={sku}&limit={PAGE_ITEMS}");
    let mut path = first.clone();
    loop {
        let page: Page = connection.get_json(&path).await?;
        orders.extend(page.items.iter().map(|order| order.order_id));
        let Some(cursor) = page.next_cursor else { return Ok(()) };
        path = format!("{first}&cursor={cursor}");
    }
}
