#!/usr/bin/env bash
# Fills a platform with 10,000 orders and one with 1,000,000, in every state, with a tenth of the orders of one customer and
# one SKU in a fifth of them. Then measures every list with each of its indexed filters, deep pages, counts, filters without
# an index, the summary, every page, the forms of actions and one action, with one client and with eight. Prints the p50 and
# p99, and fails if a p99 of one client with 1,000,000 orders is above 50 ms and above twice that with 10,000.
#
#   tests/scripts/list-times.sh [BINARY [DIRECTORY [STORES [FEW MANY]]]]
#
# DIRECTORY keeps the filled platforms for the next run; without it they are deleted. STORES are sqlite, postgres or both.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "${1:-target/release/orderly}")
directory=${2:-}
if [ -z "$directory" ]; then
    directory=$(mktemp -d)
    trap 'rm -rf "$directory"' EXIT
fi
python3 tests/scripts/list_times.py "$binary" "$(realpath -m "$directory")" "${3:-sqlite,postgres}" "${4:-10000}" "${5:-1000000}"
