//! Queries: a byte, which chooses the endpoint, and the query string.
//!
//! Every query string is answered with a page or with a problem of the caller. The cursor of a page is accepted.

use std::sync::{LazyLock, Mutex, PoisonError};

use crate::platform_in_memory::{PlatformInMemory, SKU};

const PATHS: [&str; 9] = [
    "/v1/orders",
    "/v1/orders/stuck",
    "/v1/payments",
    "/v1/stock",
    "/v1/sales",
    "/v1/money",
    "/v1/currencies",
    "/v1/projections",
    "/v1/stock/85123A/reservations",
];

static PLATFORM: LazyLock<Mutex<PlatformInMemory>> = LazyLock::new(|| {
    let platform = PlatformInMemory::open(true);
    for number in 0..5 {
        platform.order(&format!("order-{number}"));
    }
    platform.wait_for_read_models();
    Mutex::new(platform)
});

pub fn check(input: &[u8]) {
    let Some((choice, query)) = input.split_first() else { return };
    // What follows is no part of a request, and the cursor of the next page would follow it.
    if query.contains(&b'#') {
        return;
    }
    let path = PATHS[usize::from(*choice) % PATHS.len()];
    let platform = PLATFORM.lock().unwrap_or_else(PoisonError::into_inner);
    let uri = [path.as_bytes(), b"?", query].concat();
    let Some(answer) = platform.get(&uri) else { return };
    let shown = String::from_utf8_lossy(&uri);
    assert!(!answer.status.is_server_error(), "{shown}: {answer:?}");
    let body = answer.json();
    if answer.status.is_success() {
        if let Some(cursor) = body["next_cursor"].as_str() {
            check_next(&platform, path, query, cursor);
        }
    } else {
        assert!(body["code"].is_string(), "{shown}: {answer:?}");
    }
}

/// The next page exists, with the same filters.
fn check_next(platform: &PlatformInMemory, path: &str, query: &[u8], cursor: &str) {
    let others = query.split(|byte| *byte == b'&').filter(|pair| !pair.starts_with(b"cursor"));
    let others = others.collect::<Vec<_>>().join(&b"&"[..]);
    let uri = [path.as_bytes(), b"?", &others, b"&cursor=", cursor.as_bytes()].concat();
    let Some(next) = platform.get(&uri) else { return };
    let shown = String::from_utf8_lossy(&uri);
    assert!(next.status.is_success(), "{shown}: {next:?}");
    assert!(next.json()["next_cursor"] != cursor, "{shown}: the pages make no progress");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let queries = [
        "limit=2&status=allocated&customer_id=17850",
        "limit=10",
        "limit=1&status=requested",
        "limit=1",
        "currency=GBP&group_by=month&from=2026-01-01&to=2027-01-01",
        "currency=GBP&group_by=day",
        "",
        "",
        "limit=2",
    ];
    let platform = PLATFORM.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seeds = Vec::new();
    for (choice, (path, query)) in (0_u8..).zip(PATHS.iter().zip(queries)) {
        seeds.push([&[choice], query.as_bytes()].concat());
        let answer = platform.get(format!("{path}?{query}").as_bytes());
        let answer = answer.expect("the seeds are URLs");
        assert!(answer.status.is_success(), "{path}?{query}: {answer:?}");
        if let Some(cursor) = answer.json()["next_cursor"].as_str() {
            seeds.push([&[choice], query.as_bytes(), b"&cursor=", cursor.as_bytes()].concat());
        }
    }
    let of_one_sku = format!("sku={SKU}");
    seeds.push([&[3], of_one_sku.as_bytes()].concat());
    seeds
}
