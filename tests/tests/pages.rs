//! The web pages over a whole platform, as a browser uses them.

mod access;
mod acting;
mod audit;
mod log;
mod operating;
mod reading;

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use infra::{clock::Clock, http::Gate, sealing::SecretKeys};
use query_api::{
    LogAccess, QueryApi, QueryApiOptions,
    pages::{CommandApiAccess, PagesOptions, Platform},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::support::{Shop, ShopOptions, eventually};

const HOST: &str = "orderly.test";

/// A platform whose pages forward to its command API.
struct Pages {
    shop: Shop,
    router: Router,
}

impl Pages {
    async fn open() -> Self {
        Self::behind(Gate::open(), SecretKeys::of_this_process().unwrap()).await
    }

    async fn behind(gate: Gate, keys: SecretKeys) -> Self {
        let options = ShopOptions { gate: gate.clone(), ..ShopOptions::default() };
        Self::over(Shop::with(options).await, gate, keys).await
    }

    async fn over(shop: Shop, gate: Gate, keys: SecretKeys) -> Self {
        let url = serve(shop.router()).await;
        let router = query_api::router(api(&shop, gate, keys, Some(url)));
        Self { shop, router }
    }

    /// A paid order, as soon as the pages show it.
    async fn paid_order(&self, lines: &[Value]) -> String {
        for line in lines {
            self.shop.receive(line["sku"].as_str().unwrap(), 100).await;
        }
        let order = self.shop.place("order", lines).await.expect(201);
        self.shop.pay(&order).await;
        let id = order["order_id"].as_str().unwrap().to_owned();
        self.until(&format!("/v1/orders/{id}"), |order| order["payment_status"] == "paid").await;
        id
    }

    /// Waits until an answer of the API is as wanted.
    async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(path, async || {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = self.router.clone().oneshot(request).await.unwrap();
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            serde_json::from_slice(&body).ok().filter(|value| is_so(value))
        })
        .await
    }

    fn browser(&self) -> Browser {
        Browser::at(&self.router)
    }
}

/// Serves a command API. Returns its URL.
async fn serve(commands: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, commands).await.unwrap() });
    url
}

/// The query API of a shop.
fn api(shop: &Shop, gate: Gate, keys: SecretKeys, command_url: Option<String>) -> QueryApi {
    let (log, options) = (LogAccess::of(shop.events().log()), QueryApiOptions::default());
    let commands = command_url.map(|url| CommandApiAccess { url });
    let pages =
        PagesOptions { platform: Platform::default(), measurements: None, commands, auditor: None, keys };
    QueryApi::new(Arc::clone(&shop.queries), None, log, Clock::system(), options)
        .behind(gate)
        .with_pages(pages)
}

/// An answer to a browser.
#[derive(Debug)]
struct Shown {
    status: StatusCode,
    headers: HeaderMap,
    html: String,
}

impl Shown {
    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.html);
        self
    }

    /// The page that the browser is sent to.
    #[track_caller]
    fn location(&self) -> &str {
        assert!(self.status.is_redirection(), "{} {}", self.status, self.html);
        self.headers[header::LOCATION].to_str().unwrap()
    }

    #[track_caller]
    fn has(&self, text: &str) -> &Self {
        assert!(self.html.contains(text), "{text:?} is not in {}", self.html);
        self
    }

    #[track_caller]
    fn has_not(&self, text: &str) -> &Self {
        assert!(!self.html.contains(text), "{text:?} is in {}", self.html);
        self
    }

    /// The values of a form's fields, as a browser would send them.
    fn fields(&self) -> Vec<(String, String)> {
        let main = self.html.split_once("<main").map_or("", |(_, main)| main);
        let main = main.split_once("</main>").map_or(main, |(main, _)| main);
        let tags = main.split("<input").skip(1).map(|rest| rest.split_once('>').unwrap().0);
        let attribute = |tag: &str, name: &str| {
            let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
            let value = rest.split_once('"')?.0;
            Some(
                value.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"),
            )
        };
        let sent = tags.filter(|tag| !tag.contains("checkbox") || tag.contains(" checked"));
        let field = |tag: &str| Some((attribute(tag, "name")?, attribute(tag, "value").unwrap_or_default()));
        sent.filter_map(field).collect()
    }
}

/// A browser with its cookies.
struct Browser {
    router: Router,
    cookies: Mutex<Vec<(String, String)>>,
}

impl Browser {
    fn at(router: &Router) -> Self {
        Self { router: router.clone(), cookies: Mutex::default() }
    }

    async fn get(&self, uri: &str) -> Shown {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    /// Sends a form from a page of the same server.
    async fn submit(&self, uri: &str, fields: &[(String, String)]) -> Shown {
        self.submit_from(&format!("http://{HOST}"), uri, fields).await
    }

    async fn submit_from(&self, origin: &str, uri: &str, fields: &[(String, String)]) -> Shown {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(uri)
            .header(header::ORIGIN, origin)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn send(&self, mut request: Request<Body>) -> Shown {
        let cookies = self.cookies.lock().unwrap().clone();
        let cookies: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, "text/html,*/*;q=0.8".parse().unwrap());
        headers.insert(header::HOST, HOST.parse().unwrap());
        if !cookies.is_empty() {
            headers.insert(header::COOKIE, cookies.join("; ").parse().unwrap());
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let html = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        for line in head.headers.get_all(header::SET_COOKIE) {
            let (name, value) = line.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            let mut cookies = self.cookies.lock().unwrap();
            cookies.retain(|(kept, _)| kept != name);
            cookies.push((name.to_owned(), value.to_owned()));
        }
        Shown { status: head.status, headers: head.headers, html: String::from_utf8(html).unwrap() }
    }

    /// Logs in with what a caller sends as its credential.
    async fn log_in(&self, bearer: &str) -> Shown {
        let mut fields = self.get("/login").await.expect(200).fields();
        set(&mut fields, "key", bearer.trim_start_matches("Bearer "));
        self.submit("/login", &fields).await
    }
}

/// Types a value into a field.
fn set(fields: &mut Vec<(String, String)>, name: &str, value: &str) {
    fields.retain(|(known, _)| known != name);
    fields.push((name.to_owned(), value.to_owned()));
}

fn line(sku: &str, quantity: u32, unit_price: i64) -> Value {
    json!({"sku": sku, "quantity": quantity, "unit_price": unit_price})
}
