//! Opens the files that earlier builds wrote (tests/earlier-builds), and goes on with them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::support::{DataDir, Server};

/// Time limit for the work that was open when the earlier build was killed.
const DRAIN_MAX: Duration = Duration::from_mins(1);

/// The build that stored its events without checksums.
const WITHOUT_CHECKSUMS: &str = "04cad99";

const BULK_RECEIPTS: &str = "/v1/stock/receipts";

/// One folder for each earlier build; a new folder needs no code.
fn earlier_builds() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/earlier-builds");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let builds: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    assert!(!builds.is_empty(), "tests/earlier-builds holds no data directory");
    builds
}

fn decompressed(path: &Path) -> Vec<u8> {
    zstd::decode_all(fs::File::open(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn unpack(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap();
        if path.is_dir() {
            unpack(&path, &to.join(path.file_name().unwrap()));
        } else {
            fs::write(to.join(name), decompressed(&path)).unwrap();
        }
    }
}

fn parsed(build: &Path, name: &str) -> Value {
    serde_json::from_slice(&decompressed(&build.join(name))).unwrap()
}

/// The lists of the query API that are compared: name, path, and the member that identifies an item.
const LISTS: [(&str, &str, &str); 3] = [
    ("orders", "/v1/orders", "order_id"),
    ("payments", "/v1/payments", "payment_id"),
    ("stock", "/v1/stock", "sku"),
];

/// Every item of a list by its id.
async fn listed(server: &Server, path: &str, id: &str) -> BTreeMap<String, Value> {
    let mut items = BTreeMap::new();
    let mut page = server.get(&format!("{path}?limit=200")).await;
    loop {
        for item in page["items"].as_array().unwrap() {
            items.insert(item[id].as_str().unwrap().to_owned(), item.clone());
        }
        let Some(cursor) = page["next_cursor"].as_str() else { return items };
        page = server.get(&format!("{path}?limit=200&cursor={cursor}")).await;
    }
}

/// Waits until the query API answers what the earlier build answered after it had finished the same work.
async fn assert_finishes_as_the_earlier_build_did(server: &Server, expected: &Value) {
    let started = Instant::now();
    loop {
        let mut differences = Vec::new();
        for (name, path, id) in LISTS {
            let now = listed(server, path, id).await;
            let expected = expected[name].as_array().unwrap();
            if now.len() != expected.len() {
                differences.push(format!("{} {name} instead of {}", now.len(), expected.len()));
            }
            for item in expected {
                let found = now.get(item[id].as_str().unwrap());
                let mut item = item.clone();
                let changed = match name {
                    // An order that cannot be filled no longer reserves and releases what it cannot keep.
                    "stock" => "revision",
                    // It was what the customer owes in all, and is what is still to be paid.
                    "orders" => "amount_due",
                    _ => "",
                };
                item.as_object_mut().unwrap().remove(changed);
                let differs = found.is_none_or(|found| !holds(found, &item));
                differences.extend(differs.then(|| format!("{found:?} differs from {item}")));
            }
        }
        let sales = server.get("/v1/sales?currency=GBP").await["total"].clone();
        let mut expected_sales = expected["sales"].clone();
        // It was the price of all cancelled units, and is the worth of what was never paid.
        expected_sales["cancelled"] = never_paid(expected).into();
        if !holds(&sales, &expected_sales) {
            differences.push(format!("{sales} differs from {expected_sales}"));
        }
        if differences.is_empty() {
            return;
        }
        assert!(started.elapsed() < DRAIN_MAX, "{differences:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The totals of the orders that ended without any money.
fn never_paid(expected: &Value) -> i64 {
    let orders = expected["orders"].as_array().unwrap().iter();
    let ended = orders.filter(|order| order["status"] == "cancelled" || order["status"] == "expired");
    ended.filter(|order| order["captured"] == 0).map(|order| order["total"].as_i64().unwrap()).sum()
}

/// The status and the answer of a request. The earlier build answered the retry of a charge with the refund that
/// followed it: 202, at the revision of the refund, which is the next one of the payment.
fn first_answer(request: &Value) -> (Value, Value) {
    let (status, mut answer) = (request["status"].clone(), request["answer"].clone());
    let path = request["path"].as_str().unwrap();
    if path.starts_with("/v1/webhook-subscriptions")
        && let Some(subscription) = answer.as_object_mut()
    {
        // Its present state: the first secret ends after a day, and a receiver that never answers is disabled.
        for changing in ["enabled", "disabled_reason", "previous_secret_until", "updated_at"] {
            subscription.remove(changing);
        }
    }
    let shows_refund = path.ends_with("/charge") && status == 202;
    if !shows_refund {
        return (status, answer);
    }
    let revision = answer["revision"].as_u64().unwrap() - 1;
    let stream = format!("payment-{}", answer["payment_id"].as_str().unwrap());
    answer["revision"] = json!(revision);
    answer["revisions"] = json!({ stream: revision });
    (json!(200), answer)
}

async fn assert_old_keys_get_their_answers(server: &Server, requests: &Value) {
    for request in requests.as_array().unwrap() {
        let (path, key) = (request["path"].as_str().unwrap(), request["key"].as_str().unwrap());
        let answer = server.retry(path, key, &request["body"]).await;
        let (status, expected) = first_answer(request);
        assert_eq!(answer.status, status, "{path} under {key}: {}", answer.body);
        assert!(answer.is_replay || answer.status == 409, "{path} under {key} was executed again");
        assert!(
            holds(&answer.body, &expected),
            "{path} under {key}: {} differs from {expected}",
            answer.body
        );
    }
}

/// The earlier build recorded the key of a bulk receipt for each SKU alone, without a stream of the receipt.
async fn assert_reused_keys_of_bulk_receipts_are_refused(server: &Server, requests: &Value) {
    for request in requests.as_array().unwrap().iter().filter(|request| request["path"] == BULK_RECEIPTS) {
        let mut body = request["body"].clone();
        body["receipts"].as_array_mut().unwrap().insert(0, json!({"sku": "REUSED", "quantity": 5}));
        let answer = server.retry(BULK_RECEIPTS, request["key"].as_str().unwrap(), &body).await;
        assert_eq!((answer.status, &answer.body["code"]), (422, &json!("idempotency_key_reused")));
    }
}

/// True if `now` has each member of `before` with the same value. Later builds may add members and reword
/// titles and details.
fn holds(now: &Value, before: &Value) -> bool {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => before.iter().all(|(name, before)| {
            matches!(name.as_str(), "title" | "detail") || now.get(name).is_some_and(|now| holds(now, before))
        }),
        (Value::Array(now), Value::Array(before)) => {
            now.len() == before.len() && now.iter().zip(before).all(|(now, before)| holds(now, before))
        }
        (now, before) => now == before,
    }
}

#[tokio::test]
async fn a_data_directory_of_an_earlier_build_is_opened_verified_and_continued() {
    for build in earlier_builds() {
        let data = DataDir::new();
        unpack(&build.join("data"), &data.path(""));
        let expected = parsed(&build, "expected.json.zst");
        // Upgrades the file before a server does.
        data.run_well(&["backup", data.path("backups").to_str().unwrap()]).await;
        // The read models have another schema since.
        let refused = data.run(&["serve", "--command-listen", "127.0.0.1:0"]).await;
        assert!(refused.stderr.contains("orderly projections rebuild"), "{refused:?}");
        data.run_well(&["projections", "rebuild"]).await;

        let server = data.serve_with(&["--webhooks-allow-private"]).await;
        assert_finishes_as_the_earlier_build_did(&server, &expected).await;
        assert_old_keys_get_their_answers(&server, &parsed(&build, "requests.json.zst")).await;
        assert_reused_keys_of_bulk_receipts_are_refused(&server, &parsed(&build, "requests.json.zst")).await;
        assert_finishes_as_the_earlier_build_did(&server, &expected).await;

        let subscriptions = server.get_from_command_api("/v1/webhook-subscriptions").await;
        assert_eq!(subscriptions["items"].as_array().unwrap().len(), 3);
        server.place_an_order("LONG").await;
        server.place_an_order("NEW").await;
        assert!(server.terminate().await.success());

        let verified = data.run_well(&["audit", "verify"]).await;
        let has_unchecked = verified.contains("events of an earlier build have no checksum");
        assert_eq!(has_unchecked, build.ends_with(WITHOUT_CHECKSUMS), "{verified}");
        data.run_well(&["projections", "rebuild"]).await;
        data.run_well(&["audit", "verify"]).await;
        data.serve().await.kill().await;
    }
}
