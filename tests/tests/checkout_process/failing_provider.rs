//! A provider that hangs or fails: one payment delays no other one, and a provider that is down is left alone.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::http::HeaderMap;
use command_api::executor::Outcome;
use domain::{
    Amount, CommandContext, PaymentId, Timestamp,
    payment::{ChargeEnding, PaymentCommand, ProviderReport},
};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use infra::payment_provider::{
    Book, BookPage, ChargeAnswer, ChargeRequest, Notice, NoticeError, PaymentProvider, Period, ProviderError,
    RefundAnswer, RefundRequest,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{charge, payment_of, place};
use crate::support::{Shop, ShopOptions, eventually, line};

/// A provider that does what the method of a charge says: `hang` answers after [`Double::release`], `pending` waits
/// for the customer, and every other method captures.
struct Double {
    calls: Mutex<Vec<(PaymentId, &'static str)>>,
    known: Mutex<HashSet<PaymentId>>,
    is_down: AtomicBool,
    released: watch::Sender<bool>,
}

impl Double {
    fn new() -> Arc<Self> {
        let (calls, known) = (Mutex::default(), Mutex::default());
        Arc::new(Self { calls, known, is_down: AtomicBool::new(false), released: watch::Sender::new(false) })
    }

    fn options(self: &Arc<Self>, provider_patience: Duration) -> ShopOptions {
        let provider: Arc<dyn PaymentProvider> = self.clone();
        let mut options = ShopOptions { provider: Some(provider), ..ShopOptions::default() };
        options.api.provider_patience = provider_patience;
        options
    }

    /// The names of the calls about a payment, in order.
    fn calls_about(&self, payment: &str) -> Vec<&'static str> {
        let payment: PaymentId = payment.parse().unwrap();
        self.calls.lock().unwrap().iter().filter(|(of, _)| *of == payment).map(|(_, call)| *call).collect()
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    fn release(&self) {
        self.released.send_replace(true);
    }

    fn note(&self, request: &ChargeRequest, call: &'static str) -> Result<(), ProviderError> {
        self.calls.lock().unwrap().push((request.payment_id, call));
        if self.is_down.load(Ordering::SeqCst) {
            return Err(ProviderError::Unreachable("down".to_owned()));
        }
        Ok(())
    }
}

fn answer(request: &ChargeRequest) -> ChargeAnswer {
    let is_pending = request.charge.method == "pending";
    let taken = if is_pending { Amount::ZERO } else { request.charge.amount };
    let report = ProviderReport::of_amounts(request.charge.number, "double", taken, taken);
    ChargeAnswer { report, next_action: is_pending.then(|| json!({"url": "https://bank.example"})) }
}

#[async_trait]
impl PaymentProvider for Double {
    fn name(&self) -> &'static str {
        "double"
    }

    fn captures_in_parts(&self) -> bool {
        true
    }

    async fn charge(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError> {
        self.note(request, "charge")?;
        if request.charge.method == "hang" {
            drop(self.released.subscribe().wait_for(|released| *released).await.unwrap());
        }
        self.known.lock().unwrap().insert(request.payment_id);
        Ok(answer(request))
    }

    async fn capture(
        &self,
        request: &ChargeRequest,
        _: Amount,
        _: Amount,
    ) -> Result<ProviderReport, ProviderError> {
        self.note(request, "capture")?;
        Ok(answer(request).report)
    }

    async fn void(&self, request: &ChargeRequest) -> Result<ProviderReport, ProviderError> {
        self.note(request, "void")?;
        Ok(ProviderReport { ending: Some(ChargeEnding::Voided), ..answer(request).report })
    }

    async fn look_up(&self, request: &ChargeRequest) -> Result<Option<ChargeAnswer>, ProviderError> {
        self.note(request, "look up")?;
        let is_known = self.known.lock().unwrap().contains(&request.payment_id);
        Ok(is_known.then(|| answer(request)))
    }

    async fn look_up_reference(&self, _: &str) -> Result<Option<(PaymentId, ProviderReport)>, ProviderError> {
        Ok(None)
    }

    async fn read_book(&self, _: Book, _: Period, _: Option<&str>) -> Result<BookPage, ProviderError> {
        Ok(BookPage::default())
    }

    async fn refund(&self, refund: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        self.note(&refund.charge, "refund")?;
        Ok(RefundAnswer::Refunded { reference: "double".to_owned() })
    }

    fn check_notice_headers(&self, _: &HeaderMap, _: Timestamp) -> Result<(), NoticeError> {
        Ok(())
    }

    fn read_notice(&self, _: &HeaderMap, _: &[u8], _: Timestamp) -> Result<Notice, NoticeError> {
        Err(NoticeError::NoSignature)
    }
}

/// Places orders of one unit for 100, without a charge.
async fn orders(shop: &Shop, count: usize) -> Vec<Value> {
    shop.receive("a", 1_000).await;
    let lines = [line("a", 1, 100)];
    let mut orders = Vec::new();
    for number in 0..count {
        orders.push(shop.place(&format!("order {number}"), &lines).await.expect(201));
    }
    orders
}

const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn impatient_retries_of_a_hanging_charge_send_one_call_and_delay_no_other_payment() {
    let provider = Double::new();
    let shop = Shop::with(provider.options(PATIENT)).await;
    let orders = orders(&shop, 11).await;
    let (hanging, others) = orders.split_first().unwrap();
    // More retries than the process has places for calls. Their clients wait for the one call that hangs.
    let mut retries: FuturesUnordered<_> =
        (0..70).map(|_| charge(&shop, hanging, "retried", json!({"method": "hang"}))).collect();
    let answered = tokio::select! {
        early = retries.next() => panic!("answered: {early:?}"),
        answered = join_all(others.iter().map(|other| charge(&shop, other, "ok", json!({"method": "ok"})))) => answered,
    };
    for answer in answered {
        assert_eq!(answer.expect(200)["status"], "captured");
    }
    assert_eq!(provider.calls_about(payment_of(hanging)), ["charge"]);

    provider.release();
    while let Some(answer) = retries.next().await {
        assert_eq!(answer.expect(200)["status"], "captured");
    }
    shop.until_all_reacted().await;
    assert_eq!(provider.calls_about(payment_of(hanging)), ["charge"]);
}

#[tokio::test]
async fn a_request_that_waits_for_a_hanging_call_is_answered_202_at_its_limit() {
    let provider = Double::new();
    let shop = Shop::with(provider.options(Duration::ZERO)).await;
    let orders = orders(&shop, 1).await;
    for _ in 0..3 {
        let answer = charge(&shop, &orders[0], "retried", json!({"method": "hang"})).await.expect(202);
        assert_eq!(answer["status"], "requested");
    }
    eventually("the call arrives", async || (provider.calls() > 0).then_some(())).await;
    assert_eq!(provider.calls_about(payment_of(&orders[0])), ["charge"]);
}

/// The handler asks the provider. The process manager reads the same events later, and must not attend the
/// payment again.
#[tokio::test]
async fn a_charge_of_a_handler_is_attended_once() {
    let provider = Double::new();
    let options = ShopOptions { process_manager: false, projectors: false, ..provider.options(PATIENT) };
    let mut shop = Shop::with(options).await;
    shop.checkout.handled_inline().enable();
    let orders = orders(&shop, 1).await;
    charge(&shop, &orders[0], "ok", json!({"method": "ok"})).await.expect(200);
    let payment: PaymentId = payment_of(&orders[0]).parse().unwrap();
    let reads = shop.store.reads_of(&payment.into());

    shop.start_process_manager();
    shop.until_all_reacted().await;
    assert_eq!(provider.calls_about(payment_of(&orders[0])), ["charge"]);
    assert_eq!(shop.store.reads_of(&payment.into()), reads, "the process manager read the payment again");
}

/// A webhook of the provider overtakes its answer, and the handler of the webhook is slow.
#[tokio::test]
async fn an_order_is_paid_when_its_charge_is_answered_although_a_webhook_recorded_it_first() {
    let provider = Double::new();
    let shop = Shop::with(ShopOptions { process_manager: false, ..provider.options(PATIENT) }).await;
    let orders = orders(&shop, 1).await;
    let payment: PaymentId = payment_of(&orders[0]).parse().unwrap();
    let charging = charge(&shop, &orders[0], "hang", json!({"method": "hang"}));
    let overtaking = async {
        eventually("the call arrives", async || (provider.calls() > 0).then_some(())).await;
        let hundred = Amount::new(100).unwrap();
        let report = ProviderReport::of_amounts(1, "double", hundred, hundred);
        let command = PaymentCommand::Report { report, is_answer: false };
        let context = CommandContext::notice("double", "1");
        let recorded = shop.checkout.payments.execute(&payment, command, &context).await.unwrap();
        assert!(matches!(recorded.outcome, Outcome::Recorded));
        provider.release();
    };
    let (answer, ()) = tokio::join!(charging, overtaking);
    assert_eq!(answer.expect(200)["status"], "captured");
    let shipments = format!("/v1/orders/{}/shipments", orders[0]["order_id"].as_str().unwrap());
    shop.post(&shipments, "ship", json!({})).await.expect(201);
}

#[tokio::test]
async fn an_answered_charge_is_not_looked_up_in_the_same_breath() {
    let provider = Double::new();
    let options = ShopOptions { projectors: false, ..provider.options(PATIENT) };
    let shop = Shop::with(options).await;
    let orders = orders(&shop, 1).await;
    let answer = charge(&shop, &orders[0], "pending", json!({"method": "pending"})).await.expect(202);
    assert_eq!(answer["next_action"]["url"], "https://bank.example");
    assert_eq!(provider.calls_about(payment_of(&orders[0])), ["charge"]);
}

#[tokio::test]
async fn a_provider_that_is_down_is_left_alone_until_it_answers_a_probe() {
    let provider = Double::new();
    let options = provider.options(PATIENT);
    let health = options.health.clone();
    let conditions =
        || health.readiness().unwrap().degraded.iter().map(|condition| condition.name).collect::<Vec<_>>();
    let shop = Shop::with(ShopOptions { process_manager: false, ..options }).await;
    let orders = orders(&shop, 8).await;
    provider.is_down.store(true, Ordering::SeqCst);
    for order in &orders[..5] {
        charge(&shop, order, "ok", json!({"method": "ok"})).await.expect(202);
    }
    assert_eq!((conditions(), provider.calls()), (vec!["payment_provider"], 5));
    for order in &orders[5..] {
        charge(&shop, order, "ok", json!({"method": "ok"})).await.expect(202);
    }
    assert_eq!(provider.calls(), 5, "the provider was called while the breaker was open");

    // The timers find the open charges, probe the provider, and go on.
    provider.is_down.store(false, Ordering::SeqCst);
    let mut shop = shop;
    shop.start_process_manager();
    shop.until("all orders are paid", |log| log.count("order.paid.v1") == orders.len()).await;
    assert_eq!(conditions(), [""; 0]);
}

#[tokio::test]
async fn an_order_placed_with_a_payment_is_charged_by_one_call() {
    let provider = Double::new();
    let shop = Shop::with(provider.options(PATIENT)).await;
    let order = place(&shop, "checkout", "ok").await;
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    shop.until_all_reacted().await;
    assert_eq!(provider.calls_about(payment_of(&order)), ["charge"]);
}
