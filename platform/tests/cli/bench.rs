use serde_json::Value;
use tests::eventstoredb::{FixtureOptions, Server};

use super::support::DataDir;

/// The smallest clients and loads that the command accepts: these tests check the parts, not their speed.
const SMALL: [&str; 4] = ["--clients=2", "--duration=1s", "--orders=1000", "--json=-"];

async fn bench(part: &str) -> Value {
    let data = DataDir::new();
    let directory = data.path("");
    let directory = format!("--dir={}", directory.display());
    let arguments: Vec<&str> = ["bench", part, &directory].into_iter().chain(SMALL).collect();
    let report = data.run_well(&arguments).await;
    assert_eq!(std::fs::read_dir(data.path("")).unwrap().count(), 0, "the benchmark left files behind");
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
    let per_order = &report["spread"]["per_order"];
    assert!(per_order["processor_us"].as_f64() > Some(0.0), "{report}");
    assert_eq!(per_order["eventstoredb_calls"], serde_json::json!({}));
}

#[tokio::test]
async fn spread_over_an_eventstoredb_appends_raw_to_it_and_shows_the_calls_and_the_processor_time_of_an_order()
 {
    let store = Server::start(FixtureOptions::default()).await.unwrap();
    let data = DataDir::new();
    let serve = ["--event-store", store.url(), "--payment-provider", "none"];
    let server = data.serve_with_admin(&serve).await;
    let urls = [
        format!("--command-url={}", server.command_url),
        format!("--query-url={}", server.query_url),
        format!("--admin-url={}", server.admin_url.as_ref().unwrap()),
    ];
    let urls = urls.each_ref().map(String::as_str);
    let bench = ["bench", "spread", "--event-store", store.url()];
    let report = data.run_well(&[&bench[..], &urls, &SMALL].concat()).await;
    let report: Value = serde_json::from_str(&report).unwrap();
    let per_order = &report["spread"]["per_order"];
    let appends = per_order["eventstoredb_calls"]["append"].as_f64().unwrap();
    assert!((3.9..4.2).contains(&appends), "{report}");
    assert!(per_order["processor_us"].as_f64() > Some(0.0), "{report}");

    let raw = report["spread"]["raw_append"]["count"].as_u64().unwrap();
    let orders = report["spread"]["agreement"]["orders_acknowledged"].as_u64().unwrap();
    let calls = store.calls();
    let received = calls.appends + calls.batches;
    assert!(received >= 4 * (raw + orders), "{received} appends at the server: {report}");
    server.kill().await;
}

#[tokio::test]
async fn hot_sells_exactly_the_units_on_hand() {
    let report = bench("hot").await;
    assert_eq!(report["hot"]["sell_out"]["sold"], 1_000);
    assert_eq!(report["hot"]["sell_out"]["refused"], 2 * 3);
}

#[tokio::test]
async fn queries_measures_every_kind_of_query_over_a_rebuilt_history() {
    let report = bench("queries").await;
    assert_eq!(report["rebuild"][0]["orders"], 1_000);
    let queries = report["queries"][0]["queries"].as_array().unwrap();
    assert_eq!(queries.len(), 16);
    for query in queries {
        assert!(query["count"].as_u64() > Some(0), "{query}");
    }
}

#[tokio::test]
async fn the_error_for_an_unreachable_server_names_its_url() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let finished = DataDir::new().run(&["bench", "hot", "--command-url", &url, "--query-url", &url]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains(&format!("{url} cannot be reached")), "{finished:?}");
}

#[tokio::test]
async fn a_server_on_another_machine_needs_allow_remote() {
    let url = "http://192.0.2.1:8080";
    let finished = DataDir::new().run(&["bench", "hot", "--command-url", url, "--query-url", url]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("--allow-remote"), "{finished:?}");
}
