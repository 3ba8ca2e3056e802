use rusqlite::Connection;

use super::support::DataDir;

#[tokio::test]
async fn verify_passes_while_a_server_runs_and_names_a_changed_row() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("85123A").await;
    let report = data.run_well(&["audit", "verify"]).await;
    assert!(report.contains("rows compared with the log up to position"), "{report}");
    assert!(server.terminate().await.success());

    let rows = Connection::open(data.path("read-models.db")).unwrap();
    assert_eq!(rows.execute("UPDATE stock SET on_hand = on_hand + 1", ()).unwrap(), 1);
    drop(rows);
    let tampered = data.run(&["audit", "verify"]).await;
    assert_eq!(tampered.code, Some(1), "{tampered:?}");
    assert!(tampered.stdout.contains("stock") && tampered.stdout.contains("85123A"), "{tampered:?}");

    data.run_well(&["projections", "rebuild"]).await;
    data.run_well(&["audit", "verify"]).await;
}

#[tokio::test]
async fn verify_fails_while_a_stream_is_parked_and_names_the_stream() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("85123A").await;
    assert!(server.terminate().await.success());
    let rows = Connection::open(data.path("read-models.db")).unwrap();
    let park =
        "INSERT INTO parked (projection, stream, partition, event_id, revision, position, reason, parked_at)
         VALUES ('stock', 'stock-85123A', 'log', zeroblob(16), 2, 9, 'panicked at state.rs', 0)";
    assert_eq!(rows.execute(park, ()).unwrap(), 1);
    drop(rows);

    let parked = data.run(&["audit", "verify"]).await;
    assert_eq!(parked.code, Some(1), "{parked:?}");
    assert!(parked.stdout.contains("stock-85123A: parked at revision 2"), "{parked:?}");
    assert!(parked.stderr.contains("1 streams are parked"), "{parked:?}");
    assert!(!format!("{parked:?}").contains("panicked"), "{parked:?}");
    assert!(!parked.stderr.contains("differ"), "{parked:?}");
}

#[tokio::test]
async fn list_prints_the_position_of_each_projection() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("85123A").await;
    assert!(server.terminate().await.success());
    let list = data.run_well(&["projections", "list"]).await;
    for projection in ["stock", "orders", "payments", "sales"] {
        let row: Vec<&str> = list
            .lines()
            .find(|line| line.trim().starts_with(projection))
            .unwrap()
            .split_whitespace()
            .collect();
        assert_eq!(row[..4], [projection, "log", "5", "0"], "{list}");
    }
    assert!(list.contains("No stream is parked."), "{list}");

    let retry = data.run(&["projections", "retry", "stock-85123A"]).await;
    assert_eq!(retry.code, Some(1));
    assert!(retry.stderr.contains("stock-85123A is not parked"), "{retry:?}");
}

#[tokio::test]
async fn a_backup_made_while_serving_replaces_a_lost_store() {
    let data = DataDir::new();
    let server = data.serve().await;
    let order = server.place_an_order("85123A").await;
    let backups = data.path("backups");
    data.run_well(&["backup", backups.to_str().unwrap()]).await;
    assert!(server.terminate().await.success());

    let backup = std::fs::read_dir(backups).unwrap().next().unwrap().unwrap().path();
    std::fs::rename(backup.join("events.db"), data.path("events.db")).unwrap();
    let refused = data.run(&["serve", "--command-listen", "127.0.0.1:0"]).await;
    assert_eq!(refused.code, Some(1), "the read models belong to the lost log: {refused:?}");
    assert!(refused.stderr.contains("orderly projections rebuild"), "{refused:?}");

    data.run_well(&["projections", "rebuild"]).await;
    let server = data.serve().await;
    assert_eq!(server.get(&format!("/v1/orders/{order}")).await["status"], "allocated");
}
