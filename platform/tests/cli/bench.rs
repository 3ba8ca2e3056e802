use serde_json::Value;

use super::support::DataDir;

/// Clients and loads as small as they get: what is tested is that the parts fit together, not how fast they are.
const SMALL: [&str; 4] = ["--clients=2", "--duration=1s", "--orders=1000", "--json=-"];

async fn bench(part: &str) -> Value {
    let data = DataDir::new();
    let directory = data.path("");
    let directory = format!("--dir={}", directory.display());
    let arguments: Vec<&str> = ["bench", part, &directory].into_iter().chain(SMALL).collect();
    let report = data.run_well(&arguments).await;
    assert_eq!(std::fs::read_dir(data.path("")).unwrap().count(), 0, "it leaves nothing behind");
    serde_json::from_str(&report).unwrap()
}

#[tokio::test]
async fn spread_finds_every_acknowledged_order_in_the_read_models() {
    let report = bench("spread").await;
    let agreement = &report["spread"]["agreement"];
    assert!(agreement["orders_acknowledged"].as_u64() > Some(0), "{report}");
    assert_eq!(agreement["orders_acknowledged"], agreement["orders_read"]);
    assert_eq!(agreement["orders_acknowledged"], agreement["units_reserved"]);
    for baseline in ["echo", "raw_append"] {
        assert!(report["spread"][baseline]["rate_per_s"].as_f64() > Some(0.0), "{report}");
    }
}

#[tokio::test]
async fn hot_sells_exactly_what_there_is() {
    let report = bench("hot").await;
    assert_eq!(report["hot"]["sell_out"]["sold"], 1_000);
    assert_eq!(report["hot"]["sell_out"]["refused"], 2 * 3);
}

#[tokio::test]
async fn queries_are_asked_of_a_rebuilt_history() {
    let report = bench("queries").await;
    assert_eq!(report["rebuild"][0]["orders"], 1_000);
    let queries = report["queries"][0]["queries"].as_array().unwrap();
    assert_eq!(queries.len(), 16);
    for query in queries {
        assert!(query["count"].as_u64() > Some(0), "{query}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let finished = DataDir::new().run(&["bench", "hot", "--command-url", &url, "--query-url", &url]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains(&format!("{url} cannot be reached")), "{finished:?}");
}

#[tokio::test]
async fn another_machine_is_driven_only_if_that_is_allowed() {
    let url = "http://192.0.2.1:8080";
    let finished = DataDir::new().run(&["bench", "hot", "--command-url", url, "--query-url", url]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("--allow-remote"), "{finished:?}");
}
