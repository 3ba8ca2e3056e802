//! `spread`: orders of one line over a thousand SKUs, at full speed and then at fixed rates, beside the baselines of
//! HTTP and of the store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::OrderId;
use serde::Serialize;
use tokio::time;

use super::{
    append::append_raw,
    buyer::{Buyer, Placed, Shop, place_at_full_speed, place_at_rate},
    client::Connection,
    load::{Latencies, LatencySummary, LoadSummary, run_clients},
    read_back::{Agreement, Drain},
    server::{Server, Target},
    setup::BenchSetup,
    tables::{fact_table, load_table, ratio},
    usage::{Usage, UsagePerOrder},
};
use crate::commands::Failure;

pub const SKUS: usize = 1_000;
/// Units on hand of each SKU: more than any run sells.
pub const UNITS_UNLIMITED: u32 = 100_000_000;
/// Clients that place an order every [`WATCH_INTERVAL`] and wait until the query API returns it.
const WATCHERS: usize = 4;
const WATCH_INTERVAL: Duration = Duration::from_millis(20);
/// The fixed rates, as shares of the rate at full speed, with the labels of their progress.
const RATES: [(&str, &str, f64); 3] = [
    ("quarter", "spread at quarter rate, seconds", 0.25),
    ("half", "spread at half rate, seconds", 0.5),
    ("full", "spread at full rate, seconds", 1.0),
];

#[derive(Debug, Serialize)]
pub struct SpreadReport {
    pub echo: LoadSummary,
    pub raw_append: LoadSummary,
    pub spread: LoadSummary,
    /// Answers at full speed that held an order back, because the read models were behind.
    pub held_back: u64,
    pub ratio_to_echo: f64,
    pub ratio_to_raw_append: f64,
    pub after_full_load: Drain,
    /// What the server used for an order at full speed, until the read models had it. `None` for a running server
    /// whose admin address is not known.
    pub per_order: Option<UsagePerOrder>,
    pub at_rates: Vec<AtRate>,
    pub agreement: Agreement,
}

/// What was measured at a fixed rate.
#[derive(Debug, Serialize)]
pub struct AtRate {
    /// The rate, as a part of the rate at full speed.
    pub name: &'static str,
    pub load: LoadSummary,
    /// Time from the 201 of an order to the answer of `GET /v1/orders/{id}?min_revision=`.
    pub ack_to_visible: LatencySummary,
    pub lag: Drain,
}

pub async fn run(bench: &BenchSetup) -> Result<SpreadReport, Failure> {
    let echo = full_speed_echo(bench).await?;
    let raw_append = append_raw(bench).await?;
    let (server, target) = bench.target().await?;

    let shop = Arc::new(Shop::new(SKUS));
    shop.receive(target, UNITS_UNLIMITED).await?;
    let buyers = Buyer::connect(&shop, target, bench.clients).await?;
    let before = Usage::read(target).await?;
    let full = place_at_full_speed("spread at full speed, seconds", buyers, bench.duration).await?;
    let after_full_load = Drain::wait(target).await?;
    let per_order = match (before, Usage::read(target).await?) {
        (Some(before), Some(after)) => Some(after.per_order(&before, full.acknowledged.len())),
        _ => None,
    };
    let mut acknowledged = full.acknowledged;

    let mut at_rates = Vec::new();
    for (name, label, share) in RATES {
        let buyers = Buyer::connect(&shop, target, bench.clients).await?;
        let rate_per_s = full.summary.rate_per_s * share;
        let (placed, watched) = tokio::try_join!(
            place_at_rate(label, buyers, rate_per_s, bench.duration),
            watch(bench, &shop, target),
        )?;
        let lag = Drain::wait(target).await?;
        acknowledged.extend(placed.acknowledged);
        acknowledged.extend(watched.acknowledged);
        at_rates.push(AtRate { name, load: placed.summary, ack_to_visible: watched.ack_to_visible, lag });
    }
    let agreement = Agreement::check(&shop, target, acknowledged).await?;
    Server::stop_own(server).await?;
    Ok(SpreadReport {
        echo,
        raw_append,
        spread: full.summary,
        held_back: full.held_back,
        ratio_to_echo: full.summary.rate_per_s / echo.rate_per_s,
        ratio_to_raw_append: full.summary.rate_per_s / raw_append.rate_per_s,
        after_full_load,
        per_order,
        at_rates,
        agreement,
    })
}

/// Runs the same clients and bodies against a handler that does nothing.
async fn full_speed_echo(bench: &BenchSetup) -> Result<LoadSummary, Failure> {
    let server = Server::echo().await?;
    let buyers = Buyer::connect(&Arc::new(Shop::new(SKUS)), server.target(), bench.clients).await?;
    let echoed = place_at_full_speed("echo at full speed, seconds", buyers, bench.duration).await?;
    server.stop().await?;
    Ok(echoed.summary)
}

/// The orders of the watchers, and how long each took to become visible.
struct Watched {
    acknowledged: Vec<OrderId>,
    ack_to_visible: LatencySummary,
}

async fn watch(bench: &BenchSetup, shop: &Arc<Shop>, target: Target) -> Result<Watched, Failure> {
    let buyers = Buyer::connect(shop, target, WATCHERS).await?;
    let readers = Connection::open_many(target.query, WATCHERS).await?;
    let end = Instant::now() + bench.duration;
    let watchers = buyers.into_iter().zip(readers).map(|(buyer, reader)| run_watcher(buyer, reader, end));
    let watched = run_clients("spread: watching orders become visible", bench.duration, watchers).await?;
    let mut latencies = Latencies::new();
    let mut acknowledged = Vec::new();
    for (of_watcher, placed) in watched {
        latencies.add(&of_watcher);
        acknowledged.extend(placed);
    }
    Ok(Watched { acknowledged, ack_to_visible: latencies.summary() })
}

async fn run_watcher(
    mut buyer: Buyer,
    mut reader: Connection,
    end: Instant,
) -> Result<(Latencies, Vec<OrderId>), Failure> {
    let mut latencies = Latencies::new();
    let mut ticks = time::interval(WATCH_INTERVAL);
    while Instant::now() < end {
        ticks.tick().await;
        let Placed { order_id, revision } = buyer.place().await?;
        let acknowledged = Instant::now();
        reader.get_once_available(&format!("/v1/orders/{order_id}?min_revision={revision}")).await?;
        latencies.record(acknowledged.elapsed());
    }
    Ok((latencies, buyer.acknowledged))
}

impl SpreadReport {
    pub fn tables(&self) -> String {
        let names: Vec<String> =
            self.at_rates.iter().map(|at| format!("orders at {} rate", at.name)).collect();
        let fixed = names.iter().map(String::as_str).zip(self.at_rates.iter().map(|at| &at.load));
        let loads = [
            ("echo: a bare axum handler", &self.echo),
            ("raw append: 4 events, durable", &self.raw_append),
            ("orders at full speed", &self.spread),
        ];
        let loads = load_table("spread", loads.into_iter().chain(fixed));
        let unknown = "unknown: pass --admin-url";
        let (processor, calls) = match &self.per_order {
            Some(per_order) => (format!("{:.0} µs", per_order.processor_us), per_order.to_string()),
            None => (unknown.to_owned(), unknown.to_owned()),
        };
        let visible: Vec<(String, String)> = self.at_rates.iter().flat_map(AtRate::facts).collect();
        let facts = [
            ("ratio to echo", ratio(self.ratio_to_echo)),
            ("ratio to raw append", ratio(self.ratio_to_raw_append)),
            ("processor time of the server per order", processor),
            ("calls to EventStoreDB per order", calls),
            ("answers that held an order back", self.held_back.to_string()),
            ("lag after full speed", self.after_full_load.to_string()),
            ("read models agree", self.agreement.to_string()),
        ];
        let visible = visible.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let facts = fact_table("spread", facts.into_iter().chain(visible));
        format!("{loads}\n\n{facts}")
    }
}

impl AtRate {
    fn facts(&self) -> [(String, String); 2] {
        let LatencySummary { count, p50_ms, p99_ms, p99_9_ms, .. } = self.ack_to_visible;
        let visible =
            format!("p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, p99.9 {p99_9_ms:.2} ms, {count} samples");
        let name = self.name;
        [
            (format!("ack to visible at {name} rate"), visible),
            (format!("lag after {name} rate"), self.lag.to_string()),
        ]
    }
}
