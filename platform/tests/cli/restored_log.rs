//! An older copy of the event file is put back: the platform refuses to work until it is repaired.

use std::fs;

use serde_json::{Value, json};

use super::support::{DataDir, Server};

/// Puts a copy of the event file in place of the one in use.
fn put_back(data: &DataDir, copy: &str) {
    for suffix in ["-wal", "-shm"] {
        // An orderly stop leaves neither.
        let _ = fs::remove_file(data.path(&format!("events.db{suffix}")));
    }
    fs::copy(data.path(copy), data.path("events.db")).unwrap();
}

async fn stop(server: Server) {
    assert!(server.terminate().await.success());
}

async fn assert_refused(server: &Server) {
    for url in [&server.command_url, &server.query_url] {
        let response = reqwest::get(format!("{url}/readyz")).await.unwrap();
        assert_eq!(response.status(), 503, "{url}");
    }
    let receipt = json!({"quantity": 1});
    // A new command, and one whose answer the log still has.
    for key in ["new", "po-1/A"] {
        let refused = server.retry("/v1/stock/A/receipts", key, &receipt).await;
        assert_eq!((refused.status, &refused.body["code"]), (503, &Value::from("log_went_back")));
    }
}

async fn assert_works(data: &DataDir, skus: &[&str]) {
    let server = data.serve().await;
    for url in [&server.command_url, &server.query_url] {
        let response = reqwest::get(format!("{url}/readyz")).await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
    }
    for sku in skus {
        // Waits until the read models show the order.
        let order = server.place_an_order(sku).await;
        assert_eq!(server.get(&format!("/v1/orders/{order}")).await["status"], "allocated");
    }
    data.run_well(&["audit", "verify"]).await;
    stop(server).await;
}

#[tokio::test]
async fn an_older_copy_of_the_log_is_refused_until_it_is_repaired() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("A").await;
    stop(server).await;
    fs::copy(data.path("events.db"), data.path("old.db")).unwrap();
    let server = data.serve().await;
    server.place_an_order("B").await;
    server.place_an_order("C").await;
    stop(server).await;

    put_back(&data, "old.db");
    // A restart does not clear the refusal.
    for _ in 0..2 {
        let server = data.serve().await;
        assert_refused(&server).await;
        let in_use = data.run(&["repair", "log", "--yes"]).await;
        assert_eq!(in_use.code, Some(1), "{in_use:?}");
        let plan = data.run_well(&["repair", "log"]).await;
        for part in ["ends at position 5", "read model of orders", "process-manager", "Nothing was changed"] {
            assert!(plan.contains(part), "{part} is not in\n{plan}");
        }
        stop(server).await;
    }

    let repaired = data.run_well(&["repair", "log", "--yes"]).await;
    assert!(repaired.contains("The repair is done"), "{repaired}");
    let again = data.run_well(&["repair", "log"]).await;
    assert!(again.contains("nothing to repair"), "{again}");
    assert_works(&data, &["B", "C", "D"]).await;
}

/// The copy was used elsewhere meanwhile, so positions alone do not show that events are lost.
#[tokio::test]
async fn a_copy_that_grew_past_the_lost_events_is_refused_too() {
    let (data, elsewhere) = (DataDir::new(), DataDir::new());
    let server = data.serve().await;
    server.place_an_order("A").await;
    stop(server).await;
    fs::copy(data.path("events.db"), elsewhere.path("events.db")).unwrap();
    let server = data.serve().await;
    server.place_an_order("B").await;
    stop(server).await;

    let server = elsewhere.serve().await;
    for sku in ["C", "D", "E"] {
        server.place_an_order(sku).await;
    }
    stop(server).await;
    fs::copy(elsewhere.path("events.db"), data.path("longer.db")).unwrap();
    put_back(&data, "longer.db");

    let server = data.serve().await;
    assert_refused(&server).await;
    stop(server).await;
    data.run_well(&["repair", "log", "--yes"]).await;
    assert_works(&data, &["F"]).await;
}

#[tokio::test]
async fn a_log_that_has_every_event_needs_no_repair() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("A").await;
    assert!(data.run_well(&["repair", "log"]).await.contains("nothing to repair"));
    server.kill().await;
    assert!(data.run_well(&["repair", "log", "--yes"]).await.contains("nothing to repair"));
    assert_works(&data, &["B"]).await;
}
