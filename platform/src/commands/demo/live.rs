//! Orders that come in while the demo runs, and what the warehouse does meanwhile.

use std::{collections::VecDeque, time::Duration};

use domain::OrderId;
use fastrand::Rng;
use tokio::time;
use uuid::Uuid;

use super::{
    filling::{Shop, accepted},
    goods::Chance,
    plan::OrderBody,
};
use crate::commands::Failure;

/// Paid orders that wait for the warehouse. Older ones stay for the people who try the demo.
const TO_SHIP_MAX: usize = 40;
const PAUSE_MS: std::ops::Range<u64> = 400..2_400;

impl Shop {
    /// Never ends by itself.
    pub async fn take_orders(&self) -> Result<(), Failure> {
        let mut rng = Rng::new();
        let mut to_ship: VecDeque<OrderId> = VecDeque::new();
        loop {
            time::sleep(Duration::from_millis(rng.u64(PAUSE_MS))).await;
            let id = Uuid::now_v7();
            let method = match rng.u32(0..100) {
                0..5 => "decline_soft",
                5..7 => "decline",
                7..9 => "needs_action",
                _ => "ok",
            };
            let body = OrderBody::random(&mut rng, format!("WEB-{}", reference(id))).charged_by(method);
            if let Some(placed) = accepted(self.place(&body, &format!("demo/{id}")).await)? {
                to_ship.push_back(placed.order_id);
            }
            if rng.chance(70)
                && to_ship.len() > 3
                && let Some(order) = to_ship.pop_front()
            {
                let shipped = self.ship(order, &format!("demo/{id}/ship")).await?;
                if shipped.is_some() && rng.chance(6) {
                    self.take_back(order, &format!("demo/{id}/return")).await?;
                }
            }
            to_ship.truncate(TO_SHIP_MAX);
        }
    }
}

/// The last digits of an id, as the shop's own number of the order.
fn reference(id: Uuid) -> String {
    let text = id.simple().to_string();
    text[text.len() - 8..].to_uppercase()
}
