//! The running roles of a process. Stops them in the order that loses nothing: first the APIs, then the work
//! under way, then the stores.

use std::{future::Future, net::SocketAddr, sync::Arc};

use command_api::{
    Checkout, CommandApi, CommandApiOptions, ExecutorOptions, ProcessManager, WebhookAdmin, backlog::Backlog,
};
use infra::{
    clock::Clock,
    event_store::EventLog,
    health::Health,
    http::{Gate, body::BodyLimits},
    log_guard::LogGuard,
    traces::TraceExport,
};
use projectors::runner::{ProjectorOptions, Runner};
use query_api::{
    QueryApi,
    pages::{Measurements, PagesOptions},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use webhooks::{DispatcherOptions, Webhooks};

use super::{
    Addresses, ServeConfig, StartError, StartLine, access,
    admin::Admin,
    backups,
    edge::Edge,
    guard::{self, EventTimes},
    listeners::{BoundListener, Listeners},
    measuring::{self, Measuring},
    pages,
    parts::{self, ReadSide, WriteSide},
    progress::ReadModelProgress,
    relay,
};
use crate::{
    VERSION,
    config::{BusUrl, PaymentDueAfter, Role},
    openapi,
    stores::{self, Operations, Views, WritableEventStore},
};

/// The name of a condition in [`Health`].
const STARTING: &str = "starting";

/// The running roles of this process.
#[derive(Debug)]
pub struct RunningRoles {
    start_line: StartLine,
    pub command_address: Option<SocketAddr>,
    pub query_address: Option<SocketAddr>,
    pub sandbox_address: Option<SocketAddr>,
    pub admin_address: Option<SocketAddr>,
    apis: Stage,
    reactions: Stage,
    publishing: Stage,
    projections: Stage,
    /// The sandbox. Stops last, because the other roles send requests to it until they end.
    provider: Stage,
    /// Watches that the event log does not go back, and serves measurements. Stops after all roles.
    guarding: Stage,
    event_store: Option<WritableEventStore>,
    /// Cancelled when a role ends before its stage is stopped.
    failed: CancellationToken,
    /// The conditions of this process, which `/readyz` of both APIs shows.
    health: Health,
    clock: Clock,
    /// `None` if this process exports no spans.
    traces: Option<TraceExport>,
    /// `None` if no role of this process needs the log at its start.
    log_guard: Option<LogGuard>,
    /// Authenticates the callers of both APIs.
    gate: Gate,
    edge: Edge,
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

impl RunningRoles {
    /// Opens the stores that the roles need and starts the roles. When it returns, the APIs accept requests.
    pub async fn start(config: ServeConfig) -> Result<Self, StartError> {
        // Every step that can fail comes before the first role starts. The event store is first: a process
        // that cannot own it must not touch the other files.
        StartLine::new(&config, Addresses::default()).log_start();
        let health = Health::default();
        let measurements = measuring::begin(&config);
        let traces = TraceExport::start(config.traces.clone())?;
        // The admin address answers before the roles work.
        health.unable(STARTING, "this process is starting");
        let clock = Clock::steady(health.clone());
        let mut write_side = WriteSide::open(&config, &clock, &health).await?;
        let mut log = parts::open_log(&config, write_side.as_ref(), &health).await?;
        let log_guard = guard::open(&config, &health, &mut write_side, &mut log).await?;
        let read_side = ReadSide::open(&config).await?;
        // Before the first role: an append to a log that went back would hide the loss.
        if let (Some(log_guard), Some(read_side)) = (&log_guard, &read_side) {
            guard::compare(&config, log_guard, read_side).await?;
        }
        let measuring = measurements
            .map(|handle| Measuring::new(&config, handle, log.as_ref(), read_side.as_ref()))
            .transpose()?;
        let admin = measuring.as_ref().filter(|_| config.admin_listen.is_some()).map(|measuring| {
            Admin::new(&config, measuring, health.clone(), log.as_ref(), read_side.as_ref())
        });
        let gate = access::gate(&config, read_side.as_ref().map(|side| &side.views), &clock).await?;
        let edge = Edge::open(&config).await?;
        let mut listeners = Listeners::bind(&config)?;
        let addresses = listeners.addresses();
        let running = Self {
            start_line: StartLine::new(&config, addresses),
            command_address: addresses.command_api,
            query_address: addresses.query_api,
            sandbox_address: addresses.sandbox,
            admin_address: addresses.admin,
            apis: Stage::default(),
            reactions: Stage::default(),
            publishing: Stage::default(),
            projections: Stage::default(),
            provider: Stage::default(),
            guarding: Stage::default(),
            event_store: write_side.as_ref().map(|write_side| write_side.events.clone()),
            failed: CancellationToken::new(),
            health,
            clock,
            traces,
            log_guard,
            gate: gate.with_limits(config.edge.rate_limits()),
            edge,
        };
        if let Some(measuring) = measuring.clone() {
            running.guarding.tasks.spawn(measuring.keep_up(running.guarding.stop.clone()));
        }
        if let (Some(bound), Some(admin)) = (listeners.admin.take(), admin) {
            let (options, stop) = (running.edge.of_admin(), running.guarding.stop.clone());
            let serving = infra::http::serve(bound.listener, admin.router(), options, stop);
            running.guarding.tasks.spawn(serving);
        }
        if let Some(tls) = running.edge.tls.clone() {
            running.guarding.tasks.spawn(tls.follow_files(running.guarding.stop.clone()));
        }
        let of_pages = measuring.and_then(|measuring| measuring.pages);
        let started = running.start_roles(&config, write_side, log, read_side, listeners, of_pages).await;
        match started {
            Ok(()) => {
                running.health.resolve(STARTING);
                running.start_line.log_up();
                Ok(running)
            }
            Err(error) => {
                running.stop().await;
                Err(error)
            }
        }
    }

    async fn start_roles(
        &self,
        config: &ServeConfig,
        write_side: Option<WriteSide>,
        log: Option<Arc<dyn EventLog>>,
        read_side: Option<ReadSide>,
        listeners: Listeners,
        measurements: Option<Measurements>,
    ) -> Result<(), StartError> {
        if let Some(write_side) = &write_side {
            write_side.events.check_in_background(&self.health);
        }
        self.start_guard();
        // Stops when the log went back: the older backups are then the good ones.
        if let Some(schedule) = backups::schedule(config, &self.health).filter(|_| !self.refuses_log()) {
            self.publishing.tasks.spawn(schedule.run(self.publishing.stop.clone()));
        }
        if let (None, Some(read_side)) = (&log, &read_side) {
            let (event_store, health) = (config.event_store.clone(), self.health.clone());
            let (projections, stop) = (Arc::clone(&read_side.views.projections), self.guarding.stop.clone());
            self.guarding.tasks.spawn(guard::watch_for_queries(event_store, projections, health, stop));
        }
        // First, because the other roles send requests to it from their start.
        if let Some(bound) = listeners.sandbox {
            self.start_sandbox(config, bound).await?;
        }
        if let (Some(read_side), Some(log)) = (&read_side, &log) {
            self.start_projectors(config, write_side.as_ref(), log, read_side).await?;
        }
        let webhooks =
            parts::webhooks(config, read_side.as_ref(), log.as_ref(), &self.clock, &self.health).await?;
        if let (Some(webhooks), Some(log)) = (&webhooks, &log) {
            self.start_webhooks(config, write_side.as_ref(), log, webhooks).await?;
        }
        if let Some(write_side) = &write_side {
            let views = read_side.as_ref().map(|read_side| &read_side.views);
            let operations = stores::open_operations(&config.read_models, views, &config.data_dir)?;
            self.start_relay(config, write_side, &operations).await?;
            let checkout = self.checkout(config, write_side).await?;
            if let Some(views) = views {
                self.start_process_manager(config, write_side, views, &operations, &checkout).await?;
            }
            if let Some(bound) = listeners.command_api {
                let progress = ReadModelProgress::new(config, views, write_side.events.store.log());
                self.start_command_api(config, checkout, operations, webhooks, progress, bound);
            }
        }
        if let (Some(read_side), Some(bound)) = (read_side, listeners.query_api) {
            let stop = self.apis.stop.clone();
            let pages = pages::options(config, self.command_address, measurements, stop).await?;
            self.start_query_api(config, log.as_ref(), read_side, pages, bound)?;
        }
        Ok(())
    }

    /// Watches the log. Once it went back, stops every role but the APIs, which refuse commands.
    fn start_guard(&self) {
        let Some(guard) = self.log_guard.clone() else { return };
        let stops = [&self.reactions, &self.publishing, &self.projections].map(|stage| stage.stop.clone());
        let shutdown = self.guarding.stop.clone();
        let times = EventTimes::new(self.clock.clone(), self.health.clone());
        self.guarding.tasks.spawn(async move {
            guard.clone().watch(|event| times.compare(event), shutdown).await;
            if guard.refusal().is_some() {
                stops.iter().for_each(CancellationToken::cancel);
            }
        });
    }

    /// True if this process must not follow the log.
    fn refuses_log(&self) -> bool {
        self.log_guard.as_ref().is_some_and(|guard| guard.refusal().is_some())
    }

    async fn start_sandbox(&self, config: &ServeConfig, bound: BoundListener) -> Result<(), StartError> {
        let sandbox = parts::sandbox(config, self.command_address, self.clock.clone()).await?;
        let stop = self.provider.stop.clone();
        self.spawn(&self.provider, Role::Sandbox, sandbox.run(bound.listener, stop));
        Ok(())
    }

    async fn start_projectors(
        &self,
        config: &ServeConfig,
        write_side: Option<&WriteSide>,
        log: &Arc<dyn EventLog>,
        read_side: &ReadSide,
    ) -> Result<(), StartError> {
        let Some(models) = read_side.models.as_ref().filter(|_| !self.refuses_log()) else { return Ok(()) };
        let sources = parts::projector_sources(config, write_side, log.store_id()).await?;
        let commit_every = parts::batch_every(&config.bus);
        // The projectors of a process share its memory.
        let cached_bytes_max = ProjectorOptions::default().cached_bytes_max / sources.len().max(1);
        let options = ProjectorOptions { cached_bytes_max, commit_every };
        for source in sources {
            let projector = Runner::new(source, Arc::clone(log), Arc::clone(models), options)
                .with_health(self.health.clone());
            let stop = self.projections.stop.clone();
            self.spawn(&self.projections, Role::Projectors, async move {
                if let Err(error) = projector.run(stop).await {
                    tracing::error!(%error, "A projector has stopped; the process ends");
                }
            });
        }
        Ok(())
    }

    async fn start_webhooks(
        &self,
        config: &ServeConfig,
        write_side: Option<&WriteSide>,
        log: &Arc<dyn EventLog>,
        webhooks: &Webhooks,
    ) -> Result<(), StartError> {
        if !config.roles.has(Role::Webhooks) || self.refuses_log() {
            return Ok(());
        }
        let Some(layout) = parts::layout(config, Some(log)) else { return Ok(()) };
        let source = parts::webhooks_source(config, write_side, log.store_id()).await?;
        let follower = webhooks.follower(source, layout, parts::batch_every(&config.bus));
        let dispatcher = webhooks.dispatcher(DispatcherOptions::default())?;
        let stop = || self.publishing.stop.clone();
        self.spawn(&self.publishing, Role::Webhooks, follower.run(stop()));
        self.spawn(&self.publishing, Role::Webhooks, dispatcher.run(stop()));
        Ok(())
    }

    /// Goes on without the relay if a topic has lost events: commands do not need it.
    async fn start_relay(
        &self,
        config: &ServeConfig,
        write_side: &WriteSide,
        operations: &Operations,
    ) -> Result<(), StartError> {
        let kafka = match &config.bus {
            BusUrl::Kafka(kafka) if config.roles.has(Role::Relay) && !self.refuses_log() => kafka.clone(),
            BusUrl::Kafka(_) | BusUrl::Direct => return Ok(()),
        };
        let Some(guard) = self.log_guard.clone() else { return Ok(()) };
        let relay = match relay::open(kafka, write_side, operations).await {
            Err(error) if error.is_of_lost_events() => {
                guard.refuse(&error.to_string());
                return Ok(());
            }
            Err(error) if error.is_of_lost_topics() => {
                relay::report_lost_topics(&self.health, &error);
                return Ok(());
            }
            opened => opened?.reporting_to(self.health.clone()),
        };
        let (health, stop) = (self.health.clone(), self.publishing.stop.clone());
        self.spawn(&self.publishing, Role::Relay, async move {
            match relay.run(stop.clone()).await {
                Err(error) if error.is_of_lost_events() => {
                    guard.refuse(&error.to_string());
                    stop.cancelled().await;
                }
                Err(error) if error.is_of_lost_topics() => {
                    relay::report_lost_topics(&health, &error);
                    stop.cancelled().await;
                }
                Err(error) => tracing::error!(%error, "The relay has stopped; the process ends"),
                Ok(()) => {}
            }
        });
        Ok(())
    }

    /// Starts the executor of commands, which the command API and the process manager share.
    async fn checkout(&self, config: &ServeConfig, write_side: &WriteSide) -> Result<Checkout, StartError> {
        let options = ExecutorOptions::default();
        let snapshots = Some(&write_side.snapshots);
        let store = &write_side.events.store;
        let checkout = Checkout::start(store, snapshots, self.clock.clone(), &self.health, options);
        Ok(match parts::payment_provider(config, self.sandbox_address, &self.clock).await? {
            Some(provider) => checkout.with_provider(provider, self.health.clone()),
            None => checkout,
        })
    }

    async fn start_process_manager(
        &self,
        config: &ServeConfig,
        write_side: &WriteSide,
        views: &Views,
        operations: &Operations,
        checkout: &Checkout,
    ) -> Result<(), StartError> {
        if !config.roles.has(Role::ProcessManager) || self.refuses_log() {
            return Ok(());
        }
        let log = write_side.events.store.log();
        let process_manager = ProcessManager {
            checkout: checkout.clone(),
            source: parts::process_manager_source(config, write_side).await?,
            positions: Arc::clone(&operations.positions),
            parked: Arc::clone(&operations.parked),
            layout: stores::source_layout(&config.bus, &log),
            queries: Arc::clone(&views.overdue),
            health: self.health.clone(),
            batch_every: parts::batch_every(&config.bus),
        };
        let stop = self.reactions.stop.clone();
        self.spawn(&self.reactions, Role::ProcessManager, process_manager.run(stop));
        Ok(())
    }

    fn start_command_api(
        &self,
        config: &ServeConfig,
        checkout: Checkout,
        operations: Operations,
        webhooks: Option<Webhooks>,
        progress: ReadModelProgress,
        bound: BoundListener,
    ) {
        let stop = || self.apis.stop.clone();
        let backlog = Backlog::default();
        let progress = Arc::new(progress);
        let read = move || {
            let progress = Arc::clone(&progress);
            async move { progress.read().await }
        };
        let following = backlog.clone().follow(read, self.health.clone(), stop());
        self.spawn(&self.apis, Role::CommandApi, following);
        let PaymentDueAfter(payment_due_after) = config.payment_due_after;
        let CommandApiOptions { bodies, .. } = CommandApiOptions::default();
        let bodies = BodyLimits { read_timeout: config.edge.body_timeout(), ..bodies };
        let options = CommandApiOptions { payment_due_after, bodies, ..CommandApiOptions::default() };
        let api = CommandApi::new(checkout, operations.parked, options)
            .with_health(self.health.clone())
            .with_version(VERSION)
            .behind(self.gate.clone())
            .with_backlog(backlog);
        let api = match &self.log_guard {
            Some(guard) => api.guarded_by(guard.clone()),
            None => api,
        };
        let router = command_api::router(match webhooks {
            Some(webhooks) => {
                let store = Arc::clone(&webhooks.store);
                api.with_webhooks(WebhookAdmin { store, service: Arc::new(webhooks) })
            }
            None => api,
        });
        let router = router.merge(openapi::route());
        let options = self.edge.of_api("command");
        let serving = infra::http::serve(bound.listener, router, options, stop());
        self.spawn(&self.apis, Role::CommandApi, serving);
    }

    fn start_query_api(
        &self,
        config: &ServeConfig,
        log: Option<&Arc<dyn EventLog>>,
        read_side: ReadSide,
        pages: PagesOptions,
        bound: BoundListener,
    ) -> Result<(), StartError> {
        let layout = parts::layout(config, log);
        let mut log = parts::log_access(config, log);
        if let Some(events) = &self.event_store {
            log = log.ending_at(events.store.head());
        }
        let options = query_api::QueryApiOptions::default();
        let operations =
            stores::open_operations(&config.read_models, Some(&read_side.views), &config.data_dir)?;
        let api = QueryApi::new(read_side.views.queries, layout, log, self.clock.clone(), options)
            .ending_with(self.apis.stop.clone())
            .behind(self.gate.clone())
            .with_health(self.health.clone())
            .with_version(VERSION)
            .with_pages(pages)
            .with_reconciliations(operations.reconciliations);
        let stop = self.apis.stop.clone();
        let router = query_api::router(api).merge(openapi::route());
        let serving = infra::http::serve(bound.listener, router, self.edge.of_api("query"), stop);
        self.spawn(&self.apis, Role::QueryApi, serving);
        Ok(())
    }

    fn spawn(&self, stage: &Stage, role: Role, task: impl Future<Output = ()> + Send + 'static) {
        let (stop, failed, health) = (stage.stop.clone(), self.failed.clone(), self.health.clone());
        let running = tokio::spawn(task);
        stage.tasks.spawn(async move {
            let ended = running.await;
            if ended.is_err() || !stop.is_cancelled() {
                tracing::error!(%role, "A role has ended before it was stopped; the process ends");
                health.unable("role_ended", format!("{role} has ended, and the process is stopping"));
                failed.cancel();
            }
        });
    }

    /// What runs, and where it listens.
    pub fn start_line(&self) -> &StartLine {
        &self.start_line
    }

    /// Resolves when a role ends before it was stopped. Stop the other roles then.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Answers 503 at `/readyz` from now on, and serves for the drain delay. Then answers the requests under way,
    /// finishes started reactions, the transaction of the relay and the batch of the projectors, and closes the
    /// sandbox and the event store. Exports the last spans.
    pub async fn stop(self) {
        self.health.unable("stopping", "this process is stopping");
        let Self { apis, reactions, publishing, projections, provider, guarding, .. } = &self;
        for stage in [apis, reactions, publishing, projections, provider, guarding] {
            stage.stop().await;
        }
        if let Some(event_store) = self.event_store {
            event_store.close().await;
        }
        if let Some(traces) = self.traces {
            traces.stop().await;
        }
    }
}
