//! The admin address: measurements of a platform with traffic, liveness and readiness.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use infra::measurements::{self, Kind};
use serde_json::{Value, json};

use super::support::{DataDir, Finished, Server};

/// Time limit for the work that follows the requests.
const PATIENCE: Duration = Duration::from_secs(30);
/// The metrics of parts that need a server beside the platform, or a certificate.
const OF_SERVERS: [&str; 4] =
    ["orderly_relay_", "orderly_postgres_", "orderly_eventstoredb_", "orderly_tls_"];

/// The values of a text in the format of Prometheus, by their names with sorted labels.
struct Measurements(BTreeMap<String, f64>);

impl Measurements {
    async fn read(server: &Server) -> Self {
        let url = format!("{}/metrics", server.admin_url.as_ref().unwrap());
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.filter_map(|line| line.rsplit_once(' '));
        Self(values.map(|(series, value)| (sorted(series), value.parse().unwrap())).collect())
    }

    fn has(&self, series: &str, value: f64) -> bool {
        self.0.get(&sorted(series)).is_some_and(|found| (found - value).abs() < f64::EPSILON)
    }

    /// The values of all series of a metric together.
    fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|(series, _)| name_of(series) == name).map(|(_, value)| value).sum()
    }

    fn names(&self) -> BTreeSet<&str> {
        self.0.keys().map(|series| name_of(series)).collect()
    }
}

fn name_of(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

/// A series with its labels in the order of their names.
fn sorted(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let mut labels: Vec<_> = labels.trim_end_matches('}').split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// A server with one paid order, one stream that this version does not know, and one dead receiver of webhooks.
async fn busy_server(data: &DataDir) -> Server {
    let unknown = [
        "dev",
        "write-event",
        "--stream",
        "order-0d3c5f1e-7c56-4f0e-9a3b-2f6f4d1c9a10",
        "--type",
        "t",
        "--data",
        "{}",
    ];
    let written = Finished::from(data.command(&unknown).env("ORDERLY_DEV", "1").output().await.unwrap());
    assert_eq!(written.code, Some(0), "{written:?}");

    let backups = data.path("backups");
    let server =
        data.serve_measured(&["--webhooks-allow-private", "--backup-url", backups.to_str().unwrap()]).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let receiver = json!({"url": format!("http://{closed}/hooks"), "event_types": ["*"]});
    server.post("/v1/webhook-subscriptions", "hooks-1", receiver).await;
    server.place_an_order("85123A").await;
    let line = json!({"sku": "85123A", "quantity": 1, "unit_price": 250});
    let order = json!({"currency": "GBP", "lines": [line], "payment": {"method": "ok"}});
    server.post("/v1/orders", "checkout-2", order).await;
    server
}

/// Asks for a path that no route has, and with a method that HTTP does not know.
async fn request_nothing(server: &Server) {
    let (http, orders) = (reqwest::Client::new(), format!("{}/v1/orders", server.command_url));
    let answer = http.get(format!("{orders}/no/such/path")).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    let method = reqwest::Method::from_bytes(b"BREW").unwrap();
    assert_eq!(http.request(method, orders).send().await.unwrap().status(), 405);
}

/// Reads the measurements until `is_reached`.
async fn until(server: &Server, what: &str, is_reached: impl Fn(&Measurements) -> bool) -> Measurements {
    let begun = Instant::now();
    loop {
        let measurements = Measurements::read(server).await;
        if is_reached(&measurements) {
            return measurements;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} is not reached: {:#?}", measurements.0);
    }
}

#[tokio::test]
async fn every_part_of_a_platform_with_traffic_is_measured() {
    let data = DataDir::new();
    let server = busy_server(&data).await;
    request_nothing(&server).await;
    let series = [
        (r#"orderly_parked_streams{projection="orders"}"#, 1.0),
        (r#"orderly_parked_streams{projection="stock"}"#, 0.0),
        ("orderly_parked_reactions", 1.0),
        (r#"orderly_condition{condition="parked_streams"}"#, 1.0),
        (r#"orderly_webhook_endpoints{state="failing"}"#, 1.0),
        (r#"orderly_provider_breaker_state{provider="sandbox",state="closed"}"#, 1.0),
        (r#"orderly_provider_calls_total{provider="sandbox",operation="charge",outcome="answered"}"#, 1.0),
        (r#"orderly_http_requests_total{api="command",method="POST",route="/v1/orders",status="201"}"#, 2.0),
        (r#"orderly_http_requests_total{api="command",method="GET",route="unmatched",status="404"}"#, 1.0),
        (r#"orderly_http_requests_total{api="command",method="OTHER",route="/v1/orders",status="405"}"#, 1.0),
        (r#"orderly_command_attempts_total{aggregate="stock",outcome="recorded"}"#, 3.0),
        (r#"orderly_follower_lag_events{follower="projections"}"#, 0.0),
        (r#"orderly_follower_lag_seconds{follower="projections"}"#, 0.0),
        (r#"orderly_follower_lag_events{follower="process-manager"}"#, 0.0),
        (r#"orderly_follower_lag_events{follower="webhooks"}"#, 0.0),
        (r#"orderly_role_info{role="projectors"}"#, 1.0),
        ("orderly_ready", 1.0),
        ("orderly_new_orders_admitted_ratio", 1.0),
    ];
    let measured = until(&server, "the state after all work", |measured| {
        series.iter().all(|(series, value)| measured.has(series, *value))
    })
    .await;
    for counted in [
        "orderly_http_request_duration_seconds_count",
        "orderly_append_duration_seconds_count",
        "orderly_append_events_sum",
        "orderly_events_appended_total",
        "orderly_event_store_commit_duration_seconds_count",
        "orderly_aggregate_cache_bytes",
        "orderly_aggregate_cache_hits_total",
        "orderly_projected_events_total",
        "orderly_projection_delay_seconds_count",
        "orderly_reaction_attempts_total",
        "orderly_webhook_attempts_total",
        "orderly_data_dir_free_bytes",
        "orderly_sqlite_wal_bytes",
        "orderly_backup_interval_seconds",
    ] {
        assert!(measured.sum(counted) > 0.0, "{counted} is 0: {:#?}", measured.0);
    }
    assert!(
        measured.has(r#"orderly_measurement_failures_total{measurement="lag"}"#, 0.0),
        "{:#?}",
        measured.0
    );
    for gauge in
        ["orderly_http_requests_under_way", "orderly_commands_under_way", "orderly_event_store_queue_appends"]
    {
        assert!(measured.sum(gauge).abs() < f64::EPSILON, "{gauge} does not return to 0: {:#?}", measured.0);
    }
    server.kill().await;
}

/// The names of a metric in the text: a histogram has three.
fn shown_names(name: &str, kind: Kind) -> Vec<String> {
    match kind {
        Kind::Counters | Kind::Gauges => vec![name.to_owned()],
        Kind::Seconds | Kind::Sizes => ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")).into(),
    }
}

fn is_of_a_server(name: &str) -> bool {
    OF_SERVERS.iter().any(|prefix| name.starts_with(prefix))
}

/// The metrics that a text in PromQL names.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("orderly_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// Every `expr` in a document.
fn queries(document: &Value) -> Vec<String> {
    match document {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match value.as_str() {
                Some(query) if name == "expr" => vec![query.to_owned()],
                _ => queries(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(queries).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

#[tokio::test]
async fn alerts_and_dashboard_name_metrics_that_exist_and_no_metric_is_left_out() {
    let data = DataDir::new();
    let server = busy_server(&data).await;
    let measured = until(&server, "a condition", |measured| measured.sum("orderly_condition") > 0.0).await;
    let shown = measured.names();

    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/deploy");
    let dashboard = std::fs::read_to_string(deploy.join("grafana/orderly.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = metrics_in(&queries(&dashboard).join(" "));
    let alerts = metrics_in(&std::fs::read_to_string(deploy.join("prometheus/alerts.yml")).unwrap());
    assert!(
        panels.len() > 50 && alerts.len() > 15,
        "are the files still parsed correctly? {panels:?} {alerts:?}"
    );

    let described: BTreeSet<String> =
        measurements::ALL.iter().flat_map(|metric| shown_names(metric.name, metric.kind)).collect();
    for name in panels.iter().chain(&alerts) {
        let exists = shown.contains(name.as_str()) || is_of_a_server(name) && described.contains(name);
        assert!(exists, "{name} is not in /metrics");
    }
    for metric in measurements::ALL {
        let names = shown_names(metric.name, metric.kind);
        assert!(names.iter().any(|name| panels.contains(name)), "no panel shows {}", metric.name);
        if !is_of_a_server(metric.name) {
            assert!(
                names.iter().all(|name| shown.contains(name.as_str())),
                "{} is not measured",
                metric.name
            );
        }
    }
    server.kill().await;
}

#[tokio::test]
async fn the_admin_address_shows_liveness_and_readiness_of_a_process() {
    let data = DataDir::new();
    let server = busy_server(&data).await;
    until(&server, "a parked stream", |measured| measured.sum("orderly_parked_streams") > 0.0).await;
    let admin_url = server.admin_url.clone().unwrap();
    assert_eq!(reqwest::get(format!("{admin_url}/livez")).await.unwrap().text().await.unwrap(), "ok\n");
    let ready = reqwest::get(format!("{admin_url}/readyz")).await.unwrap();
    assert_eq!(ready.status(), 200);
    let ready: Value = ready.json().await.unwrap();
    let names: Vec<_> = ready["degraded"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert!(names.contains(&json!("parked_streams")), "{ready}");
    let allocator: Value =
        reqwest::get(format!("{admin_url}/debug/allocator")).await.unwrap().json().await.unwrap();
    assert!(allocator["committed"]["current"].as_u64() > Some(1 << 20), "{allocator:#}");
    server.kill().await;
}

#[tokio::test]
async fn the_error_for_an_admin_port_in_use_names_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = ["serve", "--command-listen", "127.0.0.1:0", "--query-listen", "127.0.0.1:0"];
    let sandbox = ["--sandbox-listen", "127.0.0.1:0", "--admin-listen", &address];
    let finished = DataDir::new().run(&[&serve[..], &sandbox].concat()).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for part in ["ORDERLY_ADMIN_LISTEN", &address, "port 0"] {
        assert!(finished.stderr.contains(part), "{finished:?} does not mention {part}");
    }
}
