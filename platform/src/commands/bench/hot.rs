//! `hot`: all orders on one SKU; then a sell-out of a thousand units.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    buyer::{Bought, Buyer, Shop, place_at_full_speed},
    client::Connection,
    load::{LoadSummary, per_second, run_clients},
    read_back::{Agreement, Drain},
    server::{Server, Target},
    setup::BenchSetup,
    spread::{SKUS, UNITS_UNLIMITED},
    tables::{fact_table, load_table, rate, ratio},
};
use crate::commands::Failure;

/// Units on hand before the sell-out.
const SELL_OUT_UNITS: u32 = 1_000;
/// A client stops after this many refusals.
const REFUSALS_MAX: u32 = 3;
/// Time limit of the sell-out. A thousand orders take about a second.
const SELL_OUT_MAX: Duration = Duration::from_mins(1);

#[derive(Debug, Serialize)]
pub struct HotReport {
    pub spread: LoadSummary,
    pub hot: LoadSummary,
    pub ratio_to_spread: f64,
    pub after_hot_load: Drain,
    pub agreement: Agreement,
    pub sell_out: SellOut,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct SellOut {
    pub units: u32,
    pub sold: usize,
    pub refused: usize,
    pub answers_per_s: f64,
}

/// `spread`: the load on many SKUs, if this run has measured it. Otherwise it is measured here.
pub async fn run(bench: &BenchSetup, spread: Option<LoadSummary>) -> Result<HotReport, Failure> {
    let spread = if let Some(spread) = spread {
        spread
    } else {
        let (server, target) = bench.target().await?;
        let (_, bought) = place_orders(bench, target, SKUS).await?;
        Server::stop_own(server).await?;
        bought.summary
    };
    let (server, target) = bench.target().await?;
    let (shop, bought) = place_orders(bench, target, 1).await?;
    let after_hot_load = Drain::wait(target).await?;
    let agreement = Agreement::check(&shop, target, bought.acknowledged).await?;
    let sell_out = sell_out(bench, target).await?;
    Server::stop_own(server).await?;
    let ratio_to_spread = bought.summary.rate_per_s / spread.rate_per_s;
    Ok(HotReport { spread, hot: bought.summary, ratio_to_spread, after_hot_load, agreement, sell_out })
}

async fn place_orders(
    bench: &BenchSetup,
    target: Target,
    skus: usize,
) -> Result<(Arc<Shop>, Bought), Failure> {
    let shop = Arc::new(Shop::new(skus));
    shop.receive(target, UNITS_UNLIMITED).await?;
    let buyers = Buyer::connect(&shop, target, bench.clients).await?;
    let label = if skus == 1 { "hot at full speed, seconds" } else { "spread at full speed, seconds" };
    let bought = place_at_full_speed(label, buyers, bench.duration).await?;
    Ok((shop, bought))
}

#[derive(Deserialize)]
struct StockLevels {
    on_hand: u32,
    reserved: u32,
    available: u32,
}

async fn sell_out(bench: &BenchSetup, target: Target) -> Result<SellOut, Failure> {
    let shop = Arc::new(Shop::new(1));
    shop.receive(target, SELL_OUT_UNITS).await?;
    let buyers = Buyer::connect(&shop, target, bench.clients).await?;
    let started = Instant::now();
    let clients = buyers.into_iter().map(|mut buyer| async move {
        let mut refused = 0;
        while refused < REFUSALS_MAX {
            let answer = buyer.order_one().await?;
            if answer.status == StatusCode::CREATED {
                buyer.acknowledge(&answer)?;
                continue;
            }
            let answer = answer.expect(StatusCode::CONFLICT, Buyer::PATH)?;
            let code = answer.problem_code();
            if code != "insufficient_stock" {
                return Err(Failure::new(format!(
                    "an order was refused with {code} instead of insufficient_stock"
                )));
            }
            refused += 1;
        }
        Ok((buyer.acknowledged, refused as usize))
    });
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for (placed, refused_here) in run_clients("hot: the sell-out", SELL_OUT_MAX, clients).await? {
        acknowledged.extend(placed);
        refused += refused_here;
    }
    let elapsed = started.elapsed();
    let sold = acknowledged.len();
    let answers_per_s = per_second((sold + refused) as u64, elapsed);
    Drain::wait(target).await?;
    Agreement::check(&shop, target, acknowledged).await?;
    let path = format!("/v1/stock/{}", shop.skus()[0]);
    let levels: StockLevels = Connection::open(target.query).await?.get_json(&path).await?;
    let all_sold = (SELL_OUT_UNITS, SELL_OUT_UNITS, 0);
    if sold != SELL_OUT_UNITS as usize || (levels.on_hand, levels.reserved, levels.available) != all_sold {
        let StockLevels { on_hand, reserved, .. } = levels;
        return Err(Failure::new(format!(
            "{sold} of {SELL_OUT_UNITS} units were sold; {reserved} of {on_hand} units on hand are reserved"
        )));
    }
    Ok(SellOut { units: SELL_OUT_UNITS, sold, refused, answers_per_s })
}

impl HotReport {
    pub fn tables(&self) -> String {
        let loads =
            load_table("hot", [("orders on 1,000 SKUs", &self.spread), ("orders on one SKU", &self.hot)]);
        let SellOut { units, sold, refused, answers_per_s } = self.sell_out;
        let sell_out = format!(
            "{sold} of {units} units sold, {refused} orders refused, {} answers/s",
            rate(answers_per_s)
        );
        let facts = fact_table(
            "hot",
            [
                ("ratio to 1,000 SKUs", ratio(self.ratio_to_spread)),
                ("lag after the load", self.after_hot_load.to_string()),
                ("read models agree", self.agreement.to_string()),
                ("sell-out", sell_out),
            ],
        );
        format!("{loads}\n\n{facts}")
    }
}
