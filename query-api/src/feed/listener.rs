//! One listener: the frames of its answer, one after another.

use std::time::Duration;

use axum::body::Bytes;
use domain::Position;
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::hub::{Seat, Update, Updates};

/// Milliseconds after which a browser connects again.
const RECONNECT_AFTER_MS: u32 = 2_000;

/// A listener. The server asks it for the next frames when the client has read the ones before.
pub(super) struct Listener {
    seat: Seat,
    source: Source,
    /// The last event that the client has got, or after which it wants to go on.
    position: Position,
    shows_content: bool,
    renewed_at: Instant,
    is_new: bool,
    is_over: bool,
}

/// Where its frames come from.
enum Source {
    /// Every event. Watches how far the follower has read.
    WholeLog(watch::Receiver<Position>),
    /// The newest event of a subject.
    Newest {
        updates: Updates,
        /// Came before the first update.
        missed: Option<Update>,
        /// The next frame leaves at this time at the earliest.
        not_before: Instant,
    },
}

impl Listener {
    /// `missed`: an event after `position` that the follower does not deliver.
    pub fn new(seat: Seat, position: Position, missed: Option<Update>, shows_content: bool) -> Self {
        let source = match seat.updates() {
            Some(updates) => Source::Newest { updates, missed, not_before: Instant::now() },
            None => Source::WholeLog(seat.hub().reached()),
        };
        let renewed_at = Instant::now() + seat.hub().options.renewed_after;
        Self { seat, source, position, shows_content, renewed_at, is_new: true, is_over: false }
    }

    /// The next frames. `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        if std::mem::take(&mut self.is_new) {
            // The client knows at once where to go on, also if no event comes.
            return Some(format!("retry: {RECONNECT_AFTER_MS}\nid: {}\n\n", self.position).into());
        }
        let hub = self.seat.hub().clone();
        let reason = tokio::select! {
            biased;
            () = hub.stop.cancelled() => "stopping",
            () = hub.went_back.cancelled() => "log_went_back",
            () = time::sleep_until(self.renewed_at) => "renew",
            frames = self.frames() => return Some(frames),
            () = time::sleep(hub.options.heartbeat_every) => return Some(Bytes::from_static(b":\n\n")),
        };
        self.is_over = true;
        let position = self.position;
        let data = format!(r#"{{"after":{position},"reason":"{reason}"}}"#);
        Some(format!("id: {position}\nevent: dropped\ndata: {data}\n\n").into())
    }

    /// Cancel safe: `position` changes only when frames are returned.
    async fn frames(&mut self) -> Bytes {
        match &mut self.source {
            Source::WholeLog(reached) => {
                while *reached.borrow_and_update() <= self.position {
                    changed(reached).await;
                }
                let (frames, last) = self.seat.hub().frames_after(self.position).await;
                self.position = last;
                frames
            }
            Source::Newest { updates, missed, not_before } => {
                time::sleep_until(*not_before).await;
                let update = loop {
                    // The update can be older: from before the follower began.
                    let known = [updates.borrow_and_update().clone(), missed.take()].into_iter().flatten();
                    let newest = known.max_by_key(|update| update.position);
                    if let Some(update) = newest.filter(|update| update.position > self.position) {
                        break update;
                    }
                    changed(updates).await;
                };
                let update_every: Duration = self.seat.hub().options.update_every;
                *not_before = Instant::now() + update_every;
                self.position = update.position;
                if self.shows_content { update.content } else { update.notice }
            }
        }
    }
}

async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        // The hub lives as long as its seats.
        std::future::pending::<()>().await;
    }
}
