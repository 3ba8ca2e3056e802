//! Who sees the pages: log-in, sessions, forms of other sites, errors.

use axum::{
    body::Body,
    http::{Request, header},
};
use domain::Timestamp;
use infra::{auth::Scope, http::Gate, operations::api_keys::ApiKeys, sealing::SecretKeys};
use tower::ServiceExt;

use super::{Browser, Pages, api, line, set};
use crate::{
    authentication::Keys,
    support::{Shop, ShopOptions},
};

fn process_keys() -> SecretKeys {
    SecretKeys::of_this_process().unwrap()
}

#[tokio::test]
async fn without_keys_every_page_is_shown_and_says_so() {
    let pages = Pages::open().await;
    let order = pages.paid_order(&[line("A", 2, 500)]).await;
    let payment = pages.until(&format!("/v1/orders/{order}"), |_| true).await["payment_id"].clone();
    let payment = payment.as_str().unwrap();
    let browser = pages.browser();
    for path in [
        "/",
        "/orders",
        &format!("/orders/{order}"),
        "/stock",
        "/stock/A",
        "/payments",
        &format!("/payments/{payment}"),
        "/stuck",
        "/system",
        "/log",
        "/audit",
        "/login",
    ] {
        let shown = browser.get(path).await.expect(200);
        shown.has("<main").has("</html>");
        let policy = shown.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'self'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        shown.has_not(" style=\"").has_not("<style").has_not(" onclick");
        if path != "/login" {
            shown.has("No keys: full access");
        }
    }
}

#[tokio::test]
async fn a_session_begins_with_a_key_and_ends_by_log_out_or_revocation() {
    let keys = Keys::new();
    let (id, bearer) = keys.add("desk", [Scope::Read]).await;
    let pages = Pages::behind(keys.gate(), process_keys()).await;
    let browser = pages.browser();
    assert_eq!(
        browser.get("/orders?status=placed").await.location(),
        "/login?next=%2Forders%3Fstatus%3Dplaced"
    );

    let mut fields = browser.get("/login?next=%2Forders").await.expect(200).fields();
    set(&mut fields, "key", bearer.trim_start_matches("Bearer "));
    let logged_in = browser.submit("/login", &fields).await;
    assert_eq!(logged_in.location(), "/orders");
    let cookie = logged_in.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("ork_"), "the cookie shows the key: {cookie}");
    browser.get("/orders").await.expect(200).has("desk").has_not("full access");
    // Downloads and the feed are of the same session.
    browser.get("/v1/orders").await.expect(200);

    let fields = browser.get("/orders").await.html;
    let token = fields.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let token = token.replace("&#43;", "+");
    assert_eq!(browser.submit("/logout", &[("form".to_owned(), token)]).await.location(), "/login");
    assert!(browser.get("/orders").await.location().starts_with("/login"));

    assert_eq!(browser.log_in(&bearer).await.location(), "/");
    assert!(keys.store.revoke(&id, Timestamp::now()).await.unwrap());
    let later = Browser {
        cookies: std::mem::take(&mut *browser.cookies.lock().unwrap()).into(),
        router: pages.router,
    };
    // The keys are read again after some seconds, so a new process shows it at once.
    let fresh = query_api::router(api(&pages.shop, keys.gate(), process_keys(), None));
    assert!(Browser { router: fresh, ..later }.get("/orders").await.location().starts_with("/login"));
}

#[tokio::test]
async fn a_wrong_key_and_a_key_that_cannot_read_do_not_log_in() {
    let keys = Keys::new();
    let (_, writer) = keys.add("checkout", [Scope::OrdersWrite]).await;
    let pages = Pages::behind(keys.gate(), process_keys()).await;
    let browser = pages.browser();
    let unknown = "ork_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    browser.log_in(unknown).await.expect(401).has("unknown, revoked or expired");
    browser.log_in("").await.expect(422).has("Enter an API key");
    browser.log_in(&writer).await.expect(403).has("no scope to read");
    assert!(browser.cookies.lock().unwrap().is_empty());
}

#[tokio::test]
async fn processes_with_the_same_keys_share_sessions() {
    let keys = Keys::new();
    let (_, bearer) = keys.add("desk", [Scope::Read]).await;
    let shared = process_keys();
    let shop = Shop::with(ShopOptions { gate: keys.gate(), ..ShopOptions::default() }).await;
    let one = Browser::at(&query_api::router(api(&shop, keys.gate(), shared.clone(), None)));
    one.log_in(&bearer).await.location();
    let cookies = || one.cookies.lock().unwrap().clone().into();
    let same = query_api::router(api(&shop, keys.gate(), shared, None));
    Browser { router: same, cookies: cookies() }.get("/orders").await.expect(200);
    let other = query_api::router(api(&shop, keys.gate(), process_keys(), None));
    assert!(
        Browser { router: other, cookies: cookies() }.get("/orders").await.location().starts_with("/login")
    );
}

#[tokio::test]
async fn a_form_of_another_site_or_of_another_session_is_refused() {
    let keys = Keys::new();
    let (_, bearer) = keys.add("desk", [Scope::Read, Scope::OrdersWrite]).await;
    let pages = Pages::behind(keys.gate(), process_keys()).await;
    let stranger = pages.browser().get("/login").await.fields();
    let browser = pages.browser();
    browser.log_in(&bearer).await.location();

    let path = "/orders/00000000-0000-0000-0000-000000000001/ship";
    browser.submit(path, &stranger).await.expect(403).has("before a log-in");
    browser.submit(path, &[]).await.expect(403);
    browser
        .submit_from("https://evil.example", "/logout", &stranger)
        .await
        .expect(403)
        .has("not of a page of this server");
    browser.submit_from("null", "/logout", &stranger).await.expect(403);
    browser.get("/orders").await.expect(200);
}

#[tokio::test]
async fn errors_are_pages_for_browsers_and_problems_for_programs() {
    let pages = Pages::open().await;
    let browser = pages.browser();
    for path in [
        "/nothing",
        "/orders/x",
        "/orders/00000000-0000-0000-0000-000000000001",
        "/stock/none",
        "/orders?limit=0",
    ] {
        let shown = browser.get(path).await;
        assert!(shown.status.is_client_error(), "{path}");
        shown.has("<h1>").has("href=\"/orders\"");
        assert!(shown.headers.contains_key(header::CONTENT_SECURITY_POLICY));
        let program = Request::get(path).body(Body::empty()).unwrap();
        let answer = pages.router.clone().oneshot(program).await.unwrap();
        assert_eq!(answer.status(), shown.status);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
    let of_api = browser.get("/v1/orders/x").await;
    assert_eq!(of_api.headers[header::CONTENT_TYPE], "application/problem+json");
    // A path of two slashes leads to no other host.
    assert_eq!(browser.get("//evil.example/?tz=UTC").await.location(), "/");
    browser.get("//evil.example/").await.expect(404).has_not("evil");
    // The log-in leads to pages of this server alone.
    let fields = browser.get("/login?next=https%3A%2F%2Fevil.example").await.expect(200).fields();
    assert!(fields.contains(&("next".to_owned(), "/".to_owned())), "{fields:?}");
}

#[tokio::test]
async fn the_files_of_pages_are_served_with_their_types() {
    let router = query_api::router(api(&Shop::open().await, Gate::open(), process_keys(), None));
    let browser = Browser::at(&router);
    for (name, content_type) in
        [("style.css", "text/css"), ("script.js", "text/javascript"), ("icon.svg", "image/svg+xml")]
    {
        let shown = browser.get(&format!("/assets/{name}")).await.expect(200);
        assert!(shown.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with(content_type));
    }
    browser.get("/assets/none").await.expect(404);
}
