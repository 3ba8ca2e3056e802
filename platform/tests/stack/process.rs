//! A process of the platform.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A serving process. Killed when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a process and waits until it prints that it is up.
    pub async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines
            .next_line()
            .await
            .unwrap()
            .expect("the process did not start; its error is on standard error");
        assert!(first.contains("Orderly is up"), "{first}");
        // Reads on, so the process never blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child }
    }

    /// Sends SIGKILL: no destructor runs, and nothing is flushed.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Stops the process for a while. Its connections stay open.
    pub async fn pause_for(&self, pause: Duration) {
        self.signal("-STOP").await;
        tokio::time::sleep(pause).await;
        self.signal("-CONT").await;
    }

    /// Sends SIGTERM and checks for a successful end.
    pub async fn terminate(mut self) {
        self.signal("-TERM").await;
        assert!(self.child.wait().await.unwrap().success());
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("the process is still running").to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }
}
