#!/usr/bin/env bash
# Imports the real orders of the Online Retail file (UCI Machine Learning Repository, CC BY 4.0) into the
# production path: each role in a process of its own, Kafka between them, read models in Postgres. Checks the
# totals of the query API and runs `orderly audit verify`: after the import, after a rebuild beside the
# running roles, and after a second import.
#
#   infra/dev/services up && source .dev/env
#   tests/scripts/real-orders-apart.sh FILE.csv[.zst] [ORDERLY_BINARY]
#
# ORDERLY_EVENT_STORE=esdb://… stores the events in EventStoreDB instead of a file.
set -euo pipefail

file=${1:?"usage: tests/scripts/real-orders-apart.sh FILE.csv[.zst] [ORDERLY_BINARY]"}
orderly=${2:-target/release/orderly}
# shellcheck source=tests/scripts/stack.sh
source "$(dirname "$0")/stack.sh"

check() { # WHAT
  verified
  local expected='{"currency":"GBP","time_zone":"UTC","total":{"orders":19959,"lines":530103,"units":5588375,"gross":1065562248,"discounts":0,"tax":0,"shipping":0,"fees":0,"cancelled":0,"refunded":0,"net":1065562248}}'
  local found
  found=$(curl -sf "$query_url/v1/sales?currency=GBP")
  [ "$found" = "$expected" ] || { echo "$1: expected $expected"; echo "$1: found    $found"; exit 1; }
  echo "$1: 19,959 orders, 530,103 lines, 5,588,375 units, 1,065,562,248 pence; $(tail -n 1 "$work/verify.log")"
}

stack_up
SECONDS=0
import "$file"
echo "imported in $SECONDS s"
check "first import"
"$orderly" projections rebuild 2>/dev/null
check "after a rebuild"
import "$file"
check "second import"
