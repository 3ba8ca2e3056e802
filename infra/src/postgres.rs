//! A Postgres database: its connections, and the migrations of the tables that rebuilds keep.

mod breaker;
mod fault;
pub(crate) mod migrations;
mod options;
mod primary;
mod timestamptz;
mod tls;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolBuilder, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio_postgres::{Client, Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use self::options::{PostgresOptions, UrlError};
use self::{breaker::Breaker, primary::Losses};
pub(crate) use self::{fault::Fault, primary::expect_primary, timestamptz::Timestamptz};
use crate::measurements::{
    Counter, Gauge, POSTGRES_CONNECTION_FAILURES, POSTGRES_CONNECTION_WAITS, POSTGRES_CONNECTIONS_IN_USE,
    POSTGRES_CONNECTIONS_MAX, UnderWay, number,
};

/// Connections that the adapters of one process share. One more listens for changes, and a running rebuild or
/// verification uses one more.
const CONNECTIONS_MAX: usize = 16;
/// Time limit for a free connection of the pool, and for a new connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of an operation. The server's own timeouts end it earlier, unless the server hangs.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);

/// The half of a connection that sends and receives. It must be polled, and ends when the client is dropped.
pub(crate) type Connection =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// A database with Orderly's tables. Clones share their connections.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    options: Arc<PostgresOptions>,
    tls: MakeRustlsConnect,
    use_of_pool: Arc<PoolUse>,
    breaker: Arc<Breaker>,
    losses: Losses,
}

/// What is measured of the pool.
struct PoolUse {
    in_use: Gauge,
    waits: Gauge,
    failures: Counter,
}

impl PoolUse {
    fn new() -> Self {
        // Added up, because a process may have pools for a server and for its replica.
        POSTGRES_CONNECTIONS_MAX.with([]).increment(number(CONNECTIONS_MAX));
        Self {
            in_use: POSTGRES_CONNECTIONS_IN_USE.with([]),
            waits: POSTGRES_CONNECTION_WAITS.with([]),
            failures: POSTGRES_CONNECTION_FAILURES.with([]),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why a database cannot be opened. The text names the remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PostgresOpenError {
    #[error("cannot use Postgres: {0}; check that it runs, and the address, user and database of the URL")]
    Unavailable(Arc<str>),
    #[error("cannot use the file {} ({setting}): {reason}", path.display())]
    Certificates { setting: &'static str, path: PathBuf, reason: Arc<str> },
    #[error(
        "the Postgres database has version {found} of Orderly's tables, and this program supports {supported}: \
         run a newer program"
    )]
    Newer { found: usize, supported: usize },
    /// The program does not convert rows of another schema, because a rebuild folds them from the log. It
    /// does not start that rebuild either: it takes minutes on a large log, and an older program may be
    /// started by mistake.
    #[error(
        "the read models in Postgres have schema version {found}, and this program needs {supported}: \
         run `orderly projections rebuild`"
    )]
    OtherSchema { found: i32, supported: i32 },
    #[error(
        "it has no read models, or those of another log: check that it is a replica of ORDERLY_READ_MODELS, and that it is \
         not far behind"
    )]
    NotAReplica,
}

impl From<Fault> for PostgresOpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(text) | Fault::Corrupt(text) | Fault::Refused(text) => Self::Unavailable(text),
        }
    }
}

impl Database {
    /// Connects to the server that accepts writes, and migrates the tables to this program's version. Follows when
    /// another server takes over.
    pub async fn connect(options: PostgresOptions) -> Result<Self, PostgresOpenError> {
        let losses = Losses::default();
        let database = Self::with_pool(options.writing(), losses.clone(), |pool| {
            pool.pre_recycle(primary::check_before_use(losses))
        })?;
        let mut client = database.pool.get().await.map_err(Fault::from)?;
        migrations::migrate(&mut client).await?;
        drop(client);
        Ok(database)
    }

    /// Connects to a replica, to read.
    pub async fn connect_to_replica(options: PostgresOptions) -> Result<Self, PostgresOpenError> {
        let database = Self::with_pool(options.reading_only(), Losses::default(), |pool| pool)?;
        drop(database.pool.get().await.map_err(Fault::from)?);
        Ok(database)
    }

    fn with_pool(
        options: PostgresOptions,
        losses: Losses,
        checked: impl FnOnce(PoolBuilder) -> PoolBuilder,
    ) -> Result<Self, PostgresOpenError> {
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let tls = tls::connector(&options)?;
        let manager = Manager::from_config(options.config.clone(), tls.clone(), manager_config);
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .wait_timeout(Some(CONNECTION_TIMEOUT))
            .create_timeout(Some(CONNECTION_TIMEOUT))
            .recycle_timeout(Some(CONNECTION_TIMEOUT))
            .runtime(Runtime::Tokio1);
        let pool = checked(pool)
            .build()
            .map_err(|error| PostgresOpenError::Unavailable(error.to_string().into()))?;
        let (options, use_of_pool) = (Arc::new(options), Arc::new(PoolUse::new()));
        Ok(Self { pool, options, tls, use_of_pool, breaker: Arc::default(), losses })
    }

    /// Counts the connections of the pool that ended while they were idle. The server may have stopped then, or another
    /// one may have taken over, and have lost the last commits.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.count()
    }

    /// Runs `work` on a connection of the pool.
    pub(crate) async fn run<T, E: From<Fault>>(
        &self,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut client = self.connected().await.map_err(E::from)?;
        let _in_use = UnderWay::begin(&self.use_of_pool.in_use);
        // Boxed: the future of a commit is large.
        let working = Box::pin(work(&mut client));
        if let Ok(outcome) = tokio::time::timeout(OPERATION_TIMEOUT, working).await {
            return outcome;
        }
        // The next statement on this connection would wait behind the hanging one.
        drop(Object::take(client));
        Err(Fault::Unavailable("Postgres does not answer in time; check its load".into()).into())
    }

    /// A connection of the pool. Fails at once while the server does not answer.
    async fn connected(&self) -> Result<Object, Fault> {
        let must_connect = self.pool.status().available == 0;
        if must_connect && !self.breaker.admits() {
            self.use_of_pool.failures.increment(1);
            return Err(Fault::Unavailable(
                "Postgres does not answer; connecting again within a second".into(),
            ));
        }
        let _waits = UnderWay::begin(&self.use_of_pool.waits);
        match self.pool.get().await {
            Ok(connected) => {
                self.breaker.succeeded();
                Ok(connected)
            }
            Err(error) => {
                // Not of a pool whose connections are all in use: the server answers.
                if !matches!(error, PoolError::Timeout(TimeoutType::Wait)) {
                    self.breaker.failed();
                }
                self.use_of_pool.failures.increment(1);
                Err(error.into())
            }
        }
    }

    /// A connection outside the pool, for long work. A task drives it until the client is dropped.
    pub(crate) async fn session(&self) -> Result<Client, Fault> {
        let (client, connection) = self.connection().await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = ?Fault::from(error), "Postgres connection ended with an error");
            }
        });
        client.batch_execute(options::LONG_SESSION).await?;
        Ok(client)
    }

    /// A connection outside the pool. The caller must poll it.
    pub(crate) async fn connection(&self) -> Result<(Client, Connection), Fault> {
        let connecting = self.options.config.connect(self.tls.clone());
        match tokio::time::timeout(CONNECTION_TIMEOUT, connecting).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(Fault::Unavailable("Postgres does not answer".into())),
        }
    }
}
