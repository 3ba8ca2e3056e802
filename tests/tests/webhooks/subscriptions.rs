//! The API of subscriptions: create, change, delete, list, rotate the secret.

use super::*;

fn path_of(subscription: &Value) -> String {
    format!("{PATH}/{}", subscription["subscription_id"].as_str().unwrap())
}

#[tokio::test]
async fn a_repeated_request_makes_one_subscription_and_shows_its_secret_again() {
    let hooks = Hooks::open().await;
    let body = json!({"url": "http://10.0.0.1/hook", "event_types": ["order.*"], "description": "the shop"});
    let first = hooks.post(PATH, "one", body.clone()).await;
    let made = first.expect(201);
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(first.header("location"), Some(&*path_of(&made)));
    let again = hooks.post(PATH, "one", body).await;
    assert!(again.is_replayed() && !first.is_replayed());
    assert_eq!(again.expect(201), made);

    let mut shown = hooks.get(&path_of(&made)).await.expect(200);
    assert_eq!(shown.get("secret"), None);
    shown["secret"] = made["secret"].clone();
    assert_eq!(shown, made);
    assert_eq!((&made["event_types"], &made["description"]), (&json!(["order.*"]), &json!("the shop")));
    let other = json!({"url": "http://10.0.0.2/hook"});
    hooks.post(PATH, "one", other.clone()).await.problem(422, "idempotency_key_reused");
    assert_eq!(hooks.post(PATH, "two", other).await.expect(201)["event_types"], json!(["*"]));
    let keyless = hooks.request(Method::POST, PATH, None, json!({"url": "http://10.0.0.1"})).await;
    keyless.problem(400, "idempotency_key_missing");
}

#[tokio::test]
async fn a_malformed_subscription_is_refused_with_the_name_of_the_member() {
    let hooks = Hooks::open().await;
    let url = "http://10.0.0.1/hook";
    for (body, field) in [
        (json!({"event_types": ["*"]}), "url"),
        (json!({"url": url, "event_types": []}), "event_types"),
        (json!({"url": url, "event_types": ["order.shiped.v1"]}), "event_types"),
        (json!({"url": url, "event_types": ["stock.*"]}), "event_types"),
        (json!({"url": url, "event_types": "*"}), "event_types"),
        (json!({"url": url, "description": ""}), "description"),
        (json!({"url": url, "description": "x".repeat(501)}), "description"),
        (json!({"url": url, "secret": "mine"}), "secret"),
    ] {
        let refused = hooks.post(PATH, "key", body).await.problem(422, "invalid_request");
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
}

#[tokio::test]
async fn a_subscription_can_be_changed_and_deleted() {
    let hooks = Hooks::open().await;
    let body = json!({"url": "http://10.0.0.1/hook", "description": "the shop"});
    let made = hooks.post(PATH, "one", body.clone()).await.expect(201);
    let path = path_of(&made);
    let changed =
        hooks.patch(&path, json!({"event_types": ["payment.*"], "enabled": false})).await.expect(200);
    assert_eq!(
        (&changed["url"], &changed["description"]),
        (&json!("http://10.0.0.1/hook"), &json!("the shop"))
    );
    assert_eq!(changed["event_types"], json!(["payment.*"]));
    assert_eq!((&changed["enabled"], &changed["disabled_reason"]), (&json!(false), &json!("requested")));
    let changed =
        hooks.patch(&path, json!({"url": "https://10.0.0.2", "description": null})).await.expect(200);
    assert_eq!((&changed["url"], &changed["description"]), (&json!("https://10.0.0.2"), &Value::Null));
    assert_eq!(changed["enabled"], false);
    hooks.patch(&path, json!({"url": "ftp://10.0.0.2"})).await.problem(422, "webhook_url_refused");
    hooks.patch(&path, json!({"event_types": ["x"]})).await.problem(422, "invalid_request");
    hooks.patch(&path, json!({"enabled": "yes"})).await.problem(422, "invalid_request");

    let delete = async || hooks.request(Method::DELETE, &path, None, json!({})).await;
    assert_eq!(delete().await.status, 204);
    delete().await.problem(404, "not_found");
    hooks.get(&path).await.problem(404, "not_found");
    hooks.patch(&path, json!({})).await.problem(404, "not_found");
    hooks.post(PATH, "one", body).await.problem(409, "subscription_deleted");
}

#[tokio::test]
async fn subscriptions_are_listed_in_pages_and_at_most_50_exist() {
    let hooks = Hooks::open().await;
    let mut made = Vec::new();
    for number in 0..50 {
        let body = json!({"url": format!("http://10.0.0.1/{number}")});
        let mut one = hooks.post(PATH, &format!("key {number}"), body).await.expect(201);
        one.as_object_mut().unwrap().remove("secret");
        made.push(one);
    }
    let one_more = hooks.post(PATH, "one more", json!({"url": "http://10.0.0.1"})).await;
    one_more.problem(409, "too_many_subscriptions");
    let (mut listed, mut path) = (Vec::new(), format!("{PATH}?limit=20"));
    loop {
        let page = hooks.get(&path).await.expect(200);
        listed.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("{PATH}?limit=20&cursor={cursor}");
    }
    assert_eq!(listed, made);
    for wrong in ["limit=0", "limit=201", "limit=x", "page=2"] {
        hooks.get(&format!("{PATH}?{wrong}")).await.problem(400, "invalid_parameter");
    }
    hooks.get(&format!("{PATH}?cursor=x")).await.problem(400, "invalid_cursor");
    let cursor = path.rsplit('=').next().unwrap();
    hooks
        .get(&format!("{}/deliveries?cursor={cursor}", path_of(&made[0])))
        .await
        .problem(400, "invalid_cursor");
}

#[tokio::test]
async fn the_delivery_log_is_listed_by_status_in_pages() {
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[]).await);
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    let order = hooks.paid_order("A").await;
    let count = hooks.events_of(&order).await.len();
    let all = hooks.until(&subscription, "delivered", count).await;
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("{subscription}/deliveries?status=delivered&limit=3{cursor}");
        let page = hooks.get(&path).await.expect(200);
        listed.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, all);
    for (event_type, actor) in
        [("order.placed.v2", "anonymous"), ("order.allocated.v1", "orderly:process-manager")]
    {
        let delivery = listed.iter().find(|delivery| delivery["event_type"] == event_type).unwrap();
        assert_eq!((&delivery["actor"], &delivery["person"]), (&actor.into(), &Value::Null));
    }
    let failed = hooks.get(&format!("{subscription}/deliveries?status=failed")).await.expect(200);
    assert_eq!(failed, json!({"items": [], "next_cursor": null}));
    hooks.get(&format!("{subscription}/deliveries?status=lost")).await.problem(400, "invalid_parameter");
    let retry = format!("{subscription}/deliveries/msg_00000000-0000-0000-0000-000000000001/retry");
    hooks.post(&retry, "", json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn the_previous_secret_signs_beside_the_new_one_for_24_hours() {
    let (mut hooks, receiver) = (Hooks::open().await, Receiver::start(&[]).await);
    let body = json!({"url": receiver.url(), "event_types": ["order.placed.v2"]});
    let made = hooks.post(PATH, "subscribe", body).await.expect(201);
    let rotate = format!("{}/rotate-secret", path_of(&made));
    hooks.paid_order("A").await;
    let received = receiver.until(1).await;
    assert_eq!(received[0].signature.split(' ').count(), 1);

    let rotated = hooks.post(&rotate, "rotate", json!({})).await;
    let again = hooks.post(&rotate, "rotate", json!({})).await;
    assert_eq!(rotated.expect(200), again.expect(200));
    assert!(again.is_replayed() && !rotated.is_replayed());
    let rotated = rotated.expect(200);
    assert_ne!(rotated["secret"], made["secret"]);
    let until: domain::Timestamp = rotated["previous_secret_until"].as_str().unwrap().parse().unwrap();
    let hours = until.duration_since(domain::Timestamp::now()).as_secs_f64() / 3_600.0;
    assert!((23.9..=24.0).contains(&hours), "{hours}");
    hooks.paid_order("B").await;
    let received = receiver.until(2).await;
    let signed: Vec<&str> = received[1].signature.split(' ').collect();
    assert_eq!(signed.len(), 2);
    assert!(signed.iter().all(|one| one.starts_with("v1,")) && signed[0] != signed[1]);
    let now = domain::Timestamp::now().as_second();
    assert!((now - 60..=now).contains(&received[1].sent_at));

    hooks.kill().await;
    hooks.webhooks.clock = clock_ahead_by_hours(25);
    hooks.start_follower();
    hooks.start_dispatcher();
    hooks.paid_order("C").await;
    assert_eq!(receiver.until(3).await[2].signature.split(' ').count(), 1);
}

#[tokio::test]
async fn a_process_without_webhooks_refuses_subscriptions() {
    let shop = Shop::open().await;
    let refused = shop.post(PATH, "key", json!({"url": "https://example.com"})).await;
    refused.problem(404, "not_found");
}
