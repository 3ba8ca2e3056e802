//! Runs the roles of a process: opens the stores, starts each role, and stops them in the order that loses
//! nothing: first the doors close, then what was begun is finished, then the stores close.

mod parts;

use std::{
    fmt, future::Future, io, io::Write, net::SocketAddr, path::PathBuf, process, sync::Arc, time::Duration,
};

use command_api::{Checkout, CommandApi, CommandApiOptions, ExecutorOptions, ProcessManager, WebhookAdmin};
use infra::{
    clock::Clock,
    event_store::{EventLog, sqlite::SqliteEventStore},
    http::ServerOptions,
    kafka::KafkaError,
    operations::OperationsError,
    payment_provider::sandbox::secret_file::SecretFileError,
    read_models::BindError,
    relay::{Relay, RelayError},
    webhooks::{
        dispatcher::{self, Dispatcher},
        follower::Follower,
    },
};
use projectors::runner::Runner;
use query_api::QueryApi;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::parts::{Views, Writable};
use crate::{
    commands::Failure,
    config::{
        BusUrl, EventStoreUrl, PaymentProviderUrl, ReadModelsUrl, Role, Roles, RolesError, SandboxSettings,
        ServeOptions, Settings, StripeSettingsError,
    },
};

/// What to serve, from what, and where.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    pub roles: Roles,
    pub event_store: EventStoreUrl,
    pub bus: BusUrl,
    pub read_models: ReadModelsUrl,
    pub payment_provider: PaymentProviderUrl,
    pub sandbox: SandboxSettings,
    /// Where snapshots and operational state are kept.
    pub data_dir: PathBuf,
    pub command_listen: SocketAddr,
    pub query_listen: SocketAddr,
    pub webhooks_allow_private: bool,
}

impl ServeConfig {
    pub fn new(settings: &Settings, options: &ServeOptions) -> Result<Self, RolesError> {
        let (event_store, read_models) = (settings.event_store(), settings.read_models());
        Ok(Self {
            roles: Roles::new(&options.roles, &event_store, &settings.bus, &options.payment_provider)?
                .with_read_models(&read_models)?,
            event_store,
            bus: settings.bus.clone(),
            read_models,
            payment_provider: options.payment_provider.clone(),
            sandbox: options.sandbox.clone(),
            data_dir: settings.data_dir.clone(),
            command_listen: options.command_listen,
            query_listen: options.query_listen,
            webhooks_allow_private: options.webhooks_allow_private,
        })
    }
}

/// Why a process cannot start its roles. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the directory {} (ORDERLY_DATA_DIR) cannot be used: {source}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error(transparent)]
    EventStore(#[from] infra::event_store::sqlite::OpenError),
    #[error(transparent)]
    EventStoreDb(#[from] infra::event_store::eventstoredb::OpenError),
    #[error(transparent)]
    ReadModels(#[from] infra::read_models::sqlite::OpenError),
    #[error("ORDERLY_READ_MODELS: {0}")]
    Postgres(#[from] infra::postgres::OpenError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error(transparent)]
    OtherLog(#[from] BindError),
    #[error("the operational state cannot be opened: {0}")]
    Operations(#[from] OperationsError),
    #[error(transparent)]
    Sandbox(#[from] infra::payment_provider::sandbox::OpenError),
    #[error(transparent)]
    SandboxSecret(#[from] SecretFileError),
    #[error(transparent)]
    StripeSettings(#[from] StripeSettingsError),
    #[error("Stripe cannot be used: {0}")]
    Stripe(#[from] infra::payment_provider::stripe::OptionsError),
    #[error(
        "ORDERLY_SANDBOX_SECRET: set it to what the other process has, as in the file sandbox.secret of its data directory"
    )]
    NoSandboxSecret,
    #[error(
        "{setting}: {address} cannot be listened on ({source}): choose another address, or port 0 for any free one"
    )]
    Listen { setting: &'static str, address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Webhooks(#[from] infra::webhooks::dispatcher::SetUpError),
    #[error("a start-up task has failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// The running roles of this process.
#[derive(Debug)]
pub struct Platform {
    roles: Roles,
    pub command_address: Option<SocketAddr>,
    pub query_address: Option<SocketAddr>,
    pub sandbox_address: Option<SocketAddr>,
    doors: Stage,
    reactions: Stage,
    publishing: Stage,
    projections: Stage,
    /// The sandbox, which the others ask until they end.
    provider: Stage,
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
    /// Opens what the roles need and starts them. On its return the APIs take requests.
    pub async fn start(config: ServeConfig) -> Result<Self, StartError> {
        // Whatever can fail comes before the first role is started. The event store is first: who cannot own it has no
        // business with the other files.
        let writable = Writable::open(&config).await?;
        let log = parts::open_log(&config, writable.as_ref()).await?;
        let views = Views::open(&config).await?;
        let command_api = match &writable {
            Some(_) if config.roles.has(Role::CommandApi) => {
                Some(Door::open("ORDERLY_COMMAND_LISTEN", config.command_listen).await?)
            }
            _ => None,
        };
        let query_api = if config.roles.has(Role::QueryApi) {
            Some(Door::open("ORDERLY_QUERY_LISTEN", config.query_listen).await?)
        } else {
            None
        };
        let sandbox = if config.roles.has(Role::Sandbox) {
            Some(Door::open("ORDERLY_SANDBOX_LISTEN", config.sandbox.listen).await?)
        } else {
            None
        };
        let platform = Self {
            roles: config.roles.clone(),
            command_address: command_api.as_ref().map(|door| door.address),
            query_address: query_api.as_ref().map(|door| door.address),
            sandbox_address: sandbox.as_ref().map(|door| door.address),
            doors: Stage::default(),
            reactions: Stage::default(),
            publishing: Stage::default(),
            projections: Stage::default(),
            provider: Stage::default(),
            event_store: writable.as_ref().and_then(|writable| writable.owned.clone()),
            failed: CancellationToken::new(),
        };
        let doors = (command_api, query_api, sandbox);
        let started = platform.start_roles(&config, writable, log, views, doors).await;
        match started {
            Ok(()) => Ok(platform),
            Err(error) => {
                platform.stop().await;
                Err(error)
            }
        }
    }

    async fn start_roles(
        &self,
        config: &ServeConfig,
        writable: Option<Writable>,
        log: Option<Arc<dyn EventLog>>,
        views: Option<Views>,
        (command_api, query_api, sandbox): (Option<Door>, Option<Door>, Option<Door>),
    ) -> Result<(), StartError> {
        if let Some(door) = sandbox {
            self.start_sandbox(config, door).await?;
        }
        if let (Some(views), Some(log)) = (&views, &log) {
            self.start_projectors(config, writable.as_ref(), log, views).await?;
        }
        let webhooks = parts::webhooks(config, views.as_ref())?;
        if let (Some(webhooks), Some(log)) = (&webhooks, &log) {
            self.start_webhooks(config, writable.as_ref(), log, webhooks).await?;
        }
        if let Some(writable) = &writable {
            self.start_relay(config, writable).await?;
            let checkout = Checkout::start(
                &writable.store,
                Some(&writable.snapshots),
                Clock::system(),
                ExecutorOptions::default(),
            );
            let checkout = match parts::payment_provider(config, self.sandbox_address).await? {
                Some(provider) => checkout.with_provider(provider),
                None => checkout,
            };
            if let Some(views) = &views {
                self.start_process_manager(config, writable, views, &checkout).await?;
            }
            if let Some(door) = command_api {
                let api = CommandApi::new(checkout, CommandApiOptions::default());
                let router = command_api::router(match webhooks {
                    Some(webhooks) => api.with_webhooks(webhooks),
                    None => api,
                });
                let stop = self.doors.stop.clone();
                let serving = infra::http::serve(door.listener, router, ServerOptions::default(), stop);
                self.spawn(&self.doors, Role::CommandApi, serving);
            }
        }
        if let (Some(views), Some(door)) = (views, query_api) {
            let source = parts::layout(config, log.as_ref());
            let log = parts::log_access(config, log.as_ref());
            let api =
                QueryApi::new(views.queries, source, log, Clock::system(), query_api::Options::default());
            let stop = self.doors.stop.clone();
            self.spawn(&self.doors, Role::QueryApi, query_api::run(door.listener, api, stop));
        }
        Ok(())
    }

    /// First of all: the others ask it from the beginning.
    async fn start_sandbox(&self, config: &ServeConfig, door: Door) -> Result<(), StartError> {
        let sandbox = parts::sandbox(config, self.command_address).await?;
        let stop = self.provider.stop.clone();
        self.spawn(&self.provider, Role::Sandbox, sandbox.run(door.listener, stop));
        Ok(())
    }

    async fn start_projectors(
        &self,
        config: &ServeConfig,
        writable: Option<&Writable>,
        log: &Arc<dyn EventLog>,
        views: &Views,
    ) -> Result<(), StartError> {
        let Some(models) = &views.models else { return Ok(()) };
        models.bind(log.store_id()).await?;
        for source in parts::projector_sources(config, writable, log.store_id()).await? {
            let commit_every = batch_every(&config.bus);
            let options = projectors::runner::Options { commit_every, ..Default::default() };
            let projector = Runner::new(source, Arc::clone(log), Arc::clone(models), options);
            let stop = self.projections.stop.clone();
            self.spawn(&self.projections, Role::Projectors, async move {
                if let Err(error) = projector.run(stop).await {
                    tracing::error!(%error, "The projectors cannot go on");
                }
            });
        }
        Ok(())
    }

    async fn start_relay(&self, config: &ServeConfig, writable: &Writable) -> Result<(), StartError> {
        let BusUrl::Kafka(kafka) = &config.bus else { return Ok(()) };
        if !config.roles.has(Role::Relay) {
            return Ok(());
        }
        let log: Arc<dyn EventLog> = writable.store.clone();
        let head = writable.store.head();
        let relay = Relay::open(kafka.clone(), log, head, infra::relay::Options::default()).await?;
        let stop = self.publishing.stop.clone();
        self.spawn(&self.publishing, Role::Relay, async move {
            if let Err(error) = relay.run(stop).await {
                tracing::error!(%error, "The relay cannot go on");
            }
        });
        Ok(())
    }

    async fn start_process_manager(
        &self,
        config: &ServeConfig,
        writable: &Writable,
        views: &Views,
        checkout: &Checkout,
    ) -> Result<(), StartError> {
        if !config.roles.has(Role::ProcessManager) {
            return Ok(());
        }
        let process_manager = ProcessManager {
            checkout: checkout.clone(),
            source: parts::process_manager_source(config, writable).await?,
            positions: views.positions(&config.data_dir)?,
            layout: parts::process_manager_layout(config, writable),
            queries: Arc::clone(&views.queries),
            batch_every: batch_every(&config.bus),
        };
        let stop = self.reactions.stop.clone();
        self.spawn(&self.reactions, Role::ProcessManager, process_manager.run(stop));
        Ok(())
    }

    async fn start_webhooks(
        &self,
        config: &ServeConfig,
        writable: Option<&Writable>,
        log: &Arc<dyn EventLog>,
        webhooks: &WebhookAdmin,
    ) -> Result<(), StartError> {
        if !config.roles.has(Role::Webhooks) {
            return Ok(());
        }
        let Some(layout) = parts::layout(config, Some(log)) else { return Ok(()) };
        let follower = Follower {
            source: parts::webhooks_source(config, writable, log.store_id()).await?,
            layout,
            log: Arc::clone(log),
            store: Arc::clone(&webhooks.store),
            due: Arc::clone(&webhooks.due),
            clock: Clock::system(),
            batch_every: batch_every(&config.bus),
        };
        let dispatcher = Dispatcher::new(
            Arc::clone(&webhooks.store),
            Arc::clone(log),
            webhooks.guard.clone(),
            Arc::clone(&webhooks.due),
            Clock::system(),
            dispatcher::Options::default(),
        )?;
        let stop = || self.publishing.stop.clone();
        self.spawn(&self.publishing, Role::Webhooks, follower.run(stop()));
        self.spawn(&self.publishing, Role::Webhooks, dispatcher.run(stop()));
        Ok(())
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

    /// Answers the requests under way, finishes the reactions begun, the transaction being published and the batch
    /// being projected, and closes the sandbox and the stores.
    pub async fn stop(self) {
        for stage in [&self.doors, &self.reactions, &self.publishing, &self.projections, &self.provider] {
            stage.stop().await;
        }
        if let Some(event_store) = self.event_store {
            // Waits for the writer's thread. A panic of it was logged by the store.
            let _ = tokio::task::spawn_blocking(move || event_store.close()).await;
        }
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

/// From one small batch of events to the next. A follower of the event store is woken by each of its commits, so it lets
/// a few come together. Kafka's partitions come one after another: a pause after each would add up.
fn batch_every(bus: &BusUrl) -> Duration {
    match bus {
        BusUrl::Direct => Duration::from_millis(10),
        BusUrl::Kafka(_) => Duration::ZERO,
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
    // At once, and whether or not anybody still reads it: who has seen one address may have closed the pipe.
    let _ = io::stdout().write_all(format!("{platform}\n").as_bytes());

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
        write!(f, "Orderly is up ({}); Ctrl-C stops it.", self.roles)?;
        let apis = [("command API", self.command_address), ("query API", self.query_address)];
        for (name, address) in apis.into_iter().filter_map(|(name, address)| Some((name, address?))) {
            write!(f, "\n  {name:<11}  http://{address}  (docs: http://{address}/docs)")?;
        }
        if let Some(address) = self.sandbox_address {
            write!(f, "\n  {:<11}  http://{address}  (pays with no money)", "sandbox")?;
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
