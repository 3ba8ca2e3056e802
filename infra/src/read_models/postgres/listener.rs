//! Learns of the commits of all processes through a notification channel of the server.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use domain::StreamName;
use tokio_postgres::AsyncMessage;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    postgres::{Connection, Database, Fault, expect_primary},
    read_models::Waiters,
};

/// The channel that commits notify.
pub(super) const CHANGES_CHANNEL: &str = "orderly_read_models";

/// The server refuses a payload of 8,000 bytes.
const PAYLOAD_BYTES_MAX: usize = 7_900;
/// Names of streams contain no control characters.
const SEPARATOR: char = '\n';

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const CHECKED_EVERY: Duration = Duration::from_secs(1);
/// A server that does not answer a check in this time counts as lost.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens on its own connection until dropped. Reconnects after a loss, with back-off.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) waiters: Waiters,
    _listening: Arc<AbortOnDropHandle<()>>,
}

impl Listener {
    pub(super) fn start(database: Database) -> Self {
        let waiters = Waiters::default();
        let woken = waiters.clone();
        let listening = tokio::spawn(async move { listen_for_ever(&database, &woken).await });
        Self { waiters, _listening: Arc::new(AbortOnDropHandle::new(listening)) }
    }
}

async fn listen_for_ever(database: &Database, waiters: &Waiters) {
    let mut pause = PAUSE_MIN;
    loop {
        let Err(fault) = listen(database, waiters, &mut pause).await;
        if pause == PAUSE_MIN {
            tracing::warn!(error = ?fault, "Cannot listen for changes of the read models; reconnecting");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn listen(
    database: &Database,
    waiters: &Waiters,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, Fault> {
    let (client, mut connection) = database.connection().await?;
    let listen = format!("LISTEN {CHANGES_CHANNEL}");
    receive_until(&mut connection, waiters, client.batch_execute(&listen)).await??;
    *pause = PAUSE_MIN;
    // Commits before the LISTEN were not notified.
    waiters.wake_all();
    loop {
        receive_until(&mut connection, waiters, tokio::time::sleep(CHECKED_EVERY)).await?;
        // Another server may have become the primary, which this one does not say.
        let checked = tokio::time::timeout(CHECK_TIMEOUT, expect_primary(&client));
        let silent = |_| Fault::Unavailable("Postgres does not answer".into());
        receive_until(&mut connection, waiters, checked).await?.map_err(silent)??;
    }
}

/// Wakes the callers of each commit until `other` ends. A client makes progress only while its connection is polled.
async fn receive_until<T>(
    connection: &mut Connection,
    waiters: &Waiters,
    other: impl Future<Output = T>,
) -> Result<T, Fault> {
    let mut other = pin!(other);
    loop {
        tokio::select! {
            biased;
            ended = &mut other => return Ok(ended),
            message = next_message(connection) => {
                if let AsyncMessage::Notification(notification) = message? {
                    wake(waiters, notification.payload());
                }
            }
        }
    }
}

/// The notifications of a commit: the names of its streams.
pub(super) fn payloads(streams: impl Iterator<Item = StreamName>) -> Vec<String> {
    let mut payloads: Vec<String> = Vec::new();
    for stream in streams {
        let name = stream.to_string();
        match payloads.last_mut() {
            Some(payload) if payload.len() + 1 + name.len() <= PAYLOAD_BYTES_MAX => {
                payload.push(SEPARATOR);
                payload.push_str(&name);
            }
            _ => payloads.push(name),
        }
    }
    payloads
}

/// An empty payload comes from a rebuild, which changes every row.
fn wake(waiters: &Waiters, payload: &str) {
    let streams: Result<Vec<StreamName>, _> = payload.split(SEPARATOR).map(str::parse).collect();
    match streams {
        Ok(streams) => waiters.wake(&streams),
        Err(_) => waiters.wake_all(),
    }
}

async fn next_message(connection: &mut Connection) -> Result<AsyncMessage, Fault> {
    match poll_fn(|context| connection.poll_message(context)).await {
        Some(message) => Ok(message?),
        None => Err(Fault::Unavailable("Postgres closed the connection".into())),
    }
}

#[cfg(test)]
mod tests {
    use domain::Sku;

    use super::*;

    #[test]
    fn the_names_of_a_large_commit_are_divided_into_payloads_that_the_server_accepts() {
        let streams: Vec<StreamName> =
            (0..2_000).map(|sku| Sku::new(&format!("SKU {sku}")).unwrap().into()).collect();
        let payloads = payloads(streams.iter().cloned());
        assert!(payloads.len() > 2 && payloads.iter().all(|payload| payload.len() < 8_000));
        let named: Vec<StreamName> = payloads
            .iter()
            .flat_map(|payload| payload.split(SEPARATOR))
            .map(|name| name.parse().unwrap())
            .collect();
        assert_eq!(named, streams);
    }

    #[tokio::test(start_paused = true)]
    async fn a_payload_wakes_the_callers_of_its_streams_and_an_empty_one_wakes_all() {
        let waiters = Waiters::default();
        let stream: StreamName = Sku::new("A").unwrap().into();
        let mut changes = waiters.of(&stream);
        let mut woken = async || tokio::time::timeout(PAUSE_MAX, changes.next()).await.is_ok();
        wake(&waiters, "stock-B\nstock-C");
        assert!(!woken().await);
        wake(&waiters, "stock-B\nstock-A");
        assert!(woken().await);
        wake(&waiters, "");
        assert!(woken().await);
    }
}
