#!/usr/bin/env bash
# Drives the real orders of the Online Retail file (UCI Machine Learning Repository, CC BY 4.0) through a server:
# import, import again, then kill -9 in the middle of an import, restart and import again. After each, the totals
# of the query API and `orderly audit verify` must be right.
#
#   tests/real-orders.sh FILE.csv[.zst] [ORDERLY_BINARY]
set -euo pipefail

file=${1:?"usage: tests/real-orders.sh FILE.csv[.zst] [ORDERLY_BINARY]"}
orderly=${2:-target/release/orderly}
work=$(mktemp -d)
command_url=http://127.0.0.1:${COMMAND_PORT:-18480}
query_url=http://127.0.0.1:${QUERY_PORT:-18481}
server=
trap 'kill -9 "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

serve() { # DATA_DIR
  "$orderly" serve --data-dir "$1" --command-listen "${command_url#http://}" --query-listen "${query_url#http://}" \
    >>"$work/serve.log" 2>&1 &
  server=$!
  for _ in $(seq 600); do
    curl -sf "$query_url/readyz" >/dev/null 2>&1 && curl -sf "$command_url/readyz" >/dev/null 2>&1 && return
    kill -0 "$server" || { cat "$work/serve.log"; exit 1; }
    sleep 0.1
  done
  echo "the server did not start"; exit 1
}

import() { "$orderly" import "$file" --command-url "$command_url" >"$work/import.log" 2>&1; }

head_position() { curl -sf "$query_url/v1/projections" | sed -E 's/.*"head":([0-9]+).*/\1/'; }

drained() {
  for _ in $(seq 600); do
    curl -sf "$query_url/v1/projections" | grep -qvE '"lag_events":[1-9]' && return
    sleep 0.1
  done
  echo "the projections did not drain"; exit 1
}

check() { # WHAT
  drained
  local expected='{"currency":"GBP","total":{"orders":19959,"lines":530103,"units":5588375,"gross":1065562248,"cancelled":0,"refunded":0}}'
  local found
  found=$(curl -sf "$query_url/v1/sales?currency=GBP")
  [ "$found" = "$expected" ] || { echo "$1: expected $expected"; echo "$1: found    $found"; exit 1; }
  local guests
  guests=$(count_guests)
  [ "$guests" = 1427 ] || { echo "$1: expected 1427 guest orders, found $guests"; exit 1; }
  "$orderly" audit verify --data-dir "$2" >"$work/verify.log" 2>&1 || { tail "$work/verify.log"; exit 1; }
  echo "$1: 19,959 orders, 530,103 lines, 5,588,375 units, 1,065,562,248 pence, 1,427 guests; $(tail -n 1 "$work/verify.log")"
}

# Walks every page of the order list.
count_guests() {
  local cursor='' guests=0 page
  while :; do
    page=$(curl -sf "$query_url/v1/orders?limit=200$cursor")
    guests=$((guests + $(grep -o '"customer_id":null' <<<"$page" | wc -l)))
    local next
    next=$(sed -nE 's/.*"next_cursor":"([^"]+)".*/\1/p' <<<"$page")
    [ -n "$next" ] || break
    cursor="&cursor=$next"
  done
  echo "$guests"
}

serve "$work/whole"
import || { tail "$work/import.log"; exit 1; }
check "first import" "$work/whole"
before=$(head_position)
import || { tail "$work/import.log"; exit 1; }
check "second import" "$work/whole"
after=$(head_position)
[ "$before" = "$after" ] || { echo "the second import recorded $((after - before)) events"; exit 1; }
echo "second import: no new events (log at position $after)"
kill -TERM "$server"; wait "$server" || true

serve "$work/killed"
import & importing=$!
until [ "$(head_position || echo 0)" -gt "${KILL_AT_POSITION:-200000}" ] 2>/dev/null; do sleep 0.1; done
kill -9 "$server"; wait "$server" 2>/dev/null || true
echo "killed in the middle of the import, after position ${KILL_AT_POSITION:-200000}"
kill "$importing" 2>/dev/null || true; wait "$importing" 2>/dev/null || true
serve "$work/killed"
import || { tail "$work/import.log"; exit 1; }
check "import after kill -9" "$work/killed"
