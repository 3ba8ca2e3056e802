//! Keeps the head up to date with what other processes write.

use std::{sync::Arc, time::Duration};

use domain::Position;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{appends::raise, reads::Reader};

/// How long to leave a server alone that does not answer.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(250);

/// Looks at the end of the log again and again. What this process appends itself moves the head at once.
pub(super) async fn run(
    reader: Reader,
    head: Arc<watch::Sender<Option<Position>>>,
    interval: Duration,
    stop: CancellationToken,
) {
    let following = async {
        loop {
            let known = *head.borrow();
            let pause = match reader.last_position(known).await {
                Ok(last) => {
                    raise(&head, last);
                    interval
                }
                // Said where the connection was lost.
                Err(error) => {
                    tracing::debug!(%error, "The end of the log could not be read");
                    PAUSE_AFTER_FAILURE
                }
            };
            time::sleep(pause).await;
        }
    };
    let _: Option<()> = stop.run_until_cancelled(following).await;
}
