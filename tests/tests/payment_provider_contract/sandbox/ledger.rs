//! The ledger of the sandbox, and access to it.

use std::collections::BTreeSet;

use domain::PaymentId;
use infra::{
    clock::Clock,
    payment_provider::{PaymentProvider, ProviderError},
};
use sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    super::{Behaviour, Fixture, amount, figures, given_charge, refund_of, request, request_to_authorize},
    SandboxFixture, start,
};

impl SandboxFixture {
    fn options(&self) -> SandboxOptions {
        SandboxOptions {
            ledger: self.dir.path().join("sandbox.db"),
            secret: self.secret.clone(),
            script: "".parse().unwrap(),
            notice_url: Some(format!("http://{}/webhooks", self.receiver_address).parse().unwrap()),
            clock: Clock::system(),
        }
    }

    /// Stops the server and starts another one on the same files, at another address.
    pub(super) async fn restart(&mut self) {
        if let Some((running, stop)) = self.running.take() {
            stop.cancel();
            running.await.unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.address = listener.local_addr().unwrap();
        self.running = Some(start(self.options(), listener));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charges_and_refunds_survive_a_restart() {
    let mut sandbox = SandboxFixture::fresh().await;
    let charge = given_charge(&sandbox, request("ok")).await;
    let refund = refund_of(&charge, 4_000);
    let paid = sandbox.direct().refund(&refund).await.unwrap();
    let before = (sandbox.charges().await, sandbox.totals().await.currencies);
    sandbox.restart().await;
    assert_eq!((sandbox.charges().await, sandbox.totals().await.currencies), before);
    let provider = sandbox.direct();
    assert_eq!(figures(&provider.charge(&charge).await.unwrap().report), (10_000, 10_000, None));
    assert_eq!(provider.refund(&refund).await, Ok(paid));
    assert_eq!(sandbox.totals().await.currencies, before.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_cannot_open_the_ledger() {
    let mut sandbox = SandboxFixture::fresh().await;
    given_charge(&sandbox, request("ok")).await;
    let options = sandbox.options();
    let second = tokio::task::spawn_blocking(move || Sandbox::open(options).map(drop)).await.unwrap();
    let error = second.unwrap_err().to_string();
    assert!(error.contains("sandbox.db"), "{error}");
    sandbox.restart().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_are_the_sums_of_all_movements() {
    let sandbox = SandboxFixture::fresh().await;
    let provider = sandbox.direct();
    let mut payments = BTreeSet::new();
    for minor_units in 1..=20 {
        let charge = given_charge(&sandbox, request_to_authorize(sandbox.method(Behaviour::Fine))).await;
        provider.capture(&charge, amount(minor_units), amount(minor_units)).await.unwrap();
        provider.refund(&refund_of(&charge, 1)).await.unwrap();
        provider.void(&charge).await.unwrap();
        payments.insert(charge.payment_id);
    }
    // Listed in pages of 7.
    let listed: Vec<PaymentId> = sandbox.charges().await.iter().map(|charge| charge.payment_id).collect();
    assert_eq!((listed.len(), listed.into_iter().collect()), (20, payments));
    let totals = serde_json::to_value(sandbox.totals().await).unwrap();
    let expected = json!({
        "authorizations": 20, "authorized": 200_000, "captures": 20, "captured": 210,
        "releases": 20, "released": 199_790, "refunds": 20, "refunded": 20,
        "refund_reversals": 0, "refunds_reversed": 0, "disputes": 0, "disputed": 0,
        "dispute_reversals": 0, "disputes_reversed": 0,
    });
    assert_eq!((&totals["charges"], &totals["currencies"]["GBP"]), (&json!(20), &expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_charge_or_refund_with_other_terms_is_refused() {
    let sandbox = SandboxFixture::fresh().await;
    let charge = given_charge(&sandbox, request("ok")).await;
    let mut other = charge.clone();
    other.charge.amount = amount(10_001);
    let refused = sandbox.direct().charge(&other).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Refused(_)), "{refused:?}");
    let refund = refund_of(&charge, 100);
    sandbox.direct().refund(&refund).await.unwrap();
    // The same refund id for another charge.
    let mut elsewhere = refund_of(&given_charge(&sandbox, request("ok")).await, 100);
    elsewhere.refund_id = refund.refund_id;
    let refused_refund = sandbox.direct().refund(&elsewhere).await.unwrap_err();
    assert!(matches!(refused_refund, ProviderError::Refused(_)), "{refused_refund:?}");
    assert_eq!(sandbox.moved(elsewhere.charge.payment_id).await.refunds, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_request_is_answered_with_a_problem() {
    let sandbox = SandboxFixture::fresh().await;
    let charge = "/v1/charges/6f9619ff-8b86-d011-b42d-00cf4fc964ff/1";
    let terms = json!({"amount": 100, "currency": "GBP", "method": "ok"});
    for (method, path, body, status, code) in [
        ("GET", charge, None, 404, "unknown_charge"),
        ("PUT", "/v1/charges/none/1", Some(terms.clone()), 400, "invalid_parameter"),
        ("PUT", "/v1/charges/6f9619ff-8b86-d011-b42d-00cf4fc964ff/-1", Some(terms), 400, "invalid_parameter"),
        ("PUT", charge, Some(json!({"amount": 100, "currency": "GBP"})), 422, "invalid_request"),
        (
            "PUT",
            charge,
            Some(json!({"amount": 0, "currency": "GBP", "method": "ok"})),
            422,
            "invalid_request",
        ),
        (
            "PUT",
            charge,
            Some(json!({"amount": 1, "currency": "gbp", "method": "ok"})),
            422,
            "invalid_request",
        ),
        ("PUT", charge, Some(json!({"amount": 1, "currency": "GBP", "method": ""})), 422, "invalid_request"),
        ("PUT", "/v1/script", Some(json!({"declines": 2})), 422, "invalid_request"),
        ("GET", "/v1/charges?limit=201", None, 400, "invalid_parameter"),
        ("DELETE", charge, None, 405, "method_not_allowed"),
        ("GET", "/v1/nothing", None, 404, "not_found"),
    ] {
        let answer = sandbox.ask(method, path, body).await;
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{method} {path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{method} {path}");
    }
    assert_eq!(sandbox.totals().await.charges, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_cannot_be_read_without_the_secret() {
    let sandbox = SandboxFixture::fresh().await;
    for path in ["/v1/charges", "/v1/totals", "/v1/script"] {
        let url = format!("http://{}{path}", sandbox.address);
        for token in [None, Some("whsec_guess")] {
            let anonymous = sandbox.http.get(&url);
            let request = token.into_iter().fold(anonymous, reqwest::RequestBuilder::bearer_auth);
            assert_eq!(request.send().await.unwrap().status(), 401, "{path}");
        }
    }
    let live = sandbox.http.get(format!("http://{}/livez", sandbox.address));
    assert_eq!(live.send().await.unwrap().status(), 200);
}
