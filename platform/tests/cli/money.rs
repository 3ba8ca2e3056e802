//! What the query API shows of money that waits, is owed or was paid too much.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time;

use super::support::{DataDir, Server};

const PATIENCE: Duration = Duration::from_mins(1);

/// Asks until the answer satisfies a condition, and returns it.
async fn get_when(server: &Server, path: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let polling = async {
        loop {
            let answer = server.get(path).await;
            if is_there(&answer) {
                return answer;
            }
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("{path} never shows it"))
}

/// Orders one unit for 10.00.
async fn order(server: &Server, key: &str, members: Value) -> Value {
    let line = json!({"sku": "MUG", "quantity": 1, "unit_price": 1000});
    let mut body = json!({"currency": "GBP", "lines": [line]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    server.post("/v1/orders", key, body).await
}

fn id<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap()
}

/// The ids of the orders of a list.
fn orders(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| id(item, "order_id")).collect()
}

async fn serve(data: &DataDir) -> Server {
    let server = data.serve().await;
    server.post("/v1/stock/MUG/receipts", "po-1", json!({"quantity": 10, "reference": "po-1"})).await;
    server
}

#[tokio::test]
async fn a_refund_that_keeps_failing_is_stuck_since_its_first_attempt_and_a_busy_customer_is_not() {
    let data = DataDir::new();
    let server = serve(&data).await;
    let busy = order(&server, "busy", json!({"payment": {"method": "needs_action"}})).await;
    let failing = order(&server, "failing", json!({"payment": {"method": "refund_fails"}})).await;
    let payment = format!("/v1/payments/{}?min_revision=0", id(&failing, "payment_id"));
    get_when(&server, &payment, |payment| payment["status"] == "captured").await;
    server.post(&format!("/v1/orders/{}/cancel", id(&failing, "order_id")), "cancel", json!({})).await;

    let attempts = |payment: &Value| payment["refunds"].as_array().unwrap().len();
    let mut since = Vec::new();
    for count in [2, 3] {
        let shown = get_when(&server, &payment, |payment| attempts(payment) >= count).await;
        let failed = &shown["refunds"][0];
        assert_eq!((&failed["status"], failed["failure"].is_string()), (&json!("failed"), true), "{shown}");
        let is_listed = |list: &Value| orders(list).contains(&id(&failing, "order_id"));
        let stuck = get_when(&server, "/v1/orders/stuck?older_than=0", is_listed).await;
        assert!(!orders(&stuck).contains(&id(&busy, "order_id")), "{stuck}");
        let item =
            stuck["items"].as_array().unwrap().iter().find(|item| item["order_id"] == failing["order_id"]);
        assert_eq!(item.unwrap()["why"], "refund_pending", "{stuck}");
        since.push(item.unwrap()["since"].clone());
    }
    assert_eq!(since[0], since[1]);
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn an_order_shows_what_is_still_due_and_lists_show_what_was_paid_too_much() {
    let data = DataDir::new();
    let server = serve(&data).await;
    let paid = order(&server, "paid", json!({"payment": {"method": "ok"}})).await;
    let path = format!("/v1/orders/{}?min_revision=0", id(&paid, "order_id"));
    let paid = get_when(&server, &path, |order| order["payment_status"] == "paid").await;
    assert_eq!((&paid["total"], &paid["owed"], &paid["amount_due"]), (&json!(1000), &json!(1000), &json!(0)));

    let late = order(&server, "late", json!({})).await;
    let (order_id, payment_id) = (id(&late, "order_id"), id(&late, "payment_id"));
    let path = format!("/v1/orders/{order_id}?min_revision=0");
    assert_eq!(get_when(&server, &path, |_| true).await["amount_due"], 1000);
    server.post(&format!("/v1/orders/{order_id}/cancel"), "cancel", json!({})).await;
    let closed = format!("/v1/payments/{payment_id}?min_revision=0");
    get_when(&server, &closed, |payment| payment["closed"] == true).await;
    let transfer = json!({"amount": 1000, "reference": "bank transfer"});
    server.post(&format!("/v1/payments/{payment_id}/capture"), "transfer", transfer).await;
    let overpaid = "/v1/orders?work=overpaid";
    let list = get_when(&server, overpaid, |list| !orders(list).is_empty()).await;
    assert_eq!((orders(&list), &list["items"][0]["overpaid"]), (vec![order_id], &json!(1000)));

    let refund =
        server.post(&format!("/v1/orders/{order_id}/refunds"), "back", json!({"amount": 1000})).await;
    let due = get_when(&server, "/v1/orders?work=refund_due", |list| !orders(list).is_empty()).await;
    assert_eq!(orders(&due), [order_id]);
    let paid_out = format!("/v1/payments/{payment_id}/refunds/{}/succeed", id(&refund, "refund_id"));
    server.post(&paid_out, "paid out", json!({})).await;
    for list in [overpaid, "/v1/orders?work=refund_due"] {
        get_when(&server, list, |list| orders(list).is_empty()).await;
    }
    assert!(server.terminate().await.success());
}
