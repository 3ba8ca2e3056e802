//! Verification of read models in Postgres.

use projectors::verify::{VerifyError, verify};

use super::{Bench, MemoryLog, Story, workspace};

/// Single changes to the read models: to every table and every kind of column.
const TAMPERINGS: &[&str] = &[
    "UPDATE stock SET on_hand = on_hand + 1",
    "UPDATE stock SET reserved = reserved - 1 WHERE reserved > 0",
    "UPDATE stock SET revision = revision + 1",
    "UPDATE stock SET on_hand = -1, reserved = -1",
    "DELETE FROM stock WHERE sku = 'SKU 0'",
    "INSERT INTO stock VALUES ('GHOST', 1, 0, 0)",
    "UPDATE reservations SET quantity = quantity + 1",
    "DELETE FROM reservations",
    "INSERT INTO reservations VALUES ('GHOST', gen_random_uuid(), 1)",
    "UPDATE order_stock_events SET revision = revision + 1",
    "UPDATE order_stock_events SET sku = 'SKU 9'",
    "DELETE FROM order_stock_events WHERE position = (SELECT max(position) FROM order_stock_events)",
    "INSERT INTO order_stock_events VALUES (gen_random_uuid(), 1, 'GHOST', 0)",
    "UPDATE orders SET revision = revision + 1",
    "UPDATE orders SET recorded_at = recorded_at + interval '1 microsecond'",
    "UPDATE orders SET updated_at = updated_at + interval '1 microsecond'",
    "UPDATE orders SET status = 'expired'",
    "UPDATE orders SET customer_id = 'another customer'",
    "UPDATE orders SET placed_at = placed_at + interval '1 microsecond'",
    "UPDATE orders SET payment_due_at = coalesce(payment_due_at, now()) + interval '1 microsecond'",
    "UPDATE orders SET payment_status = 5 - payment_status",
    "UPDATE orders SET fulfilment_status = 7",
    "UPDATE orders SET reference = 'another reference'",
    "UPDATE orders SET country = 'another country'",
    "UPDATE orders SET currency = 'USD'",
    "UPDATE orders SET total = total + 1",
    "UPDATE orders SET to_ship = NOT to_ship",
    "UPDATE orders SET times = '{\"delivered\":{\"00000000-0000-0000-0000-000000000000\":\"2026-01-01T00:00:00Z\"}}'",
    "UPDATE orders SET overpaid = NOT overpaid",
    "UPDATE orders SET refund_due = NOT refund_due",
    "UPDATE orders SET terms = 2 - terms",
    "UPDATE orders SET overdue_from = coalesce(overdue_from, now()) + interval '1 microsecond'",
    "UPDATE orders SET body = jsonb_set(body::jsonb, '{owed}', '1')::json",
    "UPDATE orders SET body = '{}'",
    "UPDATE orders SET order_id = gen_random_uuid()",
    "DELETE FROM orders WHERE status = 'cancelled'",
    "INSERT INTO orders SELECT gen_random_uuid(), revision, recorded_at, updated_at, status, payment_status,
         fulfilment_status, customer_id, reference, country, placed_at, currency, total, payment_due_at, to_ship, overpaid,
         refund_due, terms, overdue_from, times, summary, body FROM orders LIMIT 1",
    "DELETE FROM order_skus WHERE sku = 'SKU 0'",
    "UPDATE order_skus SET placed_at = placed_at + interval '1 microsecond'",
    "INSERT INTO order_skus VALUES ('GHOST', 'placed', now(), gen_random_uuid())",
    "UPDATE payments SET revision = revision + 1",
    "UPDATE payments SET recorded_at = recorded_at + interval '1 microsecond'",
    "UPDATE payments SET updated_at = updated_at + interval '1 microsecond'",
    "UPDATE payments SET state = 'outcome_unknown'",
    "UPDATE payments SET order_id = gen_random_uuid()",
    "UPDATE payments SET reference = 'another reference'",
    "UPDATE payments SET failure = 'another failure'",
    "UPDATE payments SET declined = NOT declined",
    "UPDATE payments SET times = '{\"settled\":{\"00000000-0000-0000-0000-000000000000\":\"2026-01-01T00:00:00Z\"}}'",
    "UPDATE payments SET awaits_provider_since = coalesce(awaits_provider_since, now()) + interval '1 microsecond'",
    "UPDATE payments SET authorized_until = coalesce(authorized_until, now()) + interval '1 microsecond'",
    "UPDATE payments SET body = jsonb_set(body::jsonb, '{captured}', '1')::json",
    "UPDATE payments SET body = 'null'",
    "DELETE FROM payments WHERE row_no = 1",
    "UPDATE sales SET orders = orders + 1 WHERE span = 'quarter_hour'",
    "UPDATE sales SET lines = lines + 1 WHERE span = 'quarter_hour'",
    "UPDATE sales SET units = units + 1 WHERE span = 'quarter_hour'",
    "UPDATE sales SET gross = gross + 1 WHERE span = 'quarter_hour'",
    "UPDATE sales SET discounts = discounts + 1 WHERE span = 'quarter_hour'",
    "UPDATE sales SET tax = tax + 1 WHERE span = 'quarter_hour'",
    "UPDATE sales SET shipping = shipping + 1 WHERE span = 'quarter_hour'",
    "UPDATE sales SET fees = fees + 1 WHERE span = 'quarter_hour'",
    "UPDATE sales SET cancelled = cancelled + 1 WHERE span = 'quarter_hour'",
    "UPDATE sales SET refunded = refunded + 1 WHERE span = 'quarter_hour'",
    "UPDATE sales SET gross = gross + 1 WHERE span = 'month'",
    "UPDATE sales SET key = 'GHOST' WHERE dimension = 'sku' AND key = 'SKU 0'",
    "UPDATE sales SET currency = 'EUR'",
    "DELETE FROM sales WHERE span = 'quarter_hour' AND dimension = 'country'",
    "DELETE FROM sales WHERE span = 'month' AND dimension = 'all'",
    "UPDATE money SET start = start + 1",
    "UPDATE money SET captured = captured + 1",
    "UPDATE money SET refunded = refunded + 1",
    "UPDATE money SET disputed = disputed + 1",
    "DELETE FROM money",
    "UPDATE checkpoints SET position = position - 1 WHERE projection = 'orders'",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn verification_finds_every_change_of_the_rows_and_a_rebuild_repairs_it() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events)).await;
    let client = bench.database.client().await;
    client.batch_execute("SET search_path = orderly_read_models, orderly").await.unwrap();
    for tampering in TAMPERINGS {
        bench.rebuild().await;
        bench.assert_rows_are_those_of_the_log().await;
        let changed = client.execute(*tampering, &[]).await.unwrap();
        assert!(changed > 0, "{tampering} changes nothing");
        match verify(bench.log.as_ref(), &bench.layout(), &bench.queries, &workspace(), &|_| {}).await {
            Ok(found) => assert!(found.differences > 0, "{tampering} was not found"),
            Err(VerifyError::ReadModels(_)) => {}
            Err(error) => panic!("{tampering}: {error}"),
        }
    }
}
