//! A Postgres database of Orderly: its connections, and the tables that outlive rebuilds.

mod fault;
pub(crate) mod migrations;
mod options;
mod tls;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::{Client, Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(crate) use self::fault::Fault;
pub use self::options::{PostgresOptions, UrlError};

/// Connections of one process that the adapters share. Besides these there are one that listens for changes, and
/// one while a rebuild or a verification is under way.
const CONNECTIONS_MAX: usize = 16;
/// How long to wait for a connection of the pool to be free, and for a new one to be made.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(5);
/// How long an operation may take in all. The time-outs of the server end it earlier, unless the server itself hangs.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection to the server, with the task that drives it; dropping the client ends both.
pub(crate) type Connection =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// A database that holds Orderly's tables. A handle: clones share their connections.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    options: Arc<PostgresOptions>,
    tls: MakeRustlsConnect,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why a database cannot be used. The text says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    #[error(
        "Postgres cannot be used: {0}; check that it runs, and the address, user and database of the URL"
    )]
    Unavailable(Arc<str>),
    #[error("the certificates in {} (sslrootcert) cannot be used: {reason}", path.display())]
    Certificates { path: PathBuf, reason: Arc<str> },
    #[error(
        "the Postgres database has version {found} of Orderly's tables, and this program knows {supported}: \
         run a newer program"
    )]
    Newer { found: usize, supported: usize },
    /// Rows of another schema are not converted: they can be folded from the log at any time. Nor are they folded
    /// anew by themselves, because that takes minutes on a large log and would also happen when an older program
    /// is started by mistake.
    #[error(
        "the read models in Postgres have schema version {found}, and this program has {supported}: \
         run `orderly projections rebuild`"
    )]
    OtherSchema { found: i32, supported: i32 },
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(text) | Fault::Corrupt(text) => Self::Unavailable(text),
        }
    }
}

impl Database {
    /// Connects, and makes the tables or brings them to this program's version.
    pub async fn connect(options: PostgresOptions) -> Result<Self, OpenError> {
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let tls = tls::connector(&options)?;
        let manager = Manager::from_config(options.config.clone(), tls.clone(), manager_config);
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .wait_timeout(Some(CONNECTION_PATIENCE))
            .create_timeout(Some(CONNECTION_PATIENCE))
            .recycle_timeout(Some(CONNECTION_PATIENCE))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| OpenError::Unavailable(error.to_string().into()))?;
        let database = Self { pool, options: Arc::new(options), tls };
        let mut client = database.pool.get().await.map_err(Fault::from)?;
        migrations::migrate(&mut client).await?;
        drop(client);
        Ok(database)
    }

    /// Does some work on a connection of the pool.
    pub(crate) async fn run<T, E: From<Fault>>(
        &self,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut client = self.pool.get().await.map_err(|error| E::from(error.into()))?;
        // Boxed: a commit holds the values of a dozen statements.
        let working = Box::pin(work(&mut client));
        if let Ok(outcome) = tokio::time::timeout(OPERATION_TIMEOUT, working).await {
            return outcome;
        }
        // Whatever comes next on this connection would wait behind it.
        drop(Object::take(client));
        Err(Fault::Unavailable("Postgres does not answer in time".into()).into())
    }

    /// A connection outside the pool, for work that takes long; driven until the client is dropped.
    pub(crate) async fn session(&self) -> Result<Client, Fault> {
        let (client, connection) = self.connection().await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = ?Fault::from(error), "A connection to Postgres has ended");
            }
        });
        client.batch_execute(options::LONG_SESSION).await?;
        Ok(client)
    }

    /// A connection outside the pool that the caller drives.
    pub(crate) async fn connection(&self) -> Result<(Client, Connection), Fault> {
        let connecting = self.options.config.connect(self.tls.clone());
        match tokio::time::timeout(CONNECTION_PATIENCE, connecting).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(Fault::Unavailable("Postgres does not answer".into())),
        }
    }
}
