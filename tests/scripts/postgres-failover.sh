#!/usr/bin/env bash
# Changes the primary of Postgres under load. No order may fail, and every row must equal the log afterwards. Prints the
# seconds until queries show new orders again. The Postgres programs are those of this machine.
#
#   tests/scripts/postgres-failover.sh [BINARY [CHANGES]]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/postgres_failover.py "${1:-target/release/orderly}" "${2:-6}"
