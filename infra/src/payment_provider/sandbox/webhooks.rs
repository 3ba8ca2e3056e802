//! Sends what the ledger has to tell, again and again until it is taken.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use domain::Timestamp;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use tokio::{task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use super::{
    http_client::HttpClient,
    ledger::{DueWebhook, Ledger, LedgerError, Sent},
    server::SharedScript,
};
use crate::signature::{Secret, signed_headers};

const IN_FLIGHT_MAX: usize = 16;
const TIME_MAX: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// A day of them, about.
const ATTEMPTS_MAX: u32 = 1_440;
/// How often to look without being told.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Sender {
    pub ledger: Ledger,
    pub script: SharedScript,
    pub secret: Secret,
    pub url: Uri,
}

impl Sender {
    /// Until `shutdown`. What is under way then is sent again at the next start.
    pub async fn run(self, shutdown: CancellationToken) {
        let client = HttpClient::new(TIME_MAX);
        let mut sending: JoinSet<i64> = JoinSet::new();
        let mut under_way: HashSet<i64> = HashSet::new();
        while !shutdown.is_cancelled() {
            let pause = match self.begin(&client, &mut sending, &mut under_way).await {
                Ok(next) => next.map_or(LOOK_EVERY, |at| until(at, self.ledger.now())),
                Err(error) => {
                    tracing::warn!(%error, "It is not known which webhooks are due; trying again");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.ledger.due.webhook.notified() => {}
                () = time::sleep(pause) => {}
                Some(ended) = sending.join_next(), if !sending.is_empty() => match ended {
                    Ok(sequence) => {
                        under_way.remove(&sequence);
                    }
                    Err(error) => tracing::error!(%error, "A webhook ended unexpectedly"),
                }
            }
        }
    }

    /// Begins to send what is due, as far as there is room; says when the next is.
    async fn begin(
        &self,
        client: &HttpClient,
        sending: &mut JoinSet<i64>,
        under_way: &mut HashSet<i64>,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let room = IN_FLIGHT_MAX.saturating_sub(sending.len());
        if room == 0 || self.script.get().outage {
            return Ok(None);
        }
        let (due, next) = self.ledger.due_webhooks(under_way.iter().copied().collect(), room).await?;
        for webhook in due {
            under_way.insert(webhook.sequence);
            let (client, ledger) = (client.clone(), self.ledger.clone());
            let (secret, url) = (self.secret.clone(), self.url.clone());
            sending.spawn(async move {
                let sequence = webhook.sequence;
                let sent = attempt(&client, &secret, url, webhook, ledger.now()).await;
                if let Err(error) = ledger.webhook_sent(sequence, sent).await {
                    tracing::warn!(%error, "It is not noted what became of a webhook; it is sent again");
                }
                sequence
            });
        }
        Ok(next)
    }
}

async fn attempt(
    client: &HttpClient,
    secret: &Secret,
    url: Uri,
    webhook: DueWebhook,
    now: Timestamp,
) -> Sent {
    let body = Bytes::from(webhook.body);
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = url;
    *request.headers_mut() = signed_headers(secret, &webhook.message_id, now, &body);
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    let problem = match client.send(request).await {
        Ok((status, _)) if status.is_success() => return Sent::Delivered,
        Ok((status, _)) => status_text(status),
        Err(error) => error.to_string(),
    };
    let attempts = webhook.attempts + 1;
    if attempts >= ATTEMPTS_MAX {
        tracing::warn!(webhook.id = webhook.message_id, problem, "A webhook of the sandbox is given up");
        return Sent::GivenUp;
    }
    tracing::debug!(
        webhook.id = webhook.message_id,
        attempts,
        problem,
        "A webhook of the sandbox was not taken"
    );
    Sent::Again { after: pause(attempts) }
}

fn status_text(status: StatusCode) -> String {
    format!("answered with {}", status.as_u16())
}

/// Doubles, up to a limit.
fn pause(attempts: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX).max(1);
    FIRST_PAUSE.saturating_mul(factor).min(PAUSE_MAX)
}

/// Never nothing: whoever waits for what is not ready yet does not spin.
pub(super) fn until(at: Timestamp, now: Timestamp) -> Duration {
    let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    wait.clamp(Duration::from_millis(1), LOOK_EVERY)
}
