//! The requests of the adapter, validated by Stripe's mock server.

use std::time::Duration;

use domain::RefundId;
use infra::payment_provider::{Book, PaymentProvider, Period, RefundRequest, stripe::StripeProvider};
use jiff::SignedDuration;
use tests::stripe::{Request, StripeDouble};
use uuid::Uuid;

use super::{amount, captured_apart, charge, double, known_by, options, provider_with};

/// Every kind of request that the adapter sends.
async fn given_requests(double: &StripeDouble) -> Vec<Request> {
    let provider = provider_with(double, options(double).with_multicapture());
    let old = charge(double, "pm_card_visa");
    double.advance(Duration::from_hours(25));
    provider.charge(&old).await.unwrap();
    let paid = captured_apart(charge(double, "pm_card_visa"));
    let paid = known_by(&paid, &provider.charge(&paid).await.unwrap().report);
    provider.capture(&paid, amount(4_000), amount(4_000)).await.unwrap();
    let refund = RefundRequest {
        charge: paid.clone(),
        refund_id: RefundId(Uuid::new_v4()),
        amount: amount(100),
        requested_at: paid.requested_at,
    };
    provider.refund(&refund).await.unwrap();
    provider.refund(&refund).await.unwrap();
    double.advance(Duration::from_hours(25));
    provider.refund(&refund).await.unwrap();
    provider.void(&paid).await.unwrap();
    provider.charge(&charge(double, "pm_card_visa_chargeDeclined")).await.unwrap();
    what_begins_at_stripe(double, &provider).await;
    books(double, &provider).await;
    double.requests()
}

/// Look-ups of a charge that waits for its customer, and of one with a refund and a dispute that no request made.
async fn what_begins_at_stripe(double: &StripeDouble, provider: &StripeProvider) {
    let waiting = charge(double, "pm_card_authenticationRequired");
    let waiting = known_by(&waiting, &provider.charge(&waiting).await.unwrap().report);
    assert!(provider.look_up(&waiting).await.unwrap().unwrap().next_action.is_some());

    let paid = charge(double, "pm_card_visa");
    let paid = known_by(&paid, &provider.charge(&paid).await.unwrap().report);
    let intent = paid.charge.reference.clone().unwrap();
    // Two pages of refunds.
    for _ in 0..101 {
        double.refund_from_dashboard(&intent, 1);
    }
    double.dispute(&intent, 500);
    let found = provider.look_up(&paid).await.unwrap().unwrap().report;
    assert_eq!((found.refunds.len(), found.disputes.len()), (101, 1));
    let (_, found) = provider.look_up_reference(&intent).await.unwrap().unwrap();
    assert_eq!((found.refunds.len(), found.disputes.len()), (101, 1));
}

/// Two pages of each book.
async fn books(double: &StripeDouble, provider: &StripeProvider) {
    for _ in 0..101 {
        let intent = double.add_charge(&Uuid::new_v4().to_string(), 1, 100, double.now());
        double.dispute(&intent, 1);
    }
    let hour = SignedDuration::from_hours(1);
    let period = Period { from: double.now() - hour, to: double.now() + hour };
    for book in Book::ALL {
        let first = provider.read_book(book, period, None).await.unwrap();
        let second = provider.read_book(book, period, first.next.as_deref()).await.unwrap();
        assert!(!second.entries.is_empty() && second.next.is_none(), "{book:?}");
    }
}

/// The queries of the lists, without ids and times.
fn lists(requests: &[Request]) -> Vec<String> {
    let names = |query: &str| -> Vec<String> {
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
        pairs.map(|(name, value)| if name == "expand[]" { format!("{name}={value}") } else { name }).collect()
    };
    let list = |request: &Request| {
        let (path, query) = request.path.split_once('?')?;
        let is_list = ["/v1/payment_intents", "/v1/refunds", "/v1/disputes"].contains(&path);
        is_list.then(|| format!("{path} {}", names(query).join(" ")))
    };
    let mut lists: Vec<String> = requests.iter().filter_map(list).collect();
    lists.sort();
    lists.dedup();
    lists
}

#[tokio::test]
async fn every_list_is_requested_page_by_page() {
    let double = double().await;
    let requests = given_requests(&double).await;
    assert_eq!(
        lists(&requests),
        [
            "/v1/disputes created[gte] created[lt] expand[]=data.payment_intent limit",
            "/v1/disputes created[gte] created[lt] expand[]=data.payment_intent limit starting_after",
            "/v1/disputes payment_intent limit",
            "/v1/payment_intents created[gte] created[lt] limit",
            "/v1/payment_intents created[gte] created[lt] limit starting_after",
            "/v1/refunds created[gte] created[lt] expand[]=data.payment_intent limit",
            "/v1/refunds created[gte] created[lt] expand[]=data.payment_intent limit starting_after",
            "/v1/refunds payment_intent limit",
            "/v1/refunds payment_intent limit starting_after",
        ]
    );
}

fn kinds(requests: &[Request]) -> Vec<String> {
    let kind = |request: &Request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let part = |part: &str| {
            if part.starts_with("pi_") || part.starts_with("re_") { "*".to_owned() } else { part.to_owned() }
        };
        format!("{} {}", request.method, path.split('/').map(part).collect::<Vec<_>>().join("/"))
    };
    let mut kinds: Vec<String> = requests.iter().map(kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Sends a request to Stripe's mock server, which validates it against Stripe's OpenAPI description and has
/// no state.
async fn verdict(http: &reqwest::Client, request: &Request, body: &str) -> (u16, String) {
    let url = format!("{}{}", std::env::var("ORDERLY_TEST_STRIPE_MOCK").unwrap(), request.path);
    let mut sent = http
        .request(request.method.parse().unwrap(), url)
        .bearer_auth("sk_test_123")
        .header("stripe-version", request.stripe_version.as_deref().unwrap_or_default());
    if request.method == "POST" {
        sent = sent.header("content-type", "application/x-www-form-urlencoded").body(body.to_owned());
    }
    let answer = sent.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

pub(super) async fn assert_valid(requests: &[Request]) {
    let http = reqwest::Client::new();
    for request in requests {
        let (status, answer) = verdict(&http, request, &request.body).await;
        assert_eq!(status, 200, "{request:?} was answered {answer}");
    }
}

#[tokio::test]
#[ignore = "needs stripe-mock: infra/dev/services up; source .dev/env"]
async fn every_request_is_valid_by_stripes_openapi_description() {
    let double = double().await;
    let requests = given_requests(&double).await;
    assert_eq!(
        kinds(&requests),
        [
            "GET /v1/disputes",
            "GET /v1/payment_intents",
            "GET /v1/payment_intents/*",
            "GET /v1/payment_intents/search",
            "GET /v1/refunds",
            "GET /v1/refunds/*",
            "POST /v1/payment_intents",
            "POST /v1/payment_intents/*/cancel",
            "POST /v1/payment_intents/*/capture",
            "POST /v1/payment_intents/*/confirm",
            "POST /v1/refunds",
        ]
    );
    assert_valid(&requests).await;
    let http = reqwest::Client::new();
    // Proves that the mock server validates: it refuses an unknown member and an unknown version.
    let created = requests.iter().find(|request| request.path == "/v1/payment_intents").unwrap();
    let (status, _) = verdict(&http, created, &format!("{}&nonsense=1", created.body)).await;
    assert_eq!(status, 400);
    let other_version = Request { stripe_version: Some("2020-08-27".to_owned()), ..created.clone() };
    assert_eq!(verdict(&http, &other_version, &created.body).await.0, 400);
}
