//! Requests that are not HTTP get a problem, and the connection ends.

use axum::routing::get as on_get;
use infra::http::problem;

use super::*;

async fn server() -> Server {
    let router = Router::new().route("/", on_get(ok)).fallback(problem::no_such_path);
    Server::start(router, patient()).await
}

/// A request with these lines of the head after the first.
fn request(first: &str, rest: &str) -> Vec<u8> {
    format!("{first}\r\nHost: localhost\r\n{rest}\r\n").into_bytes()
}

fn cases() -> Vec<(Vec<u8>, u16, &'static str)> {
    let long = "x".repeat(40_000);
    let many = "a: b\r\n".repeat(101);
    vec![
        (request("G\u{1}ET / HTTP/1.1", ""), 400, "malformed_request"),
        (request("GET / HTTP/1.1 now", ""), 400, "malformed_request"),
        (request("GET /\u{1} HTTP/1.1", ""), 400, "malformed_request"),
        (request("GET", ""), 400, "malformed_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400, "malformed_request"),
        (request("GET / HTTP/1.1", "no colon\r\n"), 400, "malformed_request"),
        (request("GET / HTTP/1.1", "a b: c\r\n"), 400, "malformed_request"),
        (request("GET / HTTP/1.1", "a: \u{1}\r\n"), 400, "malformed_request"),
        (request("POST / HTTP/1.1", "Content-Length: two\r\n"), 400, "malformed_request"),
        (request("POST / HTTP/1.1", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400, "malformed_request"),
        (request("POST / HTTP/1.1", "Transfer-Encoding: gzip\r\n"), 400, "malformed_request"),
        (request("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n"), 400, "malformed_request"),
        (request("GET / HTTP/2.0", ""), 505, "http_version"),
        (request("GET / HTTP/3", ""), 505, "http_version"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505, "http_version"),
        (request(&format!("GET /{long} HTTP/1.1"), ""), 414, "uri_too_long"),
        (request("GET / HTTP/1.1", &format!("a: {long}\r\n")), 431, "headers_too_large"),
        (request("GET / HTTP/1.1", &many), 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400, "invalid_parameter"),
        (request("GET / HTTP/1.1", "Host: localhost\r\n"), 400, "invalid_parameter"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(), 421, "wrong_host"),
        (request("GET http://evil.example/ HTTP/1.1", ""), 421, "wrong_host"),
    ]
}

#[tokio::test]
async fn a_malformed_request_gets_a_problem_also_after_a_good_one() {
    let server = server().await;
    for (bytes, status, code) in cases() {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        for good_before in [0, 1, 2] {
            let mut client = server.connect().await;
            client.send([get("/").repeat(good_before).as_bytes(), &bytes].concat()).await;
            for _ in 0..good_before {
                assert_eq!(client.answer().await.body, b"ok", "{shown}");
            }
            let refused = client.answer().await;
            refused.problem(status, code);
            assert!(refused.head.contains("\r\ndate: "), "{shown}: {}", refused.head);
            // A request with a wrong host is HTTP, so its connection goes on.
            if !["invalid_parameter", "wrong_host"].contains(&code) {
                assert!(refused.closes(), "{shown}: {}", refused.head);
                client.end().await;
            }
        }
    }
}

#[tokio::test]
async fn a_request_of_http_1_0_without_a_host_is_answered() {
    let server = server().await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.answer().await.body, b"ok");
    client.end().await;
}

#[tokio::test]
async fn a_connection_that_ends_within_a_request_gets_no_answer() {
    let server = server().await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: l").await;
    client.stream.shutdown().await.unwrap();
    client.end().await;
}
