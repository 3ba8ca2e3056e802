//! A Postgres database for one test.

use std::net::SocketAddr;

use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

const SERVER: &str = "ORDERLY_TEST_POSTGRES";

/// A new database on the server of `ORDERLY_TEST_POSTGRES`. Dropping this value drops the database.
pub struct TestDatabase {
    server: Config,
    name: String,
    url: String,
}

impl TestDatabase {
    pub async fn create() -> Self {
        let server = std::env::var(SERVER).unwrap_or_else(|_| {
            panic!("{SERVER} is not set: run `infra/dev/services up`, then `source .dev/env`")
        });
        let name = format!("test_{}", Uuid::new_v4().simple());
        let (address, _database) = server.rsplit_once('/').expect("a URL that names a database");
        let url = format!("{address}/{name}");
        let server: Config = server.parse().expect("a URL of Postgres");
        let database = Self { server, name, url };
        run(&database.server, &format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address of the server.
    pub fn address(&self) -> SocketAddr {
        let (_user, address) = self.url.split_once('@').unwrap();
        address.split('/').next().unwrap().parse().expect("the URL names the server by its IP address")
    }

    /// The URL of the same database behind another address.
    pub fn url_through(&self, address: SocketAddr) -> String {
        self.url.replace(&self.address().to_string(), &address.to_string())
    }

    /// A new connection.
    pub async fn client(&self) -> Client {
        connect(&self.url.parse().unwrap()).await
    }

    /// Closes every connection to the database; returns their number.
    pub async fn cut_connections(&self) -> usize {
        const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        connect(&self.server).await.query(CUT, &[&self.name]).await.unwrap().len()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread with its own runtime, because the test's runtime may be ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&server, &format!("DROP DATABASE {name} WITH (FORCE)")));
        });
        let dropped = dropping.join().is_ok();
        assert!(dropped || std::thread::panicking(), "the database of the test cannot be dropped");
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("Postgres answers");
    // Ends with the client or the server. Its error also reaches the user of the client.
    tokio::spawn(connection);
    client
}

async fn run(server: &Config, statement: &str) {
    connect(server).await.batch_execute(statement).await.unwrap();
}
