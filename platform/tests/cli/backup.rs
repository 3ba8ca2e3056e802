//! Backups by hand and by a schedule, and their restore.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::support::{DataDir, Retried, Server};

/// The backups in a directory, the oldest one first.
fn backups(place: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn manifest(backup: &Path) -> Value {
    serde_json::from_slice(&fs::read(backup.join("manifest.json")).unwrap()).unwrap()
}

/// Commands with the answers that they got: a receipt, an order, a charge, and an order that was refused.
async fn sent_commands(server: &Server) -> Vec<(String, &'static str, Value, Retried)> {
    let line = |quantity: u32| json!([{"sku": "A", "quantity": quantity, "unit_price": 250}]);
    let mut commands = vec![
        ("/v1/stock/A/receipts".to_owned(), "po-1", json!({"quantity": 10})),
        ("/v1/orders".to_owned(), "checkout-1", json!({"currency": "GBP", "lines": line(3)})),
        ("/v1/orders".to_owned(), "checkout-2", json!({"currency": "GBP", "lines": line(30)})),
    ];
    let mut sent = Vec::new();
    while !commands.is_empty() {
        let (path, key, body) = commands.remove(0);
        let answer = server.retry(&path, key, &body).await;
        assert!(!answer.is_replay, "{path}");
        if key == "checkout-1" {
            let payment = answer.body["payment_id"].as_str().unwrap();
            commands.push((format!("/v1/payments/{payment}/charge"), "charge-1", json!({"method": "ok"})));
        }
        sent.push((path, key, body, answer));
    }
    assert_eq!(sent.iter().map(|(_, _, _, answer)| answer.status).collect::<Vec<_>>(), [201, 201, 409, 200]);
    sent
}

/// Reactions that followed the first answer have moved the revisions of other streams.
fn without_revisions(mut answer: Retried) -> Value {
    answer.body.as_object_mut().unwrap().remove("revisions");
    answer.body
}

#[tokio::test]
async fn a_restored_backup_verifies_and_answers_old_keys_as_before() {
    let (data, elsewhere) = (DataDir::new(), DataDir::new());
    let restored = DataDir::at(elsewhere.path("restored"));
    let place = elsewhere.path("backups");
    let server = data.serve_with(&["--webhooks-allow-private"]).await;
    let sent = sent_commands(&server).await;
    let hooks = json!({"url": "http://127.0.0.1:9/hooks", "event_types": ["*"]});
    server.post("/v1/webhook-subscriptions", "hooks-1", hooks).await;
    let key = data.run_well(&["keys", "create", "--principal", "shop", "--scopes", "read"]).await;
    let reported = data.run_well(&["backup", place.to_str().unwrap()]).await;
    assert!(reported.contains("operations.db, events.db, sandbox.db, sandbox.secret"), "{reported}");
    // Not in the backup.
    server.post("/v1/stock/A/receipts", "po-2", json!({"quantity": 5})).await;
    assert!(server.terminate().await.success());

    let report = restored.run_well(&["restore", place.to_str().unwrap()]).await;
    assert!(report.contains("rows compared with the log"), "{report}");
    restored.run_well(&["audit", "verify"]).await;
    assert!(restored.run_well(&["keys", "list"]).await.contains("shop"));
    // The restored keys would be asked for.
    let server = restored.serve_with(&["--auth", "off", "--webhooks-allow-private"]).await;
    let order = sent[1].3.body["order_id"].as_str().unwrap().to_owned();
    for (path, key, body, first) in sent {
        let again = server.retry(&path, key, &body).await;
        assert!(again.is_replay, "{path} {key}");
        let (again, first) =
            ((again.status, without_revisions(again)), (first.status, without_revisions(first)));
        assert_eq!(again, first, "{path} {key}");
    }
    assert_eq!(server.get("/v1/stock/A").await["on_hand"], 10);
    let subscriptions = server.get_from_command_api("/v1/webhook-subscriptions").await;
    assert_eq!(subscriptions["items"].as_array().unwrap().len(), 1);
    // The sandbox knows the charge, so it can be refunded.
    server.post(&format!("/v1/orders/{order}/refunds"), "refund-1", json!({"amount": 100})).await;
    server.kill().await;

    // With its key, and without the setting, callers are authenticated.
    let server = restored.serve().await;
    let client = reqwest::Client::new();
    let url = format!("{}/v1/stock/A", server.query_url);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    assert_eq!(client.get(&url).bearer_auth(key.trim()).send().await.unwrap().status(), 200);
    server.kill().await;
}

#[tokio::test]
async fn a_backup_has_sealed_secrets_which_the_key_opens_after_a_restore() {
    let (data, elsewhere) = (DataDir::new(), DataDir::new());
    let restored = DataDir::at(elsewhere.path("restored"));
    let (place, key) = (elsewhere.path("backups"), elsewhere.path("key"));
    let subscriptions = "/v1/webhook-subscriptions";
    // Stored in plain text first.
    let server = data.serve_with(&["--webhooks-allow-private"]).await;
    let hooks = json!({"url": "http://127.0.0.1:9/hooks", "event_types": ["*"]});
    let secret = server.post(subscriptions, "hooks-1", hooks).await["secret"].as_str().unwrap().to_owned();
    server.kill().await;
    assert!(has_file_with(data.path("operations.db").parent().unwrap(), &secret));

    fs::write(&key, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    let with_key = ["--secrets-key-file", key.to_str().unwrap()];
    let server = data.serve_with(&with_key).await;
    data.run_well(&["backup", place.to_str().unwrap()]).await;
    assert!(!has_file_with(data.path("operations.db").parent().unwrap(), &secret));
    assert!(!has_file_with(&backups(&place)[0], &secret));
    assert!(server.terminate().await.success());

    restored.run_well(&["restore", place.to_str().unwrap()]).await;
    for (arguments, readable) in [(&with_key[..], true), (&[], false)] {
        let server = restored.serve_with(arguments).await;
        let listed = server.get_from_command_api(subscriptions).await;
        assert_eq!(listed["items"][0]["secret_readable"], readable, "{arguments:?}");
        server.kill().await;
    }
}

/// Whether a file in this directory contains a text.
fn has_file_with(directory: &Path, text: &str) -> bool {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).any(|path| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// The highest position of the log that a copy of `operations.db` names.
fn position_named(backup: &Path) -> Option<u64> {
    const SELECT: &str = "SELECT max(position) FROM
         (SELECT position FROM webhook_deliveries UNION ALL SELECT position FROM reactor_positions)";
    let operations = rusqlite::Connection::open(backup.join("operations.db")).unwrap();
    operations.query_row(SELECT, [], |row| row.get::<_, Option<i64>>(0)).unwrap().map(i64::cast_unsigned)
}

#[tokio::test]
async fn a_backup_under_load_names_no_place_that_its_log_lacks() {
    let data = DataDir::new();
    let place = data.path("backups");
    let server = std::sync::Arc::new(data.serve_with(&["--webhooks-allow-private"]).await);
    let hooks = json!({"url": "http://127.0.0.1:9/hooks", "event_types": ["*"]});
    server.post("/v1/webhook-subscriptions", "hooks-1", hooks).await;
    let sending = tokio::spawn({
        let server = std::sync::Arc::clone(&server);
        async move {
            for number in 0.. {
                server.place_an_order(&format!("SKU-{number}")).await;
            }
        }
    });
    for _ in 0..5 {
        data.run_well(&["backup", place.to_str().unwrap()]).await;
    }
    sending.abort();
    let mut named = 0;
    for backup in backups(&place) {
        let last = manifest(&backup)["log"]["last_event"]["position"].as_u64();
        let position = position_named(&backup);
        assert!(position <= last, "{position:?} is after {last:?}");
        named = named.max(position.unwrap_or(0));
    }
    assert!(named > 0, "the test needs deliveries");
}

#[tokio::test]
async fn the_manifest_names_the_program_the_last_event_and_the_checksums() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("A").await;
    server.kill().await;
    let place = data.path("backups");
    data.run_well(&["backup", place.to_str().unwrap()]).await;
    data.run_well(&["backup", place.to_str().unwrap()]).await;
    let made = backups(&place);
    let [first, second] = &made[..] else { panic!("there are {} backups", made.len()) };
    let described = manifest(second);
    assert_eq!(described["made_by"]["version"], env!("CARGO_PKG_VERSION"));
    let log = &described["log"];
    assert_eq!((&log["events"], &log["last_event"]["position"]), (&json!(5), &json!(5)));
    let stream = log["last_event"]["stream"].as_str().unwrap();
    let history = data.run_well(&["audit", "history", stream, "--json"]).await;
    let last: Value = serde_json::from_str(history.lines().last().unwrap()).unwrap();
    assert_eq!(last["event_id"], log["last_event"]["id"]);
    assert_ne!(log["id"], manifest(first)["log"]["id"], "each copy has its own id");
    let files: Vec<_> = described["files"].as_array().unwrap().iter().map(|file| &file["name"]).collect();
    assert_eq!(files, ["operations.db", "events.db", "sandbox.db", "sandbox.secret"]);
}

#[tokio::test]
async fn a_restore_refuses_a_used_directory_an_unknown_backup_and_a_damaged_one() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("A").await;
    server.kill().await;
    let elsewhere = DataDir::new();
    let place = elsewhere.path("backups");
    let restore = ["restore", place.to_str().unwrap()];
    let refused = elsewhere.run(&restore).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("backups"), "no place: {refused:?}");
    data.run_well(&["backup", place.to_str().unwrap()]).await;

    let refused = data.run(&restore).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("is not empty"), "{refused:?}");
    let restored = DataDir::at(elsewhere.path("restored"));
    let unknown = restored.run(&["restore", place.to_str().unwrap(), "--at", "20200101"]).await;
    let backup = backups(&place).remove(0);
    let name = backup.file_name().unwrap().to_str().unwrap();
    assert!(unknown.code == Some(1) && unknown.stderr.contains(name), "{unknown:?}");

    let mut bytes = fs::read(backup.join("operations.db")).unwrap();
    bytes[5_000] ^= 1;
    fs::write(backup.join("operations.db"), bytes).unwrap();
    let damaged = restored.run(&restore).await;
    assert!(damaged.code == Some(1) && damaged.stderr.contains("operations.db of backup"), "{damaged:?}");
    assert_eq!(fs::read_dir(restored.path("")).unwrap().count(), 0, "a failed restore leaves nothing");
}

#[tokio::test]
async fn a_store_on_a_server_is_named_and_an_installation_without_files_is_refused() {
    let data = DataDir::new();
    let esdb = ["--event-store", "esdb://127.0.0.1:1?tls=false"];
    let postgres = ["--read-models", "postgres://orderly@127.0.0.1:1/orderly"];
    let place = data.path("backups");
    let backup = ["backup", place.to_str().unwrap()];
    let server = data.serve().await;
    server.place_an_order("A").await;
    server.kill().await;

    let of_operations = data.run_well(&[&backup[..], &esdb].concat()).await;
    assert!(of_operations.contains("Not in it: ORDERLY_EVENT_STORE"), "{of_operations}");
    assert!(!backups(&place)[0].join("events.db").exists());
    let of_log = data.run_well(&[&backup[..], &postgres].concat()).await;
    assert!(of_log.contains("pg_dump"), "{of_log}");
    assert!(!backups(&place)[1].join("operations.db").exists());
    let refused = data.run(&[&backup[..], &esdb, &postgres].concat()).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("nothing to back up"), "{refused:?}");
    let serve = ["serve", "--bus", "kafka://127.0.0.1:1", "--backup-url", "b"];
    let refused = data.run(&[&serve[..], &esdb, &postgres].concat()).await;
    assert!(refused.code == Some(2) && refused.stderr.contains("ORDERLY_BACKUP_URL"), "{refused:?}");

    let restored = DataDir::new();
    let first = backups(&place)[0].file_name().unwrap().to_str().unwrap().to_owned();
    let refused = restored.run(&["restore", place.to_str().unwrap(), "--at", &first]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("has no events"), "{refused:?}");
}

/// The value of a series of `/metrics`.
async fn measured(server: &Server, series: &str) -> Option<f64> {
    let url = format!("{}/metrics", server.admin_url.as_ref().unwrap());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

async fn until_measured(server: &Server, series: &str, value: f64) {
    let begun = std::time::Instant::now();
    while measured(server, series).await.is_none_or(|found| (found - value).abs() > f64::EPSILON) {
        assert!(begun.elapsed().as_secs() < 30, "{series} is not {value}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_makes_a_backup_when_one_is_due_and_reports_failures() {
    let data = DataDir::new();
    let place = data.path("backups");
    let schedule = ["--backup-url", place.to_str().unwrap()];
    let server = data.serve_measured(&schedule).await;
    until_measured(&server, r#"orderly_backups_total{outcome="good"}"#, 1.0).await;
    assert!(measured(&server, "orderly_backup_bytes").await > Some(10_000.0));
    assert!(server.terminate().await.success());

    // It is not due again, and the newest one counts as the last good one.
    let server = data.serve_measured(&schedule).await;
    let made_at: jiff::Timestamp =
        manifest(&backups(&place)[0])["made_at"].as_str().unwrap().parse().unwrap();
    let seconds = made_at.as_duration().as_secs_f64();
    until_measured(&server, "orderly_backup_last_good_timestamp_seconds", seconds).await;
    assert_eq!(backups(&place).len(), 1);
    assert!(server.terminate().await.success());

    fs::write(data.path("file"), "no directory").unwrap();
    let server = data.serve_measured(&["--backup-url", data.path("file").to_str().unwrap()]).await;
    until_measured(&server, r#"orderly_backups_total{outcome="failed"}"#, 1.0).await;
    let ready = server.get("/readyz").await;
    assert_eq!(ready["degraded"][0]["name"], "backup_failed", "{ready}");
    server.kill().await;
}
