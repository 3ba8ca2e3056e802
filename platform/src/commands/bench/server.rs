//! What a benchmark drives: a server of its own, as a child process on a new data directory, or one that runs
//! already.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::lookup_host,
    process::{Child, Command},
    time,
};

use super::client::Connection;
use crate::{commands::Failure, config::ApiUrl};

/// How long a server may take to start. One that holds a large log checks all of it first.
const START_MAX: Duration = Duration::from_mins(5);

const ANY_PORT: &str = "127.0.0.1:0";

/// Where the APIs are.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub command: SocketAddr,
    pub query: SocketAddr,
}

impl Target {
    /// A server that runs already. One on another machine only if that is allowed: it is filled with orders.
    pub async fn running(command: &ApiUrl, query: &ApiUrl, allow_remote: bool) -> Result<Self, Failure> {
        let command = resolve(command, allow_remote).await?;
        let query = resolve(query, allow_remote).await?;
        // Found out now rather than after the baselines.
        for address in [command, query] {
            Connection::open(address).await?.get("/readyz").await?;
        }
        Ok(Self { command, query })
    }
}

async fn resolve(url: &ApiUrl, allow_remote: bool) -> Result<SocketAddr, Failure> {
    let unusable = |why: &str| Failure::new(format!("{}: {why}", url.as_str()));
    let uri: http::Uri = url.as_str().parse()?;
    if !matches!(uri.path(), "" | "/") {
        return Err(unusable("expected http://HOST:PORT without a path"));
    }
    let host = uri.host().ok_or_else(|| unusable("has no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    let mut addresses = lookup_host((host, port)).await.map_err(|error| unusable(&error.to_string()))?;
    let address = addresses.next().ok_or_else(|| unusable("has no address"))?;
    if !allow_remote && !is_loopback(address.ip()) {
        return Err(unusable(
            "is another machine, which a benchmark fills with orders; --allow-remote if it may",
        ));
    }
    Ok(address)
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// A child process of this benchmark. Killed when dropped.
pub struct Server {
    child: Child,
    target: Target,
    /// Removed when dropped.
    _directory: Option<TempDir>,
}

impl Server {
    /// Orderly, with all roles, on `data`.
    pub async fn orderly(data: TempDir) -> Result<Self, Failure> {
        let mut command = orderly(&["serve", "--command-listen", ANY_PORT, "--query-listen", ANY_PORT])?;
        // Nobody pays by it, and its port may be taken.
        command.args(["--payment-provider", "none"]);
        command.arg("--data-dir").arg(data.path());
        let server = Self::start(command, 2).await?;
        Ok(Self { _directory: Some(data), ..server })
    }

    /// The query API alone, on `data` that holds read models. Nothing reacts to the events it was made from.
    pub async fn query_api(data: &Path) -> Result<Self, Failure> {
        let mut command = orderly(&["serve", "--roles", "query-api", "--query-listen", ANY_PORT])?;
        command.arg("--data-dir").arg(data);
        Self::start(command, 1).await
    }

    /// The echo baseline.
    pub async fn echo() -> Result<Self, Failure> {
        Self::start(orderly(&["bench-echo"])?, 1).await
    }

    pub fn target(&self) -> Target {
        self.target
    }

    /// Ends the process and waits for its end. What it has written is of no more use, so it is not asked.
    pub async fn stop(mut self) -> Result<(), Failure> {
        Ok(self.child.kill().await?)
    }

    /// Stops the server that a part has driven, unless it ran before.
    pub async fn stop_own(server: Option<Self>) -> Result<(), Failure> {
        match server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Starts a process that prints where it listens: at one URL, or the command API first and then the query API.
    async fn start(mut command: Command, urls: usize) -> Result<Self, Failure> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = child.stdout.take().ok_or_else(|| Failure::new("a child without standard output"))?;
        let mut lines = BufReader::new(output).lines();
        let listening = async {
            let mut addresses = Vec::new();
            while addresses.len() < urls {
                let Some(line) = lines.next_line().await? else {
                    return Err(Failure::new("the server ended at its start; it says above why"));
                };
                addresses.extend(address_in(&line));
            }
            Ok(addresses)
        };
        let listening = time::timeout(START_MAX, listening).await;
        let addresses = listening.map_err(|_| Failure::new("the server did not start in time"))??;
        // Read on, so that the server never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let target = Target { command: addresses[0], query: addresses[urls - 1] };
        Ok(Self { child, target, _directory: None })
    }
}

/// This binary again, with none of this process's settings: it must not find the user's own data.
fn orderly(arguments: &[&str]) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ORDERLY_") {
            command.env_remove(name);
        }
    }
    command.env("ORDERLY_LOG", "warn").args(arguments);
    Ok(command)
}

/// The address of a URL in a line of output.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("http://")?;
    let end = after.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(after.len());
    after[..end].parse().ok()
}

/// Runs a command of this binary on `data` to its end.
pub async fn run_to_end(arguments: &[&str], data: &Path) -> Result<(), Failure> {
    let mut command = orderly(arguments)?;
    let status =
        command.arg("--data-dir").arg(data).stdout(Stdio::null()).kill_on_drop(true).status().await?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("orderly {} failed: {status}", arguments.join(" "))))
}
