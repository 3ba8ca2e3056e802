//! Runs the roles of a process: opens the stores, starts each role, and stops them in the order that loses
//! nothing: first the doors close, then what was begun is finished, then the stores close.

use std::{fmt, future::Future, io, net::SocketAddr, path::PathBuf, process, sync::Arc};

use command_api::{Checkout, CommandApi, CommandApiOptions, ExecutorOptions, ProcessManager};
use infra::{
    event_source::{
        direct::DirectSource,
        layout::{SourceLayout, WholeLog},
    },
    event_store::{
        EventLog, EventStore,
        sqlite::{self, OpenError, SqliteEventStore},
    },
    http::ServerOptions,
    operations::{OperationsError, sqlite::SqliteOperations},
    read_models::{
        BindError, Queries, ReadModels,
        sqlite::{SqliteQueries, SqliteReadModels},
    },
    snapshots::SnapshotStore,
};
use projectors::runner::Runner;
use query_api::QueryApi;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    commands::Failure,
    config::{BusUrl, EventStoreUrl, ReadModelsUrl, Role, Roles, ServeOptions, Settings},
};

/// Events that a follower of the log reads at a time.
const BATCH_EVENTS_MAX: usize = 2_000;

/// What to serve, from what, and where.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    pub roles: Roles,
    pub event_store: EventStoreUrl,
    pub bus: BusUrl,
    pub read_models: ReadModelsUrl,
    /// Where snapshots and operational state are kept.
    pub data_dir: PathBuf,
    pub command_listen: SocketAddr,
    pub query_listen: SocketAddr,
}

impl ServeConfig {
    pub fn new(settings: &Settings, options: &ServeOptions, roles: Roles) -> Self {
        Self {
            roles,
            event_store: settings.event_store(),
            bus: settings.bus,
            read_models: settings.read_models(),
            data_dir: settings.data_dir.clone(),
            command_listen: options.command_listen,
            query_listen: options.query_listen,
        }
    }

    /// Every role on the embedded stores of a directory, on free ports of this machine.
    pub fn embedded(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            roles: Roles::ALL,
            event_store: EventStoreUrl::Sqlite(data_dir.join("events.db")),
            bus: BusUrl::Direct,
            read_models: ReadModelsUrl::Sqlite(data_dir.join("read-models.db")),
            data_dir,
            command_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            query_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

/// Why a process cannot start its roles. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the directory {} (ORDERLY_DATA_DIR) cannot be used: {source}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error(transparent)]
    EventStore(#[from] OpenError),
    #[error(transparent)]
    ReadModels(#[from] infra::read_models::sqlite::OpenError),
    #[error(transparent)]
    OtherLog(#[from] BindError),
    #[error("the operational state cannot be opened: {0}")]
    Operations(#[from] OperationsError),
    #[error(
        "{setting}: {address} cannot be listened on ({source}): choose another address, or port 0 for any free one"
    )]
    Listen { setting: &'static str, address: SocketAddr, source: io::Error },
    #[error("a start-up task has failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// The running roles of this process.
#[derive(Debug)]
pub struct Platform {
    pub command_address: Option<SocketAddr>,
    pub query_address: Option<SocketAddr>,
    doors: Stage,
    reactions: Stage,
    projections: Stage,
    event_store: Option<Arc<SqliteEventStore>>,
    /// A role has ended that nobody asked to.
    failed: CancellationToken,
}

/// Roles that stop together.
#[derive(Debug, Default)]
struct Stage {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Stage {
    async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Platform {
    /// Opens the stores and starts the roles. On its return the APIs take requests.
    pub async fn start(config: ServeConfig) -> Result<Self, StartError> {
        let BusUrl::Direct = config.bus;
        let opening = config.clone();
        let Stores { owned, queries } = tokio::task::spawn_blocking(move || Stores::open(&opening)).await??;

        // Whatever can fail comes before the first role is started.
        let mut command_door = None;
        if let Some(owned) = &owned {
            owned.read_models.bind(owned.event_store.store_id()).await?;
            command_door = Some(Door::open("ORDERLY_COMMAND_LISTEN", config.command_listen).await?);
        }
        let mut query_door = None;
        if config.roles.query_api {
            query_door = Some(Door::open("ORDERLY_QUERY_LISTEN", config.query_listen).await?);
        }

        let platform = Self {
            command_address: command_door.as_ref().map(|door| door.address),
            query_address: query_door.as_ref().map(|door| door.address),
            doors: Stage::default(),
            reactions: Stage::default(),
            projections: Stage::default(),
            event_store: owned.as_ref().map(|owned| Arc::clone(&owned.event_store)),
            failed: CancellationToken::new(),
        };
        let queries: Arc<dyn Queries> = Arc::new(queries);
        if let Some(door) = query_door {
            let source = owned.as_ref().map(|owned| -> Arc<dyn SourceLayout> {
                Arc::new(WholeLog(Arc::clone(&owned.event_store) as Arc<dyn EventLog>))
            });
            let api = QueryApi::new(Arc::clone(&queries), source, query_api::Options::default());
            let stop = platform.doors.stop.clone();
            platform.spawn(&platform.doors, Role::QueryApi, query_api::run(door.listener, api, stop));
        }
        if let (Some(owned), Some(door)) = (owned, command_door) {
            platform.start_owner(owned, door, queries);
        }
        Ok(platform)
    }

    /// Command API, process manager and projectors.
    fn start_owner(&self, owned: OwnedStores, door: Door, queries: Arc<dyn Queries>) {
        let event_store: Arc<dyn EventStore> = owned.event_store;
        let follow_log = || DirectSource::new(Arc::clone(&event_store), BATCH_EVENTS_MAX);

        let read_models: Arc<dyn ReadModels> = Arc::new(owned.read_models);
        let log: Arc<dyn EventLog> = event_store.clone();
        let projector = Runner::new(follow_log(), log, read_models, projectors::runner::Options::default());
        let stop = self.projections.stop.clone();
        self.spawn(&self.projections, Role::Projectors, async move {
            if let Err(error) = projector.run(stop).await {
                tracing::error!(%error, "The projectors cannot go on");
            }
        });

        let checkout = Checkout::start(&event_store, Some(&owned.snapshots), ExecutorOptions::default());
        let process_manager = ProcessManager {
            checkout: checkout.clone(),
            source: Box::new(follow_log()),
            positions: Arc::new(owned.operations),
            queries,
        };
        self.spawn(&self.reactions, Role::ProcessManager, process_manager.run(self.reactions.stop.clone()));

        let router = command_api::router(CommandApi::new(checkout, CommandApiOptions::default()));
        let stop = self.doors.stop.clone();
        let serving = infra::http::serve(door.listener, router, ServerOptions::default(), stop);
        self.spawn(&self.doors, Role::CommandApi, serving);
    }

    fn spawn(&self, stage: &Stage, role: Role, task: impl Future<Output = ()> + Send + 'static) {
        let (stop, failed) = (stage.stop.clone(), self.failed.clone());
        let running = tokio::spawn(task);
        stage.tasks.spawn(async move {
            let ended = running.await;
            if ended.is_err() || !stop.is_cancelled() {
                tracing::error!(%role, "A role has ended although nobody asked it to");
                failed.cancel();
            }
        });
    }

    /// Resolves when a role ends although nobody asked it to; the others are then better stopped too.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Answers the requests under way, finishes the reactions begun and the batch being projected, and closes
    /// the stores.
    pub async fn stop(self) {
        for stage in [&self.doors, &self.reactions, &self.projections] {
            stage.stop().await;
        }
        if let Some(event_store) = self.event_store {
            // Waits for the writer's thread. A panic of it was logged by the store.
            let _ = tokio::task::spawn_blocking(move || event_store.close()).await;
        }
    }
}

/// What the roles of this process work on.
struct Stores {
    owned: Option<OwnedStores>,
    queries: SqliteQueries,
}

/// What only one process may have open.
struct OwnedStores {
    event_store: Arc<SqliteEventStore>,
    read_models: SqliteReadModels,
    operations: SqliteOperations,
    snapshots: Arc<SnapshotStore>,
}

impl Stores {
    /// Blocks. The event store comes first: who cannot own it has no business with the other files.
    fn open(config: &ServeConfig) -> Result<Self, StartError> {
        let ReadModelsUrl::Sqlite(read_models) = &config.read_models;
        if !config.roles.owner {
            return Ok(Self { owned: None, queries: SqliteQueries::open_read_only(read_models)? });
        }
        let unusable = |source| StartError::DataDir { path: config.data_dir.clone(), source };
        std::fs::create_dir_all(&config.data_dir).map_err(unusable)?;
        let EventStoreUrl::Sqlite(events) = &config.event_store;
        let event_store = SqliteEventStore::open(events, sqlite::Options::default())?;
        let snapshots = SnapshotStore::open(&config.data_dir.join("snapshots"), event_store.store_id());
        let read_models = SqliteReadModels::open(read_models)?;
        let queries = read_models.queries();
        let owned = OwnedStores {
            operations: SqliteOperations::open(&config.data_dir.join("operations.db"))?,
            snapshots: Arc::new(snapshots.map_err(unusable)?),
            event_store: Arc::new(event_store),
            read_models,
        };
        Ok(Self { owned: Some(owned), queries })
    }
}

/// Where an API is listened for.
struct Door {
    listener: TcpListener,
    address: SocketAddr,
}

impl Door {
    async fn open(setting: &'static str, address: SocketAddr) -> Result<Self, StartError> {
        let describe = |source| StartError::Listen { setting, address, source };
        let listener = TcpListener::bind(address).await.map_err(describe)?;
        let address = listener.local_addr().map_err(describe)?;
        Ok(Self { listener, address })
    }
}

/// `orderly serve`: until a signal, or until a role fails.
pub async fn run(config: ServeConfig) -> Result<(), Failure> {
    log_panics();
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let platform = tokio::select! {
        started = Platform::start(config) => started?,
        // The check of a large event store takes a while, and leaving it loses nothing.
        _ = interrupts.recv() => process::exit(1),
        _ = terminations.recv() => process::exit(1),
    };
    println!("{platform}");

    let failed = tokio::select! {
        _ = interrupts.recv() => false,
        _ = terminations.recv() => false,
        () = platform.failed() => true,
    };
    tracing::info!("Stopping: answering what is under way; a second signal ends it at once");
    tokio::select! {
        () = platform.stop() => {}
        _ = interrupts.recv() => process::exit(1),
        _ = terminations.recv() => process::exit(1),
    }
    tracing::info!("Stopped");
    if failed { Err(Failure::new("a role has failed; the log says why")) } else { Ok(()) }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Orderly is up; Ctrl-C stops it.")?;
        let apis = [("command API", self.command_address), ("query API", self.query_address)];
        for (name, address) in apis.into_iter().filter_map(|(name, address)| Some((name, address?))) {
            write!(f, "\n  {name:<11}  http://{address}  (docs: http://{address}/docs)")?;
        }
        Ok(())
    }
}

/// Panics become log lines like any other.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(panic.location = location, panic.message = message, "A task has panicked");
    }));
}
