//! Learns of the commits of all processes through a notification channel of the server.

use std::{future::poll_fn, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_postgres::AsyncMessage;
use tokio_util::task::AbortOnDropHandle;

use crate::postgres::{Connection, Database, Fault};

/// The channel that commits notify.
pub(super) const CHANGES_CHANNEL: &str = "orderly_read_models";

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Listens on its own connection until dropped. Reconnects after a loss, with back-off.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) changed: watch::Receiver<u64>,
    _listening: Arc<AbortOnDropHandle<()>>,
}

impl Listener {
    pub(super) fn start(database: Database) -> Self {
        let (sender, changed) = watch::channel(0);
        let listening = tokio::spawn(async move { listen_for_ever(&database, &sender).await });
        Self { changed, _listening: Arc::new(AbortOnDropHandle::new(listening)) }
    }
}

async fn listen_for_ever(database: &Database, changed: &watch::Sender<u64>) {
    let mut pause = PAUSE_MIN;
    loop {
        let Err(fault) = listen(database, changed, &mut pause).await;
        if pause == PAUSE_MIN {
            tracing::warn!(error = ?fault, "Cannot listen for changes of the read models; reconnecting");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn listen(
    database: &Database,
    changed: &watch::Sender<u64>,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, Fault> {
    let (client, mut connection) = database.connection().await?;
    let listen = format!("LISTEN {CHANGES_CHANNEL}");
    let mut subscribing = std::pin::pin!(client.batch_execute(&listen));
    // The client makes progress only while the connection is polled.
    loop {
        tokio::select! {
            biased;
            subscribed = &mut subscribing => {
                subscribed?;
                break;
            }
            message = next_message(&mut connection) => drop(message?),
        }
    }
    *pause = PAUSE_MIN;
    // Commits before the LISTEN were not notified.
    changed.send_modify(|commits| *commits += 1);
    loop {
        if let AsyncMessage::Notification(_) = next_message(&mut connection).await? {
            changed.send_modify(|commits| *commits += 1);
        }
    }
}

async fn next_message(connection: &mut Connection) -> Result<AsyncMessage, Fault> {
    match poll_fn(|context| connection.poll_message(context)).await {
        Some(message) => Ok(message?),
        None => Err(Fault::Unavailable("Postgres closed the connection".into())),
    }
}
