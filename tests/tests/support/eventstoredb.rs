//! The EventStoreDB of a test: the fixture, or a real server that the environment names. `tests/README.md`
//! describes the variables.

mod real;
mod secured;

use std::{env, time::Duration};

use tests::eventstoredb::{FixtureOptions, Server};

use self::real::RealServer;
pub use self::secured::SecuredEventStoreDb;

const PROGRAM: &str = "ORDERLY_TEST_EVENTSTOREDB";
const URL: &str = "ORDERLY_TEST_EVENTSTOREDB_URL";

/// A server that a test may restart.
pub enum EventStoreDbServer {
    Fixture(Box<Server>),
    /// A process of a real server, with its own log.
    Process(Box<RealServer>),
    /// A running server, which other tests use too. It cannot be restarted.
    Running(String),
}

impl EventStoreDbServer {
    /// Starts a real server if one is configured, else the fixture.
    pub async fn start(options: FixtureOptions) -> Self {
        match (env::var(URL), env::var(PROGRAM)) {
            (Ok(url), _) => Self::Running(url),
            (_, Ok(program)) => Self::Process(Box::new(RealServer::start(program, None).await)),
            _ => Self::Fixture(Box::new(Server::start(options).await.unwrap())),
        }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Fixture(server) => server.url().to_owned(),
            // Clients wait for this interval before every connection, even the first.
            Self::Process(server) => {
                format!("esdb://{}?tls=false&discoveryInterval=10", server.address())
            }
            Self::Running(url) => url.clone(),
        }
    }

    /// Ends the server as `kill -9` does, and starts it again with its log after `pause`.
    pub async fn restart(&self, pause: Duration) {
        match self {
            Self::Fixture(server) => {
                server.stop();
                tokio::time::sleep(pause).await;
                server.accept_connections().await.unwrap();
            }
            Self::Process(server) => server.restart(pause).await,
            Self::Running(_) => {}
        }
    }
}
