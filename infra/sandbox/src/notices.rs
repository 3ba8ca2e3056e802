//! Sends the notices in the ledger and retries until the receiver accepts them.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use domain::Timestamp;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use tokio::{task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use super::{
    http_client::HttpClient,
    ledger::{DueNotice, Ledger, LedgerError, NoticeOutcome},
    server::SharedScript,
};
use infra::signature::{SigningSecret, signed_headers};

const IN_FLIGHT_MAX: usize = 16;
/// Time limit for a request and its answer together.
const TIME_MAX: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// With pauses of up to 1 minute, about one day of attempts.
const ATTEMPTS_MAX: u32 = 1_440;
/// The longest time between two searches for due notices.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Sends notices; see the module.
#[derive(Debug)]
pub struct NoticeSender {
    pub ledger: Ledger,
    pub script: SharedScript,
    pub secret: SigningSecret,
    pub url: Uri,
}

impl NoticeSender {
    /// Runs until `shutdown`. Notices in progress at that time are sent again at the next start.
    pub async fn run(self, shutdown: CancellationToken) {
        let client = HttpClient::new(TIME_MAX);
        let mut sending: JoinSet<i64> = JoinSet::new();
        let mut in_progress: HashSet<i64> = HashSet::new();
        while !shutdown.is_cancelled() {
            let pause = match self.begin(&client, &mut sending, &mut in_progress).await {
                Ok(next) => next.map_or(POLL_INTERVAL, |at| until(at, self.ledger.now())),
                Err(error) => {
                    tracing::warn!(%error, "Cannot read the due notices of the sandbox; retrying");
                    POLL_INTERVAL
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.ledger.due.notice.notified() => {}
                () = time::sleep(pause) => {}
                Some(ended) = sending.join_next(), if !sending.is_empty() => match ended {
                    Ok(sequence) => {
                        in_progress.remove(&sequence);
                    }
                    Err(error) => tracing::error!(%error, "An attempt to send a notice of the sandbox panicked"),
                }
            }
        }
    }

    /// Starts sending due notices, as far as slots are free. Returns when the next one is due.
    async fn begin(
        &self,
        client: &HttpClient,
        sending: &mut JoinSet<i64>,
        in_progress: &mut HashSet<i64>,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let free = IN_FLIGHT_MAX.saturating_sub(sending.len());
        if free == 0 || self.script.get().outage {
            return Ok(None);
        }
        let (due, next) = self.ledger.due_notices(in_progress.iter().copied().collect(), free).await?;
        for notice in due {
            in_progress.insert(notice.sequence);
            let (client, ledger) = (client.clone(), self.ledger.clone());
            let (secret, url) = (self.secret.clone(), self.url.clone());
            sending.spawn(async move {
                let sequence = notice.sequence;
                let sent = attempt(&client, &secret, url, notice, ledger.now()).await;
                if let Err(error) = ledger.notice_sent(sequence, sent).await {
                    tracing::warn!(%error, "Cannot record the outcome of a notice of the sandbox; sending it again");
                }
                sequence
            });
        }
        Ok(next)
    }
}

async fn attempt(
    client: &HttpClient,
    secret: &SigningSecret,
    url: Uri,
    notice: DueNotice,
    now: Timestamp,
) -> NoticeOutcome {
    let body = Bytes::from(notice.body);
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = url;
    *request.headers_mut() = signed_headers(secret, &notice.message_id, now, &body);
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    let problem = match client.send(request).await {
        Ok((status, _)) if status.is_success() => return NoticeOutcome::Delivered,
        Ok((status, _)) => status_text(status),
        Err(error) => error.to_string(),
    };
    let attempts = notice.attempts + 1;
    if attempts >= ATTEMPTS_MAX {
        tracing::warn!(
            notice.id = notice.message_id,
            problem,
            "Gave up a notice of the sandbox after its last attempt"
        );
        return NoticeOutcome::GivenUp;
    }
    tracing::debug!(
        notice.id = notice.message_id,
        attempts,
        problem,
        "The receiver did not accept a notice of the sandbox; retrying"
    );
    NoticeOutcome::RetryAfter(pause(attempts))
}

fn status_text(status: StatusCode) -> String {
    format!("answered with {}", status.as_u16())
}

/// The pause after this number of failed attempts: doubles from 0.5 s to 1 minute.
fn pause(attempts: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX).max(1);
    FIRST_PAUSE.saturating_mul(factor).min(PAUSE_MAX)
}

/// The time from `now` until `at`: at least 1 ms, so callers never busy-loop, and at most 10 s.
pub(super) fn until(at: Timestamp, now: Timestamp) -> Duration {
    let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    wait.clamp(Duration::from_millis(1), POLL_INTERVAL)
}
