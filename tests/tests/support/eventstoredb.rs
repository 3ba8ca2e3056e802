//! The EventStoreDB of a test: the fixture, or a real server that the environment names. `tests/README.md`
//! describes the variables.

use std::{env, net::TcpListener, process::Stdio, time::Duration};

use tempfile::TempDir;
use tests::eventstoredb::{FixtureOptions, Server};
use tokio::{
    process::{Child, Command},
    sync::Mutex,
    time::{Instant, timeout},
};

use super::PATIENCE;

const PROGRAM: &str = "ORDERLY_TEST_EVENTSTOREDB";
const ARGUMENTS: &str = "ORDERLY_TEST_EVENTSTOREDB_ARGS";
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
            (_, Ok(program)) => Self::Process(Box::new(RealServer::start(program).await)),
            _ => Self::Fixture(Box::new(Server::start(options).await.unwrap())),
        }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Fixture(server) => server.url().to_owned(),
            // Clients wait for this interval before every connection, even the first.
            Self::Process(server) => {
                format!("esdb://127.0.0.1:{}?tls=false&discoveryInterval=10", server.port)
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
            Self::Process(server) => {
                let mut process = server.process.lock().await;
                process.kill().await.unwrap();
                tokio::time::sleep(pause).await;
                *process = server.spawn();
                server.until_ready().await;
            }
            Self::Running(_) => {}
        }
    }
}

/// A real server. Dropping it kills the process and removes the log.
pub struct RealServer {
    program: String,
    port: u16,
    replication_port: u16,
    directory: TempDir,
    process: Mutex<Child>,
}

impl RealServer {
    async fn start(program: String) -> Self {
        let free_port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, replication_port) = (free_port(), free_port());
        let directory = tempfile::tempdir().unwrap();
        let process = spawn(&program, port, replication_port, &directory);
        let server = Self { program, port, replication_port, directory, process: Mutex::new(process) };
        server.until_ready().await;
        server
    }

    fn spawn(&self) -> Child {
        spawn(&self.program, self.port, self.replication_port, &self.directory)
    }

    async fn until_ready(&self) {
        let health = format!("http://127.0.0.1:{}/health/live", self.port);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = timeout(Duration::from_secs(1), reqwest::get(health.clone())).await;
            if answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status() == 204)) {
                return;
            }
            assert!(Instant::now() < deadline, "{} is not ready within {PATIENCE:?}", self.program);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn spawn(program: &str, port: u16, replication_port: u16, directory: &TempDir) -> Child {
    let configured = env::var(ARGUMENTS).unwrap_or_default();
    let folder = |name: &str| directory.path().join(name);
    Command::new(program)
        .args(["--insecure", "--node-ip", "127.0.0.1", "--replication-ip", "127.0.0.1"])
        .args(["--node-port", &port.to_string(), "--replication-port", &replication_port.to_string()])
        .arg("--db")
        .arg(folder("db"))
        .arg("--log")
        .arg(folder("log"))
        .args(configured.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{PROGRAM}={program} does not start: {error}"))
}
