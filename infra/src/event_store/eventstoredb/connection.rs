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

use eventstore::{Client, Error};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::{
    EventStoreDbOptions, config::EventStoreDbConfig, errors::EventStoreDbOpenError, no_delay, trust,
};
use crate::measurements::{Counter, EVENTSTOREDB_CALLS};

/// Back-off after the second loss in a row. Each further loss doubles it, up to [`BACK_OFF_MAX`]. After the
/// first loss there is none.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// While the server is lost, a call waits at most this long for a new connection.
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(1);
/// A client that has no connection after this time is replaced. It tries each node of a cluster for 3 s, so it gets
/// past one silent node.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often one call follows the server's answer that another node is the leader.
const LEADERS_FOLLOWED_MAX: u32 = 2;

/// What a call does, for the metric that counts calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    Append,
    /// A call that carries many appends. Each of them counts as [`CallKind::Append`] too.
    Batch,
    StreamRead,
    /// A read of the whole log.
    AllRead,
    Subscription,
}

/// Counts requests to the server by their kind, with repeated ones.
struct Calls {
    appends: Counter,
    batches: Counter,
    stream_reads: Counter,
    all_reads: Counter,
    subscriptions: Counter,
}

impl Calls {
    fn new() -> Self {
        Self {
            appends: EVENTSTOREDB_CALLS.with(["append"]),
            batches: EVENTSTOREDB_CALLS.with(["batch"]),
            stream_reads: EVENTSTOREDB_CALLS.with(["stream_read"]),
            all_reads: EVENTSTOREDB_CALLS.with(["all_read"]),
            subscriptions: EVENTSTOREDB_CALLS.with(["subscription"]),
        }
    }

    fn of(&self, kind: CallKind) -> &Counter {
        match kind {
            CallKind::Append => &self.appends,
            CallKind::Batch => &self.batches,
            CallKind::StreamRead => &self.stream_reads,
            CallKind::AllRead => &self.all_reads,
            CallKind::Subscription => &self.subscriptions,
        }
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The request was not sent.
    NotConnected(Arc<str>),
    /// The request was sent, and no answer arrived in time.
    TimedOut(Duration),
    Failed(Error),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(why) => f.write_str(why),
            Self::TimedOut(after) => write!(f, "no answer from EventStoreDB within {} ms", after.as_millis()),
            Self::Failed(Error::NotLeaderException(leader)) => {
                write!(f, "EventStoreDB: the leader is another node, {}:{}", leader.host, leader.port)
            }
            Self::Failed(error) => write!(f, "EventStoreDB: {error}"),
        }
    }
}

pub(super) struct Connection {
    config: EventStoreDbConfig,
    call_time_max: Duration,
    state: Mutex<State>,
    calls: Calls,
    _without_delay: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// Counts clients, so that many concurrent failures replace only one.
    generation: u64,
    losses_in_a_row: u32,
    reconnect_not_before: Option<Instant>,
}

/// The client in use.
struct Current {
    client: Client,
    created: Instant,
    /// True once the client has reached a server.
    is_connected: bool,
    last_answer: Option<Instant>,
}

/// The client of one call.
struct Turn {
    client: Client,
    generation: u64,
    /// Until when the call waits for the client's connection; `None` if it has one.
    connect_until: Option<Instant>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects at the first call.
    pub fn new(
        config: EventStoreDbConfig,
        options: &EventStoreDbOptions,
    ) -> Result<Self, EventStoreDbOpenError> {
        let config = trust::prepared(config)?;
        let keeping = tokio::spawn(no_delay::keep(options.health.clone()));
        Ok(Self {
            config,
            call_time_max: options.call_time_max,
            state: Mutex::default(),
            calls: Calls::new(),
            _without_delay: AbortOnDropHandle::new(keeping),
        })
    }

    /// The addresses of the servers, without credentials.
    pub fn server(&self) -> String {
        self.config.servers()
    }

    pub fn config(&self) -> &EventStoreDbConfig {
        &self.config
    }

    /// The count of appends, for those that share a call.
    pub fn appends(&self) -> Counter {
        self.calls.appends.clone()
    }

    pub fn call_time_max(&self) -> Duration {
        self.call_time_max
    }

    /// Calls the server, for at most [`Connection::call_time_max`]. Calls the leader if another node answers that
    /// it is not the leader.
    pub async fn call<T, F>(
        &self,
        kind: CallKind,
        call: impl FnOnce(Client) -> F + Clone,
    ) -> Result<T, CallError>
    where
        F: Future<Output = eventstore::Result<T>>,
    {
        self.call_until(Instant::now() + self.call_time_max, kind, call).await
    }

    /// Like [`Connection::call`], for a caller whose time has begun before.
    pub async fn call_until<T, F>(
        &self,
        deadline: Instant,
        kind: CallKind,
        call: impl FnOnce(Client) -> F + Clone,
    ) -> Result<T, CallError>
    where
        F: Future<Output = eventstore::Result<T>>,
    {
        let mut leaders_followed = 0;
        loop {
            let turn = self.turn(deadline)?;
            self.connect(&turn).await?;
            let begun = Instant::now();
            self.calls.of(kind).increment(1);
            match timeout_at(deadline, call.clone()(turn.client)).await {
                Err(_) => {
                    let error = CallError::TimedOut(self.call_time_max);
                    self.silent(turn.generation, begun, &error);
                    return Err(error);
                }
                Ok(Ok(answer)) => {
                    self.answered(turn.generation);
                    return Ok(answer);
                }
                // The library has begun to connect to the leader. It does so before it takes the next call.
                Ok(Err(Error::NotLeaderException(_))) if leaders_followed < LEADERS_FOLLOWED_MAX => {
                    self.answered(turn.generation);
                    leaders_followed += 1;
                }
                Ok(Err(error)) => {
                    let is_loss = is_loss(&error);
                    let error = CallError::Failed(error);
                    if is_loss {
                        self.lost(turn.generation, &error);
                    } else {
                        self.answered(turn.generation);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Waits until the client has a connection, so a call that gets none is known not to be sent.
    async fn connect(&self, turn: &Turn) -> Result<(), CallError> {
        let Some(until) = turn.connect_until else { return Ok(()) };
        let error = match timeout_at(until, turn.client.server_info()).await {
            Ok(Ok(_)) => {
                self.connected(turn.generation);
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let why = format!("no connection to EventStoreDB at {} in time", self.server());
                let error = CallError::NotConnected(why.into());
                self.still_connecting(turn.generation, &error);
                return Err(error);
            }
        };
        let error = CallError::NotConnected(format!("EventStoreDB at {}: {error}", self.server()).into());
        self.lost(turn.generation, &error);
        Err(error)
    }

    fn turn(&self, deadline: Instant) -> Result<Turn, CallError> {
        let (mut state, now) = (self.state(), Instant::now());
        if state.current.is_none() {
            if state.reconnect_not_before.is_some_and(|earliest| now < earliest) {
                let why = format!("no connection to EventStoreDB at {}; reconnecting soon", self.server());
                return Err(CallError::NotConnected(why.into()));
            }
            let client = Client::new(self.config.settings().clone())
                .map_err(|error| CallError::NotConnected(error.to_string().into()))?;
            state.current = Some(Current { client, created: now, is_connected: false, last_answer: None });
            state.generation += 1;
        }
        let State { current: Some(current), generation, losses_in_a_row, .. } = &*state else {
            unreachable!("the client was created above")
        };
        let wait_until =
            if *losses_in_a_row == 0 { deadline } else { deadline.min(now + RECONNECT_WAIT_MAX) };
        let connect_until = (!current.is_connected).then_some(wait_until);
        Ok(Turn { client: current.client.clone(), generation: *generation, connect_until })
    }

    fn connected(&self, generation: u64) {
        if let Some(current) = self.state().current_of(generation) {
            current.is_connected = true;
        }
    }

    fn answered(&self, generation: u64) {
        let mut state = self.state();
        let Some(current) = state.current_of(generation) else { return };
        current.last_answer = Some(Instant::now());
        if state.losses_in_a_row > 0 {
            tracing::info!(eventstoredb.servers = %self.server(), "Connected to EventStoreDB again");
            state.losses_in_a_row = 0;
        }
    }

    /// A call got no answer. The client is lost if no other call that began later has got one either.
    fn silent(&self, generation: u64, begun: Instant, error: &CallError) {
        let mut state = self.state();
        let is_silent = state
            .current_of(generation)
            .is_some_and(|current| current.last_answer.is_none_or(|at| at < begun));
        if is_silent {
            self.replace(&mut state, error);
        }
    }

    fn still_connecting(&self, generation: u64, error: &CallError) {
        let mut state = self.state();
        let is_overdue = state
            .current_of(generation)
            .is_some_and(|current| !current.is_connected && current.created.elapsed() >= CONNECT_MAX);
        if is_overdue {
            self.replace(&mut state, error);
        }
    }

    fn lost(&self, generation: u64, error: &CallError) {
        let mut state = self.state();
        if state.current_of(generation).is_some() {
            self.replace(&mut state, error);
        }
    }

    fn replace(&self, state: &mut State, error: &CallError) {
        let pause = match state.losses_in_a_row {
            0 => Duration::ZERO,
            losses => (BACK_OFF_MIN * 2u32.saturating_pow(losses - 1)).min(BACK_OFF_MAX),
        };
        tracing::warn!(
            eventstoredb.servers = %self.server(), %error, pause_ms = pause.as_millis(),
            "Lost the connection to EventStoreDB; reconnecting after the pause"
        );
        state.current = None;
        state.losses_in_a_row = state.losses_in_a_row.saturating_add(1);
        state.reconnect_not_before = Some(Instant::now() + pause);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The client in use, if it is still the one of this generation.
    fn current_of(&mut self, generation: u64) -> Option<&mut Current> {
        self.current.as_mut().filter(|_| self.generation == generation)
    }
}

/// True if a client with this error must be replaced. The library maps gRPC's UNAVAILABLE, INTERNAL, UNKNOWN
/// and DATA_LOSS to `ServerError`: the connection was cut, the node stops, or the cluster has no leader.
fn is_loss(error: &Error) -> bool {
    matches!(error, Error::ConnectionClosed | Error::GrpcConnectionError(_) | Error::ServerError(_))
}
