//! The topics, the database and the data directory of one test, and its processes.

use std::{env, future::Future, net::Ipv4Addr, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tests::port::HeldPort;
use tokio::{process::Command, time::Instant};
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::{customers::Placed, process::Process};

/// Time limit after the last fault for all events to reach the rows.
const DRAINED_WITHIN: Duration = Duration::from_mins(3);

/// The stores and addresses of the processes of one test.
pub struct Stack {
    data: TempDir,
    /// Names the database, and prefixes the topics.
    name: String,
    /// URL of the Postgres server, with the database from which the tests create their own.
    postgres_url: String,
    bus: String,
    command_port: HeldPort,
    query_port: HeldPort,
    /// More settings of the processes.
    variables: Vec<(String, String)>,
    http: reqwest::Client,
}

impl Stack {
    pub async fn new() -> Self {
        let name = format!("stack_{}", Uuid::new_v4().simple());
        let postgres_url = service("ORDERLY_TEST_POSTGRES");
        let bus = format!("{}?prefix={name}&partitions=3", service("ORDERLY_TEST_KAFKA"));
        run_sql(&postgres_url, &format!("CREATE DATABASE {name}")).await;
        Self {
            data: tempfile::tempdir().unwrap(),
            name,
            postgres_url,
            bus,
            command_port: any_port(),
            query_port: any_port(),
            variables: Vec::new(),
            http: reqwest::Client::new(),
        }
    }

    /// Gives these variables to all processes.
    pub fn with(mut self, variables: &[(&str, &str)]) -> Self {
        self.variables.extend(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        self
    }

    /// Starts a process with one role, and with a data directory of its own.
    pub async fn start(&self, role: &str, arguments: &[&str]) -> Process {
        let (commands, queries) = (self.command_listen(), self.query_listen());
        let listen = ["--command-listen", &commands, "--query-listen", &queries];
        let mut command = self.orderly(&[&["serve", "--roles", role], &listen[..], arguments].concat());
        command.env("ORDERLY_DATA_DIR", self.data.path().join(role));
        Process::start(command).await
    }

    /// Starts the process that owns the embedded event store.
    pub async fn owner(&self) -> Process {
        let roles = "command-api,process-manager,relay";
        Process::start(self.orderly(&["serve", "--roles", roles, "--command-listen", &self.command_listen()]))
            .await
    }

    pub async fn projectors(&self) -> Process {
        Process::start(self.orderly(&["serve", "--roles", "projectors"])).await
    }

    pub async fn queries(&self) -> Process {
        Process::start(self.orderly(&[
            "serve",
            "--roles",
            "query-api",
            "--query-listen",
            &self.query_listen(),
        ]))
        .await
    }

    fn command_listen(&self) -> String {
        self.command_port.address().to_string()
    }

    fn query_listen(&self) -> String {
        self.query_port.address().to_string()
    }

    pub fn command_url(&self) -> String {
        format!("http://{}", self.command_listen())
    }

    pub fn query_url(&self) -> String {
        format!("http://{}", self.query_listen())
    }

    /// Sends a command, which must succeed. Its path is its idempotency key.
    pub async fn send(&self, path: &str, body: Value, traceparent: Option<&str>) -> Value {
        let request = self.http.post(format!("{}{path}", self.command_url())).json(&body);
        let request = request.header("idempotency-key", path);
        let request = match traceparent {
            Some(traceparent) => request.header("traceparent", traceparent),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path} was answered with {status}: {answer}");
        answer
    }

    /// The binary with the settings of this stack and no others.
    fn orderly(&self, arguments: &[&str]) -> Command {
        let (address, _database) = self.postgres_url.rsplit_once('/').unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderly"));
        command
            .env_clear()
            .env("ORDERLY_DATA_DIR", self.data.path())
            .env("ORDERLY_BUS", &self.bus)
            .env("ORDERLY_READ_MODELS", format!("{address}/{}", self.name))
            .env("ORDERLY_LOG", "warn")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .args(arguments);
        command
    }

    /// Runs a command of the binary, which must succeed. Returns its output.
    pub async fn run_well(&self, arguments: &[&str]) -> String {
        let output = self.orderly(arguments).output().await.unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {stdout}{stderr}");
        stdout.into_owned()
    }

    /// Reads an order at the revision of its answer.
    pub async fn assert_read_back(&self, placed: &Placed) {
        let path = format!("/v1/orders/{}?min_revision={}", placed.order_id, placed.revision);
        // One request waits 2 s at most, which may be too short on a busy machine.
        let order = eventually(async || self.get(&path).await).await;
        assert_eq!(order["total"], placed.total, "{order}");
    }

    /// Waits until the read models have every order and no lag, then checks that every row equals a replay of
    /// the log.
    pub async fn assert_drained_and_sound(&self, orders: &[Placed]) {
        for placed in orders.iter().rev().take(50) {
            self.assert_read_back(placed).await;
        }
        let sales = eventually(async || {
            let projections = self.get("/v1/projections").await?;
            let rows = projections["projections"].as_array()?;
            rows.iter().all(|row| row["lag_events"] == 0).then_some(())?;
            assert_eq!(projections["parked"], Value::Array(Vec::new()));
            let sales = self.get("/v1/sales?currency=GBP").await?;
            // The relay may still be publishing.
            (sales["total"]["orders"].as_u64()? == orders.len() as u64).then_some(sales)
        })
        .await;
        let gross: i64 = orders.iter().map(|placed| placed.total).sum();
        assert_eq!(sales["total"]["gross"], gross, "{sales}");
        let verified = self.run_well(&["audit", "verify"]).await;
        println!("{}", verified.trim_end());
    }

    /// Reads an order in a trace until it is paid.
    pub async fn until_paid(&self, order_id: &str, traceparent: &str) -> Value {
        let url = format!("http://{}/v1/orders/{order_id}", self.query_listen());
        eventually(async || {
            let request = self.http.get(&url).header("traceparent", traceparent);
            let order: Value = request.send().await.ok()?.json().await.ok()?;
            (order["payment_status"] == "paid").then_some(order)
        })
        .await
    }

    /// `None` unless the answer is a success.
    async fn get(&self, path: &str) -> Option<Value> {
        let response = self.http.get(format!("http://{}{path}", self.query_listen())).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        response.json().await.ok()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let (url, name) = (self.postgres_url.clone(), self.name.clone());
        // The runtime of the test may be shutting down.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run_sql(&url, &format!("DROP DATABASE {name} WITH (FORCE)")));
        });
        let dropped = dropping.join().is_ok();
        assert!(dropped || std::thread::panicking(), "cannot drop the database of the test");
    }
}

async fn eventually<T, F: Future<Output = Option<T>>>(mut check: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + DRAINED_WITHIN;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "the condition was not met in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn service(name: &str) -> String {
    env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: infra/dev/services up, then source .dev/env"))
}

/// A free port of this machine, for a server that may start more than once.
pub fn any_port() -> HeldPort {
    HeldPort::hold((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

async fn run_sql(url: &str, statement: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("Postgres answers");
    let connection = tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}
