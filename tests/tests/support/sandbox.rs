//! The payment sandbox, in the test's process and over real HTTP.

use std::{net::SocketAddr, sync::Arc};

use infra::{clock::Clock, signature::SigningSecret};
use reqwest::Method;
use sandbox::{
    Sandbox, SandboxOptions, SandboxProvider, SandboxScript,
    resource::{ChargeResource, LedgerTotals},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Shop, ShopOptions};

/// A running sandbox. Shops of [`TestSandbox::options`] use it as their payment provider.
pub struct TestSandbox {
    secret: SigningSecret,
    address: SocketAddr,
    /// Receives the webhooks, once [`TestSandbox::deliver_webhooks_to`] serves it.
    webhooks: Option<TcpListener>,
    http: reqwest::Client,
    _dir: TempDir,
    _stop: tokio_util::sync::DropGuard,
}

impl TestSandbox {
    /// `script`: the faults, in the format of `ORDERLY_SANDBOX_SCRIPT`.
    pub async fn open(script: &str) -> Self {
        let (dir, secret) = (tempfile::tempdir().unwrap(), SigningSecret::generate().unwrap());
        let webhooks = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook_url = format!("http://{}/v1/webhooks/sandbox", webhooks.local_addr().unwrap());
        let options = SandboxOptions {
            ledger: dir.path().join("sandbox.db"),
            secret: secret.clone(),
            script: script.parse::<SandboxScript>().unwrap(),
            notice_url: Some(webhook_url.parse().unwrap()),
            clock: Clock::system(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(Sandbox::open(options).unwrap().run(listener, stop.clone()));
        let http = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        Self { secret, address, webhooks: Some(webhooks), http, _dir: dir, _stop: stop.drop_guard() }
    }

    /// Options of a shop that uses this sandbox.
    pub fn options(&self) -> ShopOptions {
        let provider = SandboxProvider::new(&format!("http://{}", self.address), self.secret.clone());
        ShopOptions { provider: Some(Arc::new(provider)), ..ShopOptions::default() }
    }

    /// Delivers webhooks to the shop from now on. Until then, the sandbox retries them.
    pub fn deliver_webhooks_to(&mut self, shop: &Shop) {
        let (listener, router) = (self.webhooks.take().expect("called once"), shop.router());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    }

    pub async fn set_script(&self, script: Value) {
        self.ask(Method::PUT, "/v1/script", script).await;
    }

    pub async fn totals(&self) -> LedgerTotals {
        serde_json::from_value(self.ask(Method::GET, "/v1/totals", Value::Null).await).unwrap()
    }

    /// A charge as the sandbox stores it.
    pub async fn charge(&self, payment: &str, number: u32) -> ChargeResource {
        let path = format!("/v1/charges/{payment}/{number}");
        serde_json::from_value(self.ask(Method::GET, &path, Value::Null).await).unwrap()
    }

    /// Completes a charge that waits for the customer.
    pub async fn complete(&self, payment: &str, number: u32) {
        self.ask(Method::POST, &format!("/v1/charges/{payment}/{number}/complete"), json!({})).await;
    }

    /// Ends an authorisation without a request of the shop.
    pub async fn void(&self, payment: &str, number: u32) {
        self.ask(Method::POST, &format!("/v1/charges/{payment}/{number}/void"), Value::Null).await;
    }

    /// Refunds money without a request of the shop.
    pub async fn refund(&self, payment: &str, number: u32, amount: i64) {
        let path = format!("/v1/charges/{payment}/{number}/refunds");
        self.ask(Method::POST, &path, json!({"amount": amount})).await;
    }

    /// Pays or fails a refund, as its bank.
    pub async fn settle_refund(&self, payment: &str, number: u32, refund: &str, succeeds: bool) {
        let what = if succeeds { "complete" } else { "abandon" };
        let path = format!("/v1/charges/{payment}/{number}/refunds/{refund}/{what}");
        self.ask(Method::POST, &path, json!({})).await;
    }

    /// Opens a dispute as the customer, and returns its id.
    pub async fn dispute(&self, payment: &str, number: u32, amount: i64) -> String {
        let path = format!("/v1/charges/{payment}/{number}/disputes");
        let charge = self.ask(Method::POST, &path, json!({"amount": amount})).await;
        charge["disputes"][0]["dispute_id"].as_str().unwrap().to_owned()
    }

    /// Decides a dispute, as the bank.
    pub async fn settle_dispute(&self, payment: &str, number: u32, dispute: &str, is_won: bool) {
        let what = if is_won { "win" } else { "lose" };
        let path = format!("/v1/charges/{payment}/{number}/disputes/{dispute}/{what}");
        self.ask(Method::POST, &path, json!({})).await;
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        request = request.bearer_auth(self.secret.reveal());
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}
