//! This binary as a child process, without the settings of this process: it cannot touch the caller's own data.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time,
};

use super::Failure;

/// Time limit for a server to start. A server with a large log checks all of it first.
const START_MAX: Duration = Duration::from_mins(5);
/// Time limit for a server to finish the work under way. Its own limits are shorter.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Port 0 lets the server choose a free one.
pub(super) const ANY_PORT: &str = "127.0.0.1:0";

/// A command of this binary.
pub(super) fn orderly(arguments: &[&str]) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ORDERLY_") {
            command.env_remove(name);
        }
    }
    command.env("ORDERLY_LOG", "warn").args(arguments);
    Ok(command)
}

/// A server of this binary. Killed when dropped.
#[derive(Debug)]
pub(super) struct ChildServer {
    process: Child,
    /// In the order in which the server prints them: command API, query API, sandbox, admin, of those that it has.
    pub addresses: Vec<SocketAddr>,
}

impl ChildServer {
    /// Starts a process that prints `urls` URLs.
    pub async fn start(mut command: Command, urls: usize) -> Result<Self, Failure> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output =
            process.stdout.take().ok_or_else(|| Failure::new("the child process has no standard output"))?;
        let mut lines = BufReader::new(output).lines();
        let listening = async {
            let mut addresses = Vec::new();
            while addresses.len() < urls {
                let Some(line) = lines.next_line().await? else {
                    return Err(Failure::new("the server ended during its start; its error is above"));
                };
                addresses.extend(address_in(&line));
            }
            Ok(addresses)
        };
        let listening = time::timeout(START_MAX, listening).await;
        let addresses =
            listening.map_err(|_| Failure::new("the server did not start within 5 minutes"))??;
        // Reads on, so the server never blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { process, addresses })
    }

    /// Waits until the process ends by itself.
    pub async fn ended(&mut self) -> Result<(), Failure> {
        self.process.wait().await?;
        Ok(())
    }

    /// Lets the process finish the work under way.
    pub async fn stop(mut self) -> Result<(), Failure> {
        // It has no id if it has ended already.
        if let Some(pid) = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(pid, Signal::TERM).map_err(std::io::Error::from)?;
        }
        match time::timeout(STOP_MAX, self.process.wait()).await {
            Ok(ended) => ended.map(drop).map_err(Failure::from),
            Err(_) => self.kill().await,
        }
    }

    pub async fn kill(mut self) -> Result<(), Failure> {
        Ok(self.process.kill().await?)
    }
}

/// Parses the address of the URL in a line of output.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("http://")?;
    let end = after.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(after.len());
    after[..end].parse().ok()
}
