use domain::{
    Amount, Decider, RefundId, Timestamp,
    payment::{NewCharge, Payment, PaymentCommand, PaymentDecider, PaymentState, RefundReason},
};
use infra::payment_provider::{Notice, NoticeContent, NoticeError, RefundAnswer, RefundRequest};

use super::{
    Behaviour, Fixture, Webhook, amount, figures, given_charge, known_by, refund_of, request,
    request_to_authorize, webhooks,
};

fn read(fixture: &impl Fixture, webhook: &Webhook) -> Result<Notice, NoticeError> {
    fixture.provider().read_notice(&webhook.headers, &webhook.body, Timestamp::now())
}

/// A webhook as the provider sends it.
async fn given_webhook(fixture: &impl Fixture) -> Webhook {
    let charge = given_charge(fixture, request(fixture.method(Behaviour::Fine))).await;
    webhooks(fixture, charge.payment_id, 1).await.remove(0)
}

pub(super) async fn what_happens_is_told_by_signed_webhooks(fixture: impl Fixture) {
    let provider = fixture.provider();
    let charge = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    provider.capture(&charge, amount(2_500), amount(2_500)).await.unwrap();
    let voided = provider.void(&charge).await.unwrap();
    let mut figures_told = Vec::new();
    let mut last = None;
    for webhook in webhooks(&fixture, charge.payment_id, 3).await {
        let notice = read(&fixture, &webhook).unwrap();
        assert!(!notice.id.is_empty());
        let NoticeContent::Charge { payment_id, report } = notice.content else { panic!("{notice:?}") };
        assert_eq!(payment_id, charge.payment_id);
        figures_told.push(figures(&report));
        last = Some(report);
    }
    figures_told.dedup();
    assert_eq!(figures_told, [(10_000, 0, None), (10_000, 2_500, None), (10_000, 2_500, Some("voided"))]);
    assert_eq!(last, Some(voided));
}

pub(super) async fn refunds_are_told_by_webhooks(fixture: impl Fixture) {
    let charge = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    let refund = refund_of(&charge, 4_000);
    let answer = fixture.provider().refund(&refund).await.unwrap();
    let mut told = Vec::new();
    for webhook in webhooks(&fixture, charge.payment_id, 2).await {
        if let NoticeContent::Refund { payment_id, refund_id, answer } =
            read(&fixture, &webhook).unwrap().content
        {
            told.push((payment_id, refund_id, answer));
        }
    }
    told.dedup();
    assert_eq!(told, [(charge.payment_id, refund.refund_id, answer)]);
}

pub(super) async fn webhooks_in_any_order_and_number_end_the_same(fixture: impl Fixture) {
    let provider = fixture.provider();
    let asked = request_to_authorize(fixture.method(Behaviour::Fine));
    let charge = known_by(&asked, &provider.charge(&asked).await.unwrap().report);
    provider.capture(&charge, amount(6_000), amount(6_000)).await.unwrap();
    let refund = refund_of(&charge, 1_000);
    provider.refund(&refund).await.unwrap();
    provider.void(&charge).await.unwrap();
    let webhooks = webhooks(&fixture, charge.payment_id, 4).await;
    let notices: Vec<Notice> = webhooks.iter().map(|webhook| read(&fixture, webhook).unwrap()).collect();

    let mut orders = vec![Vec::new()];
    for _ in 0..notices.len().min(4) {
        orders = orders.iter().flat_map(|order| extended(order, notices.len().min(4))).collect();
    }
    assert_eq!(orders.len(), 24);
    for order in orders {
        // Each one twice, the second time after all others.
        let told = order.iter().chain(&order).map(|index| &notices[*index]);
        let payment = told_of(&refund, told);
        let sums = [payment.captured(), payment.refunded(), payment.capturable()].map(Amount::minor_units);
        assert_eq!((payment.state(), sums), (PaymentState::Captured, [6_000, 1_000, 0]), "{order:?}");
    }
}

/// The order with one more of so many indexes, in every way.
fn extended(order: &[usize], count: usize) -> Vec<Vec<usize>> {
    let others = (0..count).filter(|index| !order.contains(index));
    others.map(|index| [order, &[index]].concat()).collect()
}

/// A payment that was told all this, and has asked for the refund.
fn told_of<'a>(refund: &RefundRequest, notices: impl Iterator<Item = &'a Notice>) -> Payment {
    let charge = &refund.charge;
    let new = NewCharge {
        provider: "provider".to_owned(),
        method: charge.charge.method.clone(),
        capture: charge.charge.capture,
    };
    let ask = PaymentCommand::Request {
        payment_id: charge.payment_id,
        order_id: charge.order_id,
        amount: charge.charge.amount,
        currency: charge.currency,
        charge: Some(new),
    };
    let mut events = Vec::new();
    let mut execute = |command: PaymentCommand| {
        let payment = PaymentDecider::fold(&events);
        // Refused: told of before it was asked for here.
        events.extend(PaymentDecider::decide(&payment, command).unwrap_or_default());
    };
    execute(ask);
    let mut asked_to_refund = false;
    for notice in notices {
        match &notice.content {
            NoticeContent::Charge { report, .. } => {
                execute(PaymentCommand::Report { report: report.clone(), is_answer: false });
                if report.captured >= refund.amount && !asked_to_refund {
                    asked_to_refund = true;
                    execute(request_refund(refund.refund_id, refund));
                }
            }
            NoticeContent::Refund { refund_id, answer: RefundAnswer::Refunded { reference }, .. } => {
                let (refund_id, reference) = (*refund_id, Some(reference.clone()));
                execute(PaymentCommand::RecordRefunded { refund_id, reference });
            }
            NoticeContent::Refund { .. } | NoticeContent::Other => panic!("{notice:?}"),
        }
    }
    PaymentDecider::fold(&events)
}

fn request_refund(refund_id: RefundId, refund: &RefundRequest) -> PaymentCommand {
    PaymentCommand::RequestRefund { refund_id, amount: refund.amount, reason: RefundReason::Requested }
}

pub(super) async fn a_webhook_that_was_altered_is_refused(fixture: impl Fixture) {
    let webhook = given_webhook(&fixture).await;
    for index in 0..webhook.body.len() {
        let mut altered = webhook.clone();
        altered.body[index] ^= 1;
        assert_eq!(read(&fixture, &altered), Err(NoticeError::WrongSignature), "byte {index}");
    }
    let mut longer = webhook;
    longer.body.push(b' ');
    assert_eq!(read(&fixture, &longer), Err(NoticeError::WrongSignature));
}

pub(super) async fn a_webhook_of_somebody_else_is_refused(fixture: impl Fixture) {
    let Webhook { body, .. } = given_webhook(&fixture).await;
    let headers = fixture.forge(&body, Timestamp::now());
    assert_eq!(read(&fixture, &Webhook { headers, body }), Err(NoticeError::WrongSignature));
}

pub(super) async fn a_webhook_of_another_time_is_refused(fixture: impl Fixture) {
    let Webhook { body, .. } = given_webhook(&fixture).await;
    let now = Timestamp::now().as_second();
    for (seconds, is_read) in [(-290, true), (-310, false), (310, false), (-86_400, false)] {
        let sent_at = Timestamp::from_second(now + seconds).unwrap();
        let (headers, body) = (fixture.sign(&body, sent_at), body.clone());
        let read = read(&fixture, &Webhook { headers, body });
        assert_eq!(read.err(), (!is_read).then_some(NoticeError::Stale), "{seconds} s from now");
    }
}

pub(super) async fn a_webhook_without_a_signature_is_refused(fixture: impl Fixture) {
    let webhook = given_webhook(&fixture).await;
    let bare = Webhook { headers: http::HeaderMap::new(), ..webhook };
    assert_eq!(read(&fixture, &bare), Err(NoticeError::NoSignature));
}

pub(super) async fn while_a_secret_is_replaced_either_signature_counts(fixture: impl Fixture) {
    let Webhook { body, .. } = given_webhook(&fixture).await;
    let headers = fixture.sign_while_rotating(&body, Timestamp::now());
    assert!(read(&fixture, &Webhook { headers, body }).is_ok());
}

pub(super) async fn what_does_not_concern_us_is_passed_over(fixture: impl Fixture) {
    for (body, expected) in [
        (r#"{"id":"evt_1","type":"customer.created","data":{}}"#, Ok(NoticeContent::Other)),
        ("{", Err(NoticeError::Unreadable)),
        ("", Err(NoticeError::Unreadable)),
    ] {
        let headers = fixture.sign(body.as_bytes(), Timestamp::now());
        let webhook = Webhook { headers, body: body.into() };
        assert_eq!(read(&fixture, &webhook).map(|notice| notice.content), expected, "{body}");
    }
}
