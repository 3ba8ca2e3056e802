//! `orderly health`, and the readiness of a process that stops.

use std::time::{Duration, Instant};

use super::support::{DataDir, Server};

fn address(url: &str) -> &str {
    url.trim_start_matches("http://")
}

#[tokio::test]
async fn health_asks_the_address_that_the_process_has() {
    let data = DataDir::new();
    let server = data.serve_measured(&[]).await;
    let admin = server.admin_url.clone().unwrap();
    for arguments in [
        vec!["--admin-listen", address(&admin)],
        vec!["--command-listen", address(&server.command_url)],
        vec!["--roles", "query-api", "--query-listen", address(&server.query_url)],
    ] {
        let answer = data.run_well(&[&["health"][..], &arguments].concat()).await;
        assert!(answer.contains(r#""status":"ready""#), "{arguments:?}: {answer}");
    }
    let live = data.run_well(&["health", "--live", "--command-listen", address(&server.command_url)]).await;
    assert_eq!(live, "ok\n");
    let without = data.run(&["health", "--roles", "relay"]).await;
    assert!(without.code == Some(1) && without.stderr.contains("ORDERLY_ADMIN_LISTEN"), "{without:?}");
    let command = server.command_url.clone();
    server.kill().await;
    let gone = data.run(&["health", "--command-listen", address(&command)]).await;
    assert_eq!(gone.code, Some(1), "{gone:?}");
}

#[tokio::test]
async fn a_process_that_stops_is_not_ready_and_serves_for_the_drain_delay() {
    let data = DataDir::new();
    let server = data.serve_measured(&["--drain-delay", "3s"]).await;
    let (command, query) = (server.command_url.clone(), server.query_url.clone());
    let stopping = tokio::spawn(server.terminate());
    let begun = Instant::now();
    // New connections are served while /readyz says that there should be none.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    while client.get(format!("{query}/readyz")).send().await.unwrap().status() != 503 {
        assert!(begun.elapsed() < Duration::from_secs(3), "it is still ready");
    }
    let answer = client.get(format!("{query}/v1/orders")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["connection"].to_str().unwrap()), (200, "close"));
    let ready = client.get(format!("{command}/readyz")).send().await.unwrap();
    let problem: serde_json::Value = ready.json().await.unwrap();
    assert_eq!(problem["condition"], "stopping", "{problem}");
    assert!(stopping.await.unwrap().success());
    assert!((3..30).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(client.get(format!("{query}/livez")).send().await.is_err());
}

/// As systemd starts a service with `Type=notify`.
#[tokio::test]
async fn a_service_manager_is_told_when_the_process_is_ready_and_when_it_stops() {
    const ANY: &str = "127.0.0.1:0";
    let data = DataDir::new();
    let socket = data.path("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let received = || {
        let mut text = [0; 64];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let mut command =
        data.command(&["serve", "--command-listen", ANY, "--query-listen", ANY, "--sandbox-listen", ANY]);
    command.env("NOTIFY_SOCKET", &socket);
    let server = Server::start(command, 3).await;
    assert_eq!(received(), "READY=1\n");
    assert!(server.terminate().await.success());
    assert_eq!(received(), "STOPPING=1\n");
}
