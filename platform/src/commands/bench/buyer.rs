//! Clients that place orders: the SKUs of each run, and the orders that the server acknowledged.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{OrderId, Revision};
use http::{StatusCode, header};
use serde_json::json;
use tokio::time;
use uuid::Uuid;

use super::{
    client::{Connection, HttpAnswer},
    load::{Latencies, LoadSummary, run_load},
    server::Target,
};
use crate::commands::Failure;

/// The command API's limit for the receipts of one request.
const RECEIPTS_MAX: usize = 1_000;
/// The code of the answer to an order that is to be sent again, because the read models are behind.
const HELD_BACK: &str = "projections_behind";

/// The SKUs, idempotency keys and prepared request bodies of one run. No other run has the same.
pub struct Shop {
    run: String,
    skus: Vec<String>,
    /// An order of one unit for each SKU.
    bodies: Vec<Bytes>,
}

impl Shop {
    pub fn new(sku_count: usize) -> Self {
        let run = format!("{:.8}", Uuid::new_v4().simple());
        let skus: Vec<String> = (0..sku_count).map(|number| format!("BENCH-{run}-{number:04}")).collect();
        let body = |sku: &String| {
            let lines = json!([{ "sku": sku, "quantity": 1, "unit_price": 255 }]);
            let order = json!({
                "customer_id": "17850", "currency": "GBP", "country": "United Kingdom", "lines": lines,
            });
            Bytes::from(order.to_string())
        };
        let bodies = skus.iter().map(body).collect();
        Self { run, skus, bodies }
    }

    pub fn skus(&self) -> &[String] {
        &self.skus
    }

    /// Receives stock of every SKU.
    pub async fn receive(&self, target: Target, units_per_sku: u32) -> Result<(), Failure> {
        let path = "/v1/stock/receipts";
        let mut connection = Connection::open(target.command).await?;
        for (number, skus) in self.skus.chunks(RECEIPTS_MAX).enumerate() {
            let receipts: Vec<_> =
                skus.iter().map(|sku| json!({ "sku": sku, "quantity": units_per_sku })).collect();
            let body = Bytes::from(json!({ "receipts": receipts }).to_string());
            let key = format!("bench-{}-receipts-{number}", self.run);
            connection.post(path, key, body).await?.expect(StatusCode::OK, path)?;
        }
        Ok(())
    }
}

/// A client with one connection.
pub struct Buyer {
    shop: Arc<Shop>,
    connection: Connection,
    random: fastrand::Rng,
    key_prefix: String,
    orders_sent: u64,
    pub acknowledged: Vec<OrderId>,
    /// Answers that held an order back.
    held_back: u64,
}

/// An order that the server has acknowledged.
pub struct Placed {
    pub order_id: OrderId,
    pub revision: Revision,
}

impl Buyer {
    pub const PATH: &str = "/v1/orders";

    /// Opens `count` clients. Their random choices are the same in every run.
    pub async fn connect(shop: &Arc<Shop>, target: Target, count: usize) -> Result<Vec<Self>, Failure> {
        let connections = Connection::open_many(target.command, count).await?;
        let buyer = |(number, connection)| Self {
            shop: Arc::clone(shop),
            connection,
            random: fastrand::Rng::with_seed(number),
            key_prefix: format!("bench-{}-{}", shop.run, Uuid::new_v4().simple()),
            orders_sent: 0,
            acknowledged: Vec::new(),
            held_back: 0,
        };
        Ok((0..).zip(connections).map(buyer).collect())
    }

    /// Orders one unit of a random SKU. The answer may be a refusal. Repeats an order that the server holds back.
    pub async fn order_one(&mut self) -> Result<HttpAnswer, Failure> {
        let body = self.shop.bodies[self.random.usize(..self.shop.bodies.len())].clone();
        let key = format!("{}-{}", self.key_prefix, self.orders_sent);
        self.orders_sent += 1;
        loop {
            let answer = self.connection.post(Self::PATH, key.clone(), body.clone()).await?;
            if answer.status != StatusCode::SERVICE_UNAVAILABLE || answer.problem_code() != HELD_BACK {
                return Ok(answer);
            }
            let pause = answer.header(header::RETRY_AFTER).parse()?;
            time::sleep(Duration::from_secs(pause)).await;
            self.held_back += 1;
        }
    }

    /// Orders one unit of a random SKU. Fails if the order is refused.
    pub async fn place(&mut self) -> Result<Placed, Failure> {
        let answer = self.order_one().await?.expect(StatusCode::CREATED, Self::PATH)?;
        self.acknowledge(&answer)
    }

    pub fn acknowledge(&mut self, answer: &HttpAnswer) -> Result<Placed, Failure> {
        let location = answer.header(header::LOCATION);
        let order_id = location.strip_prefix("/v1/orders/").unwrap_or_default().parse()?;
        let revision = answer.header(header::ETAG).trim_matches('"').parse()?;
        self.acknowledged.push(order_id);
        Ok(Placed { order_id, revision })
    }
}

/// The orders that a load has placed.
pub struct Bought {
    pub summary: LoadSummary,
    pub acknowledged: Vec<OrderId>,
    /// Answers that held an order back. Its latency includes the pauses.
    pub held_back: u64,
}

/// Closed loop: each client places its next order as soon as its last one is answered.
pub async fn place_at_full_speed(
    label: &'static str,
    buyers: Vec<Buyer>,
    duration: Duration,
) -> Result<Bought, Failure> {
    let started = Instant::now();
    let clients = buyers.into_iter().map(|mut buyer| async move {
        let mut latencies = Latencies::new();
        while started.elapsed() < duration {
            let sent = Instant::now();
            buyer.place().await?;
            latencies.record(sent.elapsed());
        }
        Ok((latencies, buyer))
    });
    collect(started, run_load(label, duration, clients).await?)
}

/// Open loop: orders are due at a fixed rate, spread over the clients. Latency counts from the due time, so
/// it includes the time that orders wait while the server stalls.
pub async fn place_at_rate(
    label: &'static str,
    buyers: Vec<Buyer>,
    rate_per_s: f64,
    duration: Duration,
) -> Result<Bought, Failure> {
    let started = Instant::now();
    let interval = Duration::from_secs_f64(1.0 / rate_per_s);
    let round = interval.mul_f64(f64::from(u32::try_from(buyers.len())?));
    let clients = (0u32..).zip(buyers).map(|(number, mut buyer)| async move {
        let mut latencies = Latencies::new();
        let mut due = started + interval * number;
        while due < started + duration {
            time::sleep_until(due.into()).await;
            buyer.place().await?;
            latencies.record(due.elapsed());
            due += round;
        }
        Ok((latencies, buyer))
    });
    collect(started, run_load(label, duration, clients).await?)
}

fn collect(started: Instant, outputs: Vec<(Latencies, Buyer)>) -> Result<Bought, Failure> {
    let elapsed = started.elapsed();
    let mut latencies = Latencies::new();
    let (mut acknowledged, mut held_back) = (Vec::new(), 0);
    for (of_client, buyer) in outputs {
        latencies.add(&of_client);
        acknowledged.extend(buyer.acknowledged);
        held_back += buyer.held_back;
    }
    if acknowledged.is_empty() {
        return Err(Failure::new("no order was placed"));
    }
    Ok(Bought { summary: LoadSummary::new(&latencies, elapsed), acknowledged, held_back })
}
