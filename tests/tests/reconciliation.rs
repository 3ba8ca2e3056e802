//! The comparison with the books of the provider, after the books were changed behind the platform.

use std::sync::Arc;

use command_api::reconciliation::reconcile;
use domain::Timestamp;
use infra::{
    clock::Clock,
    operations::reconciliations::{Difference, Finding, Kind},
    payment_provider::{
        Period,
        stripe::{StripeOptions, StripeProvider},
    },
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::stripe::{SECRET_KEY, StripeDouble, WEBHOOK_SECRET};
use uuid::Uuid;

use crate::support::{Answer, Shop, ShopOptions, line};

const DAY: SignedDuration = SignedDuration::from_hours(24);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// A shop with the double of Stripe, which sends no webhooks, and the day around now.
struct Books {
    stripe: StripeDouble,
    provider: Arc<StripeProvider>,
    shop: Shop,
    day: Period,
}

impl Books {
    async fn open() -> Self {
        let stripe = StripeDouble::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let options = StripeOptions::new(SECRET_KEY, WEBHOOK_SECRET).unwrap();
        let options = options.with_api_url(&stripe.url()).unwrap();
        let provider = Arc::new(StripeProvider::new(options, Clock::system()).unwrap());
        let shop =
            Shop::with(ShopOptions { provider: Some(provider.clone()), ..ShopOptions::default() }).await;
        shop.receive("a", 100).await;
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let from = now - SignedDuration::from_hours(12);
        Self { stripe, provider, shop, day: Period { from, to: from + DAY } }
    }

    /// An order over 1,000 that waits for its payment.
    async fn unpaid(&self, key: &str) -> Value {
        self.shop.place(key, &[line("a", 1, 1_000)]).await.expect(201)
    }

    /// A paid order over 1,000, and the id of its intent.
    async fn paid(&self, key: &str) -> (Value, String) {
        let order = self.unpaid(key).await;
        let payment = order["payment_id"].as_str().unwrap();
        let body = json!({"method": "pm_card_visa"});
        self.shop.post(&format!("/v1/payments/{payment}/charge"), key, body).await.expect(200);
        let intents = self.stripe.intents();
        let intent = intents.iter().find(|intent| intent["metadata"]["orderly_payment"] == payment).unwrap();
        (order, intent["id"].as_str().unwrap().to_owned())
    }

    /// Refunds 200 of a paid order. Returns the id of the refund at Stripe.
    async fn refunded(&self, order: &Value, key: &str) -> String {
        let path = format!("/v1/orders/{}/refunds", order["order_id"].as_str().unwrap());
        let answer = self.shop.post(&path, key, json!({"amount": 200})).await.expect(201);
        let id = answer["refund_id"].as_str().unwrap().to_owned();
        let recorded = |log: &crate::support::Log| {
            let payment = log.payment(order["payment_id"].as_str().unwrap().parse().unwrap());
            payment.refunded().minor_units() == 200
        };
        self.shop.until("it is refunded", recorded).await;
        let refunds = self.stripe.refunds();
        let refund = refunds.iter().find(|refund| refund["metadata"]["orderly_refund"] == id).unwrap();
        refund["id"].as_str().unwrap().to_owned()
    }

    /// A paid order of which 300 are disputed, as recorded here. Returns the order and the id of the dispute.
    async fn disputed(&self, key: &str) -> (Value, String) {
        let (order, intent) = self.paid(key).await;
        let dispute = self.stripe.dispute(&intent, 300);
        let answer = self.look_up(id(&order), &format!("{key}/look-up"), &intent).await;
        assert_eq!(answer.expect(200)["disputed"], 300);
        (order, dispute)
    }

    /// What differs in a period, sorted: the kind, the reason, ours and theirs.
    async fn differences(&self, period: Period) -> Vec<(Kind, Finding, i64, i64)> {
        let mut found: Vec<_> = self.reconcile(period).await.iter().map(figures).collect();
        found.sort_by_key(|(kind, finding, ours, theirs)| (*kind, format!("{finding:?}"), *ours, *theirs));
        found
    }

    async fn reconcile(&self, period: Period) -> Vec<Difference> {
        let log = self.shop.checkout.store().log();
        reconcile(&*log, &*self.provider, period).await.unwrap().differences
    }

    async fn look_up(&self, payment: &str, key: &str, reference: &str) -> Answer {
        let path = format!("/v1/payments/{payment}/look-up");
        self.shop.post(&path, key, json!({"reference": reference})).await
    }
}

fn figures(found: &Difference) -> (Kind, Finding, i64, i64) {
    (found.kind, found.finding, found.ours.minor_units(), found.theirs.minor_units())
}

fn id(order: &Value) -> &str {
    order["payment_id"].as_str().unwrap()
}

#[tokio::test]
async fn equal_books_have_no_difference() {
    let books = Books::open().await;
    let (order, _) = books.paid("one").await;
    books.refunded(&order, "refund").await;
    books.paid("two").await;
    books.unpaid("three").await;
    books.disputed("four").await;
    let log = books.shop.checkout.store().log();
    let found = reconcile(&*log, &*books.provider, books.day).await.unwrap();
    assert_eq!(found.differences, []);
    let sums: Vec<(u64, i64, i64)> = found
        .sums
        .values()
        .map(|sums| (sums.count, sums.ours.minor_units(), sums.theirs.minor_units()))
        .collect();
    assert_eq!(sums, [(3, 3_000, 3_000), (1, 200, 200), (1, 300, 300)]);
}

#[tokio::test]
async fn each_change_of_the_books_is_named_and_nothing_else() {
    use Finding::{OnlyAtProvider, OnlyHere, OtherAmount, UnknownPayment};

    let books = Books::open().await;
    let (now, stripe) = (Timestamp::now(), &books.stripe);
    let (untouched, _) = books.paid("untouched").await;
    books.refunded(&untouched, "refund").await;

    let added = books.unpaid("added").await;
    stripe.add_charge(id(&added), 1, 1_000, now);
    let unknown = Uuid::new_v4().to_string();
    stripe.add_charge(&unknown, 1, 70, now);
    let (_, removed) = books.paid("removed").await;
    stripe.forget(&removed);
    let (_, other) = books.paid("other amount").await;
    stripe.set_amount(&other, 900);
    let (_, refunded) = books.paid("refunded there").await;
    stripe.refund_from_dashboard(&refunded, 300);
    let (order, _) = books.paid("refund removed").await;
    stripe.forget(&books.refunded(&order, "refund removed").await);
    let (order, _) = books.paid("refund of another amount").await;
    let refund = books.refunded(&order, "refund of another amount").await;
    stripe.set_amount(&refund, 150);
    let (_, disputed) = books.paid("disputed there").await;
    stripe.dispute(&disputed, 400);
    let (_, dispute) = books.disputed("dispute removed").await;
    stripe.forget(&dispute);
    let (_, dispute) = books.disputed("dispute of another amount").await;
    stripe.set_amount(&dispute, 250);
    let (_, dispute) = books.disputed("dispute won there").await;
    stripe.close_dispute(&dispute, true);
    // A lost dispute keeps the money that it took.
    let (_, dispute) = books.disputed("dispute lost there").await;
    stripe.close_dispute(&dispute, false);

    let expected = [
        (Kind::Charge, OnlyAtProvider, 0, 1_000),
        (Kind::Charge, OnlyHere, 1_000, 0),
        (Kind::Charge, OtherAmount, 1_000, 900),
        (Kind::Charge, UnknownPayment, 0, 70),
        (Kind::Refund, OnlyAtProvider, 0, 300),
        (Kind::Refund, OnlyHere, 200, 0),
        (Kind::Refund, OtherAmount, 200, 150),
        (Kind::Dispute, OnlyAtProvider, 0, 400),
        (Kind::Dispute, OnlyHere, 300, 0),
        (Kind::Dispute, OtherAmount, 300, 0),
        (Kind::Dispute, OtherAmount, 300, 250),
    ];
    assert_eq!(books.differences(books.day).await, expected);
    let named = books.reconcile(books.day).await;
    let of = |finding| named.iter().find(|found| found.finding == finding).unwrap();
    assert_eq!(of(OnlyHere).reference.as_deref(), Some(&*removed));
    assert_eq!(of(UnknownPayment).payment_id.to_string(), unknown);
    assert_eq!(of(OtherAmount).difference().minor_units(), -100);
}

#[tokio::test]
async fn a_charge_belongs_to_the_day_on_which_the_provider_made_it() {
    let books = Books::open().await;
    let (day, stripe) = (books.day, &books.stripe);
    let before = Period { from: day.from - DAY, to: day.from };
    let after = Period { from: day.to, to: day.to + DAY };
    // All are recorded here at noon.
    for (key, made_at, amount) in [
        ("at 23:59:59, equal", day.from - SECOND, 1_000),
        ("at 23:59:59", day.from - SECOND, 901),
        ("at 00:00:00, equal", day.from, 1_000),
        ("at 00:00:00", day.from, 902),
        ("at 23:59:59 of this day", day.to - SECOND, 903),
        ("at 00:00:00 of the next day", day.to, 904),
        ("at 00:00:00 of the next day, equal", day.to, 1_000),
    ] {
        let (_, intent) = books.paid(key).await;
        stripe.set_amount(&intent, amount);
        stripe.set_made_at(&intent, made_at);
    }
    let other = |theirs| (Kind::Charge, Finding::OtherAmount, 1_000, theirs);
    assert_eq!(books.differences(before).await, [other(901)]);
    assert_eq!(books.differences(day).await, [other(902), other(903)]);
    assert_eq!(books.differences(after).await, [other(904)]);

    let (order, _) = books.paid("refunds").await;
    let refund = books.refunded(&order, "refund").await;
    stripe.set_amount(&refund, 190);
    stripe.set_made_at(&refund, day.from - SECOND);
    let refund = (Kind::Refund, Finding::OtherAmount, 200, 190);
    assert_eq!(books.differences(before).await, [other(901), refund]);
    assert_eq!(books.differences(day).await, [other(902), other(903)]);

    let (_, dispute) = books.disputed("disputes").await;
    stripe.set_amount(&dispute, 290);
    stripe.set_made_at(&dispute, day.from - SECOND);
    let dispute = (Kind::Dispute, Finding::OtherAmount, 300, 290);
    assert_eq!(books.differences(before).await, [other(901), refund, dispute]);
    assert_eq!(books.differences(day).await, [other(902), other(903)]);
}

#[tokio::test]
async fn a_long_day_is_compared_page_by_page() {
    let books = Books::open().await;
    for _ in 0..205 {
        books.stripe.add_charge(&Uuid::new_v4().to_string(), 1, 10, Timestamp::now());
    }
    assert_eq!(books.reconcile(books.day).await.len(), 205);
    let lists =
        books.stripe.requests().into_iter().filter(|one| one.path.starts_with("/v1/payment_intents?"));
    assert_eq!(lists.count(), 3);
}

#[tokio::test]
async fn a_look_up_records_what_only_the_provider_knows() {
    let books = Books::open().await;
    let (order, intent) = books.paid("refunded there").await;
    books.stripe.refund_from_dashboard(&intent, 300);
    let waiting = books.unpaid("paid there").await;
    let added = books.stripe.add_charge(id(&waiting), 1, 1_000, Timestamp::now());
    let answer = books.look_up(id(&order), "look-1", &intent).await;
    assert_eq!(answer.expect(200)["refunded"], 300);
    assert_eq!(books.look_up(id(&waiting), "look-2", &added).await.expect(200)["captured"], 1_000);
    assert_eq!(books.reconcile(books.day).await, []);
    let log = books.shop.until("it is paid", |log| log.count("order.paid.v1") == 2).await;

    // Repeated, also under another key, it records nothing more.
    assert!(books.look_up(id(&order), "look-1", &intent).await.is_replayed());
    books.look_up(id(&order), "look-3", &intent).await.expect(200);
    assert_eq!(books.shop.log().await.count("payment.refunded.v1"), log.count("payment.refunded.v1"));
}

#[tokio::test]
async fn a_look_up_never_makes_a_payment() {
    let books = Books::open().await;
    let (order, intent) = books.paid("paid").await;
    let unknown = Uuid::new_v4().to_string();
    let stray = books.stripe.add_charge(&unknown, 1, 70, Timestamp::now());
    let events = books.shop.log().await.0.len();
    books.look_up(&unknown, "1", &stray).await.problem(404, "not_found");
    // The charge of another payment.
    books.look_up(id(&order), "2", &stray).await.problem(404, "unknown_charge");
    books.look_up(&unknown, "3", &intent).await.problem(404, "unknown_charge");
    books.look_up(id(&order), "4", "pi_unknown").await.problem(404, "unknown_charge");
    books.stripe.take_down().await;
    books.look_up(id(&order), "5", &intent).await.problem(503, "unavailable");
    assert_eq!(books.shop.log().await.0.len(), events);
}

#[tokio::test]
async fn a_look_up_records_disputes_and_that_they_were_won() {
    let books = Books::open().await;
    let (order, dispute) = books.disputed("disputed").await;
    books.stripe.close_dispute(&dispute, true);
    let found = books.reconcile(books.day).await;
    assert_eq!(
        found.iter().map(figures).collect::<Vec<_>>(),
        [(Kind::Dispute, Finding::OtherAmount, 300, 0)]
    );
    assert_eq!(found[0].reference.as_deref(), Some(&*dispute));
    let intent = found[0].charge_reference.as_deref().unwrap();
    assert_eq!(books.look_up(id(&order), "won", intent).await.expect(200)["disputed"], 0);
    assert_eq!(books.reconcile(books.day).await, []);
}
