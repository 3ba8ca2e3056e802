//! Keeps one client at a time and replaces it after its connection is lost.
//!
//! A client of the library never recovers from a refused connection, and a client of a cluster keeps calling
//! a node that is down. So this module drops a failed client, and the next call creates another. Calls in
//! flight keep the old one.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use eventstore::Client;
use tokio::time::{Instant, timeout};

use super::config::EventStoreDbConfig;

/// Back-off after the second loss in a row. Each further loss doubles it, up to [`BACK_OFF_MAX`]. After the
/// first loss there is none.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The request was not sent.
    NotConnected(Arc<str>),
    /// The request was sent, and no answer arrived in time.
    TimedOut(Duration),
    Failed(eventstore::Error),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(why) => f.write_str(why),
            Self::TimedOut(after) => write!(f, "no answer from EventStoreDB within {} ms", after.as_millis()),
            Self::Failed(error) => write!(f, "EventStoreDB: {error}"),
        }
    }
}

pub(super) struct Connection {
    config: EventStoreDbConfig,
    call_time_max: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    client: Option<Client>,
    /// Counts clients, so that many concurrent failures replace only one.
    generation: u64,
    losses_in_a_row: u32,
    reconnect_not_before: Option<Instant>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Connection {
    pub fn new(config: EventStoreDbConfig, call_time_max: Duration) -> Self {
        Self { config, call_time_max, state: Mutex::default() }
    }

    /// The addresses of the servers, without credentials.
    pub fn server(&self) -> String {
        self.config.servers()
    }

    pub fn call_time_max(&self) -> Duration {
        self.call_time_max
    }

    /// Calls the server, for at most [`Connection::call_time_max`].
    pub async fn call<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, CallError>
    where
        F: Future<Output = eventstore::Result<T>>,
    {
        let (client, generation) = self.client()?;
        match timeout(self.call_time_max, call(client)).await {
            Err(_) => Err(CallError::TimedOut(self.call_time_max)),
            Ok(Ok(answer)) => {
                self.answered(generation);
                Ok(answer)
            }
            Ok(Err(error)) => {
                if is_loss(&error) {
                    self.lost(generation, &error);
                } else {
                    self.answered(generation);
                }
                Err(CallError::Failed(error))
            }
        }
    }

    fn client(&self) -> Result<(Client, u64), CallError> {
        let mut state = self.state();
        if let Some(client) = &state.client {
            return Ok((client.clone(), state.generation));
        }
        if state.reconnect_not_before.is_some_and(|earliest| Instant::now() < earliest) {
            let why = format!("no connection to EventStoreDB at {}; reconnecting soon", self.server());
            return Err(CallError::NotConnected(why.into()));
        }
        let client = Client::new(self.config.settings().clone())
            .map_err(|error| CallError::NotConnected(error.to_string().into()))?;
        state.client = Some(client.clone());
        state.generation += 1;
        Ok((client, state.generation))
    }

    fn answered(&self, generation: u64) {
        let mut state = self.state();
        if state.generation == generation && state.losses_in_a_row > 0 && state.client.is_some() {
            tracing::info!(eventstoredb.servers = %self.server(), "Connected to EventStoreDB again");
            state.losses_in_a_row = 0;
        }
    }

    fn lost(&self, generation: u64, error: &eventstore::Error) {
        let mut state = self.state();
        if state.generation != generation || state.client.is_none() {
            return;
        }
        let pause = match state.losses_in_a_row {
            0 => Duration::ZERO,
            losses => (BACK_OFF_MIN * 2u32.saturating_pow(losses - 1)).min(BACK_OFF_MAX),
        };
        tracing::warn!(
            eventstoredb.servers = %self.server(), %error, pause_ms = pause.as_millis(),
            "Lost the connection to EventStoreDB; reconnecting after the pause"
        );
        state.client = None;
        state.losses_in_a_row = state.losses_in_a_row.saturating_add(1);
        state.reconnect_not_before = Some(Instant::now() + pause);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if a client with this error must be replaced. The library maps gRPC's UNAVAILABLE, INTERNAL, UNKNOWN
/// and DATA_LOSS to `ServerError`: the connection was cut, the node stops, or the cluster has no leader.
fn is_loss(error: &eventstore::Error) -> bool {
    use eventstore::Error;
    matches!(error, Error::ConnectionClosed | Error::GrpcConnectionError(_) | Error::ServerError(_))
}
