//! Malformed requests: the answer is always a 4xx problem with its code, never a 5xx or a panic.

mod fuzz;
mod table;

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    body::Body,
    http::{Method, Request, header},
};

use crate::support::{Answer, Shop};

/// Sends a request, which may break the rules of the API in any way.
async fn send(shop: &Shop, method: Method, path: &str, key: Option<&[u8]>, body: impl Into<Body>) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    shop.send(request.body(body.into()).unwrap()).await
}

async fn post(shop: &Shop, path: &str, body: impl Into<Body>) -> Answer {
    static KEYS: AtomicUsize = AtomicUsize::new(0);
    let key = format!("key {}", KEYS.fetch_add(1, Ordering::Relaxed));
    send(shop, Method::POST, path, Some(key.as_bytes()), body).await
}
