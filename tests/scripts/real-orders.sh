#!/usr/bin/env bash
# Imports the real orders of the Online Retail file (UCI Machine Learning Repository, CC BY 4.0) into a
# server: once, a second time, and once with a kill -9 in the middle, a restart and another import. Checks the
# totals of the query API and runs `orderly audit verify` after each.
#
#   tests/scripts/real-orders.sh FILE.csv[.zst] [ORDERLY_BINARY]
set -euo pipefail

file=${1:?"usage: tests/scripts/real-orders.sh FILE.csv[.zst] [ORDERLY_BINARY]"}
orderly=${2:-target/release/orderly}
# shellcheck source=tests/scripts/embedded.sh
source "$(dirname "$0")/embedded.sh"

check() { # WHAT DATA_DIR
  drained
  same "$1" \
    '{"currency":"GBP","time_zone":"UTC","total":{"orders":19959,"lines":530103,"units":5588375,"gross":1065562248,"discounts":0,"tax":0,"shipping":0,"fees":0,"cancelled":0,"refunded":0,"net":1065562248}}' \
    "$(curl -sf "$query_url/v1/sales?currency=GBP")"
  same "$1, guest orders" 1427 "$(pages /v1/orders | grep -o '"customer_id":null' | wc -l)"
  verify "$2"
  echo "$1: 19,959 orders, 530,103 lines, 5,588,375 units, 1,065,562,248 pence, 1,427 guests; $(tail -n 1 "$work/verify.log")"
}

serve "$work/whole"
import_well "$file"
check "first import" "$work/whole"
before=$(head_position)
import_well "$file"
check "second import" "$work/whole"
after=$(head_position)
[ "$before" = "$after" ] || { echo "The second import recorded $((after - before)) events instead of none"; exit 1; }
echo "second import: no new events (log at position $after)"
kill -TERM "$server"; wait "$server" || true

serve "$work/killed"
import "$file" & importing=$!
until_position "${KILL_AT_POSITION:-200000}"
kill_all "$importing"
echo "killed in the middle of the import, after position ${KILL_AT_POSITION:-200000}"
serve "$work/killed"
import_well "$file"
check "import after kill -9" "$work/killed"
