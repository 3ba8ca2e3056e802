//! The page of audits over a double of the platform's runs. `platform/tests/cli/audit_page.rs` has real ones.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::header;
use domain::Timestamp;
use infra::{clock::Clock, http::Gate, sealing::SecretKeys};
use query_api::{
    LogAccess, QueryApi, QueryApiOptions,
    pages::{Auditor, ExportWanted, Exported, PagesOptions, Platform, Progress, TotalsThen, Verified},
};
use tokio::sync::Semaphore;

use super::{Browser, Pages, Shown, line};
use crate::support::eventually;

/// Ends a run when a test lets it.
#[derive(Debug)]
struct Held(Semaphore);

#[async_trait]
impl Auditor for Held {
    async fn verify(&self, progress: &Progress) -> Result<Verified, String> {
        progress.set(5, 1_000);
        self.0.acquire().await.unwrap().forget();
        let faults = vec!["2 rows of the read models differ from the log: run it".to_owned()];
        let findings = vec!["stock <A>: missing".to_owned()];
        Ok(Verified { summary: "7 rows compared".to_owned(), findings, findings_total: 2, faults })
    }

    async fn totals(&self, _: Timestamp, _: &Progress) -> Result<TotalsThen, String> {
        panic!("a run panics")
    }

    async fn export(&self, _: &ExportWanted, _: &Progress) -> Result<Exported, String> {
        Err("the event store does not answer".to_owned())
    }
}

async fn audited() -> (Pages, Arc<Held>, Browser) {
    let pages = Pages::open().await;
    let held = Arc::new(Held(Semaphore::new(0)));
    let auditor: Option<Arc<dyn Auditor>> = Some(held.clone());
    let log = LogAccess::of(pages.shop.events().log());
    let api =
        QueryApi::new(pages.shop.queries.clone(), None, log, Clock::system(), QueryApiOptions::default());
    let keys = SecretKeys::of_this_process().unwrap();
    let options =
        PagesOptions { platform: Platform::default(), measurements: None, commands: None, auditor, keys };
    let browser = Browser::at(&query_api::router(api.behind(Gate::open()).with_pages(options)));
    (pages, held, browser)
}

/// Sends a form of the page.
async fn start(browser: &Browser, action: &str, fields: &[(&str, &str)]) -> Shown {
    let shown = browser.get("/audit").await.expect(200);
    let token = shown.fields().into_iter().find(|(name, _)| name == "form").unwrap();
    let given = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    browser.submit(&format!("/audit/{action}"), &given.chain([token]).collect::<Vec<_>>()).await
}

async fn until(browser: &Browser, text: &str) -> Shown {
    eventually(text, async || Some(browser.get("/audit").await).filter(|shown| shown.html.contains(text)))
        .await
}

#[tokio::test]
async fn one_run_at_a_time_shows_its_progress_and_its_result() {
    let (_pages, held, browser) = audited().await;
    let idle = browser.get("/audit").await.expect(200);
    idle.has("No run is under way.").has_not("data-every").has("orderly audit verify");
    assert_eq!(start(&browser, "verify", &[]).await.location(), "/audit");
    let under_way = until(&browser, "5 of 1,000 events read").await;
    under_way
        .has("<progress max=\"1000\" value=\"5\"")
        .has("data-every=\"1000\"")
        .has("Started by anonymous");
    start(&browser, "export", &[("to", "2026-01-01")]).await.expect(409).has("another run is under way");

    held.0.add_permits(1);
    let ended = until(&browser, "No run is under way.").await;
    ended.has("2 rows of the read models differ").has("7 rows compared").has("stock &lt;A&gt;: missing");
    ended.has("1 more: <code>orderly audit verify").has_not("data-every");
}

#[tokio::test]
async fn a_run_that_fails_or_panics_says_so_and_the_next_one_begins() {
    let (_pages, _, browser) = audited().await;
    assert_eq!(start(&browser, "export", &[]).await.location(), "/audit");
    until(&browser, "The run has failed: the event store does not answer.").await.has("No run is under way.");
    browser.get("/audit/export/orders.csv").await.expect(404);
    assert_eq!(start(&browser, "totals", &[("at", "2026-01-01T00:00")]).await.location(), "/audit");
    let panicked = until(&browser, "panicked").await;
    panicked.has("Sums as of").has("No run is under way.");
}

#[tokio::test]
async fn wrong_values_start_nothing() {
    let (_pages, _, browser) = audited().await;
    for (action, fields, why) in [
        ("totals", vec![("at", "soon")], "is neither a date"),
        ("export", vec![("from", "2026-01-02"), ("to", "2026-01-02")], "must be later"),
        ("export", vec![("format", "pdf")], "csv, jsonl"),
    ] {
        let refused = start(&browser, action, &fields).await.expect(422);
        refused.has("Nothing was started: ").has(why).has("No run is under way.");
    }
    let forged = browser.submit("/audit/verify", &[]).await.expect(403);
    forged.has("form");
    assert!(forged.headers.contains_key(header::CONTENT_SECURITY_POLICY));
}

#[tokio::test]
async fn an_order_and_a_sku_are_shown_as_of_an_instant() {
    let (pages, _, browser) = audited().await;
    let order = pages.paid_order(&[line("A", 2, 500)]).await;
    let last = pages.until(&format!("/v1/orders/{order}"), |_| true).await["revision"].clone();
    let now = browser.get(&format!("/audit/then?of={order}&at=2100-01-01T00%3A00")).await;
    assert_eq!(now.location(), format!("/orders/{order}?revision={last}"));
    browser.get(&format!("/audit/then?of=order-{order}&at=2001-01-01")).await.expect(404);
    let sku = browser.get("/audit/then?of=A&at=2100-01-01").await.expect(200);
    sku.has("<dd class=\"value\">100</dd>")
        .has("<dd class=\"value\">2</dd>")
        .has("<dd class=\"value\">98</dd>");
    browser.get("/audit/then?of=A&at=2001-01-01").await.expect(404);
    browser.get("/audit/then?of=A&at=soon").await.expect(400);
}
