#!/bin/sh
# Places 20,000 orders and makes 100,000 reads over one connection to the EventStoreDB fixture, which ends a
# connection after 1,024 broken-off reads. Checks that the connection and the subscription stay, that no read is
# broken off, that an order of one line takes at most 4.1 appends and 0.3 reads, and that `audit verify` finds no
# difference. Prints the calls. The arguments are other numbers of orders and reads. The test is in
# tests/tests/eventstoredb_long.rs.
set -eu
cd "$(dirname "$0")/../.."
ORDERLY_TEST_EVENTSTOREDB_ORDERS="${1:-20000}"
ORDERLY_TEST_EVENTSTOREDB_READS="${2:-100000}"
export ORDERLY_TEST_EVENTSTOREDB_ORDERS ORDERLY_TEST_EVENTSTOREDB_READS
exec "${CARGO:-cargo}" test --locked --workspace --test platform -- --exact \
  eventstoredb_long::one_connection_serves_orders_and_reads_without_a_break_and_an_order_takes_few_calls --nocapture
