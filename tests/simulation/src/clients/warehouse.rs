//! The warehouse, which receives and adjusts stock.

use std::{sync::Arc, time::Duration};

use domain::Sku;
use fastrand::Rng;
use tokio::time;

use super::send_until_final;
use crate::{
    environment::Environment,
    plan::{FULL_SKU, SKUS},
    platform::Platform,
    request::{Action, Request},
};

/// Receives stock, and adjusts it now and then. Keys and amounts are the same in each life, so requests that
/// a crash cut off are sent again.
pub async fn stock_up(env: Arc<Environment>, platform: Platform, mut rng: Rng) {
    for round in 0..4 {
        for name in &SKUS[..env.plan.skus] {
            let Ok(sku) = Sku::new(name) else { continue };
            let (quantity, delta) = (rng.u32(1..8), rng.i64(-4..4));
            let action = match round {
                0 => Action::Receive { sku, quantity },
                _ if rng.u32(0..3) > 0 => continue,
                1 => Action::Adjust { sku, delta: if delta == 0 { 1 } else { delta } },
                _ => Action::Receive { sku, quantity },
            };
            send_until_final(&env, &platform, &Request::new(format!("round {round}"), action)).await;
        }
        if rng.bool() {
            let action = Action::ReceiveMany { items: draw_items(&mut rng, env.plan.skus) };
            send_until_final(&env, &platform, &Request::new(format!("round {round}"), action)).await;
        }
        time::sleep(Duration::from_millis(rng.u64(0..8_000))).await;
    }
}

/// Some SKUs, each once, and often so many units of [`FULL_SKU`] that a second such receipt is refused.
fn draw_items(rng: &mut Rng, skus: usize) -> Vec<(Sku, u32)> {
    let mut items: Vec<(&str, u32)> = Vec::new();
    for name in &SKUS[..skus] {
        if rng.bool() {
            items.push((name, rng.u32(1..4)));
        }
    }
    if items.is_empty() || rng.u32(0..4) > 0 {
        items.insert(rng.usize(0..=items.len()), (FULL_SKU, rng.u32(400_000_000..=700_000_000)));
    }
    items.into_iter().filter_map(|(name, quantity)| Some((Sku::new(name).ok()?, quantity))).collect()
}
