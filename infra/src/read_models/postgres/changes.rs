//! Notices commits of other processes, by what the server tells on a channel.

use std::{future::poll_fn, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_postgres::AsyncMessage;
use tokio_util::task::AbortOnDropHandle;

use super::write::CHANGES_CHANNEL;
use crate::postgres::{Connection, Database, Fault};

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Listens until dropped, on a connection of its own; a connection that is lost is made again.
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
            tracing::warn!(error = ?fault, "Changes of the read models are not heard of; connecting again");
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
    // Nothing moves unless the connection is polled.
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
    // What was committed before was not heard of.
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
        None => Err(Fault::Unavailable("the connection was closed".into())),
    }
}
