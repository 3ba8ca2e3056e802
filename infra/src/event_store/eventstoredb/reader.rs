//! The one reader of the log: fills the window from a subscription, and replaces a subscription that ended,
//! failed or fell silent.

use std::{sync::Arc, time::Duration};

use eventstore::{Error, StreamPosition, SubscriptionEvent};
use tokio::{
    task::JoinError,
    time::{self, Instant},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    connection::CallKind,
    reads::EventStoreDbLog,
    server::{begin_at, recorded_event},
    subscription,
    window::{Feed, Window},
};
use crate::event_store::{EventLog, ReadError};

/// Pause before a new subscription, if the last one ended within [`LIVED_MIN`]. Doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const LIVED_MIN: Duration = Duration::from_secs(1);
const WATCHED_EVERY: Duration = Duration::from_secs(1);
/// A subscription that delivers nothing for this long, although the log has further events, is replaced.
const BEHIND_MAX: Duration = Duration::from_secs(3);
/// After this long without an event, the end of the log is read, to learn whether the subscription is behind.
const QUIET_MAX: Duration = Duration::from_secs(10);

/// Why a subscription is replaced.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// No subscription was made, or the log is not the one that was read.
    #[error(transparent)]
    Refused(ReadError),
    #[error(transparent)]
    Lost(ReadError),
    #[error("the server ended the subscription")]
    ByServer,
    #[error("the subscription delivers nothing although the log has further events")]
    Silent,
}

/// Reads until every receiver of the window's head is dropped.
pub(super) async fn run(log: Arc<EventStoreDbLog>, window: Arc<Window>) {
    tokio::select! {
        () = window.unused() => {}
        () = keep_reading(&log, &window) => {}
    }
}

/// Returns if the log lost the last event of the window, which is final for a process.
async fn keep_reading(log: &Arc<EventStoreDbLog>, window: &Arc<Window>) {
    let mut pause = Duration::ZERO;
    loop {
        let begun = Instant::now();
        match read_until_end(log, window).await {
            Ended::Refused(error @ ReadError::WentBack(_)) => return window.fail(error),
            Ended::Refused(error) => {
                // At debug level, because the connection and the followers log it.
                tracing::debug!(%error, "Cannot subscribe to the log; retrying");
                window.fail(error);
            }
            ended => tracing::info!(reason = %ended, "Subscribing to the log again"),
        }
        let lived = begun.elapsed() >= LIVED_MIN;
        pause = if lived { Duration::ZERO } else { (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX) };
        time::sleep(pause).await;
    }
}

/// Subscribes and reads in tasks of their own: if the library blocks a thread after all, the watch goes on.
async fn read_until_end(log: &Arc<EventStoreDbLog>, window: &Arc<Window>) -> Ended {
    let died = |error: JoinError| {
        Ended::Refused(ReadError::Unavailable(format!("the reader of the log died: {error}").into()))
    };
    let subscribing = AbortOnDropHandle::new(tokio::spawn(subscribe(log.clone(), window.clone())));
    let subscribed = match subscribing.await.map_err(died) {
        Ok(Ok(subscribed)) => subscribed,
        Ok(Err(ended)) | Err(ended) => return ended,
    };
    window.recover();
    let mut reading = AbortOnDropHandle::new(tokio::spawn(read(subscribed, window.clone())));
    tokio::select! {
        ended = &mut reading => ended.unwrap_or_else(died),
        ended = watch(window, || look_at_end(log, window)) => ended,
    }
}

/// A confirmed subscription, with its first message.
struct Subscribed {
    feed: Feed,
    subscription: eventstore::Subscription,
    first: SubscriptionEvent,
}

/// Subscribes after the last event of the window.
async fn subscribe(log: Arc<EventStoreDbLog>, window: Arc<Window>) -> Result<Subscribed, Ended> {
    let (feed, mark) = window.begin_feed();
    let from = mark.as_ref().map_or(StreamPosition::Start, |mark| begin_at(mark.position));
    let subscribe = |client: eventstore::Client| async move {
        let mut subscription = subscription::subscribe(&client, from).await;
        // The first message confirms the subscription.
        let first = subscription::next(&mut subscription).await?.ok_or(Error::ConnectionClosed)?;
        Ok((subscription, first))
    };
    let confirmed = log.connection().call(CallKind::Subscription, subscribe).await;
    // After the confirmation, because a server that is restored later ends the subscription. Also after a
    // failure: a server cannot subscribe at a position where no event begins, and answers as if it had failed.
    if let Some(mark) = &mark {
        log.expect(mark).await.map_err(Ended::Refused)?;
    }
    let (subscription, first) = confirmed.map_err(|error| Ended::Refused(error.into()))?;
    Ok(Subscribed { feed, subscription, first })
}

/// Fills the window until the subscription ends.
async fn read(subscribed: Subscribed, window: Arc<Window>) -> Ended {
    let Subscribed { feed, mut subscription, first } = subscribed;
    let mut message = first;
    loop {
        if let Err(error) = take(&window, feed, message) {
            return Ended::Refused(error);
        }
        message = match subscription::next(&mut subscription).await {
            Ok(Some(message)) => message,
            Ok(None) => return Ended::ByServer,
            Err(error) => return Ended::Lost(ReadError::Unavailable(error.to_string().into())),
        };
    }
}

fn take(window: &Window, feed: Feed, message: SubscriptionEvent) -> Result<(), ReadError> {
    match message {
        SubscriptionEvent::EventAppeared(event) => {
            let Some(event) = event.event else { return Ok(()) };
            match event.stream_id.parse() {
                Ok(stream) => window.take(feed, recorded_event(event, stream)?),
                // An event of another application.
                Err(_) => window.cover(feed, event.position.commit),
            }
        }
        SubscriptionEvent::Checkpoint(position) => window.cover(feed, position.commit),
        SubscriptionEvent::Confirmed(_)
        | SubscriptionEvent::FirstStreamPosition(_)
        | SubscriptionEvent::LastStreamPosition(_)
        | SubscriptionEvent::LastAllPosition(_)
        | SubscriptionEvent::CaughtUp
        | SubscriptionEvent::FellBehind => {}
    }
    Ok(())
}

/// Reads the end of the log, which moves [`Window::seen`], and expects the last event of the window in the log.
async fn look_at_end(log: &EventStoreDbLog, window: &Window) -> Result<(), ReadError> {
    log.last_event().await?;
    match window.last_mark() {
        Some(mark) => log.expect(&mark).await,
        None => Ok(()),
    }
}

/// Waits until the subscription is silent although the log has events after those of the window. `look_at_end` reads
/// the end of the log.
async fn watch<F>(window: &Window, look_at_end: impl Fn() -> F) -> Ended
where
    F: Future<Output = Result<(), ReadError>>,
{
    let mut covered = window.covered();
    let mut compared_at = Instant::now();
    let mut behind_since = None;
    loop {
        time::sleep(WATCHED_EVERY).await;
        let now = window.covered();
        if now != covered {
            (covered, compared_at, behind_since) = (now, Instant::now(), None);
        }
        if compared_at.elapsed() >= QUIET_MAX {
            compared_at = Instant::now();
            if let Err(error) = look_at_end().await {
                return Ended::Lost(error);
            }
        }
        if *window.seen().borrow() <= covered {
            behind_since = None;
        } else if behind_since.get_or_insert_with(Instant::now).elapsed() >= BEHIND_MAX {
            return Ended::Silent;
        }
    }
}

#[cfg(test)]
mod tests;
