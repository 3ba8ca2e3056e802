//! A double of Stripe that keeps state: PaymentIntents and Refunds as far as the platform uses them, over HTTP, with
//! idempotency keys, declines, 3-D Secure, a search that lags, signed webhooks, a clock that tests turn, and faults.
//!
//! What it takes is checked by Stripe's own `stripe-mock`, what it answers by Stripe's OpenAPI description and by
//! Stripe's Python library (`tests/scripts/stripe_client_check.py`), so that it cannot merely agree with our adapter.
//!
//! Where Stripe leaves something open, the double is unkind: it forgets idempotency keys after exactly 24 hours, and the
//! error of an intent when that is cancelled.

mod account;
mod cards;
mod objects;
mod server;
mod signature;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

pub use self::{
    account::Moved,
    server::{Fault, Request},
    signature::signature,
};

pub const SECRET_KEY: &str = "sk_test_double";
pub const WEBHOOK_SECRET: &str = "whsec_double";
pub const API_VERSION: &str = "2026-08-26.dahlia";

/// A running double; clones are the same one. It ends with the last of them.
#[derive(Debug, Clone)]
pub struct StripeDouble {
    address: SocketAddr,
    state: Arc<Mutex<server::State>>,
    serving: Arc<Mutex<Option<Serving>>>,
}

#[derive(Debug)]
struct Serving {
    task: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl StripeDouble {
    pub async fn start(listen: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let double = Self { address, state: Arc::default(), serving: Arc::default() };
        double.serve(listener);
        Ok(double)
    }

    fn serve(&self, listener: TcpListener) {
        let router = server::router(Arc::clone(&self.state));
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
                // A double that is dropped ends too.
                let _ = ended.await;
            });
            if let Err(error) = serving.await {
                eprintln!("The double of Stripe ends: {error}");
            }
        });
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(Serving { task, end });
    }

    /// From now on connections are refused.
    pub async fn take_down(&self) {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Serving { task, end }) = serving {
            drop(end);
            task.await.expect("the double does not panic");
        }
    }

    pub async fn bring_up(&self) -> std::io::Result<()> {
        self.serve(TcpListener::bind(self.address).await?);
        Ok(())
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The time at Stripe.
    pub fn now(&self) -> Timestamp {
        self.lock().account.now()
    }

    pub fn advance(&self, by: Duration) {
        self.lock().account.advance(by);
    }

    /// How long it takes for a change to be found by a search.
    pub fn set_search_lag(&self, lag: Duration) {
        self.lock().account.search_lag = lag;
    }

    /// Breaks the next `count` requests whose method and path are these; `*` in a path stands for any one part, and
    /// `|` stands between paths of which it is any.
    pub fn fail(&self, method: &str, path: &str, fault: Fault, count: usize) {
        self.lock().faults.extend((0..count).map(|_| (method.to_owned(), path.to_owned(), fault)));
    }

    /// Every request so far, broken ones too.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// The intents as they stand, oldest first.
    pub fn intents(&self) -> Vec<Value> {
        self.lock().account.intents(None)
    }

    /// What has moved for the intents with this metadata.
    pub fn moved(&self, name: &str, value: &str) -> Moved {
        self.lock().account.moved(name, value)
    }

    pub fn refunds(&self) -> Vec<Value> {
        self.lock().account.refunds(None)
    }

    /// The events so far, oldest first, each as the body of a webhook.
    pub fn events(&self) -> Vec<String> {
        self.lock().account.events.iter().map(Value::to_string).collect()
    }

    /// The customer answers the bank, in 3-D Secure.
    pub fn authenticate(&self, intent: &str, succeeds: bool) {
        self.lock().account.authenticate(intent, succeeds);
    }

    /// A bank that took its time decides.
    pub fn finish_processing(&self, intent: &str, succeeds: bool) {
        self.lock().account.finish_processing(intent, succeeds);
    }

    /// A customer who has the client secret confirms the intent with another card; whether that was possible.
    pub fn customer_confirms(&self, intent: &str, payment_method: &str) -> bool {
        self.lock().account.confirm(intent, Some(payment_method)).is_ok()
    }

    /// The authorisation runs out.
    pub fn expire(&self, intent: &str) {
        self.lock().account.expire(intent);
    }

    /// The bank says what became of a refund that was pending, or that it had taken.
    pub fn settle_refund(&self, refund: &str, succeeds: bool) {
        self.lock().account.settle_refund(refund, succeeds);
    }

    fn lock(&self) -> MutexGuard<'_, server::State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
