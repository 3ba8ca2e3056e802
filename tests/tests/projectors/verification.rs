//! Verification of read models in SQLite.

use std::fs;

use infra::read_models::sqlite::SqliteQueries;
use projectors::verify::verify;
use rusqlite::Connection;

use super::{Bench, memory_log::MemoryLog, story::Story, workspace};

/// Single changes to a file of read models: to every table and every kind of column.
const TAMPERINGS: &[&str] = &[
    "UPDATE stock SET on_hand = on_hand + 1",
    "UPDATE stock SET reserved = reserved - 1 WHERE reserved > 0",
    "UPDATE stock SET revision = revision + 1",
    "DELETE FROM stock WHERE sku = 'SKU 0'",
    "INSERT INTO stock VALUES ('GHOST', 1, 0, 0)",
    "UPDATE reservations SET quantity = quantity + 1",
    "UPDATE reservations SET order_ended = 1 - order_ended",
    "DELETE FROM reservations",
    "INSERT INTO reservations VALUES ('GHOST', zeroblob(16), 1, 0)",
    "UPDATE order_stock_events SET revision = revision + 1",
    "UPDATE order_stock_events SET sku = 'SKU 9'",
    "DELETE FROM order_stock_events WHERE position = (SELECT max(position) FROM order_stock_events)",
    "INSERT INTO order_stock_events VALUES (zeroblob(16), 1, 'GHOST', 0)",
    "UPDATE orders SET revision = revision + 1",
    "UPDATE orders SET recorded_at = recorded_at + 1",
    "UPDATE orders SET updated_at = updated_at + 1",
    "UPDATE orders SET status = 5",
    "UPDATE orders SET customer_id = 'another customer'",
    "UPDATE orders SET placed_at = placed_at + 1",
    "UPDATE orders SET payment_due_at = ifnull(payment_due_at, 0) + 1",
    "UPDATE orders SET payment_status = 5 - payment_status",
    "UPDATE orders SET fulfilment_status = 7",
    "UPDATE orders SET reference = 'another reference'",
    "UPDATE orders SET country = 'another country'",
    "UPDATE orders SET currency = 'USD'",
    "UPDATE orders SET total = total + 1",
    "UPDATE orders SET to_ship = 1 - to_ship",
    "UPDATE orders SET times = json_set(times, '$.delivered', json_object(hex(zeroblob(16)), '2026-01-01T00:00:00Z'))",
    "UPDATE orders SET overpaid = 1 - overpaid",
    "UPDATE orders SET refund_due = 1 - refund_due",
    "UPDATE orders SET terms = 2 - terms",
    "UPDATE orders SET overdue_from = ifnull(overdue_from, 0) + 1",
    "UPDATE orders SET summary = json_set(summary, '$.captured', 1)",
    "UPDATE orders SET summary = 'null'",
    "UPDATE orders SET body = json_set(body, '$.owed', 1)",
    "UPDATE orders SET body = '{'",
    "UPDATE orders SET order_id = randomblob(16)",
    "DELETE FROM orders WHERE row_no = 1",
    "INSERT INTO orders SELECT row_no + 100, randomblob(16), revision, recorded_at, updated_at, status,
         payment_status, fulfilment_status, customer_id, reference, country, placed_at, currency, total, payment_due_at,
         to_ship, overpaid, refund_due, terms, overdue_from, times, summary, body FROM orders WHERE row_no = 1",
    "DELETE FROM order_skus WHERE sku = 'SKU 0'",
    "UPDATE order_skus SET placed_at = placed_at + 1",
    "INSERT INTO order_skus VALUES ('GHOST', 2, 0, zeroblob(16))",
    "UPDATE payments SET revision = revision + 1",
    "UPDATE payments SET recorded_at = recorded_at + 1",
    "UPDATE payments SET updated_at = updated_at + 1",
    "UPDATE payments SET state = 0",
    "UPDATE payments SET order_id = zeroblob(16)",
    "UPDATE payments SET reference = 'another reference'",
    "UPDATE payments SET failure = 'another failure'",
    "UPDATE payments SET declined = 1 - declined",
    "UPDATE payments SET times = json_set(times, '$.settled', json_object(hex(zeroblob(16)), '2026-01-01T00:00:00Z'))",
    "UPDATE payments SET awaits_provider_since = ifnull(awaits_provider_since, 0) + 1",
    "UPDATE payments SET authorized_until = ifnull(authorized_until, 0) + 1",
    "UPDATE payments SET summary = json_set(summary, '$.captured', 1)",
    "UPDATE payments SET body = json_set(body, '$.captured', 1)",
    "UPDATE payments SET body = 'null'",
    "DELETE FROM payments WHERE row_no = 1",
    "UPDATE sales SET orders = orders + 1 WHERE span = 0",
    "UPDATE sales SET lines = lines + 1 WHERE span = 0",
    "UPDATE sales SET units = units + 1 WHERE span = 0",
    "UPDATE sales SET gross = gross + 1 WHERE span = 0",
    "UPDATE sales SET gross_high = gross_high + 1 WHERE span = 0",
    "UPDATE sales SET discounts = discounts - 1 WHERE span = 0 AND discounts > 0",
    "UPDATE sales SET tax = tax + 1 WHERE span = 0",
    "UPDATE sales SET shipping = shipping + 1 WHERE span = 0",
    "UPDATE sales SET fees = fees + 1 WHERE span = 0",
    "UPDATE sales SET cancelled = cancelled + 1 WHERE span = 0",
    "UPDATE sales SET refunded = refunded + 1 WHERE span = 0",
    "UPDATE sales SET gross = gross + 1 WHERE span = 1",
    "UPDATE sales SET key = 'GHOST' WHERE dimension = 1 AND key = 'SKU 0'",
    "UPDATE sales SET currency = 'EUR'",
    "DELETE FROM sales WHERE span = 0 AND dimension = 2",
    "DELETE FROM sales WHERE span = 1 AND dimension = 0",
    "UPDATE money SET start = start + 1",
    "UPDATE money SET captured = captured + 1",
    "UPDATE money SET refunded = refunded + 1",
    "UPDATE money SET disputed = disputed + 1",
    "DELETE FROM money",
    "UPDATE checkpoints SET position = position - 1 WHERE projection = 'orders'",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_finds_every_change_of_the_rows() {
    let layout;
    let Bench { log, models, queries, path, _directory } = {
        let bench = Bench::new(MemoryLog::new(Story::eventful().events));
        let running = bench.run();
        bench.caught_up().await;
        running.stop().await;
        bench.assert_rows_are_those_of_the_log().await;
        layout = bench.layout();
        bench
    };
    drop((models, queries));
    for tampering in TAMPERINGS {
        let tampered = path.with_extension("tampered");
        fs::copy(&path, &tampered).unwrap();
        let connection = Connection::open(&tampered).unwrap();
        let changed = connection.execute(tampering, []).unwrap();
        assert!(changed > 0, "{tampering} changes nothing");
        drop(connection);
        let stored = SqliteQueries::open_read_only(&tampered).unwrap();
        match verify(log.as_ref(), &layout, &stored, &workspace(), &|_| {}).await {
            Ok(found) => assert!(found.differences > 0, "{tampering} was not found"),
            Err(projectors::verify::VerifyError::ReadModels(_)) => {}
            Err(error) => panic!("{tampering}: {error}"),
        }
        drop(stored);
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", tampered.display()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_names_the_row_and_both_values() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events));
    let running = bench.run();
    bench.caught_up().await;
    running.stop().await;
    let connection = Connection::open(&bench.path).unwrap();
    connection.execute("UPDATE stock SET on_hand = 77 WHERE sku = 'SKU 1'", []).unwrap();
    let found = bench.verify().await;
    assert_eq!((found.differences, found.described.len()), (1, 1));
    let text = found.described[0].to_string();
    assert!(text.starts_with("stock Sku(\"SKU 1\"): stored: "), "{text}");
    assert!(text.contains("on_hand: 77") && text.contains("on_hand: 20"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_compared_with_the_log_up_to_their_checkpoint() {
    let story = Story::eventful();
    let bench = Bench::new(MemoryLog::new(story.events[..12].to_vec()));
    let running = bench.run();
    bench.caught_up().await;
    running.stop().await;
    bench.log.extend(&story.events);
    let found = bench.verify().await;
    assert_eq!((found.differences, found.position), (0, Some(12)), "{:#?}", found.described);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_process_ends_a_verification() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events));
    let running = bench.run();
    bench.caught_up().await;
    running.stop().await;
    let stopping = workspace();
    stopping.stop.cancel();
    let layout = bench.layout();
    let verifying = verify(bench.log.as_ref(), &layout, &bench.queries, &stopping, &|_| {});
    assert_eq!(verifying.await.unwrap_err().to_string(), "this process is stopping");
}

/// An earlier version may have written the JSON in another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_json_has_another_text_and_the_same_value_do_not_differ() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events));
    let running = bench.run();
    bench.caught_up().await;
    running.stop().await;
    let connection = Connection::open(&bench.path).unwrap();
    for table in ["orders", "payments"] {
        let space_out = format!("UPDATE {table} SET body = ' ' || body, summary = summary || ' '");
        assert!(connection.execute(&space_out, []).unwrap() > 0);
    }
    bench.assert_rows_are_those_of_the_log().await;
}
