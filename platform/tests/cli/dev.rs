//! `orderly dev write-event` and `orderly dev write-history`.

use std::fmt::Write;

use super::support::{DataDir, Finished};

async fn write(data: &DataDir, arguments: &[&str]) -> Finished {
    let arguments = [&["dev", "write-event"], arguments].concat();
    Finished::from(data.command(&arguments).env("ORDERLY_DEV", "1").output().await.unwrap())
}

#[tokio::test]
async fn events_of_any_type_are_stored_with_checksums_after_those_that_exist() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("A").await;

    let one = ["--stream", "stock-A", "--type", "stock.from-the-future.v9", "--data", r#"{"a": 1}"#];
    let refused = write(&data, &one).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("events.db.lock"), "{refused:?}");
    assert!(server.terminate().await.success());

    let written = write(&data, &one).await;
    assert_eq!((written.code, written.stdout.as_str()), (Some(0), "stored 1 events\n"), "{written:?}");

    // Both more than the store commits at once, and several events of each stream.
    let mut lines = String::new();
    for number in 0..10_000 {
        let stream = if number % 2 == 0 { "stock-A".to_owned() } else { format!("stock-{}", number % 500) };
        writeln!(lines, r#"{{"stream":"{stream}","type":"t","data":{number},"metadata":{{"m":1}}}}"#)
            .unwrap();
    }
    std::fs::write(data.path("events.jsonl"), lines).unwrap();
    let file = data.path("events.jsonl");
    let written = write(&data, &["--file", file.to_str().unwrap()]).await;
    assert_eq!((written.code, written.stdout.as_str()), (Some(0), "stored 10,000 events\n"), "{written:?}");

    let history = data.run_well(&["audit", "history", "stock-A", "--json"]).await;
    let events: Vec<serde_json::Value> =
        history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2 + 1 + 5_000);
    assert_eq!(
        (&events[2]["type"], &events[2]["data"]["a"]),
        (&"stock.from-the-future.v9".into(), &1.into())
    );
    assert_eq!(events[2]["metadata"]["command"], "write_event");
    assert_eq!((&events[5_002]["data"], &events[5_002]["metadata"]["m"]), (&9_998.into(), &1.into()));
    data.run_well(&["backup", data.path("backups").to_str().unwrap()]).await;
}

#[tokio::test]
async fn nothing_is_written_without_the_setting_and_a_bad_line_is_named() {
    let data = DataDir::new();
    let one = ["dev", "write-event", "--stream", "stock-A", "--type", "t", "--data", "{}"];
    let refused = data.run(&one).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("ORDERLY_DEV=1"), "{refused:?}");
    assert!(!data.path("events.db").exists());

    let refused = write(&data, &["--stream", "stock-A", "--type", "t", "--data", "{"]).await;
    assert!(refused.stderr.contains("--data is not JSON"), "{refused:?}");
    std::fs::write(
        data.path("f"),
        "{\"stream\":\"stock-A\",\"type\":\"t\",\"data\":1}\n\n{\"stream\":\"shelf-A\"}\n",
    )
    .unwrap();
    let refused = write(&data, &["--file", data.path("f").to_str().unwrap()]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("line 3") && refused.stderr.contains("shelf-A"), "{refused:?}");
    assert!(refused.stderr.contains("0 events were stored"), "{refused:?}");
    for arguments in [&[][..], &["--stream", "stock-A"], &["--file", "f", "--stream", "stock-A"]] {
        assert_eq!(write(&data, arguments).await.code, Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_written_history_has_orders_in_every_state_and_the_process_manager_begins_after_it() {
    let data = DataDir::new();
    let write = async || {
        let arguments = ["dev", "write-history", "--orders", "5000"];
        Finished::from(data.command(&arguments).env("ORDERLY_DEV", "1").output().await.unwrap())
    };
    let refused = data.run(&["dev", "write-history", "--orders", "5000"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("ORDERLY_DEV=1"), "{refused:?}");
    let written = write().await;
    assert_eq!(written.code, Some(0), "{written:?}");
    let again = write().await;
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "stored 0 events\n"), "{again:?}");
    data.run_well(&["projections", "rebuild"]).await;
    data.run_well(&["audit", "verify"]).await;

    let server = data.serve_without_sandbox(&["--payment-provider", "none"]).await;
    let summary = server.get("/v1/summary").await;
    let work = ["to_ship", "unpaid", "overpaid", "refund_due", "returns", "declined", "overdue", "stuck"];
    for work in [&work[..], &["outcome_unknown"]].concat() {
        assert_ne!(summary["work"][work], "0", "{work} in {summary}");
    }
    for status in ["allocated", "rejected", "cancelled", "expired"] {
        let page = server.get(&format!("/v1/orders?status={status}&limit=1")).await;
        assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "{status}");
    }
    assert_eq!(summary["work"]["parked_streams"], 0);
    assert!(server.terminate().await.success());
}
