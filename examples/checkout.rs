//! Buys six units of a SKU over HTTP: receives stock, places an order, charges the customer, ships, and reads
//! the order.
//!
//! Every command carries an `Idempotency-Key`. A client that gets no answer sends the same request with the
//! same key again: the platform executes the command once and repeats its first answer. The key must come
//! from your own data (a basket, a purchase order), so that the client finds it again after a crash.

use std::{error::Error, time::Duration};

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// Attempts of one request. With the pauses they span about 6 s.
const ATTEMPTS_MAX: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Shop {
    http: Client,
    command_url: String,
    query_url: String,
    /// For a platform that authenticates its callers.
    api_key: Option<String>,
}

impl Shop {
    /// For example `Shop::new("http://127.0.0.1:8080", "http://127.0.0.1:8081")`.
    pub fn new(command_url: &str, query_url: &str) -> Result<Self, Box<dyn Error>> {
        let http = Client::builder().timeout(Duration::from_secs(15)).build()?;
        let (command_url, query_url) = (command_url.to_owned(), query_url.to_owned());
        Ok(Self { http, command_url, query_url, api_key: None })
    }

    /// Sends this key, which needs the scopes `stock:write`, `orders:write`, `payments:write` and `read`.
    pub fn with_api_key(self, api_key: Option<String>) -> Self {
        Self { api_key, ..self }
    }

    /// Runs a checkout for the basket with this number. Returns the shipped order from the query API.
    pub async fn check_out(&self, basket: &str) -> Result<Value, Box<dyn Error>> {
        let receipt = json!({ "quantity": 100, "reference": format!("po-{basket}") });
        self.send("/v1/stock/85123A/receipts", &format!("po-{basket}/85123A"), &receipt).await?;

        // Amounts are in minor units: 255 is 2.55 GBP.
        let order = json!({
            "customer_id": "17850", "currency": "GBP", "country": "United Kingdom",
            "lines": [{ "sku": "85123A", "quantity": 6, "unit_price": 255 }],
        });
        let order = self.send("/v1/orders", &format!("checkout-{basket}"), &order).await?;
        let (order_id, payment_id) = (text(&order, "order_id")?, text(&order, "payment_id")?);

        // `ok` is a payment method of the sandbox. It always succeeds and moves no money.
        let charge = format!("/v1/payments/{payment_id}/charge");
        self.send(&charge, &format!("charge-{basket}"), &json!({ "method": "ok" })).await?;

        let shipments = format!("/v1/orders/{order_id}/shipments");
        let shipped =
            self.send(&shipments, &format!("ship-{basket}"), &json!({ "carrier": "Royal Mail" })).await?;

        // Read models follow the commands within milliseconds. `min_revision` waits for this command's
        // revision.
        self.read(&format!("/v1/orders/{order_id}?min_revision={}", shipped["revision"])).await
    }

    /// Sends a command until its answer is final.
    async fn send(&self, path: &str, key: &str, body: &Value) -> Result<Value, Box<dyn Error>> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let request = self.authorized(self.http.post(format!("{}{path}", self.command_url)));
            match request.header("Idempotency-Key", key).json(body).send().await {
                Ok(response) if is_final(response.status()) => {
                    let status = response.status();
                    let answer: Value = response.json().await?;
                    if status.is_success() {
                        return Ok(answer);
                    }
                    // A problem document (RFC 9457). Decide by `code`, which is stable; show `title` and
                    // `detail`.
                    return Err(format!("{path} was refused with {}: {answer}", answer["code"]).into());
                }
                // The outcome is unknown. The same key makes the repeat safe.
                Ok(response) if attempt == ATTEMPTS_MAX => {
                    return Err(
                        format!("{path}: still {} after {attempt} attempts", response.status()).into()
                    );
                }
                Err(error) if attempt == ATTEMPTS_MAX => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    async fn read(&self, path: &str) -> Result<Value, Box<dyn Error>> {
        let request = self.authorized(self.http.get(format!("{}{path}", self.query_url)));
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

/// False for answers that may change when the request is repeated.
fn is_final(status: StatusCode) -> bool {
    !status.is_server_error()
        && status != StatusCode::TOO_MANY_REQUESTS
        && status != StatusCode::REQUEST_TIMEOUT
}

fn text<'a>(answer: &'a Value, member: &str) -> Result<&'a str, Box<dyn Error>> {
    answer[member].as_str().ok_or_else(|| format!("the answer has no {member}: {answer}").into())
}
