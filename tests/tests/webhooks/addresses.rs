//! Addresses that webhooks must not be sent to.

use std::{io, net::IpAddr, sync::Mutex};

use async_trait::async_trait;
use webhooks::HostNames;

use super::{receiver::Reply, *};

/// A resolver whose answer changes.
#[derive(Clone)]
struct ChangingHostNames(Arc<Mutex<IpAddr>>);

impl ChangingHostNames {
    fn new(address: &str) -> Self {
        Self(Arc::new(Mutex::new(address.parse().unwrap())))
    }

    fn change_to(&self, address: &str) {
        *self.0.lock().unwrap() = address.parse().unwrap();
    }
}

#[async_trait]
impl HostNames for ChangingHostNames {
    async fn look_up(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![*self.0.lock().unwrap()])
    }
}

#[tokio::test]
async fn a_subscription_to_a_private_address_is_refused() {
    let hooks = Hooks::stopped(UrlGuard::new(false)).await;
    for url in [
        "https://127.0.0.1/hook",
        "https://10.1.2.3/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/hook",
        "https://[fd00::1]/hook",
        "https://[::ffff:10.0.0.1]/hook",
        "https://2130706433/hook",
        "https://localhost/hook",
        "http://example.com/hook",
        "ftp://example.com/hook",
        "https://user:password@example.com/hook",
        "not a url",
    ] {
        let refused = hooks.post(PATH, url, json!({"url": url})).await.problem(422, "webhook_url_refused");
        assert_eq!(refused["errors"][0]["field"], "url", "{url}");
    }
    assert_eq!(hooks.get(PATH).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_name_that_later_resolves_to_a_private_address_gets_no_request() {
    let names = ChangingHostNames::new("1.1.1.1");
    let mut hooks = Hooks::stopped(UrlGuard::with_names(false, Arc::new(names.clone()))).await;
    let receiver = Receiver::start(&[]).await;
    let url = format!("https://rebinding.example:{}/hook", receiver.port());
    let body = json!({"url": url, "event_types": ["order.placed.v2"]});
    let made = hooks.post(PATH, "subscribe", body).await.expect(201);
    let subscription = format!("{PATH}/{}", made["subscription_id"].as_str().unwrap());
    names.change_to("127.0.0.1");
    hooks.start_follower();
    hooks.start_dispatcher();
    hooks.paid_order("A").await;
    let failing = eventually("an attempt", async || {
        let found = hooks.deliveries(&subscription).await;
        found.into_iter().find(|one| one["attempts"] != 0)
    })
    .await;
    let error = failing["last_error"].as_str().unwrap();
    assert!(error.starts_with("the URL is refused: its host is, or resolves to"), "{error}");
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test]
async fn an_address_that_is_no_longer_permitted_gets_no_request() {
    let mut hooks = Hooks::stopped(UrlGuard::new(true)).await;
    let receiver = Receiver::start(&[]).await;
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    hooks.webhooks.guard = UrlGuard::new(false);
    hooks.start_follower();
    hooks.start_dispatcher();
    hooks.paid_order("A").await;
    let failing = eventually("an attempt", async || {
        let found = hooks.deliveries(&subscription).await;
        found.into_iter().find(|one| one["attempts"] != 0)
    })
    .await;
    assert_eq!(failing["last_error"], "the URL is refused: it must begin with https://");
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (hooks, elsewhere) = (Hooks::open().await, Receiver::start(&[]).await);
    let receiver = Receiver::start(&vec![Reply::Redirect(elsewhere.url()); 1_000]).await;
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    hooks.paid_order("A").await;
    receiver.until(2).await;
    let failing = hooks.deliveries(&subscription).await.remove(0);
    assert_eq!((&failing["last_status"], &failing["status"]), (&json!(307), &json!("pending")));
    assert_eq!(elsewhere.received().len(), 0);
}
