//! Reads the read models after a load: how far they are behind, and whether they hold every acknowledged
//! order.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use domain::OrderId;
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use tokio::time;

use super::{buyer::Shop, client::Connection, load::run_clients, server::Target};
use crate::commands::Failure;

/// Time limit for projections to catch up after a load.
const DRAIN_MAX: Duration = Duration::from_mins(2);
const DRAIN_POLL: Duration = Duration::from_millis(2);
/// The query API's limit for a page.
const PAGE_ITEMS: usize = 200;
/// Clients that read the orders back, side by side.
const READERS: usize = 8;

#[derive(Deserialize)]
struct ProjectionsAnswer {
    projections: Vec<ProjectionLag>,
}

#[derive(Deserialize)]
struct ProjectionLag {
    lag_events: Option<u64>,
}

/// How far the projections were behind at the end of a load, and how long they took to catch up.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Drain {
    pub lag_events: u64,
    pub drained_ms: f64,
}

impl Drain {
    /// Waits until every projection has reached the end of the log. The load must have ended.
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

/// How many events the slowest projection is behind.
async fn lag(connection: &mut Connection) -> Result<u64, Failure> {
    let ProjectionsAnswer { projections } = connection.get_json("/v1/projections").await?;
    let slowest = projections.iter().map(|projection| projection.lag_events).max();
    slowest.flatten().ok_or_else(|| Failure::new("the query API does not report the lag of its projections"))
}

#[derive(Deserialize)]
struct OrdersPage {
    items: Vec<ListedOrder>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct ListedOrder {
    order_id: OrderId,
}

#[derive(Deserialize)]
struct StockLevel {
    reserved: u64,
}

/// Acknowledged orders beside the orders that the query API returns. Every order of these runs has one unit.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Agreement {
    pub orders_acknowledged: usize,
    pub orders_read: usize,
    pub units_reserved: u64,
}

impl Agreement {
    /// Reads all orders and stock levels of the shop's SKUs. Fails if an acknowledged order is missing, if
    /// there is another order, or if the reserved units are not one for each order.
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
                    let stock: StockLevel = connection.get_json(&format!("/v1/stock/{sku}")).await?;
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
        Err(Failure::new(format!("the read models differ from the acknowledged orders: {counts:?}")))
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
        let page: OrdersPage = connection.get_json(&path).await?;
        orders.extend(page.items.iter().map(|order| order.order_id));
        let Some(cursor) = page.next_cursor else { return Ok(()) };
        path = format!("{first}&cursor={cursor}");
    }
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events, gone after {:.0} ms", HumanCount(self.lag_events), self.drained_ms)
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "yes: {} orders, {} units reserved",
            HumanCount(self.orders_read as u64),
            HumanCount(self.units_reserved)
        )
    }
}
