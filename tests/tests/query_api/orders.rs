//! `/v1/orders`.

use axum::http::header;
use domain::payment::{PaymentCaptured, PaymentRefundRequested, PaymentRefunded, RefundReason};
use domain::{
    PaymentId, RefundId, ReturnId, ShipmentId,
    order::{
        CancelReason, CancelledLine, LineQuantity, OrderCancelled, OrderDelivered, OrderEvent, OrderExpired,
        OrderPaymentRecorded, OrderPlaced, OrderRefund, OrderRefundRequested, OrderRejected, OrderReturned,
        OrderShipped, PaymentTerms, ReturnedLine, Shortage,
    },
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Api,
    rows::{allocated, amount, at, order_id, order_row, payment_row, placed, sku},
};

const SHIPMENT: ShipmentId = ShipmentId(Uuid::from_u128(20));

/// Events that fill every part of an order.
fn history() -> [OrderEvent; 8] {
    let line = |line, quantity| LineQuantity { line, quantity };
    let cancelled = |line, quantity, value| CancelledLine { line, quantity, value: Some(amount(value)) };
    let refunds = |number, minor_units| {
        let (refund_id, payment_id) = (RefundId(Uuid::from_u128(number)), PaymentId::of_order(order_id(1)));
        vec![OrderRefund { refund_id, payment_id, amount: amount(minor_units) }]
    };
    [
        placed(1).into(),
        allocated(1),
        OrderPaymentRecorded { captured: amount(1_800), ..OrderPaymentRecorded::default() }.into(),
        OrderShipped {
            shipment_id: SHIPMENT,
            lines: vec![line(1, 4)],
            carrier: Some("Royal Mail".to_owned()),
            tracking_number: None,
        }
        .into(),
        OrderDelivered { shipment_id: SHIPMENT }.into(),
        OrderReturned {
            return_id: ReturnId(Uuid::from_u128(30)),
            lines: vec![ReturnedLine { line: 1, quantity: 1, restock: true, value: Some(amount(255)) }],
            refund_amount: amount(255),
            withheld: amount(0),
            reason: Some("broken".to_owned()),
            refunds: refunds(30, 255),
            credit: None,
        }
        .into(),
        OrderRefundRequested {
            refund_id: RefundId(Uuid::from_u128(40)),
            amount: amount(45),
            lines: Vec::new(),
            lowers_owed: Some(amount(45)),
            reason: None,
            refunds: refunds(40, 45),
        }
        .into(),
        OrderCancelled {
            reason: CancelReason::Requested,
            note: None,
            lines: vec![cancelled(1, 2, 510), cancelled(2, 1, 300)],
            owed: amount(690),
            refunds: refunds(50, 810),
        }
        .into(),
    ]
}

fn no_shares() -> Value {
    json!({"discount": 0, "tax": 0, "shipping": 0, "fee": 0})
}

/// The answer for an order with this [`history`].
fn answer_in_full() -> Value {
    let mut answer = json!({
        "order_id": "00000000-0000-0000-0000-000000000001",
        "status": "cancelled",
        "payment_status": "paid",
        "fulfilment_status": "partially_returned",
        "customer_id": "17850",
        "country": "United Kingdom",
        "reference": "536365",
        "currency": "GBP",
        "total": 1_800,
        "owed": 690,
        "amount_due": 0,
        "overpaid": 0,
        "captured": 1_800,
        "refunded": 0,
        "payment_id": PaymentId::of_order(order_id(1)),
        "line_count": 2,
        "units": 7,
        "placed_at": "2010-12-01T08:26:00Z",
        "payment_due_at": "2010-12-01T08:56:00Z",
        "recorded_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:01.5Z",
        "revision": 7,
        "metadata": {"channel": "web"},
        "lines": [
            {"line": 1, "sku": "85123A", "quantity": 6, "unit_price": 255, "stocked": true,
             "shipped": 4, "delivered": 4, "returned": 1, "cancelled": 2,
             "adjustments": [], "shares": no_shares(), "total": 1_530},
            {"line": 2, "sku": "POST", "quantity": 1, "unit_price": 300, "stocked": false,
             "shipped": 0, "delivered": 0, "returned": 0, "cancelled": 1,
             "adjustments": [], "shares": no_shares(), "total": 300},
        ],
        "adjustments": [{"kind": "discount", "code": "discount", "amount": -30, "spread": false}],
        "shortages": [],
        "disputed": 0,
        "shipments": [{
            "shipment_id": SHIPMENT,
            "lines": [{"line": 1, "quantity": 4}],
            "carrier": "Royal Mail",
            "tracking_number": null,
            "delivered": true,
            "shipped_at": null,
            "delivered_at": null,
            "undone": false,
        }],
        "returns": [{
            "return_id": Uuid::from_u128(30),
            "lines": [{"line": 1, "quantity": 1, "restock": true, "value": 255}],
            "refund_amount": 255,
            "returned_at": null,
        }],
        "refunds": [
            {"refund_id": Uuid::from_u128(30), "payment_id": PaymentId::of_order(order_id(1)), "amount": 255,
             "status": "requested", "requested_at": null, "settled_at": null,
             "lines": [{"line": 1, "amount": 255}]},
            {"refund_id": Uuid::from_u128(40), "payment_id": PaymentId::of_order(order_id(1)), "amount": 45,
             "status": "requested", "requested_at": null, "settled_at": null, "lines": []},
            {"refund_id": Uuid::from_u128(50), "payment_id": PaymentId::of_order(order_id(1)), "amount": 810,
             "status": "requested", "requested_at": null, "settled_at": null,
             "lines": [{"line": 1, "amount": 510}, {"line": 2, "amount": 300}]},
        ],
        "exchange_of": null,
            "exchanged_for": [],
            "cancel_reason": "requested",
    });
    answer["prices_include_tax"] = json!(false);
    let terms = json!({
        "terms": "prepaid", "authorized": 0, "authorized_until": null, "due_for_shipped": 0, "overdue_from": null,
    });
    answer.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
    answer["refund_due"] = json!(1_110);
    answer["exchange_of"] = Value::Null;
    answer["exchanged_for"] = json!([]);
    answer["payments"] = json!([{
        "payment_id": PaymentId::of_order(order_id(1)), "amount": 1_800, "status": "captured",
        "captured": 1_800, "refunded": 0, "disputed": 0,
    }]);
    answer
}

#[tokio::test]
async fn an_order_is_answered_with_all_its_parts() {
    let api = Api::new();
    api.queries.change(|rows| rows.orders.push(order_row(&history())));

    let answer = api.get(&format!("/v1/orders/{}", order_id(1))).await;

    assert_eq!(answer.header(header::ETAG), Some("\"7\""));
    assert_eq!(answer.header(header::CONTENT_TYPE), Some("application/json"));
    assert_eq!(answer.expect(200), answer_in_full());
}

#[tokio::test]
async fn a_rejected_guest_order_has_shortages_and_nulls_for_missing_values() {
    let api = Api::new();
    let guest = OrderPlaced { customer_id: None, country: None, payment_due_at: None, ..placed(1) };
    let shortages = vec![Shortage { sku: sku("85123A"), requested: 6, available: 2 }];
    let events = [guest.into(), OrderRejected { shortages }.into()];
    api.queries.change(|rows| rows.orders.push(order_row(&events)));

    let order = api.get(&format!("/v1/orders/{}", order_id(1))).await.expect(200);

    assert_eq!(order["status"], "rejected");
    assert_eq!(order["shortages"], json!([{"sku": "85123A", "requested": 6, "available": 2}]));
    for absent in ["customer_id", "country", "payment_due_at", "payment_id", "cancel_reason"] {
        assert_eq!(order.get(absent), Some(&json!(null)), "{absent}");
    }
}

#[tokio::test]
async fn an_unknown_or_malformed_order_id_is_not_found() {
    let api = Api::new();
    for id in [&order_id(1).to_string(), "4711", "%20", "null"] {
        let problem = api.get(&format!("/v1/orders/{id}")).await.problem(404, "not_found");
        assert_eq!(problem["detail"], "the order does not exist");
    }
}

#[tokio::test]
async fn a_list_has_the_order_without_its_lines() {
    let api = Api::new();
    api.queries.change(|rows| rows.orders.push(order_row(&[placed(1).into()])));

    let list = api.get("/v1/orders").await.expect(200);

    assert_eq!(list["next_cursor"], json!(null));
    let item = &list["items"][0];
    assert_eq!((item["units"].as_u64(), item["line_count"].as_u64()), (Some(7), Some(2)));
    assert_eq!(item.get("lines"), None);
    let mut resource = api.get(&format!("/v1/orders/{}", order_id(1))).await.expect(200);
    resource.as_object_mut().unwrap().retain(|member, _| item.get(member).is_some());
    assert_eq!(*item, resource, "a member means the same in both");
}

#[tokio::test]
async fn pages_contain_every_order_once_even_if_many_have_the_same_placed_at() {
    let api = Api::new();
    api.queries.change(|rows| {
        for number in 1..=25 {
            let placed_at = at(["2010-12-01T08:00:00Z", "2010-12-01T09:00:00.000001Z"][number as usize % 2]);
            rows.orders.push(order_row(&[OrderPlaced { placed_at, ..placed(number) }.into()]));
        }
    });
    let odd_first = (1..=25).rev().filter(|number| number % 2 == 1);
    let expected: Vec<_> = odd_first
        .chain((1..=25).rev().filter(|number| number % 2 == 0))
        .map(|n| order_id(n).to_string())
        .collect();
    for limit in [1, 2, 7, 12, 24, 25, 200] {
        let uri = format!("/v1/orders?customer_id=17850&limit={limit}");
        assert_eq!(api.walk(&uri, "order_id").await, expected, "limit {limit}");
        let pages = api.pages(&uri).await;
        assert!(pages.iter().all(|page| page.len() <= limit), "limit {limit}");
    }
}

#[tokio::test]
async fn a_page_has_50_items_by_default() {
    let api = Api::new();
    api.queries.change(|rows| rows.orders = (1..=51).map(|n| order_row(&[placed(n).into()])).collect());
    let sizes: Vec<_> = api.pages("/v1/orders").await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [50, 1]);
}

#[tokio::test]
async fn an_item_must_match_every_filter() {
    let api = Api::new();
    api.queries.change(|rows| {
        let later = at("2010-12-02T00:00:00Z");
        rows.orders.push(order_row(&[placed(1).into()]));
        rows.orders.push(order_row(&[placed(2).into(), allocated(2)]));
        rows.orders.push(order_row(&[OrderPlaced { placed_at: later, ..placed(3) }.into()]));
        rows.orders.push(order_row(&[OrderPlaced { customer_id: None, ..placed(4) }.into()]));
        let other_line = placed(5).lines.into_iter().skip(1).collect();
        rows.orders.push(order_row(&[OrderPlaced { lines: other_line, ..placed(5) }.into()]));
    });
    let cases: [(&str, &[u128]); 9] = [
        ("", &[3, 5, 4, 2, 1]),
        ("status=allocated", &[2]),
        ("status=expired", &[]),
        ("customer_id=17850", &[3, 5, 2, 1]),
        ("sku=85123A", &[3, 4, 2, 1]),
        ("placed_from=2010-12-02", &[3]),
        ("placed_to=2010-12-02T00:00:00Z", &[5, 4, 2, 1]),
        ("placed_from=2010-12-01T08:26:00Z&placed_to=2010-12-01T08:26:00.000001Z", &[5, 4, 2, 1]),
        ("status=placed&sku=85123A&customer_id=17850&placed_to=2010-12-02", &[1]),
    ];
    for (query, numbers) in cases {
        let expected: Vec<_> = numbers.iter().map(|number| order_id(*number).to_string()).collect();
        assert_eq!(api.walk(&format!("/v1/orders?{query}"), "order_id").await, expected, "{query}");
    }
}

#[tokio::test]
async fn orders_are_listed_by_terms_and_the_longest_overdue_first() {
    let api = Api::new();
    api.queries.change(|rows| {
        for (number, due) in
            [(1, "2010-12-03T00:00:00Z"), (2, "2010-12-02T00:00:00Z"), (3, "9999-01-01T00:00:00Z")]
        {
            let (terms, payment_due_at) = (Some(PaymentTerms::Net), Some(at(due)));
            let net = OrderPlaced { terms, payment_due_at, ..placed(number) };
            rows.orders.push(order_row(&[net.into(), allocated(number)]));
        }
        rows.orders.push(order_row(&[placed(4).into(), allocated(4)]));
    });
    let cases: [(&str, &[u128]); 7] = [
        ("terms=net", &[3, 2, 1]),
        ("terms=prepaid", &[4]),
        ("terms=on_shipment", &[]),
        ("work=overdue", &[2, 1]),
        ("work=overdue&direction=desc", &[1, 2]),
        ("work=overdue&sort=placed", &[2, 1]),
        ("work=overdue&terms=net&status=allocated&customer_id=17850&sku=85123A", &[2, 1]),
    ];
    for (query, numbers) in cases {
        let expected: Vec<_> = numbers.iter().map(|number| order_id(*number).to_string()).collect();
        assert_eq!(api.walk(&format!("/v1/orders?{query}"), "order_id").await, expected, "{query}");
        assert_eq!(api.walk(&format!("/v1/orders?{query}&limit=1"), "order_id").await, expected, "{query}");
    }
    for (query, field) in [
        ("terms=later", "terms"),
        ("work=sleep", "work"),
        ("sort=overdue", "sort"),
        ("sort=total", "sort"),
        ("direction=up", "direction"),
        ("count=1", "count"),
        ("status=placed,new", "status"),
    ] {
        assert_eq!(api.get(&format!("/v1/orders?{query}")).await.invalid_fields(), [field], "{query}");
    }
    let order = api.get(&format!("/v1/orders/{}", order_id(1))).await.expect(200);
    assert_eq!((&order["terms"], &order["overdue_from"]), (&json!("net"), &json!("2010-12-03T00:00:00Z")));
}

#[tokio::test]
async fn orders_with_money_that_is_to_go_back_are_listed() {
    let api = Api::new();
    let money = |captured, refunded| -> OrderEvent {
        let (captured, refunded) = (amount(captured), amount(refunded));
        OrderPaymentRecorded { captured, refunded, ..OrderPaymentRecorded::default() }.into()
    };
    api.queries.change(|rows| {
        rows.orders.push(order_row(&history()));
        rows.orders.push(order_row(&[placed(2).into(), allocated(2), money(1_801, 0)]));
        rows.orders.push(order_row(&[placed(3).into(), allocated(3), money(1_800, 0)]));
        let expired = || OrderEvent::from(OrderExpired {});
        rows.orders.push(order_row(&[placed(4).into(), allocated(4), money(900, 0), expired()]));
        rows.orders.push(order_row(&[placed(5).into(), allocated(5), expired(), money(900, 900)]));
    });
    for (balance, numbers) in [("overpaid", vec![2]), ("refund_due", vec![4, 1])] {
        let expected: Vec<_> = numbers.iter().map(|number| order_id(*number).to_string()).collect();
        assert_eq!(api.walk(&format!("/v1/orders?work={balance}"), "order_id").await, expected, "{balance}");
    }
    let other_status = api.walk("/v1/orders?work=refund_due&status=cancelled", "order_id").await;
    assert_eq!(other_status, [order_id(1).to_string()]);
}

#[tokio::test]
async fn one_answer_names_every_bad_filter_and_lists_the_accepted_words() {
    let api = Api::new();
    let bad = "/v1/orders?status=new&customer_id=&sku=%20&placed_from=soon&placed_to=2010-12-01T08&limit=0&colour=red";
    let answer = api.get(bad).await;
    assert_eq!(
        answer.invalid_fields(),
        ["status", "customer_id", "sku", "placed_from", "placed_to", "limit", "colour"]
    );
    let message = &answer.json()["errors"][0]["message"];
    assert_eq!(message, "is none of placed, allocated, rejected, cancelled, expired");

    let empty_range = "/v1/orders?placed_from=2010-12-01&placed_to=2010-12-01";
    assert_eq!(api.get(empty_range).await.invalid_fields(), ["placed_to"]);
}

#[tokio::test]
async fn a_foreign_or_malformed_cursor_is_refused() {
    let api = Api::new();
    api.queries.change(|rows| rows.orders = (1..=3).map(|n| order_row(&[placed(n).into()])).collect());
    let first = api.get("/v1/orders?customer_id=17850&sku=85123A&limit=1").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();

    let other_order_of_filters = format!("/v1/orders?sku=85123A&limit=2&customer_id=17850&cursor={cursor}");
    assert_eq!(api.get(&other_order_of_filters).await.expect(200)["items"].as_array().unwrap().len(), 2);

    let truncated = &cursor[..cursor.len() - 1];
    for uri in [
        format!("/v1/orders?cursor={cursor}"),
        format!("/v1/orders?customer_id=17851&sku=85123A&cursor={cursor}"),
        format!("/v1/payments?cursor={cursor}"),
        format!("/v1/orders?customer_id=17850&sku=85123A&cursor={truncated}"),
        "/v1/orders?cursor=".to_owned(),
        "/v1/orders?cursor=e30".to_owned(),
        "/v1/orders?cursor=%2B%2F%3D".to_owned(),
    ] {
        api.get(&uri).await.problem(400, "invalid_cursor");
    }
}

#[tokio::test]
async fn orders_are_found_sorted_and_counted() {
    let api = Api::new();
    api.queries.change(|rows| {
        let late = OrderPlaced { country: Some("France".to_owned()), total: amount(900), ..placed(3) };
        let other = OrderPlaced { reference: Some("999".to_owned()), customer_id: None, ..placed(2) };
        rows.orders = vec![
            order_row(&[placed(1).into(), allocated(1)]),
            order_row(&[other.into()]),
            order_row(&[late.into()]),
        ];
    });
    let cases: [(&str, &[u128]); 10] = [
        ("reference=536365", &[3, 1]),
        ("country=France", &[3]),
        ("currency=EUR", &[]),
        ("status=placed,allocated", &[3, 2, 1]),
        ("payment_status=pending&fulfilment_status=unfulfilled,shipped", &[3, 2, 1]),
        ("q=99", &[2]),
        ("q=178", &[3, 1]),
        ("q=00000000-0000-0000-0000-00000000000", &[3, 2, 1]),
        ("sort=total&currency=GBP&direction=asc", &[3, 1, 2]),
        ("updated_since=2026-01-02", &[]),
    ];
    for (query, numbers) in cases {
        let expected: Vec<_> = numbers.iter().map(|number| order_id(*number).to_string()).collect();
        assert_eq!(api.walk(&format!("/v1/orders?{query}"), "order_id").await, expected, "{query}");
        assert_eq!(api.walk(&format!("/v1/orders?{query}&limit=1"), "order_id").await, expected, "{query}");
        let counted = api.get(&format!("/v1/orders?{query}&count=true&limit=1")).await.expect(200);
        assert_eq!(counted["count"], numbers.len().to_string(), "{query}");
    }
    assert_eq!(api.get("/v1/orders").await.expect(200).get("count"), None);
}

#[tokio::test]
async fn parts_of_an_order_have_times_and_its_refunds_the_state_of_their_payment() {
    let api = Api::new();
    let mut row = order_row(&history());
    row.times.add(&row.order, at("2026-02-01T00:00:00Z"));
    let refund_id = row.order.refunds()[0].refund_id;
    let requested = PaymentRefundRequested {
        refund_id,
        amount: amount(255),
        reason: RefundReason::Return,
        source: None,
        part_of: None,
    };
    let refunded = PaymentRefunded { refund_id, amount: amount(255), reference: None };
    let captured = PaymentCaptured { amount: amount(1_800), reference: None, charge: None, late: false };
    let mut payment = payment_row(1, vec![captured.into(), requested.into(), refunded.into()]);
    payment.refund_times.add(None, &payment.payment, at("2026-02-02T00:00:00Z"));
    api.queries.change(|rows| {
        rows.orders.push(row);
        rows.payments.push(payment);
    });
    let uri = format!("/v1/orders/{}", order_id(1));
    let order = api.get(&uri).await.expect(200);
    assert_eq!(order["shipments"][0]["shipped_at"], "2026-02-01T00:00:00Z");
    assert_eq!(order["shipments"][0]["delivered_at"], "2026-02-01T00:00:00Z");
    assert_eq!(order["returns"][0]["returned_at"], "2026-02-01T00:00:00Z");
    let refund = &order["refunds"][0];
    assert_eq!(
        [&refund["status"], &refund["requested_at"], &refund["settled_at"]],
        [&json!("refunded"), &json!("2026-02-01T00:00:00Z"), &json!("2026-02-02T00:00:00Z")]
    );
    assert_eq!(order["refunds"][1]["status"], "requested");
    // The revision does not change when a payment goes on with a refund.
    assert_eq!(api.get_if_none_match(&uri, "\"7\"").await.status, 200);
}
