#!/usr/bin/env bash
# 64 buyers compete for the last bundle of 10 SKUs, in 1,000 rounds: one of them gets it in each round. An order
# that cannot be filled takes no unit from an order that can.
#
#   tests/scripts/bundles.sh [BINARY [ROUNDS]]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/bundles.py "${1:-target/release/orderly}" "${2:-1000}"
