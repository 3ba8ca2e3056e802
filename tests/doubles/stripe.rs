//! A double of Stripe with state: the parts of PaymentIntents, Refunds and Disputes that the platform uses, over HTTP.
//! It has idempotency keys, declines, 3-D Secure, a search that lags, signed webhooks, a clock that tests
//! set, and faults.
//!
//! Double and adapter could share an error. So Stripe's own `stripe-mock` checks the requests, and Stripe's
//! OpenAPI description and Python library check the answers (`tests/scripts/stripe_client_check.py`).
//!
//! Where Stripe's documentation leaves a case open, the double takes the worse case: it forgets idempotency
//! keys after exactly 24 hours, and the error of an intent when the intent is cancelled.

mod account;
mod books;
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
use crate::port::HeldPort;

pub const SECRET_KEY: &str = "sk_test_double";
pub const WEBHOOK_SECRET: &str = "whsec_double";
pub const API_VERSION: &str = "2026-08-26.dahlia";

/// A running double. Clones share it; dropping the last one ends it.
#[derive(Debug, Clone)]
pub struct StripeDouble {
    port: Arc<HeldPort>,
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
        let port = HeldPort::hold(listen)?;
        let listener = port.listen().await?;
        let double = Self { port: Arc::new(port), state: Arc::default(), serving: Arc::default() };
        double.serve(listener);
        Ok(double)
    }

    fn serve(&self, listener: TcpListener) {
        let router = server::router(Arc::clone(&self.state));
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
                // An error means that the double was dropped, which also ends it.
                let _ = ended.await;
            });
            if let Err(error) = serving.await {
                eprintln!("The double of Stripe cannot serve: {error}");
            }
        });
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(Serving { task, end });
    }

    /// Refuses connections until [`StripeDouble::bring_up`].
    pub async fn take_down(&self) {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Serving { task, end }) = serving {
            drop(end);
            task.await.expect("the double does not panic");
        }
    }

    pub async fn bring_up(&self) -> std::io::Result<()> {
        self.serve(self.port.listen().await?);
        Ok(())
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// The time of the double.
    pub fn now(&self) -> Timestamp {
        self.lock().account.now()
    }

    pub fn advance(&self, by: Duration) {
        self.lock().account.advance(by);
    }

    /// Sets the time until a search finds a change.
    pub fn set_search_lag(&self, lag: Duration) {
        self.lock().account.search_lag = lag;
    }

    /// Breaks the next `count` requests with this method and path. `*` in a path matches any one segment; `|`
    /// separates alternatives.
    pub fn fail(&self, method: &str, path: &str, fault: Fault, count: usize) {
        self.lock().faults.extend((0..count).map(|_| (method.to_owned(), path.to_owned(), fault)));
    }

    /// Every request so far, including broken ones.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// The current intents, oldest first.
    pub fn intents(&self) -> Vec<Value> {
        self.lock().account.intents(None)
    }

    /// The money moved by the intents with this metadata.
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

    /// Answers a 3-D Secure request as the customer.
    pub fn authenticate(&self, intent: &str, succeeds: bool) {
        self.lock().account.authenticate(intent, succeeds);
    }

    /// Decides a charge that is `processing`, as the bank.
    pub fn finish_processing(&self, intent: &str, succeeds: bool) {
        self.lock().account.finish_processing(intent, succeeds);
    }

    /// Confirms the intent with another card, as a customer with the client secret. Returns whether Stripe
    /// accepts it.
    pub fn customer_confirms(&self, intent: &str, payment_method: &str) -> bool {
        self.lock().account.confirm(intent, Some(payment_method)).is_ok()
    }

    /// Expires the authorisation.
    pub fn expire(&self, intent: &str) {
        self.lock().account.expire(intent);
    }

    /// Refunds money from the dashboard. Returns the id of the refund.
    pub fn refund_from_dashboard(&self, intent: &str, amount: i64) -> String {
        self.lock().account.refund_from_dashboard(intent, amount)
    }

    /// The customer disputes a payment through the bank. Returns the id of the dispute.
    pub fn dispute(&self, intent: &str, amount: i64) -> String {
        self.lock().account.dispute(intent, amount)
    }

    /// Decides a dispute, as the bank.
    pub fn close_dispute(&self, dispute: &str, is_won: bool) {
        self.lock().account.close_dispute(dispute, is_won);
    }

    /// Settles a refund that is pending or succeeded, as the bank.
    pub fn settle_refund(&self, refund: &str, succeeds: bool) {
        self.lock().account.settle_refund(refund, succeeds);
    }

    fn lock(&self) -> MutexGuard<'_, server::State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
