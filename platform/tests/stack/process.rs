//! One process of the platform.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A process that serves; killed when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it, and waits until it says that it is up.
    pub async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next_line().await.unwrap().expect("it says on standard error why it did not start");
        assert!(first.contains("Orderly is up"), "{first}");
        // Read on, so that it never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child }
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Nothing of it runs meanwhile, although its connections stay open.
    pub async fn sleep_for(&self, pause: Duration) {
        self.signal("-STOP").await;
        tokio::time::sleep(pause).await;
        self.signal("-CONT").await;
    }

    /// Asks for an orderly end, and waits for it.
    pub async fn terminate(mut self) {
        self.signal("-TERM").await;
        assert!(self.child.wait().await.unwrap().success());
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it has not been waited for").to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }
}
