use std::net::Ipv4Addr;

use tests::port::HeldPort;

use super::support::DataDir;

#[tokio::test]
async fn a_second_server_on_the_same_files_is_refused_and_the_first_continues() {
    let data = DataDir::new();
    let server = data.serve().await;
    let second = data.run(&["serve", "--command-listen", "127.0.0.1:0"]).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("another process owns this event store"), "{second:?}");
    assert!(second.stderr.contains("events.db.lock"), "{second:?}");
    server.place_an_order("85123A").await;
}

#[tokio::test]
async fn the_error_for_a_port_in_use_names_its_setting() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let finished = DataDir::new().run(&["serve", "--command-listen", &address]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for part in ["ORDERLY_COMMAND_LISTEN", &address, "port 0"] {
        assert!(finished.stderr.contains(part), "{finished:?} does not mention {part}");
    }
}

#[tokio::test]
async fn sigterm_stops_a_server_with_exit_code_0_and_keeps_its_data() {
    let data = DataDir::new();
    let server = data.serve().await;
    let order = server.place_an_order("85123A").await;
    assert!(server.terminate().await.success());

    let server = data.serve().await;
    assert_eq!(server.get(&format!("/v1/orders/{order}")).await["status"], "allocated");
    assert_eq!(server.get("/v1/stock/85123A").await["available"], 7);
}

#[tokio::test]
async fn a_query_api_in_a_process_of_its_own_reads_the_same_rows() {
    let data = DataDir::new();
    let owner = data.serve().await;
    let order = owner.place_an_order("85123A").await;
    let port = HeldPort::hold((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = port.address().to_string();
    let mut apart =
        data.command(&["serve", "--roles", "query-api", "--query-listen", &address]).spawn().unwrap();
    let url = format!("http://{address}/v1/orders/{order}");
    // Connections are refused until the server is up. A server that cannot start has ended.
    let answer = loop {
        match reqwest::get(&url).await {
            Ok(answer) => break answer,
            Err(_) => assert_eq!(apart.try_wait().unwrap(), None),
        }
    };
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["status"], "allocated");
}

#[tokio::test]
async fn an_api_on_loopback_answers_only_to_allowed_names() {
    let data = DataDir::new();
    let server = data.serve_with(&["--allowed-hosts", "shop.example,Orderly.internal"]).await;
    let http = reqwest::Client::new();
    for url in [&server.command_url, &server.query_url] {
        for (host, status) in
            [("shop.example", 200), ("orderly.INTERNAL:443", 200), ("localhost", 200), ("evil.example", 421)]
        {
            let answer = http.get(format!("{url}/livez")).header("host", host).send().await.unwrap();
            assert_eq!(answer.status(), status, "{url} as {host}");
        }
    }
}

#[tokio::test]
async fn a_second_sandbox_on_the_same_ledger_is_refused() {
    let data = DataDir::new();
    let server = data.serve().await;
    let second = data.run(&["serve", "--roles", "sandbox", "--sandbox-listen", "127.0.0.1:0"]).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("sandbox.db: another process has it open"), "{second:?}");
    server.kill().await;
}
