use serde_json::Value;

use super::support::DataDir;

#[tokio::test]
async fn history_prints_every_event_with_its_command_cause_and_actor_while_a_server_runs() {
    let data = DataDir::new();
    let server = data.serve().await;
    let order = server.place_an_order("85123A").await;

    let stream = format!("order-{order}");
    let text = data.run_well(&["audit", "history", &stream]).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    for part in
        ["order.placed.v2", "order.place ", r#"key "checkout/85123A""#, " anonymous ", r#""sku":"85123A""#]
    {
        assert!(lines[0].contains(part), "{:?} does not mention {part}", lines[0]);
    }
    for part in ["order.allocated.v1", "order.allocate ", "event ", " orderly:process-manager "] {
        assert!(lines[1].contains(part), "{:?} does not mention {part}", lines[1]);
    }

    let json = data.run_well(&["audit", "history", "stock-85123A", "--json"]).await;
    let events: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let printed: Vec<_> = events.iter().map(|event| (&event["revision"], &event["type"])).collect();
    assert_eq!(printed, [(&0.into(), &"stock.received.v1".into()), (&1.into(), &"stock.reserved.v1".into())]);
    assert_eq!(events[1]["data"]["quantity"], 3);
    assert_eq!(events[1]["metadata"]["command"], "stock.reserve");
}

#[tokio::test]
async fn state_prints_the_current_and_earlier_states() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("85123A").await;
    let state = async |arguments: &[&str]| -> Value {
        let arguments = [&["audit", "state", "stock-85123A"], arguments].concat();
        serde_json::from_str(&data.run_well(&arguments).await).unwrap()
    };

    let now = state(&[]).await;
    assert_eq!((&now["revision"], &now["state"]["reserved"]), (&1.into(), &3.into()));
    let before = state(&["--revision", "0"]).await;
    assert_eq!((&before["state"]["on_hand"], &before["state"]["reserved"]), (&10.into(), &0.into()));
    let then = state(&["--at", before["recorded_at"].as_str().unwrap()]).await;
    assert_eq!(then["state"]["on_hand"], 10);

    for arguments in [
        ["audit", "state", "stock-85123A", "--revision", "2"],
        ["audit", "state", "stock-85123A", "--at", "2001-01-01T00:00:00Z"],
    ] {
        assert_eq!(data.run(&arguments).await.code, Some(1));
    }
}

#[tokio::test]
async fn a_missing_stream_and_a_missing_store_have_different_errors() {
    let data = DataDir::new();
    let no_store = data.run(&["audit", "history", "stock-85123A"]).await;
    assert_eq!(no_store.code, Some(1));
    assert!(no_store.stderr.contains("there is no event store"), "{no_store:?}");

    let server = data.serve().await;
    let no_stream = data.run(&["audit", "history", "stock-85123A"]).await;
    assert_eq!(no_stream.code, Some(1));
    assert!(no_stream.stderr.contains("there is no stream stock-85123A"), "{no_stream:?}");
    assert!(server.terminate().await.success());

    assert_eq!(data.run(&["audit", "history", "85123A"]).await.code, Some(2));
}
