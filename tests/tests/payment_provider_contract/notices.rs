//! The provider's webhooks: their content and their signatures.

use domain::{
    Amount, Decider, Timestamp,
    payment::{
        NewCharge, Payment, PaymentCommand, PaymentDecider, PaymentState, PaymentTerms, RefundOutcome,
        RefundReason,
    },
};
use infra::payment_provider::{Notice, NoticeContent, NoticeError, RefundAnswer, RefundRequest};

use super::{
    Behaviour, Fixture, Webhook, amount, figures, given_charge, known_by, refund_of, request,
    request_to_authorize, webhooks,
};

fn read(fixture: &impl Fixture, webhook: &Webhook) -> Result<Notice, NoticeError> {
    fixture.provider().read_notice(&webhook.headers, &webhook.body, Timestamp::now())
}

/// A webhook that the provider has sent.
async fn given_webhook(fixture: &impl Fixture) -> Webhook {
    let charge = given_charge(fixture, request(fixture.method(Behaviour::Fine))).await;
    webhooks(fixture, charge.payment_id, 1).await.remove(0)
}

pub(super) async fn signed_webhooks_report_the_state_of_a_charge(fixture: impl Fixture) {
    let provider = fixture.provider();
    let charge = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    provider.capture(&charge, amount(2_500), amount(2_500)).await.unwrap();
    let voided = provider.void(&charge).await.unwrap();
    let mut reported_figures = Vec::new();
    let mut last = None;
    for webhook in webhooks(&fixture, charge.payment_id, 3).await {
        let notice = read(&fixture, &webhook).unwrap();
        assert!(!notice.id.is_empty());
        let NoticeContent::Charge { payment_id, report } = notice.content else { panic!("{notice:?}") };
        assert_eq!(payment_id, charge.payment_id);
        reported_figures.push(figures(&report));
        last = Some(report);
    }
    reported_figures.dedup();
    assert_eq!(reported_figures, [(10_000, 0, None), (10_000, 2_500, None), (10_000, 2_500, Some("voided"))]);
    assert_eq!(last, Some(voided));
}

pub(super) async fn webhooks_report_refunds(fixture: impl Fixture) {
    let charge = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    let refund = refund_of(&charge, 4_000);
    let answer = fixture.provider().refund(&refund).await.unwrap();
    let mut refunds = Vec::new();
    for webhook in webhooks(&fixture, charge.payment_id, 2).await {
        if let NoticeContent::Refund { payment_id, report } = read(&fixture, &webhook).unwrap().content {
            refunds.push((payment_id, report.refund_id, report.reference, report.amount, report.outcome));
        }
    }
    refunds.dedup();
    let RefundAnswer::Refunded { reference } = answer else { panic!("{answer:?}") };
    let paid = RefundOutcome::Refunded;
    assert_eq!(refunds, [(charge.payment_id, refund.refund_id, reference, refund.amount, paid)]);
}

pub(super) async fn webhooks_in_any_order_and_repeated_lead_to_the_same_payment(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = request_to_authorize(fixture.method(Behaviour::Fine));
    let charge = known_by(&request, &provider.charge(&request).await.unwrap().report);
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
        // Delivers each notice twice, the second time after all others.
        let delivered = order.iter().chain(&order).map(|index| &notices[*index]);
        let payment = payment_after(&refund, delivered);
        let sums = [payment.captured(), payment.refunded(), payment.capturable()].map(Amount::minor_units);
        assert_eq!((payment.state(), sums), (PaymentState::Captured, [6_000, 1_000, 0]), "{order:?}");
    }
}

/// All extensions of an order by one of the remaining indexes below `count`.
fn extended(order: &[usize], count: usize) -> Vec<Vec<usize>> {
    let others = (0..count).filter(|index| !order.contains(index));
    others.map(|index| [order, &[index]].concat()).collect()
}

/// The payment after these notices. It requests the refund as soon as enough is captured.
fn payment_after<'a>(refund: &RefundRequest, notices: impl Iterator<Item = &'a Notice>) -> Payment {
    let charge = &refund.charge;
    let new = NewCharge {
        provider: "provider".to_owned(),
        method: charge.charge.method.clone(),
        capture: charge.charge.capture,
    };
    let create = PaymentCommand::Request {
        payment_id: charge.payment_id,
        order_id: charge.order_id,
        amount: charge.charge.amount,
        currency: charge.currency,
        charge: Some(new),
        terms: PaymentTerms::Prepaid,
        credit: None,
    };
    let mut events = Vec::new();
    let mut execute = |command: PaymentCommand| {
        let payment = PaymentDecider::fold(&events);
        // A refusal is expected for a notice that arrives before the payment has requested the refund.
        events.extend(PaymentDecider::decide(&payment, command).unwrap_or_default());
    };
    execute(create);
    let mut refund_requested = false;
    for notice in notices {
        match &notice.content {
            NoticeContent::Charge { report, .. } => {
                execute(PaymentCommand::Report { report: report.clone(), is_answer: false });
                if report.captured >= refund.amount && !refund_requested {
                    refund_requested = true;
                    execute(request_refund(refund));
                }
            }
            NoticeContent::Refund { report, .. } => execute(PaymentCommand::ReportRefund(report.clone())),
            NoticeContent::Dispute { .. } | NoticeContent::Moved { .. } | NoticeContent::Other => {
                panic!("{notice:?}")
            }
        }
    }
    PaymentDecider::fold(&events)
}

fn request_refund(refund: &RefundRequest) -> PaymentCommand {
    let (refund_id, amount) = (refund.refund_id, refund.amount);
    PaymentCommand::RequestRefund { refund_id, amount, reason: RefundReason::Requested }
}

pub(super) async fn a_changed_webhook_is_refused(fixture: impl Fixture) {
    let webhook = given_webhook(&fixture).await;
    for index in 0..webhook.body.len() {
        let mut changed = webhook.clone();
        changed.body[index] ^= 1;
        assert_eq!(read(&fixture, &changed), Err(NoticeError::WrongSignature), "byte {index}");
    }
    let mut longer = webhook;
    longer.body.push(b' ');
    assert_eq!(read(&fixture, &longer), Err(NoticeError::WrongSignature));
}

pub(super) async fn a_webhook_signed_with_another_secret_is_refused(fixture: impl Fixture) {
    let Webhook { body, .. } = given_webhook(&fixture).await;
    let headers = fixture.forge(&body, Timestamp::now());
    assert_eq!(read(&fixture, &Webhook { headers, body }), Err(NoticeError::WrongSignature));
}

pub(super) async fn a_webhook_with_an_old_or_future_signature_is_refused(fixture: impl Fixture) {
    let Webhook { body, .. } = given_webhook(&fixture).await;
    let now = Timestamp::now().as_second();
    for (seconds, is_read) in [(-290, true), (-310, false), (310, false), (-86_400, false)] {
        let sent_at = Timestamp::from_second(now + seconds).unwrap();
        let (headers, body) = (fixture.sign(&body, sent_at), body.clone());
        let outcome = read(&fixture, &Webhook { headers, body });
        assert_eq!(outcome.err(), (!is_read).then_some(NoticeError::Stale), "{seconds} s from now");
    }
}

pub(super) async fn a_webhook_without_a_signature_is_refused(fixture: impl Fixture) {
    let webhook = given_webhook(&fixture).await;
    let bare = Webhook { headers: http::HeaderMap::new(), ..webhook };
    assert_eq!(read(&fixture, &bare), Err(NoticeError::NoSignature));
}

pub(super) async fn either_signature_is_accepted_while_a_secret_is_replaced(fixture: impl Fixture) {
    let Webhook { body, .. } = given_webhook(&fixture).await;
    let headers = fixture.sign_while_rotating(&body, Timestamp::now());
    assert!(read(&fixture, &Webhook { headers, body }).is_ok());
}

pub(super) async fn webhooks_about_other_objects_are_ignored_and_unreadable_ones_refused(
    fixture: impl Fixture,
) {
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
