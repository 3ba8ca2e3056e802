//! Customers that buy, pay, ship, return and cancel until the server is killed.

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    ledger::{Answer, Ledger, Request},
    server::Address,
};

const CUSTOMERS: u64 = 24;
/// Few SKUs, so orders compete for them. In every cycle some orders find too little stock.
const SKUS: [&str; 6] = ["85123A", "22423", "85099B", "47566", "20725", "84879"];

#[derive(Clone)]
pub struct Shop {
    pub server: Address,
    pub ledger: Ledger,
}

impl Shop {
    pub async fn receive_stock(&self, cycle: u64) {
        let receipts: Vec<Value> = SKUS.iter().map(|sku| json!({"sku": sku, "quantity": 150})).collect();
        let key = format!("stock of cycle {cycle}");
        let answer = self.send("/v1/stock/receipts", &key, json!({"receipts": receipts})).await;
        assert_eq!(answer.unwrap().status, 200);
    }

    /// Runs the customers until the server is killed.
    pub async fn open_for(self, cycle: u64, mut random: fastrand::Rng) {
        let customers = (0..CUSTOMERS).map(|customer| {
            let (shop, mut random) = (self.clone(), random.fork());
            async move {
                let mut order = 0;
                while shop.buy(&format!("{cycle}/{customer}/{order}"), &mut random).await.is_some() {
                    order += 1;
                }
            }
        });
        join_all(customers).await;
    }

    /// Like [`Shop::open_for`], in the background.
    pub fn open(&self, cycle: u64, random: fastrand::Rng) -> impl Future<Output = ()> + use<> {
        let customers: JoinHandle<()> = tokio::spawn(self.clone().open_for(cycle, random));
        async { customers.await.unwrap() }
    }

    /// Places one order and sends its next commands. `None`: the server is killed.
    async fn buy(&self, key: &str, random: &mut fastrand::Rng) -> Option<()> {
        let skus = random.choose_multiple(SKUS.iter(), random.clone().usize(1..=3));
        let lines =
            skus.iter().map(|sku| json!({"sku": sku, "quantity": random.u32(1..=3), "unit_price": 250}));
        let body = json!({"currency": "GBP", "lines": lines.collect::<Vec<_>>()});
        let order = Request {
            path: "/v1/orders".to_owned(),
            key: key.to_owned(),
            body,
            respond_async: random.u8(..) < 32,
        };
        let placed = if random.u8(..) < 32 {
            // The same request twice at the same time.
            let (first, second) = tokio::join!(
                self.ledger.send(&self.server, order.clone()),
                self.ledger.send(&self.server, order)
            );
            let (first, second) = (first?, second?);
            assert_eq!(first, second, "two equal requests have different answers");
            first
        } else {
            self.ledger.send(&self.server, order).await?
        };
        match placed.status {
            201 => self.continue_order(&placed, random).await,
            202 if random.bool() => {
                self.order_command(&placed, "cancel", json!({})).await?;
                Some(())
            }
            202 => Some(()),
            _ => {
                assert_eq!((placed.status, &placed.body["code"]), (409, &json!("insufficient_stock")));
                Some(())
            }
        }
    }

    async fn continue_order(&self, placed: &Answer, random: &mut fastrand::Rng) -> Option<()> {
        if random.u8(..) < 64 {
            self.order_command(placed, "cancel", json!({})).await?;
            return Some(());
        }
        if random.u8(..) < 64 {
            return Some(());
        }
        for step in ["authorize", "capture"] {
            let payment = placed.body["payment_id"].as_str().unwrap();
            let answer = self.send(&format!("/v1/payments/{payment}/{step}"), step, json!({})).await?;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let part = json!({"lines": [{"line": 1, "quantity": 1}]});
        match random.u8(..4) {
            0 => {}
            1 => {
                self.order_command(placed, "shipments", json!({})).await?;
                self.order_command(placed, "returns", part).await?;
            }
            2 => {
                self.order_command(placed, "shipments", part).await?;
                // Refused if the order had only that unit.
                self.order_command(placed, "cancel", json!({})).await?;
            }
            _ => {
                self.order_command(placed, "cancel", json!({})).await?;
            }
        }
        Some(())
    }

    async fn order_command(&self, placed: &Answer, command: &str, body: Value) -> Option<Answer> {
        let order = placed.body["order_id"].as_str().unwrap();
        self.send(&format!("/v1/orders/{order}/{command}"), command, body).await
    }

    async fn send(&self, path: &str, key: &str, body: Value) -> Option<Answer> {
        let (path, key) = (path.to_owned(), key.to_owned());
        self.ledger.send(&self.server, Request { path, key, body, respond_async: false }).await
    }
}
