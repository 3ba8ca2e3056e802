#!/usr/bin/env bash
# Memory and speed at about 10,000 and 1,000,000 orders: prints the memory of `serve`, the time of a restart, and
# the time, rate and peak memory of `projections rebuild` and `audit verify`. Fails only if a command fails or
# finds a difference. Each argument after BINARY is the duration of one load.
#
#   tests/scripts/many-orders.sh [BINARY [DURATION…]]
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-target/release/orderly}
[ $# -gt 1 ] || set -- "$binary" 1s 120s
exec python3 tests/scripts/many_orders.py "$@"
