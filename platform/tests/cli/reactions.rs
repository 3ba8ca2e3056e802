//! Parked reactions are listed and retried.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::support::DataDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// Parks the second event of an order, as a process manager that could not run its reaction does. The reaction
/// succeeds when it is repeated.
fn park(data: &DataDir, order: &str) {
    const EVENT: &str = "SELECT id, type FROM events JOIN streams USING (stream_no)
         WHERE name = ?1 AND revision = 1";
    const STORE: &str = "SELECT store_id FROM reactor_positions WHERE reactor = 'process-manager'";
    const PARK: &str =
        "INSERT INTO parked_reactions VALUES (?1, ?2, 1, ?3, ?4, 1, 0, 3, 'a reason', ?5, false)";
    let stream = format!("order-{order}");
    let events = Connection::open(data.path("events.db")).unwrap();
    let (event, event_type): (Vec<u8>, String) =
        events.query_row(EVENT, [&stream], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let operations = Connection::open(data.path("operations.db")).unwrap();
    let store: Vec<u8> = operations.query_row(STORE, [], |row| row.get(0)).unwrap();
    let in_a_century: i64 = 4_900_000_000_000_000;
    operations.execute(PARK, params![store, stream, event, event_type, in_a_century]).unwrap();
}

#[tokio::test]
async fn parked_reactions_are_listed_and_run_again_by_the_server() {
    let data = DataDir::new();
    let server = data.serve().await;
    let [first, second, third] = [
        server.place_an_order("A").await,
        server.place_an_order("B").await,
        server.place_an_order("C").await,
    ];
    // The process manager saves its position within a second.
    let started = Instant::now();
    while !has_position(&data) {
        assert!(started.elapsed() < PATIENCE, "the process manager saves no position");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    park(&data, &first);
    let list = data.run_well(&["reactions", "list"]).await;
    for text in [&format!("order-{first}"), "order.allocated.v1", "1 to 1", "a reason"] {
        assert!(list.contains(text), "{text} is not in {list}");
    }

    let retried = data.run_well(&["reactions", "retry", &first]).await;
    assert!(retried.contains(&format!("order-{first} has caught up")), "{retried}");
    let again = data.run(&["reactions", "retry", &first]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("has no parked reaction"), "{again:?}");
    assert!(server.terminate().await.success());

    // Without a process manager the requests wait for the next one.
    for order in [&second, &third] {
        park(&data, order);
    }
    let all = data.run_well(&["reactions", "retry", "--all"]).await;
    assert!(all.contains("2 retries are requested"), "{all}");
    let waiting = data.run(&["reactions", "retry", &second]).await;
    assert_eq!(waiting.code, Some(1), "{waiting:?}");
    assert!(waiting.stderr.contains("no process manager has made the retry"), "{waiting:?}");
    let neither = data.run(&["reactions", "retry"]).await;
    assert_eq!(neither.code, Some(2), "{neither:?}");
}

fn has_position(data: &DataDir) -> bool {
    const COUNT: &str = "SELECT count(*) FROM reactor_positions WHERE reactor = 'process-manager'";
    let operations = Connection::open(data.path("operations.db")).unwrap();
    operations.query_row(COUNT, [], |row| row.get::<_, i64>(0)).unwrap() > 0
}
