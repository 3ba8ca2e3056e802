//! Moves the head when other processes append events.

use std::{sync::Arc, time::Duration};

use domain::Position;
use tokio::{sync::watch, time};

use super::{appends::raise, connection::Connection, reads};

/// Pause after a failed poll.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(250);

/// Polls the end of the log every `interval`, until every receiver of the head is dropped. Appends of this
/// process move the head at once, without a poll.
pub(super) async fn run(
    connection: Arc<Connection>,
    head: Arc<watch::Sender<Option<Position>>>,
    interval: Duration,
) {
    tokio::select! {
        () = head.closed() => {}
        () = follow(&connection, &head, interval) => {}
    }
}

async fn follow(connection: &Connection, head: &watch::Sender<Option<Position>>, interval: Duration) {
    loop {
        let known = *head.borrow();
        let pause = match reads::last_event(connection, known).await {
            Ok(last) => {
                raise(head, last.map(|event| event.position));
                interval
            }
            Err(error) => {
                // At debug level, because the connection already logs its loss as a warning.
                tracing::debug!(%error, "Cannot read the end of the log; retrying");
                PAUSE_AFTER_FAILURE
            }
        };
        time::sleep(pause).await;
    }
}
