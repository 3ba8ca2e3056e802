#!/usr/bin/env bash
# Drives the real orders of the Online Retail file (UCI Machine Learning Repository, CC BY 4.0) through the production
# path: every role that may in a process of its own, Kafka between them, read models in Postgres. After the import the
# totals of the query API and `orderly audit verify` must be right, and again after a rebuild beside the running roles
# and a second import.
#
#   infra/dev/services up && source .dev/env
#   tests/real-orders-apart.sh FILE.csv[.zst] [ORDERLY_BINARY]
#
# ORDERLY_EVENT_STORE=esdb://… takes the events to EventStoreDB instead of a file.
set -euo pipefail

file=${1:?"usage: tests/real-orders-apart.sh FILE.csv[.zst] [ORDERLY_BINARY]"}
orderly=${2:-target/release/orderly}
: "${ORDERLY_TEST_POSTGRES:?run infra/dev/services up, and source .dev/env}"
: "${ORDERLY_TEST_KAFKA:?run infra/dev/services up, and source .dev/env}"
command_url=http://127.0.0.1:${COMMAND_PORT:-18482}
query_url=http://127.0.0.1:${QUERY_PORT:-18483}

work=$(mktemp -d)
name=orders_apart_$$
processes=()
cleanup() {
  kill -9 ${processes[@]+"${processes[@]}"} 2>/dev/null || true
  psql --quiet "$ORDERLY_TEST_POSTGRES" --command "DROP DATABASE IF EXISTS $name WITH (FORCE)" || true
  rm -rf "$work"
}
trap cleanup EXIT
psql --quiet "$ORDERLY_TEST_POSTGRES" --command "CREATE DATABASE $name"
export ORDERLY_DATA_DIR=$work/data ORDERLY_LOG=${ORDERLY_LOG:-warn}
export ORDERLY_READ_MODELS=${ORDERLY_TEST_POSTGRES%/*}/$name
export ORDERLY_BUS="$ORDERLY_TEST_KAFKA?prefix=$name"

serve() { # ROLES [ARGUMENTS]
  local log=$work/${#processes[@]}.log
  "$orderly" serve --roles "$@" >"$log" 2>&1 &
  local process=$!
  processes+=("$process")
  for _ in $(seq 600); do
    grep -q "Orderly is up" "$log" && return
    kill -0 "$process" 2>/dev/null || break
    sleep 0.1
  done
  echo "serve --roles $1 did not start:"; cat "$log"; exit 1
}

case "${ORDERLY_EVENT_STORE:-sqlite:}" in
  esdb://*)
    serve command-api --command-listen "${command_url#http://}"
    serve process-manager
    serve relay
    ;;
  *) serve command-api,process-manager,relay --command-listen "${command_url#http://}" ;;
esac
serve projectors
serve projectors
serve query-api --query-listen "${query_url#http://}"

# The projections have nothing left to do, and keep having nothing for a second: the relay is a moment behind.
drained() {
  local idle=0 projections
  for _ in $(seq 6000); do
    projections=$(curl -sf "$query_url/v1/projections")
    if grep -q '"lag_events":0' <<<"$projections" && ! grep -qE '"lag_events":([1-9]|null)' <<<"$projections"; then
      idle=$((idle + 1))
      [ "$idle" -lt 10 ] || return 0
    else
      idle=0
    fi
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
  "$orderly" audit verify >"$work/verify.log" 2>&1 || { tail "$work/verify.log"; exit 1; }
  echo "$1: 19,959 orders, 530,103 lines, 5,588,375 units, 1,065,562,248 pence; $(tail -n 1 "$work/verify.log")"
}

import() { "$orderly" import "$file" --command-url "$command_url" >"$work/import.log" 2>&1 || { tail "$work/import.log"; exit 1; }; }

SECONDS=0
import
echo "imported in $SECONDS s"
check "first import"
"$orderly" projections rebuild 2>/dev/null
check "after a rebuild"
import
check "second import"
"$orderly" projections list | head -n 8
