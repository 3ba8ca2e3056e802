#!/usr/bin/env bash
# A SKU with a stream of 1,000,000 events, 100,000 of them keyed receipts, beside a new SKU: prints the times of
# receipts, of repeated receipts, of orders and of a restart. Fails only if a command fails.
#
#   tests/scripts/long-stream.sh [BINARY [EVENTS [RECEIPTS]]]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/long_stream.py "${1:-target/release/orderly}" "${2:-1000000}" "${3:-100000}"
