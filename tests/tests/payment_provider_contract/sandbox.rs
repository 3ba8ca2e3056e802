//! The sandbox over real HTTP: its server runs in this process, behind a network that loses answers.

mod faults;
mod ledger;
mod notices;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{Router, body::Bytes, extract::State, routing::post};
use domain::{PaymentId, Timestamp};
use http::{HeaderMap, StatusCode};
use infra::{
    clock::Clock,
    payment_provider::{ChargeRequest, PaymentProvider, RefundRequest},
    signature::{ID, SIGNATURE, SigningSecret, signatures, signed_headers},
};
use sandbox::{
    Sandbox, SandboxOptions, SandboxProvider, SandboxScript,
    resource::{ChargePage, ChargeResource, LedgerTotals, MovementKind},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Behaviour, Moved, Webhook, payment_provider_contract};
use crate::support::Network;

payment_provider_contract!(SandboxFixture);

/// A sandbox, the network in front of it, and the receiver of its notices.
struct SandboxFixture {
    secret: SigningSecret,
    address: SocketAddr,
    network: Network,
    receiver: Receiver,
    receiver_address: SocketAddr,
    http: reqwest::Client,
    running: Option<(JoinHandle<()>, CancellationToken)>,
    dir: TempDir,
}

/// Accepts notices after refusing the first `refuses_first` attempts of each.
#[derive(Clone, Default)]
struct Receiver {
    accepted: Arc<Mutex<Vec<Webhook>>>,
    refused: Arc<Mutex<HashMap<String, u32>>>,
    refuses_first: u32,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let id = headers[ID].to_str().unwrap().to_owned();
    let mut refused = receiver.refused.lock().unwrap();
    let refusals = refused.entry(id).or_default();
    if *refusals < receiver.refuses_first {
        *refusals += 1;
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    receiver.accepted.lock().unwrap().push(Webhook { headers, body: body.to_vec() });
    StatusCode::NO_CONTENT
}

impl SandboxFixture {
    async fn with(script: &str, receiver: Receiver) -> Self {
        let (dir, secret) = (tempfile::tempdir().unwrap(), SigningSecret::generate().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver_address = listener.local_addr().unwrap();
        let notice_url = format!("http://{receiver_address}/webhooks");
        let router = Router::new().route("/webhooks", post(receive)).with_state(receiver.clone());
        tokio::spawn(async move { axum_serve(listener, router).await });
        let options = SandboxOptions {
            ledger: dir.path().join("sandbox.db"),
            secret: secret.clone(),
            script: script.parse().unwrap(),
            notice_url: Some(notice_url.parse().unwrap()),
            clock: Clock::system(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = Some(start(options, listener));
        let network = Network::before(address).await;
        let http = reqwest::Client::new();
        Self { secret, address, network, receiver, receiver_address, http, running, dir }
    }

    async fn scripted(script: &str) -> Self {
        Self::with(script, Receiver::default()).await
    }

    /// The adapter without the network in between.
    fn direct(&self) -> SandboxProvider {
        SandboxProvider::new(&format!("http://{}", self.address), self.secret.clone())
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address);
        let request = self.http.request(method.parse().unwrap(), url).bearer_auth(self.secret.reveal());
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.unwrap()
    }

    async fn set_script(&self, script: &str) {
        let script: SandboxScript = script.parse().unwrap();
        let answer = self.ask("PUT", "/v1/script", Some(json!(script))).await;
        assert_eq!(answer.status(), 200);
    }

    async fn charges(&self) -> Vec<ChargeResource> {
        let (mut charges, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = self.ask("GET", &format!("/v1/charges?limit=7{cursor}"), None).await;
            let page: ChargePage = answer.json().await.unwrap();
            charges.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return charges,
            }
        }
    }

    async fn totals(&self) -> LedgerTotals {
        self.ask("GET", "/v1/totals", None).await.json().await.unwrap()
    }

    /// All accepted notices.
    fn accepted(&self) -> Vec<Webhook> {
        self.receiver.accepted.lock().unwrap().clone()
    }
}

fn start(options: SandboxOptions, listener: TcpListener) -> (JoinHandle<()>, CancellationToken) {
    let stop = CancellationToken::new();
    let sandbox = Sandbox::open(options).unwrap();
    (tokio::spawn(sandbox.run(listener, stop.clone())), stop)
}

async fn axum_serve(listener: TcpListener, router: Router) {
    let stop = CancellationToken::new();
    infra::http::serve(listener, router, infra::http::ServerOptions::default(), stop).await;
}

fn id_of(webhook: &Webhook) -> String {
    webhook.headers[ID].to_str().unwrap().to_owned()
}

#[async_trait]
impl super::Fixture for SandboxFixture {
    async fn fresh() -> Self {
        Self::scripted("").await
    }

    fn provider(&self) -> Arc<dyn PaymentProvider> {
        let url = format!("http://{}", self.network.address());
        Arc::new(SandboxProvider::new(&url, self.secret.clone()))
    }

    fn provider_without_credentials(&self) -> Arc<dyn PaymentProvider> {
        let url = format!("http://{}", self.network.address());
        Arc::new(SandboxProvider::new(&url, SigningSecret::generate().unwrap()))
    }

    fn method(&self, behaviour: Behaviour) -> &'static str {
        match behaviour {
            Behaviour::Fine => "ok",
            Behaviour::DeclinesForGood => "decline",
            Behaviour::Declines => "decline_soft",
            Behaviour::WaitsForCustomer => "needs_action",
            Behaviour::RefundsFail => "refund_fails",
            Behaviour::RefundsWait => "refund_pending",
        }
    }

    async fn settle(&self, request: &ChargeRequest, completed: bool) {
        let what = if completed { "complete" } else { "abandon" };
        let path = format!("/v1/charges/{}/{}/{what}", request.payment_id, request.charge.number);
        assert_eq!(self.ask("POST", &path, None).await.status(), 200);
    }

    async fn settle_refund(&self, request: &RefundRequest, succeeds: bool) {
        let (charge, what) = (&request.charge, if succeeds { "complete" } else { "abandon" });
        let (payment, number, refund) = (charge.payment_id, charge.charge.number, request.refund_id);
        let path = format!("/v1/charges/{payment}/{number}/refunds/{refund}/{what}");
        assert_eq!(self.ask("POST", &path, None).await.status(), 200);
    }

    async fn refund_at_provider(&self, charge: &ChargeRequest, minor_units: i64) {
        let path = format!("/v1/charges/{}/{}/refunds", charge.payment_id, charge.charge.number);
        assert_eq!(self.ask("POST", &path, Some(json!({"amount": minor_units}))).await.status(), 200);
    }

    async fn dispute(&self, charge: &ChargeRequest, minor_units: i64) {
        let path = format!("/v1/charges/{}/{}/disputes", charge.payment_id, charge.charge.number);
        assert_eq!(self.ask("POST", &path, Some(json!({"amount": minor_units}))).await.status(), 200);
    }

    async fn close_dispute(&self, charge: &ChargeRequest, is_won: bool) {
        let path = format!("/v1/charges/{}/{}", charge.payment_id, charge.charge.number);
        let known: ChargeResource = self.ask("GET", &path, None).await.json().await.unwrap();
        let (id, what) = (&known.disputes[0].dispute_id, if is_won { "win" } else { "lose" });
        assert_eq!(self.ask("POST", &format!("{path}/disputes/{id}/{what}"), None).await.status(), 200);
    }

    async fn take_down(&self) {
        self.set_script("outage=true").await;
    }

    async fn bring_up(&self) {
        self.set_script("outage=false").await;
    }

    async fn lose_next_answer(&self) {
        self.network.lose_next_answer();
    }

    async fn moved(&self, payment: PaymentId) -> Moved {
        let mut moved = Moved::default();
        let charges = self.charges().await.into_iter().filter(|charge| charge.payment_id == payment);
        for movement in charges.flat_map(|charge| charge.movements) {
            let amount = movement.amount.minor_units();
            match movement.kind {
                MovementKind::Authorization => moved.held += amount,
                MovementKind::Release => moved.held -= amount,
                MovementKind::Capture => {
                    moved.captures += 1;
                    moved.captured += amount;
                    moved.held -= amount;
                }
                MovementKind::Refund => {
                    moved.refunds += 1;
                    moved.refunded += amount;
                }
                MovementKind::RefundReversal => {
                    moved.refunds -= 1;
                    moved.refunded -= amount;
                }
                MovementKind::Dispute | MovementKind::DisputeReversal => {}
            }
        }
        moved
    }

    fn webhooks(&self, payment: PaymentId) -> Vec<Webhook> {
        let prefix = format!("msg_{payment}_");
        let mut webhooks = self.accepted();
        webhooks.retain(|webhook| id_of(webhook).starts_with(&prefix));
        // The id ends with the number of the event.
        webhooks.sort_by_key(id_of);
        webhooks
    }

    fn sign(&self, body: &[u8], at: Timestamp) -> HeaderMap {
        signed_headers(&self.secret, "msg_1", at, body)
    }

    fn sign_while_rotating(&self, body: &[u8], at: Timestamp) -> HeaderMap {
        let other = SigningSecret::generate().unwrap();
        let mut headers = self.sign(body, at);
        let both = signatures(&[&other, &self.secret], "msg_1", at, body);
        headers.insert(SIGNATURE, both.parse().unwrap());
        headers
    }

    fn forge(&self, body: &[u8], at: Timestamp) -> HeaderMap {
        signed_headers(&SigningSecret::generate().unwrap(), "msg_1", at, body)
    }
}
