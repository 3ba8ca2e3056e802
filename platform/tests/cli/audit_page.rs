//! The page of audits: runs over the whole log beside a running server.

use std::fs;

use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::time::{Duration, sleep, timeout};

use super::{
    audit::{read_again, three_orders},
    support::{DataDir, Server},
};

/// Sends a form of the page, which must start its run, and waits until the page shows how the run has ended.
async fn run(server: &Server, action: &str, fields: &[(&str, &str)]) -> String {
    let shown = server.page("/audit").await;
    let token = shown.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let fields: Vec<_> = fields.iter().copied().chain([("form", token.as_str())]).collect();
    // A form that starts a run leads to the page of audits.
    let answer = server.submit(&format!("/audit/{action}"), &fields).await;
    assert!(!answer.contains("Nothing was started"), "{answer}");
    let ending = async {
        loop {
            let shown = server.page("/audit").await;
            if shown.contains("No run is under way") {
                return shown;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), ending).await.expect("the run ends")
}

#[tokio::test]
async fn a_page_verifies_the_read_models_and_says_which_rows_differ() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("85123A").await;
    let clean = run(&server, "verify", &[]).await;
    assert!(clean.contains("No difference.") && clean.contains("rows compared with the log"), "{clean}");

    let rows = rusqlite::Connection::open(data.path("read-models.db")).unwrap();
    rows.execute("UPDATE stock SET on_hand = on_hand + 1", ()).unwrap();
    let broken = run(&server, "verify", &[]).await;
    assert!(broken.contains("differ from the log: run `orderly projections rebuild`"), "{broken}");
    assert!(
        broken.contains("stock Sku(&quot;85123A&quot;): stored: ") && !broken.contains("No difference."),
        "{broken}"
    );
}

#[tokio::test]
async fn a_page_adds_up_what_was_recorded_until_an_instant() {
    let data = DataDir::new();
    let server = data.serve().await;
    three_orders(&server).await;
    let now = run(&server, "totals", &[("at", "2100-01-01")]).await;
    // Captured and refunded.
    assert!(now.contains("15.00") && now.contains("1.20"), "{now}");
    assert!(now.contains("3 allocated") && now.contains("9 units on hand"), "{now}");
    let before = run(&server, "totals", &[("at", "2001-01-01T00:00")]).await;
    assert!(before.contains("0 SKUs") && !before.contains("15.00"), "{before}");
    let shown = server.page("/audit/then?of=A&at=2100-01-01").await;
    assert!(
        shown.contains("<dd class=\"value\">9</dd>") && shown.contains("<dd class=\"value\">6</dd>"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_page_writes_the_files_of_an_export_and_gives_each_to_a_browser() {
    let data = DataDir::new();
    let server = data.serve().await;
    three_orders(&server).await;
    for format in ["csv", "jsonl"] {
        let shown = run(&server, "export", &[("from", ""), ("to", "2100-01-01"), ("format", format)]).await;
        let saved = tempdir().unwrap();
        for name in ["events", "orders", "payments", "stock_ledger"] {
            let name = format!("{name}.{format}");
            assert!(shown.contains(&format!("href=\"/audit/export/{name}\"")), "{shown}");
            fs::write(saved.path().join(&name), server.page(&format!("/audit/export/{name}")).await).unwrap();
        }
        let manifest = server.page("/audit/export/manifest.json").await;
        fs::write(saved.path().join("manifest.json"), &manifest).unwrap();
        let counts = read_again(saved.path()).await;
        assert!(counts.contains(&format!("orders.{format} 3 rows\n")), "{counts}");
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["faults"], json!(0));
    }
    // The next export has deleted the files of the one before, and the end of the process deletes the last ones.
    let left = || {
        let names = fs::read_dir(data.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".orderly-export")).count()
    };
    assert_eq!(left(), 1);
    assert!(server.terminate().await.success());
    assert_eq!(left(), 0);
}
