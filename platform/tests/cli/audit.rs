use std::{fs, path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, process::Command};

use super::support::{DataDir, Server};

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

/// Two orders of customer 7 and one of customer 8. Returns the ids of the orders.
pub async fn three_orders(server: &Server) -> Vec<String> {
    server.post("/v1/stock/A/receipts", "po-1", json!({"quantity": 10, "reference": "=po,\"1\""})).await;
    let mut orders = Vec::new();
    for (key, customer) in [("a", "7"), ("b", "8"), ("c", "7")] {
        let line = json!({"sku": "A", "quantity": 2, "unit_price": 250});
        let order = json!({"currency": "GBP", "customer_id": customer, "lines": [line]});
        let answer = server.post("/v1/orders", key, order).await;
        let payment = answer["payment_id"].as_str().unwrap();
        for step in ["authorize", "capture"] {
            server.post(&format!("/v1/payments/{payment}/{step}"), step, json!({})).await;
        }
        orders.push(answer["order_id"].as_str().unwrap().to_owned());
    }
    let refund = format!("/v1/orders/{}/refunds", orders[0]);
    let refunded = &server.post(&refund, "refund", json!({"amount": 120})).await["refunds"][0];
    let (payment, refund) =
        (refunded["payment_id"].as_str().unwrap(), refunded["refund_id"].as_str().unwrap());
    // Requested, authorized, captured, and then the request of the refund.
    server.get(&format!("/v1/payments/{payment}?min_revision=3")).await;
    server.post(&format!("/v1/payments/{payment}/refunds/{refund}/succeed"), "paid out", json!({})).await;
    server
        .post("/v1/stock/A/adjustments", "lost", json!({"delta": -1, "reason": "broken; \"in two\", =1"}))
        .await;
    orders
}

#[tokio::test]
async fn history_finds_the_events_of_a_sku_a_customer_a_correlation_and_an_actor() {
    let data = DataDir::new();
    let server = data.serve().await;
    let orders = three_orders(&server).await;
    let history = async |arguments: &[&str]| -> Vec<Value> {
        let json = data.run_well(&[&["audit", "history", "--json"], arguments].concat()).await;
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };

    let by_stream = history(&["stock-A"]).await;
    assert_eq!(history(&["--sku", "A"]).await, by_stream);
    assert!(by_stream.iter().all(|event| event.get("stream").is_none()));

    let of_customer = history(&["--customer", "7"]).await;
    let streams: Vec<&str> = of_customer.iter().map(|event| event["stream"].as_str().unwrap()).collect();
    let has = |id: &str| streams.contains(&format!("order-{id}").as_str());
    assert!(has(&orders[0]) && !has(&orders[1]) && has(&orders[2]), "{streams:?}");
    let reserved = of_customer.iter().filter(|event| event["type"] == "stock.reserved.v1");
    assert_eq!(reserved.count(), 2);
    let captured = of_customer.iter().filter(|event| event["type"] == "payment.captured.v1");
    assert_eq!(captured.count(), 2);
    let of_both = history(&["stock-A", "--customer", "8"]).await;
    assert_eq!(of_both.len(), 1, "{of_both:?}");

    let correlation = of_customer[0]["metadata"]["correlation_id"].as_str().unwrap();
    let chain = history(&["--correlation", correlation]).await;
    let types: Vec<&str> = chain.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types[..3], ["order.placed.v2", "stock.reserved.v1", "order.allocated.v1"]);
    let times: Vec<&str> = of_customer.iter().map(|event| event["recorded_at"].as_str().unwrap()).collect();
    let (from, to) = (times[1], times[times.len() - 1]);
    let between = history(&["--customer", "7", "--from", from, "--to", to]).await;
    assert!(!between.is_empty() && between.len() < of_customer.len());
    assert!(!history(&["--actor", "orderly:process-manager"]).await.is_empty());

    let text = data.run_well(&["audit", "history", "--customer", "8"]).await;
    assert!(text.lines().next().unwrap().contains(&format!("  order-{}  ", orders[1])), "{text}");
    let nobody = data.run(&["audit", "history", "--customer", "nobody"]).await;
    assert_eq!((nobody.code, nobody.stderr.contains("no event matches")), (Some(1), true), "{nobody:?}");
    assert_eq!(data.run(&["audit", "history"]).await.code, Some(2));
}

#[tokio::test]
async fn a_reader_that_closes_the_pipe_is_no_failure() {
    let data = DataDir::new();
    data.serve().await.place_an_order("A").await;
    for arguments in [["audit", "state", "stock-A"], ["audit", "history", "stock-A"]] {
        let mut command = data.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
        let status = child.wait().await.unwrap();
        assert!(status.success() && errors.is_empty(), "{arguments:?}: {status} {errors}");
    }
}

pub async fn read_again(directory: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scripts/audit_export.py");
    let output = Command::new("python3").arg(script).arg(directory).output().await.unwrap();
    let (text, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    text
}

#[tokio::test]
async fn an_export_has_the_sums_that_another_program_reads_from_its_files() {
    let data = DataDir::new();
    let server = data.serve().await;
    let orders = three_orders(&server).await;
    for format in ["csv", "jsonl"] {
        let directory = data.path(&format!("export-{format}"));
        let target = directory.to_str().unwrap();
        data.run_well(&["audit", "export", "--format", format, target]).await;
        let counts = read_again(&directory).await;
        assert!(counts.contains(&format!("orders.{format} 3 rows\n")), "{counts}");
        assert!(counts.contains(&format!("payments.{format} 3 rows\n")), "{counts}");
        assert!(counts.contains(&format!("stock_ledger.{format} 5 rows\n")), "{counts}");
        let manifest: Value =
            serde_json::from_slice(&fs::read(directory.join("manifest.json")).unwrap()).unwrap();
        let sums = &manifest["files"][2]["sums"]["GBP"];
        assert_eq!((&sums["captured"], &sums["refunded"]), (&1_500.into(), &120.into()), "{manifest}");
        assert_eq!(manifest["faults"], 0);

        let refused = data.run(&["audit", "export", target]).await;
        assert_eq!((refused.code, refused.stderr.contains("is not empty")), (Some(1), true), "{refused:?}");
    }
    let rows = fs::read_to_string(data.path("export-csv").join("orders.csv")).unwrap();
    assert!(orders.iter().all(|id| rows.contains(id.as_str())), "{rows}");
    // What is left out leaves no trace.
    let names = fs::read_dir(data.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().starts_with(".orderly-export")).count(), 0);
}

#[tokio::test]
async fn an_export_of_a_period_has_what_was_recorded_in_it() {
    let data = DataDir::new();
    let server = data.serve().await;
    three_orders(&server).await;
    let history = data.run_well(&["audit", "history", "stock-A", "--json"]).await;
    let times: Vec<String> = history
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["recorded_at"].as_str().unwrap().to_owned())
        .collect();
    // From the second order on, before the stock was adjusted.
    let (from, to) = (&times[2], &times[4]);
    let directory = data.path("period");
    fs::create_dir(&directory).unwrap();
    let target = directory.to_str().unwrap();
    data.run_well(&["audit", "export", "--from", from, "--to", to, target]).await;
    let counts = read_again(&directory).await;
    assert!(counts.contains("stock_ledger.csv 2 rows"), "{counts}");
    let ledger = fs::read_to_string(directory.join("stock_ledger.csv")).unwrap();
    assert!(ledger.lines().nth(1).unwrap().contains(",0,2,10,4,"), "{ledger}");

    let backwards = data.run(&["audit", "export", "--from", to, "--to", from, "x"]).await;
    assert_eq!(backwards.code, Some(1), "{backwards:?}");
}

#[tokio::test]
async fn totals_are_printed_for_now_and_for_earlier_instants() {
    let data = DataDir::new();
    let server = data.serve().await;
    three_orders(&server).await;
    let totals = async |arguments: &[&str]| -> Value {
        let text = data.run_well(&[&["audit", "totals"], arguments].concat()).await;
        serde_json::from_str(&text).unwrap()
    };
    let now = totals(&[]).await;
    let sums = &now["totals"][0];
    assert_eq!((&sums["at"], &sums["orders"]), (&Value::Null, &json!({"allocated": 3})));
    assert_eq!((&sums["on_hand"], &sums["reserved"], &sums["skus"]), (&9.into(), &6.into(), &1.into()));
    assert_eq!(sums["currencies"]["GBP"]["captured"], 1_500);

    let history = data.run_well(&["audit", "history", "stock-A", "--json"]).await;
    let first: Value = serde_json::from_str(history.lines().next().unwrap()).unwrap();
    let first = first["recorded_at"].as_str().unwrap();
    let earlier = totals(&["--at", first, "--at", "2000-01-01T00:00:00Z"]).await;
    let [before, at_first] = earlier["totals"].as_array().unwrap().as_slice() else { panic!("{earlier}") };
    assert_eq!((&before["skus"], &before["orders"]), (&0.into(), &json!({})));
    assert_eq!((&at_first["on_hand"], &at_first["orders"]), (&10.into(), &json!({})));
}
