//! Sequences that once ended in wrong money, each with its right amounts.

use infra::read_models::{MoneyQuery, MoneyTotals, Sales, SalesGroup, SalesQuery, TimeRange};

use super::*;
use crate::support::eventually;

fn assert_has(answer: &Value, members: Value) {
    for (name, expected) in members.as_object().unwrap() {
        assert_eq!(&answer[name], expected, "{name} in {answer}");
    }
}

/// Places an order under a key. `lines` are (SKU, units, price); ten units of each SKU are on hand.
pub(super) async fn place(shop: &Shop, key: &str, lines: &[(&str, u32, i64)], adjustments: Value) -> Placed {
    for (sku, ..) in lines {
        shop.receive(&format!("{key}-{sku}"), ON_HAND).await;
    }
    let lines: Vec<Value> =
        lines.iter().map(|&(sku, quantity, price)| line(&format!("{key}-{sku}"), quantity, price)).collect();
    let body = json!({"currency": "EUR", "lines": lines, "adjustments": adjustments});
    let order = shop.post("/v1/orders", key, body).await.expect(201);
    let order_id = order["order_id"].as_str().unwrap().parse().unwrap();
    Placed { sku: String::new(), order_id, order }
}

async fn place_paid(shop: &Shop, key: &str, lines: &[(&str, u32, i64)], adjustments: Value) -> Placed {
    let placed = place(shop, key, lines, adjustments).await;
    shop.pay(&placed.order).await;
    placed
}

pub(super) fn units(lines: &[(u32, u32)]) -> Value {
    let part = |&(line, quantity): &(u32, u32)| json!({"line": line, "quantity": quantity});
    json!({"lines": lines.iter().map(part).collect::<Vec<_>>()})
}

/// The sum of the refunds in an answer, which all go to the payment of the order.
fn refunded(placed: &Placed, answer: &Value) -> i64 {
    let refunds = answer["refunds"].as_array().unwrap_or_else(|| panic!("no refunds: {answer}"));
    assert!(refunds.iter().all(|refund| refund["payment_id"] == placed.order["payment_id"]), "{answer}");
    refunds.iter().map(|refund| refund["amount"].as_i64().unwrap()).sum()
}

/// What the customer owes, and what the payment is to pay back, once all reactions are done.
async fn owed_and_refunded(shop: &Shop, placed: &Placed) -> (i64, i64) {
    let log = shop.until_all_reacted().await;
    let order = log.order(placed.order_id);
    let payment = payment_of(&log, &order);
    for refund in order.refunds() {
        assert_eq!(payment.refund(refund.refund_id).map(|found| found.amount), Some(refund.amount));
    }
    (order.owed().minor_units(), amount_to_refund(&payment).minor_units())
}

#[tokio::test]
async fn a_return_takes_its_share_of_the_voucher_with_it() {
    let shop = Shop::open().await;
    let voucher = json!([{"code": "voucher", "amount": -3000}]);
    let placed = place_paid(&shop, "voucher", &[("a", 2, 5000)], voucher).await;
    placed.post(&shop, "shipments", "s", json!({})).await.expect(201);
    for key in ["first", "second"] {
        let answer = placed.post(&shop, "returns", key, units(&[(1, 1)])).await.expect(201);
        assert_eq!(refunded(&placed, &answer), 3500);
        assert_eq!(answer["refunds"][0]["refund_id"], answer["return_id"]);
    }
    assert_eq!(owed_and_refunded(&shop, &placed).await, (0, 7000));
}

#[tokio::test]
async fn tax_of_goods_that_were_not_delivered_is_refunded_and_shipping_of_delivered_goods_is_kept() {
    let shop = Shop::open().await;
    let tax = json!([{"kind": "tax", "code": "VAT20", "amount": 2000}]);
    let placed = place_paid(&shop, "part", &[("a", 1, 1000), ("b", 1, 9000)], tax).await;
    placed.post(&shop, "shipments", "s", units(&[(1, 1)])).await.expect(201);
    let answer = placed.post(&shop, "cancel", "c", json!({})).await.expect(200);
    assert_eq!(refunded(&placed, &answer), 10_800);
    assert_eq!(owed_and_refunded(&shop, &placed).await, (1200, 10_800));

    let adjustments = json!([
        {"kind": "tax", "code": "VAT20", "amount": 400}, {"kind": "shipping", "code": "DHL", "amount": 500},
    ]);
    let placed = place_paid(&shop, "all-back", &[("a", 2, 1000)], adjustments).await;
    placed.post(&shop, "shipments", "s", json!({})).await.expect(201);
    let answer = placed.post(&shop, "returns", "r", units(&[(1, 2)])).await.expect(201);
    assert_eq!(refunded(&placed, &answer), 2400);
    assert_eq!(owed_and_refunded(&shop, &placed).await, (500, 2400));
}

#[tokio::test]
async fn a_voucher_does_not_give_shipped_goods_away() {
    let shop = Shop::open().await;
    let voucher = json!([{"code": "voucher", "amount": -5000}]);
    let placed = place_paid(&shop, "voucher", &[("a", 1, 1000), ("b", 1, 9000)], voucher).await;
    placed.post(&shop, "shipments", "s", units(&[(1, 1)])).await.expect(201);
    let answer = placed.post(&shop, "cancel", "c", json!({})).await.expect(200);
    assert_eq!(refunded(&placed, &answer), 4500);
    assert_eq!(owed_and_refunded(&shop, &placed).await, (500, 4500));
}

#[tokio::test]
async fn money_refunded_for_a_line_is_not_paid_again_when_the_line_is_cancelled() {
    let shop = Shop::open().await;
    let placed = place_paid(&shop, "broken", &[("a", 1, 500), ("b", 1, 500)], json!([])).await;
    placed.post(&shop, "shipments", "s", units(&[(1, 1)])).await.expect(201);
    let refund = json!({"amount": 500, "lines": [{"line": 2, "amount": 500}]});
    let answer = placed.post(&shop, "refunds", "broken", refund).await.expect(201);
    assert_eq!(refunded(&placed, &answer), 500);
    let answer = placed.post(&shop, "cancel", "c", json!({})).await.expect(200);
    assert_eq!(refunded(&placed, &answer), 0);
    assert_eq!(owed_and_refunded(&shop, &placed).await, (500, 500));

    // Nothing is shipped: the rest of the money goes back, and no more.
    let placed = place_paid(&shop, "unshipped", &[("a", 1, 500), ("b", 1, 500)], json!([])).await;
    let refund = json!({"amount": 200, "lines": [{"line": 2, "amount": 200}]});
    placed.post(&shop, "refunds", "goodwill", refund).await.expect(201);
    let answer = placed.post(&shop, "cancel", "c", json!({})).await.expect(200);
    assert_eq!(refunded(&placed, &answer), 800);
    assert_eq!(owed_and_refunded(&shop, &placed).await, (0, 1000));
}

#[tokio::test]
async fn an_order_ships_only_while_its_money_is_there() {
    let shop = Shop::open().await;
    let placed = place(&shop, "net", &[("a", 1, 1000)], json!([])).await;
    placed.pay(&shop, "authorize", json!({})).await.expect(200);
    placed.pay(&shop, "capture", json!({"amount": 600})).await.expect(200);
    shop.until_all_reacted().await;
    placed.post(&shop, "refunds", "r", json!({"amount": 600})).await.expect(201);
    shop.until_all_reacted().await;
    let payment = placed.order["payment_id"].as_str().unwrap();
    shop.post(&format!("/v1/payments/{payment}/capture"), "the rest", json!({})).await.expect(200);
    let log = shop.until_all_reacted().await;
    placed.post(&shop, "shipments", "s", json!({})).await.problem(409, "order_not_paid");
    let order = log.order(placed.order_id);
    assert_eq!((order.owed(), order.amount_due()), (Amount::new(1000).unwrap(), Amount::new(600).unwrap()));

    let placed = place_paid(&shop, "refunded", &[("a", 1, 1000)], json!([])).await;
    placed.post(&shop, "refunds", "all", json!({"amount": 1000})).await.expect(201);
    let problem = placed.post(&shop, "shipments", "s", json!({})).await.problem(409, "order_refunded");
    assert!(problem["detail"].as_str().unwrap().contains("/cancel"), "{problem}");
    let answer = placed.post(&shop, "cancel", "c", json!({})).await.expect(200);
    assert_eq!(refunded(&placed, &answer), 0);
    assert_eq!(owed_and_refunded(&shop, &placed).await, (0, 1000));
    assert_eq!(shop.log().await.stock("refunded-a").levels().reserved, 0);
}

#[tokio::test]
async fn goodwill_neither_stops_the_shipment_nor_makes_the_order_due() {
    let shop = Shop::open().await;
    let placed = place_paid(&shop, "goodwill", &[("a", 2, 500)], json!([])).await;
    placed.post(&shop, "refunds", "r", json!({"amount": 100})).await.expect(201);
    let order = shop.until_all_reacted().await.order(placed.order_id);
    assert!(order.is_paid() && !order.awaits_payment());
    assert_eq!((order.owed(), order.amount_due()), (Amount::new(900).unwrap(), Amount::ZERO));
    placed.post(&shop, "shipments", "s", json!({})).await.expect(201);
}

#[tokio::test]
async fn the_amounts_of_an_order_mean_what_their_names_say() {
    let shop = Shop::open().await;
    let placed = place(&shop, "amounts", &[("a", 6, 255)], json!([])).await;
    let amounts = async |owed: i64, amount_due: i64, overpaid: i64| {
        let log = shop.until_all_reacted().await;
        let order = log.order(placed.order_id);
        let found = [order.owed(), order.amount_due(), order.overpaid()].map(Amount::minor_units);
        assert_eq!(found, [owed, amount_due, overpaid]);
    };
    amounts(1530, 1530, 0).await;
    shop.pay(&placed.order).await;
    amounts(1530, 0, 0).await;
    placed.post(&shop, "shipments", "s", json!({})).await.expect(201);
    let fee = json!({"lines": [{"line": 1, "quantity": 2}], "refund_amount": 400});
    placed.post(&shop, "returns", "r", fee).await.expect(201);
    // 110 of the 510 are kept as a fee.
    amounts(1130, 0, 0).await;
}

#[tokio::test]
async fn lines_and_units_are_cancelled_while_the_order_goes_on() {
    let shop = Shop::open().await;
    let adjustments = json!([
        {"kind": "tax", "code": "VAT", "amount": 700}, {"kind": "shipping", "code": "DHL", "amount": 400},
    ]);
    let placed = place_paid(&shop, "lines", &[("a", 3, 1000), ("b", 1, 500)], adjustments).await;
    let cancel = async |key: &str, lines: &[(u32, u32)], more: Value| {
        let mut body = units(lines);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        placed.post(&shop, "cancel", key, body).await
    };
    let answer = cancel("one", &[(1, 1)], json!({})).await.expect(200);
    assert_has(&answer, json!({"status": "allocated"}));
    assert_eq!(refunded(&placed, &answer), 1200);
    // The same key gives the same answer.
    assert_eq!(cancel("one", &[(1, 1)], json!({})).await.expect(200), answer);
    let answer = cancel("less", &[(1, 1)], json!({"refund_amount": 900})).await.expect(200);
    assert_eq!(refunded(&placed, &answer), 900);
    assert_eq!(owed_and_refunded(&shop, &placed).await, (4600 - 2100, 2100));
    let log = shop.log().await;
    assert_eq!(log.stock("lines-a").levels().reserved, 1);

    cancel("too many", &[(1, 2)], json!({})).await.problem(409, "quantity_unavailable");
    cancel("none", &[(1, 0)], json!({})).await.problem(422, "invalid_request");
    cancel("unknown", &[(9, 1)], json!({})).await.problem(422, "invalid_request");
    cancel("twice", &[(1, 1), (1, 1)], json!({})).await.problem(422, "invalid_request");
    cancel("more", &[(1, 1)], json!({"refund_amount": 2501})).await.problem(409, "refund_too_large");

    placed.post(&shop, "shipments", "s", units(&[(2, 1)])).await.expect(201);
    let answer = cancel("rest", &[(1, 1)], json!({})).await.expect(200);
    assert_has(&answer, json!({"status": "cancelled"}));
    assert_eq!(refunded(&placed, &answer), 1200);
    // Line 2 with its tax, shipping, and the 300 that were withheld.
    assert_eq!(owed_and_refunded(&shop, &placed).await, (600 + 400 + 300, 3300));
    let log = shop.log().await;
    assert_eq!(log.loose_reservations(), []);
    let levels = log.stock("lines-a").levels();
    assert_eq!((levels.on_hand, levels.reserved), (ON_HAND, 0));
    cancel("late", &[(1, 1)], json!({})).await.problem(409, "order_status");
}

#[tokio::test]
async fn lines_of_an_unpaid_order_are_not_cancelled_alone() {
    let shop = Shop::open().await;
    let placed = place(&shop, "unpaid", &[("a", 2, 1000)], json!([])).await;
    placed.post(&shop, "cancel", "c", units(&[(1, 1)])).await.problem(409, "order_not_paid");
    let answer = placed.post(&shop, "cancel", "all", units(&[(1, 2)])).await.expect(200);
    assert_has(&answer, json!({"status": "cancelled", "refunds": []}));
}

#[tokio::test]
async fn a_refund_names_only_lines_that_it_can_be_for() {
    let shop = Shop::open().await;
    let placed = place_paid(&shop, "named", &[("a", 1, 500), ("b", 1, 500)], json!([])).await;
    let refund = async |key: &str, amount: i64, lines: &[(u32, i64)]| {
        let part = |&(line, amount): &(u32, i64)| json!({"line": line, "amount": amount});
        let lines: Vec<Value> = lines.iter().map(part).collect();
        placed.post(&shop, "refunds", key, json!({"amount": amount, "lines": lines})).await
    };
    refund("above the line", 600, &[(1, 501)]).await.problem(409, "refund_too_large");
    refund("above the refund", 100, &[(1, 60), (2, 60)]).await.problem(422, "invalid_request");
    refund("nothing", 100, &[(1, 0)]).await.problem(422, "invalid_request");
    refund("twice", 100, &[(1, 10), (1, 10)]).await.problem(422, "invalid_request");
    refund("unknown", 100, &[(3, 10)]).await.problem(422, "invalid_request");
    refund("good", 100, &[(1, 40), (2, 10)]).await.expect(201);
    assert_eq!(owed_and_refunded(&shop, &placed).await, (900, 100));
}

/// The sales in euros, by SKU, once they satisfy a condition.
pub(super) async fn sales_when(shop: &Shop, is_there: impl Fn(&Sales) -> bool) -> Sales {
    let query = SalesQuery {
        currency: "EUR".parse().unwrap(),
        range: TimeRange::default(),
        group: Some(SalesGroup::Sku),
        after: None,
    };
    eventually("the sales are counted", async || {
        let sales = shop.queries.sales(&query, 10).await.unwrap();
        is_there(&sales).then_some(sales)
    })
    .await
}

#[tokio::test]
async fn a_refund_counts_for_the_sku_that_came_back() {
    let shop = Shop::open().await;
    let placed = place_paid(&shop, "sales", &[("a", 1, 1000), ("b", 1, 3000)], json!([])).await;
    placed.post(&shop, "shipments", "s", json!({})).await.expect(201);
    let returned = placed.post(&shop, "returns", "r", units(&[(1, 1)])).await.expect(201);
    shop.until_all_reacted().await;
    let paid_out = format!("refunds/{}/succeed", returned["return_id"].as_str().unwrap());
    placed.pay(&shop, &paid_out, json!({})).await.expect(200);

    let sales = sales_when(&shop, |sales| sales.total.refunded > 0).await;
    let by_sku: Vec<(String, i128)> =
        sales.groups.items.into_iter().map(|(sku, sums)| (sku, sums.refunded)).collect();
    assert_eq!(by_sku, [("sales-a".to_owned(), 1000), ("sales-b".to_owned(), 0)]);
}

#[tokio::test]
async fn a_paid_and_cancelled_order_with_tax_and_shipping_leaves_no_net_sales_and_no_money() {
    let shop = Shop::open().await;
    let adjustments = json!([
        {"kind": "tax", "code": "VAT20", "amount": 400}, {"kind": "shipping", "code": "DHL", "amount": 500},
    ]);
    let placed = place_paid(&shop, "net", &[("a", 2, 1000)], adjustments).await;
    let paid = sales_when(&shop, |sales| sales.total.orders > 0).await.total;
    assert_eq!((paid.gross, paid.tax, paid.shipping, paid.net()), (2000, 400, 500, 2900));
    let cancelled = placed.post(&shop, "cancel", "c", json!({})).await.expect(200);
    shop.until_all_reacted().await;
    let paid_out = format!("refunds/{}/succeed", cancelled["refunds"][0]["refund_id"].as_str().unwrap());
    placed.pay(&shop, &paid_out, json!({})).await.expect(200);

    let sales = sales_when(&shop, |sales| sales.total.refunded > 0).await;
    assert_eq!((sales.total.gross, sales.total.cancelled, sales.total.refunded), (2000, 0, 2900));
    let net: Vec<_> =
        sales.groups.items.iter().map(|(sku, sums)| (sku.as_str(), sums.refunded, sums.net())).collect();
    assert_eq!((sales.total.net(), net), (0, vec![("", 500, 0), ("net-a", 2400, 0)]));
    let currency = "EUR".parse().unwrap();
    let query = MoneyQuery { currency, range: TimeRange::default(), group: None, after: None };
    let moved = eventually("the refund is counted", async || {
        let money = shop.queries.money(&query, 1).await.unwrap().total;
        (money.refunded > 0).then_some(money)
    });
    assert_eq!(moved.await, MoneyTotals { captured: 2900, refunded: 2900, disputed: 0 });
}
