//! Starts the binary and sends requests to it.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A data directory.
pub struct DataDir {
    path: PathBuf,
    /// Dropping it deletes the directory.
    _owned: Option<TempDir>,
}

impl DataDir {
    pub fn new() -> Self {
        let owned = tempfile::tempdir().unwrap();
        Self { path: owned.path().to_owned(), _owned: Some(owned) }
    }

    /// A directory that the binary makes.
    pub fn at(path: PathBuf) -> Self {
        Self { path, _owned: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The binary with this data directory and without settings from the environment of the tests.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderly"));
        command.env_clear().env("ORDERLY_DATA_DIR", &self.path).args(arguments).kill_on_drop(true);
        command
    }

    /// Runs the binary and waits for its end.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        Finished::from(self.command(arguments).output().await.unwrap())
    }

    /// Runs the binary, which must succeed. Returns its output.
    pub async fn run_well(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        finished.stdout
    }

    /// Starts `orderly serve` on free ports and waits until it is up.
    pub async fn serve(&self) -> Server {
        self.serve_with(&[]).await
    }

    pub async fn serve_with(&self, arguments: &[&str]) -> Server {
        const ANY: &str = "127.0.0.1:0";
        let listen = ["serve", "--command-listen", ANY, "--query-listen", ANY, "--sandbox-listen", ANY];
        Server::start(self.command(&[&listen, arguments].concat()), 3).await
    }

    /// Starts `orderly serve` on free ports without the sandbox role.
    pub async fn serve_without_sandbox(&self, arguments: &[&str]) -> Server {
        let listen = ["serve", "--command-listen", "127.0.0.1:0", "--query-listen", "127.0.0.1:0"];
        Server::start(self.command(&[&listen, arguments].concat()), 2).await
    }

    /// Starts `orderly serve` on free ports without the sandbox role, and with an admin address.
    pub async fn serve_with_admin(&self, arguments: &[&str]) -> Server {
        const ANY: &str = "127.0.0.1:0";
        let listen = ["serve", "--command-listen", ANY, "--query-listen", ANY, "--admin-listen", ANY];
        Server::start(self.command(&[&listen, arguments].concat()), 3).await
    }

    /// Starts `orderly serve` with every role on free ports, and with an admin address.
    pub async fn serve_measured(&self, arguments: &[&str]) -> Server {
        const ANY: &str = "127.0.0.1:0";
        let listen = ["serve", "--command-listen", ANY, "--query-listen", ANY, "--sandbox-listen", ANY];
        let admin = ["--admin-listen", ANY];
        Server::start(self.command(&[&listen, &admin[..], arguments].concat()), 4).await
    }
}

/// The exit code and the output of a run.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Finished {
    /// The figure with this name in a report.
    pub fn figure(&self, name: &str) -> &str {
        let line = self.stdout.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is not in {self:?}")).trim()
    }
}

/// The answer to a repeated command.
pub struct Retried {
    pub status: u16,
    /// True if the answer has the header `idempotent-replayed: true`.
    pub is_replay: bool,
    pub body: Value,
}

/// A running server.
pub struct Server {
    child: Child,
    http: reqwest::Client,
    pub command_url: String,
    pub query_url: String,
    /// Set if this server runs the sandbox.
    pub sandbox_url: Option<String>,
    /// Set if the server was started with an admin address.
    pub admin_url: Option<String>,
}

impl Server {
    /// Waits until the server has printed `apis` URLs.
    pub async fn start(mut command: Command, apis: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut urls = Vec::new();
        while urls.len() < apis {
            let line = lines.next_line().await.unwrap().expect("the server prints the URLs of its APIs");
            let url = line
                .split_whitespace()
                .find(|word| word.starts_with("http://") || word.starts_with("https://"));
            urls.extend(url.map(str::to_owned));
        }
        let admin_url = urls.iter().find_map(|url| url.strip_suffix("/metrics")).map(str::to_owned);
        urls.retain(|url| !url.ends_with("/metrics"));
        let mut urls = urls.into_iter();
        let (command_url, query_url) = (urls.next().unwrap(), urls.next().unwrap());
        let http = reqwest::Client::new();
        Self { child, http, command_url, query_url, sandbox_url: urls.next(), admin_url }
    }

    /// Sends a command with a key; it must succeed.
    pub async fn post(&self, path: &str, key: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.command_url);
        let response = self.http.post(url).header("idempotency-key", key).json(&body).send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{path} was answered with {status}: {answer}");
        answer
    }

    /// Sends a command that was sent before.
    pub async fn retry(&self, path: &str, key: &str, body: &Value) -> Retried {
        let url = format!("{}{path}", self.command_url);
        let response = self.http.post(url).header("idempotency-key", key).json(body).send().await.unwrap();
        let is_replay = response.headers().get("idempotent-replayed").is_some_and(|value| value == "true");
        Retried { status: response.status().as_u16(), is_replay, body: response.json().await.unwrap() }
    }

    /// Reads from the query API.
    pub async fn get(&self, path: &str) -> Value {
        self.get_from(&self.query_url, path).await
    }

    /// Reads from the command API.
    pub async fn get_from_command_api(&self, path: &str) -> Value {
        self.get_from(&self.command_url, path).await
    }

    async fn get_from(&self, url: &str, path: &str) -> Value {
        let response = self.http.get(format!("{url}{path}")).send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{path} was answered with {status}: {answer}");
        answer
    }

    /// A page of the query API, as a browser gets it.
    pub async fn page(&self, path: &str) -> String {
        let asking = self.http.get(format!("{}{path}", self.query_url)).header("accept", "text/html");
        asking.send().await.unwrap().text().await.unwrap()
    }

    /// Sends a form of a page, and follows to the page that it leads to.
    pub async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let sending = self.http.post(format!("{}{path}", self.query_url)).header("accept", "text/html");
        let sending = sending.header("sec-fetch-site", "same-origin").form(fields);
        sending.send().await.unwrap().text().await.unwrap()
    }

    /// Receives 10 units of a SKU, orders 3 of them at 2.50, and waits for the read models. Returns the
    /// order's id.
    pub async fn place_an_order(&self, sku: &str) -> String {
        let received = json!({"quantity": 10, "reference": "po-1"});
        self.post(&format!("/v1/stock/{sku}/receipts"), &format!("po-1/{sku}"), received).await;
        let line = json!({"sku": sku, "quantity": 3, "unit_price": 250});
        let order = json!({"currency": "GBP", "lines": [line], "payment_due_at": null});
        let answer = self.post("/v1/orders", &format!("checkout/{sku}"), order).await;
        // The payment request is the last event of the order.
        let payment_id = answer["payment_id"].as_str().unwrap();
        self.get(&format!("/v1/payments/{payment_id}?min_revision=0")).await;
        answer["order_id"].as_str().unwrap().to_owned()
    }

    /// Sends SIGKILL: the server finishes nothing.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(mut self) -> ExitStatus {
        let id = self.child.id().expect("the server is still running").to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        self.child.wait().await.unwrap()
    }
}

/// Writes a sales file with these rows for [`import`](super::import).
pub fn write_sales_file(path: &Path, rows: &[&str]) {
    let header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
    let content = std::iter::once(&header).chain(rows).fold(String::new(), |text, row| text + row + "\n");
    std::fs::write(path, content).unwrap();
}
