#!/usr/bin/env bash
# Flips 200 random bits of stored events, one at a time: ids, types, payloads, metadata, revisions, stream
# numbers, times and checksums. `audit verify`, `backup` and `projections rebuild` must each notice every one.
#
#   tests/scripts/bit-flips.sh [BINARY [FLIPS [SEED]]]
set -euo pipefail
cd "$(dirname "$0")/../.."
orderly=$(realpath "${1:-target/release/orderly}")
source tests/scripts/embedded.sh
mkdir "$work/data"
serve "$work/data"
for number in $(seq 40); do
  curl -sfo /dev/null -H "idempotency-key: r-$number" --json "{\"quantity\":10,\"reference\":\"r\"}" \
    "$command_url/v1/stock/SKU-$number/receipts"
  curl -sfo /dev/null -H "idempotency-key: o-$number" \
    --json "{\"currency\":\"GBP\",\"payment_due_at\":null,\"lines\":[{\"sku\":\"SKU-$number\",\"quantity\":1,\"unit_price\":5}]}" \
    "$command_url/v1/orders"
done
drained
kill "$server"; wait "$server" || true
verify "$work/data"
python3 tests/scripts/bit_flips.py "$orderly" "$work/data" "${2:-200}" "${3:-}"
