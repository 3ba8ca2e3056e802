//! Compares the OpenAPI document with the API: each path, parameter and answer.

use std::{collections::BTreeSet, sync::Arc};

use domain::{
    ShipmentId,
    order::{LineQuantity, OrderEvent, OrderShipped},
    payment::{PaymentRefundRequested, RefundReason},
};
use infra::{
    event_source::Partition,
    read_models::{
        ChargeTotals, Charges, CheckpointRow, Money, MoneyTotals, ReservationRow, RowPage, Sales,
        SalesTotals, Wait, WaitKind,
    },
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Api,
    rows::{allocated, amount, at, order_id, order_row, payment_row, placed, sku, stock_row},
    timeline,
};
use crate::{
    projectors::memory_log::MemoryLog,
    reconciliations_contract::comparison,
    support::documented::{self, check_members},
};

/// An API with one row of each kind.
pub fn api_with_rows() -> Api {
    let history = timeline::history();
    let api = Api::over_log(Arc::new(MemoryLog::new(history.clone())));
    api.queries.change(|rows| {
        rows.waits =
            vec![Wait { since: at("2026-01-01T00:00:00Z"), id: order_id(1).0, kind: WaitKind::Release }];
        rows.order_stock_events = timeline::stock_events(&history);
        let lines = vec![LineQuantity { line: 1, quantity: 6 }];
        let shipment_id = ShipmentId(Uuid::from_u128(1));
        let shipped = OrderShipped { shipment_id, lines, carrier: None, tracking_number: None };
        rows.orders = vec![order_row(&[placed(1).into(), allocated(1), OrderEvent::from(shipped)])];
        let refund_id = domain::RefundId(Uuid::from_u128(1));
        let refund = PaymentRefundRequested {
            refund_id,
            amount: amount(1),
            reason: RefundReason::Requested,
            source: None,
            part_of: None,
        };
        let captured = domain::payment::PaymentCaptured {
            amount: amount(1_800),
            reference: None,
            charge: None,
            late: false,
        };
        rows.payments = vec![payment_row(1, vec![captured.into(), refund.into()])];
        rows.stock = vec![stock_row("A", 6, 6), stock_row("85123A", 100, 0)];
        rows.reservations = vec![ReservationRow { sku: sku("A"), order_id: order_id(1), quantity: 6 }];
        let totals = SalesTotals::default();
        rows.sales = Sales {
            total: totals,
            groups: RowPage { items: vec![("A".to_owned(), totals)], has_more: false },
        };
        let totals = MoneyTotals::default();
        rows.money = Money {
            total: totals,
            groups: RowPage { items: vec![("2010-12-01".to_owned(), totals)], has_more: false },
        };
        let totals = ChargeTotals { attempts: 24, declined: 1 };
        rows.charges = Charges {
            total: totals,
            failures: vec![("card_declined".to_owned(), 1)],
            groups: RowPage { items: vec![("2010-12-01".to_owned(), totals)], has_more: false },
        };
        rows.sold = [(sku("A"), 3)].into();
        rows.reconciliations = vec![comparison(1, 60)];
        rows.currencies = vec!["GBP".parse().unwrap()];
        rows.checkpoints = vec![CheckpointRow {
            projection: "orders".to_owned(),
            partition: Partition::whole_log(),
            position: Some(1),
            log_position: Some(1),
            last_event: None,
            updated_at: None,
        }];
    });
    api
}

/// A URL of a documented path for which [`api_with_rows`] has rows.
fn url_of(path: &str) -> String {
    let id = if path.starts_with("/v1/payments") {
        domain::PaymentId::of_order(order_id(1)).to_string()
    } else {
        order_id(1).to_string()
    };
    let sku = if path.ends_with("/movements") { "85123A" } else { "A" };
    let url = path.replace("{id}", &id).replace("{sku}", sku).replace("{day}", "latest");
    match path {
        "/v1/sales" => format!("{url}?currency=GBP&group_by=sku"),
        "/v1/money" => format!("{url}?currency=GBP&group_by=day"),
        "/v1/declines" => format!("{url}?group_by=day"),
        _ => url,
    }
}

/// One URL for each documented path.
pub fn urls() -> impl Iterator<Item = String> {
    paths(document()).map(|(path, _)| url_of(path))
}

/// One URL for each list that is also a table.
pub fn table_urls() -> impl Iterator<Item = String> {
    let is_table = |operation: &Value| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().any(|parameter| parameter["name"] == "format")
    };
    paths(document()).filter(move |(_, operation)| is_table(operation)).map(|(path, _)| url_of(path))
}

fn document() -> &'static Value {
    documented::QUERY_API.document()
}

fn paths(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["paths"].as_object().unwrap().iter().map(|(path, item)| (path, &item["get"]))
}

#[test]
fn the_document_is_openapi_3_1_and_every_reference_in_it_resolves() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
        }
    }
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(found.len() > 10);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn every_documented_path_is_served_and_its_answer_matches_its_schema() {
    let api = api_with_rows();
    let document = document();
    let mut served = Vec::new();
    for (path, operation) in paths(document) {
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let is_shared = response["$ref"].is_string();
            assert!(is_shared || response["description"].is_string(), "{path} {status}");
        }
        let answer = api.get(&url_of(path)).await;
        assert_eq!(answer.status, 200, "{path}");
        if let Some(schema) = operation.pointer("/responses/200/content/application~1json/schema") {
            check_members(document, schema, &answer.json(), path);
        }
        served.push(path.as_str());
    }
    assert_eq!(
        served,
        [
            "/livez",
            "/readyz",
            "/v1/currencies",
            "/v1/declines",
            "/v1/events",
            "/v1/feed",
            "/v1/money",
            "/v1/orders",
            "/v1/orders/stuck",
            "/v1/orders/{id}",
            "/v1/orders/{id}/timeline",
            "/v1/payments",
            "/v1/payments/{id}",
            "/v1/projections",
            "/v1/reconciliations",
            "/v1/reconciliations/{day}",
            "/v1/sales",
            "/v1/stock",
            "/v1/stock/{sku}",
            "/v1/stock/{sku}/cover",
            "/v1/stock/{sku}/movements",
            "/v1/stock/{sku}/reservations",
            "/v1/summary",
            "/version",
        ]
    );
}

#[tokio::test]
async fn the_documented_parameters_are_exactly_the_accepted_ones() {
    let api = api_with_rows();
    for (path, operation) in paths(document()) {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let documented: BTreeSet<String> = parameters
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        if !path.starts_with("/v1/") {
            continue;
        }
        let url = url_of(path);
        let separator = if url.contains('?') { '&' } else { '?' };
        let answer = api.get(&format!("{url}{separator}no_such_parameter=1")).await;
        let problem = answer.problem(400, "invalid_parameter");
        let message = problem["errors"][0]["message"].as_str().unwrap();
        let known = message.split_once("there are ").unwrap().1.split(", ").map(str::to_owned);
        let known: BTreeSet<String> = known.filter(|name| name != "no parameters here").collect();
        assert_eq!(documented, known, "{path}");
    }
}

#[tokio::test]
async fn the_document_and_its_page_load_nothing_from_other_sites() {
    let api = Api::new();
    assert_eq!(api.get("/openapi.json").await.expect(200), *document());

    assert_eq!(api.get("/docs").await.header("location"), Some("/docs/"));
    let page = String::from_utf8(api.get("/docs/").await.body).unwrap();
    let sources: Vec<_> = page
        .split(['"', '\''])
        .filter(|text| [".js", ".css", ".png"].iter().any(|end| text.ends_with(end)))
        .collect();
    assert!(sources.len() > 3, "{page}");
    for source in sources {
        let answer = api.get(&format!("/docs/{}", source.trim_start_matches("./"))).await;
        assert_eq!(answer.status, 200, "{source}");
    }
    let start = String::from_utf8(api.get("/docs/swagger-initializer.js").await.body).unwrap();
    assert!(start.contains("\"validatorUrl\": \"none\"") && start.contains("/openapi.json"), "{start}");
}
