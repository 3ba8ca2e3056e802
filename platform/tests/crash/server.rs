//! The server process that the tests kill.

use std::{fs::OpenOptions, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const LOG: &str = "server.log";

pub struct Server {
    child: Child,
    address: Address,
}

/// The URLs of a server, and an HTTP client whose connections are not reused after a restart.
#[derive(Clone)]
pub struct Address {
    pub http: reqwest::Client,
    pub command_url: String,
    pub query_url: String,
}

fn orderly(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderly"));
    command.env_clear().env("ORDERLY_DATA_DIR", dir).env("ORDERLY_LOG", "warn").kill_on_drop(true);
    command
}

impl Server {
    /// Starts on the data of the last server and waits until the APIs are up.
    pub async fn start(dir: &Path) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(dir.join(LOG)).unwrap();
        let mut command = orderly(dir);
        command.args([
            "serve",
            "--command-listen",
            "127.0.0.1:0",
            "--query-listen",
            "127.0.0.1:0",
            "--sandbox-listen",
            "127.0.0.1:0",
        ]);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut urls = Vec::new();
        while urls.len() < 2 {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("the server did not start: {}", read_log(dir)));
            urls.extend(line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned));
        }
        let [command_url, query_url] = urls.try_into().unwrap();
        let http = reqwest::Client::new();
        Self { child, address: Address { http, command_url, query_url } }
    }

    pub fn address(&self) -> Address {
        self.address.clone()
    }

    /// Sends SIGKILL: no destructor runs, and nothing is flushed.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM and checks for a successful end.
    pub async fn stop(mut self) {
        let id = self.child.id().expect("the server is still running").to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// Checks that every row of the read models equals a replay of the log.
pub async fn assert_read_models_agree(dir: &Path) {
    let verified = orderly(dir).args(["audit", "verify"]).output().await.unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

pub fn assert_no_panic(dir: &Path) {
    let log = read_log(dir);
    assert!(!log.contains("panicked"), "{log}");
}

fn read_log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join(LOG)).unwrap()
}
