//! What an operator sees of a running server: its start line, its log and its version.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use super::support::DataDir;

const ANY: &str = "127.0.0.1:0";

/// A server whose output the test reads.
struct Started {
    child: Child,
    /// What it printed on standard output.
    banner: Vec<String>,
    log: Lines<BufReader<ChildStderr>>,
    /// The lines of the log that were read.
    read: Vec<String>,
}

impl Started {
    /// Starts `orderly serve` on free ports. It prints `lines` lines.
    async fn with(data: &DataDir, variables: &[(&str, &str)], arguments: &[&str], lines: usize) -> Self {
        let listen = ["serve", "--command-listen", ANY, "--query-listen", ANY, "--sandbox-listen", ANY];
        let mut command = data.command(&[&listen, arguments].concat());
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut banner, mut read) = (Vec::new(), Vec::new());
        while banner.len() < lines {
            tokio::select! {
                line = output.next_line() => banner.push(line.unwrap().expect("the server is up")),
                // A full pipe would stop the server.
                line = log.next_line() => read.push(line.unwrap().unwrap_or_else(|| panic!("it ended: {read:?}"))),
            }
        }
        Self { child, banner, log, read }
    }

    fn url(&self, name: &str) -> String {
        let line = self.banner.iter().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned()
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
    }

    /// Waits for a line of the log.
    async fn logged(&mut self, text: &str) {
        while !self.read.iter().any(|line| line.contains(text)) {
            self.read.push(self.log.next_line().await.unwrap().expect("the server runs"));
        }
    }

    /// Stops the server, and returns its whole log.
    async fn stop(mut self) -> String {
        self.signal("-TERM").await;
        while let Some(line) = self.log.next_line().await.unwrap() {
            self.read.push(line);
        }
        assert!(self.child.wait().await.unwrap().success());
        self.read.join("\n")
    }
}

#[tokio::test]
async fn the_log_and_the_banner_name_version_stores_provider_roles_and_addresses() {
    let data = DataDir::new();
    let server = Started::with(&data, &[], &[], 9).await;
    let version = data.run_well(&["--version"]).await;
    let (number, commit) = version
        .trim()
        .strip_prefix("orderly ")
        .and_then(|text| text.strip_suffix(')')?.split_once(" ("))
        .unwrap();
    let banner = server.banner.join("\n");
    assert!(banner.contains(&format!("version      {number} (commit {commit})")), "{banner}");
    assert!(banner.contains("bus          direct"), "{banner}");

    for api in ["command API", "query API"] {
        let answer = reqwest::get(format!("{}/version", server.url(api))).await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer, json!({"version": number, "commit": commit}));
    }
    let query_api = server.url("query API");
    let log = server.stop().await;
    let start = log.lines().next().unwrap();
    for part in ["Orderly is starting", number, commit, "sqlite:", "direct", "sandbox", "query-api"] {
        assert!(start.contains(part), "{part} is not in {start}");
    }
    let up = log.lines().find(|line| line.contains("Orderly is up")).unwrap();
    assert!(up.contains(query_api.trim_start_matches("http://")), "{up}");
}

#[tokio::test]
async fn with_a_json_log_every_line_of_both_outputs_is_json() {
    let data = DataDir::new();
    let json_log = [("ORDERLY_LOG_FORMAT", "json"), ("ORDERLY_LOG", "debug")];
    let server = Started::with(&data, &json_log, &["--admin-listen", "localhost:0"], 1).await;
    let banner: Value = serde_json::from_str(&server.banner[0]).unwrap();
    assert_eq!((&banner["message"], &banner["bus"]), (&"Orderly is up".into(), &"direct".into()));
    assert_eq!(banner["roles"].as_array().unwrap().len(), 6);

    let url = |name: &str| banner["addresses"][name].as_str().unwrap().to_owned();
    let http = reqwest::Client::new();
    let order = http.get(format!("{}/v1/orders/{}", url("query_api"), uuid::Uuid::nil()));
    let answer = order.header("x-request-id", "checkout-7/a").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-request-id"]),
        (404, &"checkout-7/a".parse().unwrap())
    );
    let answer =
        http.get(format!("{}/livez", url("command_api"))).header("x-request-id", "a b").send().await.unwrap();
    let new_id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_ne!(new_id, "a b");
    let version: Value =
        reqwest::get(format!("{}/version", url("admin"))).await.unwrap().json().await.unwrap();
    assert_eq!(version["commit"], banner["commit"]);

    let log = server.stop().await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let request = |id: &str| {
        let is_of = |line: &&Value| line["target"] == "requests" && line["span"]["request.id"] == id;
        lines.iter().find(is_of).unwrap_or_else(|| panic!("{id} is not in {log}"))
    };
    let line = request("checkout-7/a");
    assert_eq!((&line["http.method"], &line["http.status"]), (&"GET".into(), &404.into()), "{line}");
    assert_eq!(line["http.route"], "/v1/orders/{id}", "{line}");
    assert!(line["duration_ms"].is_f64() && line["answer.bytes"].as_u64() > Some(0), "{line}");
    assert_eq!(request(&new_id)["http.route"], "/livez");
}

#[tokio::test]
async fn sighup_does_not_end_a_server() {
    let data = DataDir::new();
    let mut server = Started::with(&data, &[], &[], 9).await;
    server.signal("-HUP").await;
    server.logged("SIGHUP is ignored").await;
    assert_eq!(reqwest::get(format!("{}/livez", server.url("query API"))).await.unwrap().status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_sandbox_that_other_machines_can_reach_is_logged_as_a_warning() {
    const WARNING: &str = "moves no money. Set";
    let data = DataDir::new();
    let on_loopback = Started::with(&data, &[], &[], 9).await;
    assert!(!on_loopback.stop().await.contains(WARNING));
    for listen in ["sandbox", "command"] {
        let public = format!("--{listen}-listen=0.0.0.0:0");
        let address =
            |other: &str| if other == listen { public.clone() } else { format!("--{other}-listen={ANY}") };
        let addresses = ["command", "query", "sandbox"].map(address);
        let arguments = [&["serve", "--auth", "off"][..], &addresses.each_ref().map(String::as_str)].concat();
        let mut command = data.command(&arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        while !lines.next_line().await.unwrap().expect("a warning before the end").contains(WARNING) {}
        child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn no_output_of_a_server_shows_a_secret() {
    let data = DataDir::new();
    let secrets = [
        ("ORDERLY_STRIPE_SECRET_KEY", "sk_live_hunter2"),
        ("ORDERLY_STRIPE_WEBHOOK_SECRET", "whsec_hunter2"),
        ("ORDERLY_SANDBOX_SECRET", "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg=="),
        ("ORDERLY_LOG", "trace"),
    ];
    let server = Started::with(&data, &secrets, &[], 9).await;
    let query_api = server.url("query API");
    reqwest::get(format!("{query_api}/v1/orders")).await.unwrap();
    let banner = server.banner.join("\n");
    let log = server.stop().await;

    let stores = [
        ("ORDERLY_EVENT_STORE", "esdb://admin:hunter2@127.0.0.1:9?tls=false"),
        ("ORDERLY_READ_MODELS", "postgres://orderly:hunter2@127.0.0.1:9/orderly?connect_timeout=1"),
        ("ORDERLY_PAYMENT_PROVIDER", "stripe"),
    ];
    let mut outputs = vec![banner, log];
    for arguments in [
        &["serve", "--roles", "query-api", "--query-listen", ANY][..],
        &["config", "show"],
        &["config", "show", "--format", "toml"],
        &["config", "check"],
        &["projections", "list"],
        &["serve", "--help"],
    ] {
        let mut command = data.command(arguments);
        let output = command.envs(secrets).envs(stores).output().await.unwrap();
        outputs.push(String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap());
    }
    for output in outputs {
        for secret in ["hunter2", "aHVudGVyM"] {
            assert!(!output.contains(secret), "{output}");
        }
        assert!(!output.is_empty());
    }
}
