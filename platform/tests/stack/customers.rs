//! Customers that buy while processes are killed and started. They repeat each request with its key until it
//! is answered.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::stack::Stack;

const CUSTOMERS: usize = 8;
/// Few SKUs, so orders compete for them.
const SKUS: [&str; 6] = ["85123A", "22423", "85099B", "47566", "20725", "84879"];
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// An order from the latest answer of the command API.
#[derive(Debug, Clone)]
pub struct Placed {
    pub order_id: String,
    pub total: i64,
    pub revision: u64,
}

/// Customers that are buying in the background.
pub struct Customers {
    leave: CancellationToken,
    task: JoinHandle<Vec<Placed>>,
}

impl Customers {
    /// Starts the customers. Each has its own keys.
    pub fn open(stack: &Stack, mut random: fastrand::Rng) -> Self {
        let leave = CancellationToken::new();
        let visits: Vec<_> = (0..CUSTOMERS)
            .map(|_| {
                let customer = Customer { http: reqwest::Client::new(), command_url: stack.command_url() };
                customer.visit(random.fork(), leave.clone())
            })
            .collect();
        let task = tokio::spawn(async move { join_all(visits).await.concat() });
        Self { leave, task }
    }

    /// Waits until the customers have finished their current orders. Returns every order that they placed.
    pub async fn close(self) -> Vec<Placed> {
        self.leave.cancel();
        self.task.await.unwrap()
    }
}

struct Customer {
    http: reqwest::Client,
    command_url: String,
}

impl Customer {
    async fn visit(self, mut random: fastrand::Rng, leave: CancellationToken) -> Vec<Placed> {
        let mut placed = Vec::new();
        loop {
            placed.extend(self.buy(&mut random).await);
            if leave.is_cancelled() {
                return placed;
            }
        }
    }

    /// Receives stock, sometimes too little, and places an order; then pays or cancels some of the orders.
    async fn buy(&self, random: &mut fastrand::Rng) -> Option<Placed> {
        let sku = *random.choice(&SKUS).unwrap();
        let quantity = random.u32(1..=3);
        self.send(&format!("/v1/stock/{sku}/receipts"), json!({"quantity": random.u32(1..=3)})).await;
        let line = json!({"sku": sku, "quantity": quantity, "unit_price": 250});
        let answer = self.send("/v1/orders", json!({"currency": "GBP", "lines": [line]})).await;
        let Some(payment) = answer["payment_id"].as_str() else {
            assert_eq!(answer["code"], "insufficient_stock", "{answer}");
            return None;
        };
        let order_id = answer["order_id"].as_str().unwrap().to_owned();
        let mut revision = answer["revision"].as_u64().unwrap();
        match random.u8(..4) {
            0 => {
                let cancelled = self.send(&format!("/v1/orders/{order_id}/cancel"), json!({})).await;
                revision = revision.max(cancelled["revision"].as_u64().unwrap());
            }
            1 => {
                self.send(&format!("/v1/payments/{payment}/authorize"), json!({})).await;
                self.send(&format!("/v1/payments/{payment}/capture"), json!({})).await;
            }
            _ => {}
        }
        Some(Placed { order_id, total: answer["total"].as_i64().unwrap(), revision })
    }

    /// Repeats a request until its answer is final.
    async fn send(&self, path: &str, body: Value) -> Value {
        let (url, key) = (format!("{}{path}", self.command_url), Uuid::new_v4().to_string());
        loop {
            let request = self.http.post(&url).header("idempotency-key", &key).json(&body);
            if let Ok(response) = request.timeout(REQUEST_TIME_MAX).send().await
                && response.status() != 503
                && let status = response.status()
                && let Ok(answer) = response.json::<Value>().await
            {
                assert!(status.is_success() || status == 409, "{path} was answered with {status}: {answer}");
                return answer;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}
