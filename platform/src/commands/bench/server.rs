//! The server that a benchmark drives: a child process on a new data directory, or a server that is running
//! already.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Stdio,
};

use http::HeaderValue;
use tempfile::TempDir;
use tokio::{net::lookup_host, process::Command};

use super::{
    client::{Connection, Endpoint},
    usage::Usage,
};
use crate::{
    commands::{
        Failure,
        child::{ANY_PORT, ChildServer, orderly},
    },
    config::{ApiUrl, CallerSettings},
};

/// A benchmark with many clients measures the server and not its limits for clients.
const WITHOUT_LIMITS: [&str; 6] =
    ["--connections-per-address", "4096", "--concurrent-reads", "4096", "--concurrent-writes", "4096"];

/// The addresses of a server's APIs.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub command: Endpoint,
    pub query: Endpoint,
    /// Where the server shows its measurements.
    pub admin: Option<SocketAddr>,
}

impl Target {
    /// A server that is running already. Refuses another machine unless `allow_remote`: the benchmark fills
    /// it with orders.
    pub async fn running(
        (command, query, admin): (&ApiUrl, &ApiUrl, Option<&ApiUrl>),
        caller: &CallerSettings,
        allow_remote: bool,
    ) -> Result<Self, Failure> {
        let authorization: Option<&HeaderValue> =
            caller.api_key.as_ref().map(|key| &*Box::leak(Box::new(key.header())));
        let address = resolve(command, allow_remote).await?;
        let command = Endpoint { address, authorization };
        let address = resolve(query, allow_remote).await?;
        let query = Endpoint { address, authorization };
        let admin = match admin {
            Some(url) => Some(resolve(url, allow_remote).await?),
            None => None,
        };
        // Checks the addresses now: the baselines before their first use take 20 s.
        for endpoint in [command, query] {
            Connection::open(endpoint).await?.get("/readyz").await?;
        }
        let target = Self { command, query, admin };
        Usage::read(target).await?;
        Ok(target)
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
            "is another machine, and a benchmark fills it with orders: pass --allow-remote to allow that",
        ));
    }
    Ok(address)
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// A child process of this benchmark. Killed when dropped.
pub struct Server {
    process: ChildServer,
    target: Target,
    /// Removed when dropped.
    _directory: Option<TempDir>,
}

impl Server {
    /// Starts all roles on `data`.
    pub async fn orderly(data: TempDir) -> Result<Self, Failure> {
        let mut command = orderly(&["serve", "--command-listen", ANY_PORT, "--query-listen", ANY_PORT])?;
        // Benchmark orders are never charged, and the sandbox's port may be taken.
        command.args(["--payment-provider", "none"]);
        command.arg("--data-dir").arg(data.path()).args(WITHOUT_LIMITS);
        command.args(["--admin-listen", ANY_PORT]);
        let server = Self::start(command, 3).await?;
        Ok(Self { _directory: Some(data), ..server })
    }

    /// Starts only the query API on `data`, which holds read models. Without a process manager the history
    /// does not change.
    pub async fn query_api(data: &Path) -> Result<Self, Failure> {
        let mut command = orderly(&["serve", "--roles", "query-api", "--query-listen", ANY_PORT])?;
        command.arg("--data-dir").arg(data).args(WITHOUT_LIMITS);
        Self::start(command, 1).await
    }

    /// Starts the echo baseline.
    pub async fn echo() -> Result<Self, Failure> {
        Self::start(orderly(&["bench-echo"])?, 1).await
    }

    pub fn target(&self) -> Target {
        self.target
    }

    /// Kills the process and waits for its end. A graceful stop would only save data that is deleted next.
    pub async fn stop(self) -> Result<(), Failure> {
        self.process.kill().await
    }

    /// Stops the server that [`super::setup::BenchSetup::target`] has started, if it has started one.
    pub async fn stop_own(server: Option<Self>) -> Result<(), Failure> {
        match server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Starts a process that prints `urls` URLs: one, or those of the command API, the query API and the
    /// measurements, in this order.
    async fn start(command: Command, urls: usize) -> Result<Self, Failure> {
        let process = ChildServer::start(command, urls).await?;
        let addresses = &process.addresses;
        let query = addresses.get(1).copied().unwrap_or(addresses[0]);
        let target =
            Target { command: addresses[0].into(), query: query.into(), admin: addresses.get(2).copied() };
        Ok(Self { process, target, _directory: None })
    }
}

/// Runs a command of this binary on `data` and waits for its end.
pub async fn run_to_end(arguments: &[&str], data: &Path) -> Result<(), Failure> {
    let mut command = orderly(arguments)?;
    let status =
        command.arg("--data-dir").arg(data).stdout(Stdio::null()).kill_on_drop(true).status().await?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("orderly {} failed: {status}", arguments.join(" "))))
}
