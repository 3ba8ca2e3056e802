//! The baseline of HTTP: an axum handler that reads an order and returns an answer like the command API's,
//! and does nothing else. Runs in a process of its own (`orderly bench-echo`), with the same accept loop.

use std::collections::BTreeMap;

use axum::{Json, Router, response::IntoResponse, routing::post};
use domain::OrderId;
use http::{StatusCode, header};
use infra::http::{ServerOptions, serve};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, net::TcpListener};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::commands::Failure;

#[derive(Deserialize)]
struct EchoOrder {
    currency: String,
    lines: Vec<EchoLine>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "parsed because the command API parses it too")]
struct EchoLine {
    sku: String,
    quantity: u32,
    unit_price: i64,
}

/// Has as many bytes as the command API's answer to the same order.
#[derive(Serialize)]
struct Echo {
    order_id: OrderId,
    status: &'static str,
    payment_status: &'static str,
    fulfilment_status: &'static str,
    currency: String,
    total: i64,
    captured: i64,
    refunded: i64,
    payment_id: Uuid,
    revision: u64,
    revisions: BTreeMap<String, u64>,
}

async fn echo(Json(order): Json<EchoOrder>) -> impl IntoResponse {
    let (order_id, payment_id) = (OrderId(Uuid::new_v4()), Uuid::new_v4());
    let total = order.lines.iter().map(|line| i64::from(line.quantity) * line.unit_price).sum();
    let echo = Echo {
        order_id,
        status: "allocated",
        payment_status: "pending",
        fulfilment_status: "unfulfilled",
        currency: order.currency,
        total,
        captured: 0,
        refunded: 0,
        payment_id,
        revision: 1,
        revisions: BTreeMap::from([(format!("order-{order_id}"), 1), (format!("payment-{payment_id}"), 0)]),
    };
    let headers = [(header::LOCATION, format!("/v1/orders/{order_id}")), (header::ETAG, "\"1\"".to_owned())];
    (StatusCode::CREATED, headers, Json(echo))
}

/// Serves until standard input ends, which happens when the parent process ends.
pub async fn run() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("command API  http://{}", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    let parent_ended = shutdown.clone();
    tokio::spawn(async move {
        let mut rest = Vec::new();
        // An error also means that the parent has ended.
        let _ = tokio::io::stdin().read_to_end(&mut rest).await;
        parent_ended.cancel();
    });
    serve(listener, Router::new().route("/v1/orders", post(echo)), ServerOptions::default(), shutdown).await;
    Ok(())
}
