//! Every request and its first answer.

use std::sync::{Arc, Mutex, MutexGuard};

use domain::OrderId;
use futures::{StreamExt, future::join_all, stream};
use serde_json::Value;

use crate::{log_reader::LogReader, server::Address};

/// The most repeated requests under way at once.
const REPEATS_AT_ONCE_MAX: usize = 32;

/// Every request since the directory was created. Cheap to clone.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug, Clone)]
struct Entry {
    request: Request,
    answer: Option<Answer>,
}

#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub key: String,
    pub body: Value,
    pub respond_async: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// True for answers that the platform stores and gives to every retry. It decides other refusals again.
    fn is_kept(&self) -> bool {
        self.status < 300 || self.body["code"] == "insufficient_stock"
    }

    fn order(&self) -> Option<OrderId> {
        self.body["order_id"].as_str().map(|id| id.parse().unwrap())
    }
}

impl Request {
    /// `None`: there is no answer, or the answer leaves the outcome open (503).
    async fn send(&self, server: &Address) -> Option<Answer> {
        let url = format!("{}{}", server.command_url, self.path);
        let mut request = server.http.post(url).header("idempotency-key", &self.key).json(&self.body);
        if self.respond_async {
            request = request.header("prefer", "respond-async");
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let body = response.json().await.ok()?;
        assert!(status < 500 || status == 503, "{self:?} was answered with {status}: {body}");
        (status != 503).then_some(Answer { status, body })
    }
}

impl Ledger {
    /// Records a request, sends it, and records its answer.
    pub async fn send(&self, server: &Address, request: Request) -> Option<Answer> {
        let place = {
            let mut entries = self.entries();
            entries.push(Entry { request: request.clone(), answer: None });
            entries.len() - 1
        };
        let answer = request.send(server).await;
        self.entries()[place].answer.clone_from(&answer);
        answer
    }

    /// Repeats every request without an answer; each must get one now. Returns how many there were.
    pub async fn retry_unanswered(&self, server: &Address) -> usize {
        let unanswered: Vec<usize> = {
            let entries = self.entries();
            (0..entries.len()).filter(|place| entries[*place].answer.is_none()).collect()
        };
        stream::iter(&unanswered)
            .for_each_concurrent(REPEATS_AT_ONCE_MAX, async |place| {
                let request = self.entries()[*place].request.clone();
                let answer = request.send(server).await;
                assert!(answer.is_some(), "no answer after the restart: {request:?}");
                self.entries()[*place].answer = answer;
            })
            .await;
        unanswered.len()
    }

    /// Repeats the latest answered requests and some earlier ones. Each must get its first answer again.
    pub async fn repeat_answered(&self, server: &Address, sample: usize, random: &mut fastrand::Rng) {
        let repeated: Vec<Entry> = {
            let entries = self.entries();
            let kept = |entry: &&Entry| entry.answer.as_ref().is_some_and(Answer::is_kept);
            let kept: Vec<&Entry> = entries.iter().filter(kept).collect();
            let latest = kept.iter().rev().take(sample);
            let earlier = random.choose_multiple(kept.iter(), sample);
            latest.chain(earlier).copied().cloned().collect()
        };
        stream::iter(repeated)
            .for_each_concurrent(REPEATS_AT_ONCE_MAX, async |entry| {
                let again = entry.request.send(server).await;
                assert_eq!(again, entry.answer, "{:?}", entry.request);
            })
            .await;
    }

    /// Checks that every order in an answer is in the log. (The log reader checks that no event is there
    /// twice.)
    pub fn assert_recorded(&self, log: &LogReader) {
        for entry in &*self.entries() {
            let Some(answer) = &entry.answer else { panic!("never answered: {:?}", entry.request) };
            let Some(id) = answer.order() else { continue };
            let order = log.orders.get(&id).unwrap_or_else(|| panic!("{id} is lost: {entry:?}"));
            if let Some(shipment) = answer.body["shipment_id"].as_str() {
                let known = order.shipments().iter().any(|known| known.shipment_id.to_string() == shipment);
                assert!(known, "the shipment is lost: {entry:?}");
            }
            if entry.request.path.ends_with("/cancel") && answer.status == 200 {
                assert!(order.status().is_final(), "the cancellation is lost: {entry:?}");
            }
        }
    }

    /// Reads some answered orders from the query API, at the revision of the answer. Returns how many.
    pub async fn read_back(&self, server: &Address, random: &mut fastrand::Rng) -> usize {
        let sample: Vec<Answer> = {
            let entries = self.entries();
            let answered = entries.iter().filter_map(|entry| entry.answer.as_ref());
            let orders = answered.filter(|answer| answer.status < 300 && answer.body["total"].is_number());
            random.choose_multiple(orders, 10).into_iter().cloned().collect()
        };
        let reading = sample.iter().map(async |answer| {
            let (id, revision) = (answer.order().unwrap(), &answer.body["revision"]);
            let url = format!("{}/v1/orders/{id}?min_revision={revision}", server.query_url);
            let response = server.http.get(url).send().await.unwrap();
            assert_eq!(response.status(), 200, "{id}");
            let order: Value = response.json().await.unwrap();
            assert_eq!(order["total"], answer.body["total"]);
            assert!(order["revision"].as_u64() >= revision.as_u64(), "{order}");
        });
        join_all(reading).await.len()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap()
    }
}
