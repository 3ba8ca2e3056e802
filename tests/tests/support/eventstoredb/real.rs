//! A process of a real EventStoreDB.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tests::eventstoredb::Certificates;
use tokio::{
    process::{Child, Command},
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{super::PATIENCE, PROGRAM};

const ARGUMENTS: &str = "ORDERLY_TEST_EVENTSTOREDB_ARGS";

/// Dropping it kills the process and removes the log.
pub struct RealServer {
    program: String,
    port: u16,
    replication_port: u16,
    /// Without certificates, the server is insecure: no TLS, and everybody may do everything.
    certificates: Option<Certificates>,
    directory: TempDir,
    process: Mutex<Child>,
}

impl RealServer {
    pub async fn start(program: String, certificates: Option<Certificates>) -> Self {
        let free_port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, replication_port) = (free_port(), free_port());
        let directory = tempfile::tempdir().unwrap();
        let process = spawn(&program, (port, replication_port), certificates.as_ref(), &directory);
        let server =
            Self { program, port, replication_port, certificates, directory, process: Mutex::new(process) };
        server.until_ready().await;
        server
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The address of a page of the server's HTTP API.
    pub fn page(&self, path: &str) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}{path}", self.port)
    }

    /// A client that trusts the server's certificate.
    pub fn http_client(&self) -> reqwest::Client {
        let client = reqwest::Client::builder();
        let client = match &self.certificates {
            Some(certificates) => {
                let authority = fs::read(certificates.authority()).unwrap();
                client.add_root_certificate(reqwest::Certificate::from_pem(&authority).unwrap())
            }
            None => client,
        };
        client.build().unwrap()
    }

    /// Ends the process as `kill -9` does, and starts it again with its log after `pause`.
    pub async fn restart(&self, pause: Duration) {
        let mut process = self.process.lock().await;
        process.kill().await.unwrap();
        tokio::time::sleep(pause).await;
        let ports = (self.port, self.replication_port);
        *process = spawn(&self.program, ports, self.certificates.as_ref(), &self.directory);
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        let (client, health) = (self.http_client(), self.page("/health/live"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = timeout(Duration::from_secs(1), client.get(&health).send()).await;
            if answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status() == 204)) {
                return;
            }
            assert!(Instant::now() < deadline, "{} is not ready within {PATIENCE:?}", self.program);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn spawn(
    program: &str,
    (port, replication_port): (u16, u16),
    certificates: Option<&Certificates>,
    directory: &TempDir,
) -> Child {
    let configured = env::var(ARGUMENTS).unwrap_or_default();
    let mut command = Command::new(program);
    match certificates {
        Some(certificates) => {
            command.arg("--certificate-file").arg(certificates.certificate_file());
            command.arg("--certificate-private-key-file").arg(certificates.key_file());
            command.arg("--trusted-root-certificates-path").arg(certificates.authority().parent().unwrap());
        }
        None => {
            command.arg("--insecure");
        }
    }
    command
        .args(["--node-ip", "127.0.0.1", "--replication-ip", "127.0.0.1"])
        .args(["--node-port", &port.to_string(), "--replication-port", &replication_port.to_string()])
        .arg("--db")
        .arg(directory.path().join("db"))
        .arg("--log")
        .arg(directory.path().join("log"))
        .args(configured.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{PROGRAM}={program} does not start: {error}"))
}
