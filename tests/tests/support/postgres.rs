//! A Postgres database for one test.

use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

const SERVER: &str = "ORDERLY_TEST_POSTGRES";

/// A new database on the server that `ORDERLY_TEST_POSTGRES` names; dropped with this.
pub struct TestDatabase {
    server: Config,
    name: String,
    url: String,
}

impl TestDatabase {
    pub async fn create() -> Self {
        let server = std::env::var(SERVER).unwrap_or_else(|_| {
            panic!("{SERVER} is not set: `infra/dev/services up`, then `source .dev/env`")
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
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // The runtime of the test may be about to end.
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
    // It ends with the client, or with the server; whoever uses the client is told.
    tokio::spawn(connection);
    client
}

async fn run(server: &Config, statement: &str) {
    connect(server).await.batch_execute(statement).await.unwrap();
}
