//! Stripe's HTTP API: credentials, idempotency keys, parameters, faults.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    SECRET_KEY,
    account::{Account, NewIntent, Refusal},
};

const KEY_LIFE: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, Default)]
pub(super) struct State {
    pub account: Account,
    keys: HashMap<String, StoredAnswer>,
    pub faults: VecDeque<(String, String, Fault)>,
    pub requests: Vec<Request>,
}

/// How the double breaks a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Executes the request, then cuts the connection.
    LoseAnswer,
    /// Cuts the connection without executing the request.
    LoseRequest,
    /// Executes the request and answers 500. The idempotency key stores the 500.
    FailAfter,
    /// Answers 500 without executing the request. The idempotency key stores the 500.
    FailBefore,
    /// Answers 429. Executes and stores nothing.
    RateLimit,
    /// Answers that another request uses the idempotency key now. Executes and stores nothing.
    KeyInUse,
    /// Executes the request, and answers after this time.
    Delay(Duration),
}

/// A request that the double received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub body: String,
    pub idempotency_key: Option<String>,
    pub stripe_version: Option<String>,
    pub traceparent: Option<String>,
}

/// The answer stored under an idempotency key.
#[derive(Debug)]
struct StoredAnswer {
    at: Timestamp,
    /// Path and body. Another request under the same key is refused.
    request: (String, String),
    request_id: String,
    answer: (StatusCode, Value),
}

type Shared = Arc<Mutex<State>>;
type Fields = Vec<(String, String)>;

pub(super) fn router(state: Shared) -> Router {
    Router::new().fallback(handle).with_state(state)
}

async fn handle(
    extract::State(state): extract::State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let request = Request {
        method: method.to_string(),
        path: uri.path_and_query().map_or_else(String::new, ToString::to_string),
        body: String::from_utf8_lossy(&body).into_owned(),
        idempotency_key: header("idempotency-key"),
        stripe_version: header("stripe-version"),
        traceparent: header("traceparent"),
    };
    let is_known = header("authorization") == Some(format!("Bearer {SECRET_KEY}"));
    let (fault, response) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = state.next_fault(&method, uri.path());
        let response = if is_known { state.answer(&request, uri.path(), fault) } else { unauthorized() };
        state.requests.push(request);
        (fault, response)
    };
    match fault {
        Some(Fault::LoseAnswer | Fault::LoseRequest) => broken(),
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            response
        }
        Some(Fault::FailAfter | Fault::FailBefore | Fault::RateLimit | Fault::KeyInUse) | None => response,
    }
}

/// An answer whose connection breaks before the first byte of the body.
fn broken() -> Response {
    let nothing = futures::stream::once(async { Err::<Bytes, _>(io::Error::other("broken on purpose")) });
    Response::new(Body::from_stream(nothing))
}

fn unauthorized() -> Response {
    let error = json!({ "type": "invalid_request_error", "message": "Invalid API Key provided." });
    respond(StatusCode::UNAUTHORIZED, &json!({ "error": error }), "req_none", None)
}

fn respond(status: StatusCode, body: &Value, request_id: &str, replay_of: Option<&str>) -> Response {
    let mut response = (status, body.to_string()).into_response();
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        headers.insert(name, value.parse().expect("the value is valid in a header"))
    };
    set("content-type", "application/json");
    set("request-id", request_id);
    if let Some(original) = replay_of {
        set("idempotent-replayed", "true");
        set("original-request", original);
    }
    response
}

impl State {
    fn next_fault(&mut self, method: &Method, path: &str) -> Option<Fault> {
        let parts: Vec<&str> = path.split('/').collect();
        let matches_one = |pattern: &str| {
            let pattern: Vec<&str> = pattern.split('/').collect();
            pattern.len() == parts.len()
                && pattern.iter().zip(&parts).all(|(want, is)| *want == "*" || want == is)
        };
        let matches = |patterns: &str| patterns.split('|').any(matches_one);
        let found =
            self.faults.iter().position(|(wanted, path, _)| wanted == method.as_str() && matches(path));
        self.faults.remove(found?).map(|(_, _, fault)| fault)
    }

    fn answer(&mut self, request: &Request, path: &str, fault: Option<Fault>) -> Response {
        let request_id = self.account.id("req");
        match fault {
            Some(Fault::RateLimit) => {
                let error =
                    json!({ "type": "invalid_request_error", "code": "rate_limit", "message": "Too many." });
                return respond(StatusCode::TOO_MANY_REQUESTS, &json!({ "error": error }), &request_id, None);
            }
            Some(Fault::KeyInUse) => {
                let error =
                    json!({ "type": "idempotency_error", "code": "idempotency_key_in_use", "message": "" });
                return respond(StatusCode::CONFLICT, &json!({ "error": error }), &request_id, None);
            }
            Some(Fault::LoseRequest) => return StatusCode::OK.into_response(),
            Some(Fault::LoseAnswer | Fault::FailAfter | Fault::FailBefore | Fault::Delay(_)) | None => {}
        }
        let key = request.idempotency_key.clone().filter(|_| request.method == "POST");
        let now = self.account.now();
        self.keys.retain(|_, stored| now.duration_since(stored.at) < KEY_LIFE);
        let parameters = (path.to_owned(), request.body.clone());
        if let Some(stored) = key.as_ref().and_then(|key| self.keys.get(key)) {
            if stored.request != parameters {
                let message = "Keys for idempotent requests can only be used with the same parameters.";
                let error = json!({ "type": "idempotency_error", "message": message });
                return respond(StatusCode::BAD_REQUEST, &json!({ "error": error }), &request_id, None);
            }
            return respond(stored.answer.0, &stored.answer.1, &request_id, Some(&stored.request_id));
        }
        let outcome = if fault == Some(Fault::FailBefore) {
            Ok(Value::Null)
        } else {
            self.execute(&request.method, path, request)
        };
        let (answer, is_stored) = match outcome {
            _ if matches!(fault, Some(Fault::FailAfter | Fault::FailBefore)) => {
                let error =
                    json!({ "type": "api_error", "message": "Something went wrong on Stripe's end." });
                ((StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error })), true)
            }
            Ok(object) => ((StatusCode::OK, object), true),
            Err(refusal) => ((refusal.status, json!({ "error": refusal.error })), refusal.is_stored),
        };
        let response = respond(answer.0, &answer.1, &request_id, None);
        if let Some(key) = key.filter(|_| is_stored) {
            self.keys.insert(key, StoredAnswer { at: now, request: parameters, request_id, answer });
        }
        response
    }

    fn execute(&mut self, method: &str, path: &str, request: &Request) -> Result<Value, Refusal> {
        let query = request.path.split_once('?').map_or("", |(_, query)| query);
        let source = if method == "POST" { &request.body } else { query };
        let fields: Fields = form_urlencoded::parse(source.as_bytes()).into_owned().collect();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let account = &mut self.account;
        match (method, &parts[..]) {
            ("POST", ["v1", "payment_intents"]) => {
                let id = account.create(new_intent(&fields)?)?;
                intent(account, &id, &fields)
            }
            ("GET", ["v1", "payment_intents", "search"]) => {
                only(&fields, &["query", "limit"])?;
                let wanted = parse_query(get(&fields, "query").unwrap_or_default())?;
                let found = account.intents(Some(&wanted));
                let url = "/v1/payment_intents/search";
                Ok(json!({ "object": "search_result", "data": found, "has_more": false, "url": url }))
            }
            ("GET", ["v1", "payment_intents"]) => {
                only(&fields, &["created", "limit", "starting_after"])?;
                list("/v1/payment_intents", account.intents(None), &fields)
            }
            ("GET", ["v1", "payment_intents", id]) => {
                only(&fields, &[])?;
                intent(account, id, &fields)
            }
            ("POST", ["v1", "payment_intents", id, "confirm"]) => {
                only(&fields, &["payment_method"])?;
                account.confirm(id, get(&fields, "payment_method"))?;
                intent(account, id, &fields)
            }
            ("POST", ["v1", "payment_intents", id, "capture"]) => {
                only(&fields, &["amount_to_capture", "final_capture"])?;
                let is_last = get(&fields, "final_capture") != Some("false");
                account.capture(id, number(&fields, "amount_to_capture")?, is_last)?;
                intent(account, id, &fields)
            }
            ("POST", ["v1", "payment_intents", id, "cancel"]) => {
                only(&fields, &["cancellation_reason"])?;
                account.cancel(id, get(&fields, "cancellation_reason").map(ToOwned::to_owned))?;
                intent(account, id, &fields)
            }
            ("POST", ["v1", "refunds"]) => {
                only(&fields, &["payment_intent", "amount", "metadata"])?;
                let of = get(&fields, "payment_intent")
                    .ok_or_else(|| Refusal::unparsed("Missing", "payment_intent"))?;
                account.refund(of, number(&fields, "amount")?, metadata(&fields))
            }
            ("GET", ["v1", "refunds"]) => {
                only(&fields, &["created", "payment_intent", "limit", "starting_after"])?;
                let page = list("/v1/refunds", account.refunds(get(&fields, "payment_intent")), &fields)?;
                Ok(expand_intents(account, page, &fields))
            }
            ("GET", ["v1", "refunds", id]) => account.find_refund(id),
            ("GET", ["v1", "disputes"]) => {
                only(&fields, &["created", "payment_intent", "limit", "starting_after"])?;
                let page = list("/v1/disputes", account.disputes(get(&fields, "payment_intent")), &fields)?;
                Ok(expand_intents(account, page, &fields))
            }
            _ => Err(Refusal {
                status: StatusCode::NOT_FOUND,
                ..Refusal::unparsed("Unrecognized request URL", "")
            }),
        }
    }
}

fn intent(account: &Account, id: &str, fields: &Fields) -> Result<Value, Refusal> {
    let with_charge =
        fields.iter().any(|(name, value)| name.starts_with("expand[") && value == "latest_charge");
    Ok(account.intent(id)?.json(with_charge))
}

fn new_intent(fields: &Fields) -> Result<NewIntent, Refusal> {
    let known = [
        "amount",
        "currency",
        "payment_method",
        "payment_method_options",
        "capture_method",
        "automatic_payment_methods",
        "metadata",
    ];
    only(fields, &known)?;
    let amount = number(fields, "amount")?.ok_or_else(|| Refusal::unparsed("Missing", "amount"))?;
    let currency = get(fields, "currency").ok_or_else(|| Refusal::unparsed("Missing", "currency"))?;
    if amount < 1 {
        return Err(Refusal::unparsed("This value must be greater than or equal to 1.", "amount"));
    }
    if matches!(currency, "isk" | "ugx") && amount % 100 != 0 {
        return Err(Refusal::unparsed("Amounts must be evenly divisible by 100.", "amount"));
    }
    Ok(NewIntent {
        amount,
        currency: currency.to_owned(),
        payment_method: get(fields, "payment_method").map(ToOwned::to_owned),
        manual_capture: get(fields, "capture_method") == Some("manual"),
        multicapture: get(fields, "payment_method_options[card][request_multicapture]")
            == Some("if_available"),
        metadata: metadata(fields),
    })
}

/// A page of objects that were created in the wanted period, newest first.
fn list(url: &str, mut objects: Vec<Value>, fields: &Fields) -> Result<Value, Refusal> {
    let created = |object: &Value| object["created"].as_i64().unwrap_or_default();
    let from = number(fields, "created[gte]")?.unwrap_or(i64::MIN);
    let to = number(fields, "created[lt]")?.unwrap_or(i64::MAX);
    // Stable: of the same second, the one that was made last comes first.
    objects.reverse();
    objects.sort_by_key(|object| std::cmp::Reverse(created(object)));
    if let Some(after) = get(fields, "starting_after") {
        let index = objects.iter().position(|object| object["id"] == after);
        objects.drain(..=index.ok_or_else(|| Refusal::unparsed("No such object", "starting_after"))?);
    }
    objects.retain(|object| (from..to).contains(&created(object)));
    let limit = number(fields, "limit")?.unwrap_or(10);
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit));
    let limit = limit.ok_or_else(|| Refusal::unparsed("A limit is 1 to 100", "limit"))?;
    let has_more = objects.len() > limit;
    objects.truncate(limit);
    Ok(json!({ "object": "list", "data": objects, "has_more": has_more, "url": url }))
}

/// Replaces the id of each object's intent by the intent, if the request expands it.
fn expand_intents(account: &Account, mut page: Value, fields: &Fields) -> Value {
    let is_expanded =
        fields.iter().any(|(name, value)| name.starts_with("expand[") && value == "data.payment_intent");
    for object in page["data"].as_array_mut().into_iter().flatten().filter(|_| is_expanded) {
        let intent = object["payment_intent"].as_str().and_then(|id| account.intent(id).ok());
        object["payment_intent"] = intent.map_or(Value::Null, |intent| intent.json(false));
    }
    page
}

/// Refuses parameters outside `known`, as Stripe does.
fn only(fields: &Fields, known: &[&str]) -> Result<(), Refusal> {
    for (name, _) in fields {
        let outer = name.split('[').next().unwrap_or_default();
        if outer != "expand" && !known.contains(&outer) {
            return Err(Refusal::unparsed(&format!("Received unknown parameter: {name}"), name));
        }
    }
    Ok(())
}

fn get<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(is, _)| is == name).map(|(_, value)| value.as_str())
}

fn number(fields: &Fields, name: &str) -> Result<Option<i64>, Refusal> {
    let parse = |text: &str| text.parse().map_err(|_| Refusal::unparsed("Invalid integer", name));
    get(fields, name).map(parse).transpose()
}

fn metadata(fields: &Fields) -> Map<String, Value> {
    let of = |name: &str| Some(name.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned());
    fields.iter().filter_map(|(name, value)| Some((of(name)?, json!(value)))).collect()
}

/// Parses the part of Stripe's query language that the platform uses: `metadata['name']:'value'`, joined by
/// AND.
fn parse_query(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    let clause = |text: &str| {
        let (name, value) = text.trim().strip_prefix("metadata['")?.split_once("']:'")?;
        Some((name.to_owned(), value.strip_suffix('\'')?.to_owned()))
    };
    let clauses: Option<Vec<_>> = query.split(" AND ").map(clause).collect();
    clauses.ok_or_else(|| Refusal::unparsed("We were unable to parse your search query.", "query"))
}
