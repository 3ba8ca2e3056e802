//! What operators see and do on the pages: webhooks, parked reactions, figures of the process, comparisons.

use std::sync::Arc;

use domain::Timestamp;
use infra::{
    auth::Scope,
    http::Gate,
    operations::{parked::ParkedReaction, reconciliations::Reconciliations, sqlite::SqliteOperations},
    sealing::SecretKeys,
};
use query_api::pages::{Measurements, PagesOptions, Platform};
use serde_json::json;

use super::{Browser, Pages, api, line, serve};
use crate::{
    authentication::Keys,
    reconciliations_contract::comparison,
    support::{Shop, ShopOptions, TestSandbox, eventually},
    webhooks::{
        Hooks,
        receiver::{Receiver, Reply},
    },
};

fn keys() -> SecretKeys {
    SecretKeys::of_this_process().unwrap()
}

#[tokio::test]
async fn webhooks_show_how_many_deliveries_succeed_and_are_sent_again() {
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[Reply::Status(410)]).await);
    let good = Receiver::start(&[]).await;
    let gone = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    let works = hooks.subscribe(&good, &["order.placed.v2", "order.paid.v1"]).await;
    let order = hooks.paid_order("A").await;
    hooks.until(&gone, "failed", 1).await;
    hooks.until(&works, "delivered", 2).await;
    let url = serve(hooks.router.clone()).await;
    let browser = Browser::at(&query_api::router(api(&hooks.shop, Gate::open(), keys(), Some(url))));

    let system = browser.get("/system").await.expect(200);
    system
        .has(&receiver.url())
        .has("<span class=\"chip bad\">gone</span>")
        .has("<span class=\"chip bad\">0%</span>");
    system.has(&good.url()).has("<span class=\"chip good\">enabled</span>").has("100%");
    let page = works.replace("/v1/webhook-subscriptions", "/system/webhooks");
    let shown = browser.get(&page).await.expect(200);
    shown.has(&format!("/orders/{order}")).has("<span class=\"chip good\">delivered</span>");
    browser.get(&format!("{page}?status=failed")).await.expect(200).has("No delivery matches.");
    browser.get("/system/webhooks/00000000-0000-0000-0000-000000000000").await.expect(404);

    let again = shown.html.split('"').find(|text| text.ends_with("/retry")).unwrap().to_owned();
    let form = browser.get(&again).await.expect(200);
    form.has("gets <code>msg_").has("Money and stock: do not change.");
    let (before, fields) = (good.received().len(), form.fields());
    assert_eq!(browser.submit(&again, &fields).await.location(), page);
    let received = good.until(before + 1).await;
    assert_eq!(received.iter().filter(|one| again.contains(&one.id)).count(), 2);
    // A subscriber that is off gets nothing, and the page says why.
    let page = gone.replace("/v1/webhook-subscriptions", "/system/webhooks");
    let shown = browser.get(&page).await.expect(200);
    let again = shown.html.split('"').find(|text| text.ends_with("/retry")).unwrap().to_owned();
    let form = browser.get(&again).await.expect(200);
    browser.submit(&again, &form.fields()).await.expect(409).has("disabled");
}

#[tokio::test]
async fn webhooks_are_shown_to_administrators_only() {
    let ring = Keys::new();
    let (_, reader) = ring.add("desk", [Scope::Read]).await;
    let pages = Pages::behind(ring.gate(), keys()).await;
    let browser = pages.browser();
    browser.log_in(&reader).await.location();
    browser.get("/system").await.expect(200).has("This process").has_not("Webhooks</h2>");
    let id = "00000000-0000-0000-0000-000000000000";
    browser.get(&format!("/system/webhooks/{id}")).await.expect(403).has("admin");
    browser.get(&format!("/system/webhooks/{id}/msg_1/retry")).await.expect(403).has("admin");
    browser.get(&format!("/stuck/{id}/retry")).await.expect(403).has("admin");
}

#[tokio::test]
async fn a_parked_reaction_says_since_when_and_runs_again() {
    let options = ShopOptions { process_manager: false, ..ShopOptions::default() };
    let pages = Pages::over(Shop::with(options).await, Gate::open(), keys()).await;
    pages.paid_order(&[line("A", 1, 500)]).await;
    let log = pages.shop.log().await;
    let (event, now) = (log.first("order.placed.v2").clone(), Timestamp::now());
    let later = now + jiff::SignedDuration::from_hours(1);
    pages.shop.park(ParkedReaction::new(&event, "the provider is gone", now, later)).await;
    let browser = pages.browser();
    let stuck = browser.get("/stuck").await.expect(200);
    let path = format!("/stuck/{}/retry", event.id);
    stuck.has("Parked reactions").has("Placed").has(&format!("href=\"{path}\""));

    let form = browser.get(&path).await.expect(200);
    form.has("carries out the parked reaction")
        .has("It counts once")
        .has("If it fails again, it stays parked.");
    // Without the key of the form nothing is sent.
    let mut fields = form.fields();
    fields.retain(|(name, _)| name != "key");
    browser.submit(&path, &fields).await.expect(200);
    assert!(!pages.shop.parked().await[0].retry_requested);
    assert_eq!(browser.submit(&path, &form.fields()).await.location(), "/stuck");
    assert!(pages.shop.parked().await[0].retry_requested);
    browser.get("/stuck").await.expect(200).has("<td>now</td>");

    let unknown = "/stuck/00000000-0000-0000-0000-000000000000/retry";
    let form = browser.get(unknown).await.expect(200);
    browser.submit(unknown, &form.fields()).await.expect(404);
}

/// What a process measures.
const MEASURED: &str = r#"
orderly_command_attempts_total{aggregate="order",outcome="recorded"} 1200
orderly_events_appended_total{aggregate="order"} 3600
orderly_follower_lag_events{follower="webhooks"} 12
orderly_follower_lag_seconds{follower="webhooks"} 3.5
orderly_http_request_duration_seconds_bucket{api="command",method="POST",route="/v1/orders",le="0.005"} 1200
orderly_http_request_duration_seconds_bucket{api="command",method="POST",route="/v1/orders",le="+Inf"} 1200
orderly_commands_under_way{aggregate="order"} 3
orderly_event_store_queue_appends 17
orderly_provider_breaker_state{provider="stripe",state="closed"} 0
orderly_provider_breaker_state{provider="stripe",state="open"} 1
orderly_sqlite_database_bytes{database="event_store"} 3145728
orderly_sqlite_wal_bytes{database="event_store"} 1536
orderly_backup_interval_seconds 86400
orderly_backup_last_good_timestamp_seconds 1700000000
orderly_backups_total{outcome="failed"} 2
"#;

/// The page of the system of a process with these roles.
async fn system(shop: &Shop, roles: &[&str], measurements: Option<Measurements>) -> super::Shown {
    let platform = Platform { roles: roles.iter().map(ToString::to_string).collect(), ..Platform::default() };
    let options = PagesOptions { platform, measurements, commands: None, auditor: None, keys: keys() };
    let router = query_api::router(api(shop, Gate::open(), keys(), None).with_pages(options));
    Browser::at(&router).get("/system").await.expect(200)
}

#[tokio::test]
async fn the_system_shows_lag_throughput_queues_breakers_files_and_backups() {
    let shop = Shop::open().await;
    let measurements = Measurements::given_by(|| MEASURED.to_owned());
    let second = |second| Timestamp::from_second(second).unwrap();
    (0..3).for_each(|number| measurements.sample(second(10 * number)));
    let shown = system(&shop, &["command-api", "query-api"], Some(measurements)).await;
    shown.has("Commands per second").has("aria-label=\"0 to 0 per second, now 0\"");
    shown.has("<td>webhooks</td>").has("12 events behind").has("3.5 s").has("12 to 12 events behind, now 12");
    shown.has("<td>/v1/orders</td>").has("<td class=\"number\">5 ms</td>").has("The busiest routes");
    shown.has("3 order").has("<dd>17</dd>").has("<span class=\"chip bad\">open</span>");
    shown.has("3.0 MiB").has("1.5 KiB");
    shown.has("2023-11-14 22:13").has("2023-11-15 22:13").has("<span class=\"chip bad\">2</span>");
    shown.has_not("style=");
}

#[tokio::test]
async fn figures_of_another_process_are_named_as_such() {
    let shop = Shop::open().await;
    let nothing = Measurements::given_by(String::new);
    let shown = system(&shop, &["query-api"], Some(nothing)).await;
    shown.has("Commands run in the process with the role command-api.").has("not in this process");
    shown.has("No schedule of backups runs in this process").has("This process has no embedded files.");
    system(&shop, &["query-api"], None).await.has("This process").has_not("Queues");
}

#[tokio::test]
async fn payments_show_declines_by_day_and_reason() {
    let sandbox = TestSandbox::open("").await;
    let pages = Pages::over(Shop::with(sandbox.options()).await, Gate::open(), keys()).await;
    let browser = pages.browser();
    browser.get("/payments").await.expect(200).has("No charge was answered.").has("No day was compared yet.");
    pages.shop.receive("A", 5).await;
    for (number, method) in ["ok", "decline", "ok", "ok"].into_iter().enumerate() {
        let body = json!({"currency": "GBP", "lines": [line("A", 1, 500)], "payment": {"method": method}});
        pages.shop.post("/v1/orders", &format!("o{number}"), body).await.expect(201);
    }
    pages.until("/v1/declines", |report| report["total"]["attempts"] == 4).await;
    let report = pages.until("/v1/declines", |_| true).await;
    assert_eq!((&report["total"]["declined"], &report["total"]["decline_rate"]), (&json!(1), &json!(0.25)));
    let shown = browser.get("/payments").await.expect(200);
    shown.has("25.0%").has(&report["reasons"][0]["code"].as_str().unwrap().replace('_', " "));
    // A view of some payments has no figures of all.
    browser.get("/payments?declined=true").await.expect(200).has_not("Declines of the last");
}

#[tokio::test]
async fn payments_show_what_the_last_comparison_with_the_provider_found() {
    let (pages, directory) = (Pages::open().await, tempfile::tempdir().unwrap());
    let store = Arc::new(SqliteOperations::open(&directory.path().join("operations.db")).unwrap());
    store.keep(&comparison(0, 60)).await.unwrap();
    store.keep(&comparison(1, 60)).await.unwrap();
    let api = api(&pages.shop, Gate::open(), keys(), None).with_reconciliations(store);
    let browser = Browser::at(&query_api::router(api));
    let shown = browser.get("/payments").await.expect(200);
    shown.has("href=\"/reconciliations/2023-11-16\"").has("href=\"/reconciliations/2023-11-15\"");
    shown.has("1 differs").has("only the provider has it").has("0.70 <span class=\"unit\">GBP");
    let payment = "/payments/00000000-0000-0000-0000-000000000007";
    shown.has(&format!("href=\"{payment}\""));
    browser.get("/reconciliations/2023-11-15").await.expect(200).has("re_1").has(payment);
    browser.get("/reconciliations/2020-01-01").await.expect(404);
}

#[tokio::test]
async fn stock_shows_how_many_days_it_lasts() {
    let pages = Pages::open().await;
    pages.paid_order(&[line("A", 14, 500)]).await;
    pages.shop.receive("B", 3).await;
    pages.until("/v1/stock/B", |stock| stock["available"] == 3).await;
    let browser = pages.browser();
    // 86 are left of 100, and 14 in 28 days are 0.5 a day.
    let shown = eventually("the sales are counted", async || {
        Some(browser.get("/stock").await.expect(200))
            .filter(|shown| shown.html.contains("<td class=\"number\">172</td>"))
    })
    .await;
    shown.has("<td class=\"number\">–</td>").has("format=csv");
    browser.get("/stock/A").await.expect(200).has("14 sold in 28 days").has("<dd class=\"value\">172</dd>");
}
