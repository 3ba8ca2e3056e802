//! Appends that share one call.
//!
//! A call for each append takes more processor time than anything else that an order needs: a request with its headers,
//! and a dozen changes of task. So while many appends are under way, they go as messages of one `BatchAppend` call, which
//! the server answers one by one.
//!
//! The library ends this call at the first append that the server refuses. The others get no answer then, and the
//! refusal has no details. So the call is only a shortcut: an append without success is sent again by itself, under the
//! same ids and the same expected revision. The server recognises what it has written, and says what it refuses.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use eventstore::{BatchAppendClient, BatchAppendOptions, BatchWriteResult, EventData, ExpectedRevision};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::connection::{CallKind, Connection};
use crate::measurements::Counter;

/// A call for many appends is opened once this many appends are under way.
const OPENED_AT: usize = 8;
/// Appends under way in the call. Further ones are sent by themselves.
const PLACES: usize = 512;
/// Bytes of data and metadata in an append of the call. A larger append would delay those behind it.
const BYTES_MAX: usize = 64 << 10;
/// Pause after a call that ended. Doubles while calls end within [`LIVED_MIN`]: where several processes write the same
/// streams, refusals are frequent, and each of them ends a call.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(64);
const LIVED_MIN: Duration = Duration::from_mins(1);

/// The current call, if there is one.
pub(super) struct Batches {
    connection: Arc<Connection>,
    state: Mutex<State>,
}

struct State {
    call: Call,
    pause: Duration,
}

enum Call {
    Closed { open_at: Instant },
    Opening,
    Open(Arc<Batch>),
}

/// An open call.
pub(super) struct Batch {
    client: BatchAppendClient,
    opened_at: Instant,
    places: Semaphore,
    appends: Counter,
}

impl Batches {
    pub fn new(connection: Arc<Connection>) -> Arc<Self> {
        let state = State { call: Call::Closed { open_at: Instant::now() }, pause: PAUSE_MIN };
        Arc::new(Self { connection, state: Mutex::new(state) })
    }

    /// The call for an append of this size; `None` if it is to be sent by itself. Begins to open a call if there is none
    /// and enough appends are under way.
    pub fn for_append(self: &Arc<Self>, bytes: usize, under_way: usize) -> Option<Arc<Batch>> {
        let mut state = self.state();
        match &state.call {
            Call::Open(batch) if bytes <= BYTES_MAX => return Some(Arc::clone(batch)),
            Call::Closed { open_at } if under_way >= OPENED_AT && *open_at <= Instant::now() => {
                state.call = Call::Opening;
                tokio::spawn(Arc::clone(self).open());
            }
            Call::Open(_) | Call::Opening | Call::Closed { .. } => {}
        }
        None
    }

    async fn open(self: Arc<Self>) {
        let options = BatchAppendOptions::default().requires_leader(true);
        let open = |client: eventstore::Client| async move { client.batch_append(&options).await };
        let opened = self.connection.call(CallKind::Batch, open).await;
        let mut state = self.state();
        match opened {
            Ok(client) => {
                let places = Semaphore::new(PLACES);
                let (opened_at, appends) = (Instant::now(), self.connection.appends());
                state.call = Call::Open(Arc::new(Batch { client, opened_at, places, appends }));
            }
            Err(error) => {
                tracing::debug!(%error, "Cannot open a call for many appends; sending each by itself");
                state.pause();
            }
        }
    }

    /// Closes a call that failed an append.
    pub fn close(&self, batch: &Arc<Batch>) {
        let mut state = self.state();
        let Call::Open(current) = &state.call else { return };
        if Arc::ptr_eq(current, batch) {
            if batch.opened_at.elapsed() >= LIVED_MIN {
                state.pause = PAUSE_MIN;
            }
            state.pause();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pause(&mut self) {
        self.call = Call::Closed { open_at: Instant::now() + self.pause };
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// Why an append of a call has no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsuccessful {
    /// The call has no place for it. It was not sent.
    Full,
    /// It may or may not be written, now or later.
    Unknown,
}

impl Batch {
    /// Appends events, within `answer_max`.
    pub async fn append(
        &self,
        stream: &str,
        expected: ExpectedRevision,
        events: Vec<EventData>,
        answer_max: Duration,
    ) -> Result<BatchWriteResult, Unsuccessful> {
        let Ok(_place) = self.places.try_acquire() else { return Err(Unsuccessful::Full) };
        self.appends.increment(1);
        match timeout(answer_max, self.client.append_to_stream(stream, expected, events)).await {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(error)) => {
                tracing::debug!(stream, %error, "An append among others has failed; sending it by itself");
                Err(Unsuccessful::Unknown)
            }
            Err(_) => Err(Unsuccessful::Unknown),
        }
    }
}
