#!/usr/bin/env bash
# Orders of 1,114 lines, the biggest of the Online Retail data, and of 5,000, the most that Orderly accepts: prints
# the times until they are answered and allocated. Fails only if a command fails. With FIXTURE, the path of
# `eventstoredb-fixture`, the events are in EventStoreDB.
#
#   tests/scripts/large-orders.sh [BINARY [FIXTURE]]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/large_orders.py "${1:-target/release/orderly}" "${2:-}"
