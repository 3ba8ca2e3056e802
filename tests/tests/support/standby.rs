//! A standby of the Postgres server of the tests.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::{TestDatabase, eventually};

/// A server that replays the log of another server a moment later. Dropping this value stops it.
pub struct Standby {
    programs: PathBuf,
    /// The user and group that the server runs as. Postgres refuses to run as root.
    owner: (u32, u32),
    address: SocketAddr,
    directory: TempDir,
    is_stopped: bool,
}

impl Standby {
    /// Copies the server of a database and starts to follow it. Takes about 3 s.
    pub async fn of(database: &TestDatabase) -> Self {
        const PLACES: &str = "SELECT (SELECT setting FROM pg_config() WHERE name = 'BINDIR'),
             current_setting('data_directory')";
        let row = database.client().await.query_one(PLACES, &[]).await.unwrap();
        let (programs, data): (String, String) = (row.get(0), row.get(1));
        let owner = fs::metadata(data).unwrap();
        Self::copy(programs.into(), (owner.uid(), owner.gid()), database.url())
    }

    /// Copies this server and starts to follow it.
    pub fn standby(&self, database: &TestDatabase) -> Self {
        Self::copy(self.programs.clone(), self.owner, &self.url_of(database))
    }

    fn copy(programs: PathBuf, owner: (u32, u32), url: &str) -> Self {
        // The temporary directory of the tests may be closed to other users.
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        std::os::unix::fs::chown(directory.path(), Some(owner.0), Some(owner.1)).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let standby = Self { programs, owner, address, directory, is_stopped: false };
        let copied = standby.run(
            "pg_basebackup",
            &[
                "--dbname",
                url,
                "--pgdata",
                &standby.data(),
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            ],
        );
        assert!(copied, "the server cannot be copied");
        let options = format!(
            "-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 \
             -c shared_buffers=32MB -c wal_keep_size=256MB -c dynamic_shared_memory_type=mmap -c fsync=off"
        );
        let data = standby.data();
        let started = standby.run(
            "pg_ctl",
            &["start", "--wait", "--timeout=30", "--silent", "--pgdata", &data, "--options", &options],
        );
        assert!(started, "the standby does not start");
        standby
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the copy of a database.
    pub fn url_of(&self, database: &TestDatabase) -> String {
        database.url_through(self.address)
    }

    /// Stops the replay, until [`Standby::resume`].
    pub async fn pause(&self, database: &TestDatabase) {
        let client = self.client(database).await;
        client.execute("SELECT pg_wal_replay_pause()", &[]).await.unwrap();
        eventually("the replay has stopped", async || {
            let row = client.query_one("SELECT pg_get_wal_replay_pause_state()", &[]).await.unwrap();
            (row.get::<_, &str>(0) == "paused").then_some(())
        })
        .await;
    }

    pub async fn resume(&self, database: &TestDatabase) {
        self.client(database).await.execute("SELECT pg_wal_replay_resume()", &[]).await.unwrap();
    }

    /// Receives no further commits of the server that it follows.
    pub async fn stop_following(&self, database: &TestDatabase) {
        let client = self.client(database).await;
        client.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await.unwrap();
        client.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
        eventually("the standby receives nothing", async || {
            let row = client.query_one("SELECT count(*) FROM pg_stat_wal_receiver", &[]).await.unwrap();
            (row.get::<_, i64>(0) == 0).then_some(())
        })
        .await;
    }

    /// Becomes a primary, which accepts writes.
    pub fn promote(&self) {
        let promoted =
            self.run("pg_ctl", &["promote", "--wait", "--timeout=30", "--silent", "--pgdata", &self.data()]);
        assert!(promoted, "the standby does not become a primary");
    }

    /// Refuses writes from now on, and keeps its connections.
    pub async fn make_read_only(&self, database: &TestDatabase) {
        let client = self.client(database).await;
        client.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
        client.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
    }

    /// Stops as in a crash.
    pub fn stop(&mut self) {
        self.is_stopped =
            self.run("pg_ctl", &["stop", "--mode=immediate", "--silent", "--pgdata", &self.data()]);
    }

    pub async fn client(&self, database: &TestDatabase) -> Client {
        let connected = tokio_postgres::connect(&self.url_of(database), NoTls).await;
        let (client, connection) = connected.expect("the standby answers");
        tokio::spawn(connection);
        client
    }

    fn data(&self) -> String {
        self.directory.path().join("data").to_str().unwrap().to_owned()
    }

    /// Runs a program of Postgres as the owner of the server. True if it succeeds.
    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(self.owner.0).gid(self.owner.1);
        }
        command.status().unwrap().success()
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        if !self.is_stopped {
            self.stop();
        }
        assert!(self.is_stopped || std::thread::panicking(), "the standby does not stop");
    }
}
