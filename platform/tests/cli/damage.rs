//! Damaged events from the outside: they stop their stream only, and each command that reads them says so.

use std::time::{Duration, Instant};

use super::support::DataDir;

/// Two SKUs with an order each, on a stopped server. One event of the stock of A is damaged.
async fn given_damage(data: &DataDir) {
    let server = data.serve().await;
    server.place_an_order("A").await;
    server.place_an_order("B").await;
    assert!(server.terminate().await.success());
    let file = rusqlite::Connection::open(data.path("events.db")).unwrap();
    let damage = "UPDATE events SET data = replace(data, '10', '11')
         WHERE revision = 0 AND stream_no = (SELECT stream_no FROM streams WHERE name = 'stock-A')";
    assert_eq!(file.execute(damage, []).unwrap(), 1);
}

const FINDING: &str = "the event at position 1 (stream stock-A, revision 0) is damaged";

#[tokio::test]
async fn verify_backup_and_rebuild_name_a_damaged_event_and_exit_with_1() {
    let data = DataDir::new();
    given_damage(&data).await;

    let verified = data.run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert!(verified.stdout.contains(FINDING), "{verified:?}");

    let backups = data.path("backups");
    let backup = data.run(&["backup", backups.to_str().unwrap()]).await;
    assert_eq!(backup.code, Some(1), "{backup:?}");
    assert!(backup.stderr.contains(FINDING), "{backup:?}");
    assert_eq!(std::fs::read_dir(backups).unwrap().count(), 0);

    let rebuilt = data.run(&["projections", "rebuild"]).await;
    assert_eq!(rebuilt.code, Some(1), "{rebuilt:?}");
    let listed = data.run_well(&["projections", "list"]).await;
    assert!(listed.contains("stock-A") && listed.contains(FINDING), "{listed}");

    let history = data.run(&["audit", "history", "stock-A"]).await;
    assert_eq!(history.code, Some(1), "{history:?}");
    assert!(history.stdout.contains("stock.reserved.v1") && history.stderr.contains(FINDING), "{history:?}");
}

#[tokio::test]
async fn a_server_with_a_damaged_event_reports_it_and_serves_all_other_streams() {
    let data = DataDir::new();
    given_damage(&data).await;
    // Without its snapshots and read models, it reads the whole log again.
    std::fs::remove_dir_all(data.path("snapshots")).unwrap();
    assert_eq!(data.run(&["projections", "rebuild"]).await.code, Some(1));
    let server = data.serve().await;

    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let ready = server.get("/readyz").await;
        let degraded = ready["degraded"].as_array().unwrap();
        if degraded.iter().any(|condition| {
            condition["name"] == "damaged_events" && condition["detail"].as_str().unwrap().contains(FINDING)
        }) {
            break;
        }
        assert!(Instant::now() < deadline, "{ready}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let receipt = serde_json::json!({"quantity": 1, "reference": "po-2"});
    let refused = server.retry("/v1/stock/A/receipts", "po-2/A", &receipt).await;
    assert!(refused.status >= 400, "{}", refused.body);
    server.post("/v1/stock/B/receipts", "po-2/B", receipt).await;
    server.place_an_order("C").await;
    assert_eq!(server.get("/v1/stock/C").await["reserved"], 3);
}
