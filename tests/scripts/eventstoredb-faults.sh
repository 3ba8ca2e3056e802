#!/bin/sh
# Runs the platform over three nodes of the EventStoreDB fixture that fail under load: leaders and followers are
# killed, stopped and cut off, answers are lost, appends time out. Checks that no acknowledged order is lost or
# doubled, that the stock is exact, and that `audit verify` finds no difference. Prints the faults and the calls.
# The first argument is another number of faults than 500. The test is in tests/tests/eventstoredb_cluster.rs.
set -eu
cd "$(dirname "$0")/../.."
ORDERLY_TEST_EVENTSTOREDB_FAULTS="${1:-500}"
export ORDERLY_TEST_EVENTSTOREDB_FAULTS
exec "${CARGO:-cargo}" test --locked --workspace --test platform -- --exact \
  eventstoredb_cluster::no_acknowledged_order_is_lost_or_doubled_while_nodes_fail --nocapture
