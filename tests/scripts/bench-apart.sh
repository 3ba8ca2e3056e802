#!/usr/bin/env bash
# Measures the production path with `orderly bench`, each role in a process of its own. Prints throughput, and
# the time from an answer to the visible row. Then prints the rate of a rebuild, beside a raw COPY of the same
# rows into tables without an index. docs/benchmarks.md names the command that measures Kafka alone.
#
#   infra/dev/services up && source .dev/env
#   tests/scripts/bench-apart.sh [ORDERLY_BINARY] [DURATION]
set -euo pipefail
cd "$(dirname "$0")/../.."

orderly=${1:-target/release/orderly}
duration=${2:-10s}
# shellcheck source=tests/scripts/stack.sh
source tests/scripts/stack.sh

seconds_of() { # COMMAND… ; prints its duration
  local began
  began=$(date +%s.%N)
  "$@" >/dev/null 2>"$work/timed.log" || { cat "$work/timed.log" >&2; return 1; }
  echo "$(date +%s.%N) $began" | awk '{ printf "%.3f", $1 - $2 }'
}

sql() { psql --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 "$ORDERLY_READ_MODELS" --command "$1"; }

copy_rows() { psql --quiet --set ON_ERROR_STOP=1 --file "$work/copy.sql" "$ORDERLY_READ_MODELS"; }

stack_up
"$orderly" bench spread --duration "$duration" --command-url "$command_url" --query-url "$query_url" 2>/dev/null
verified
rebuilt=$(seconds_of "$orderly" projections rebuild)
events=$(tail -n 1 "$work/verify.log" | sed -E 's/.*position ([0-9]+).*/\1/')

tables='stock reservations orders order_skus payments sales money'
sql "CREATE SCHEMA raw"
rows=0
for table in $tables; do
  sql "CREATE TABLE raw.$table (LIKE orderly_read_models.$table)"
  sql "\\copy orderly_read_models.$table TO '$work/$table.copy' (FORMAT binary)"
  echo "\\copy raw.$table FROM '$work/$table.copy' (FORMAT binary)" >>"$work/copy.sql"
  rows=$((rows + $(sql "SELECT count(*) FROM orderly_read_models.$table")))
done
bytes=$(cat "$work"/*.copy | wc -c)
copied=$(seconds_of copy_rows)
awk -v events="$events" -v rebuilt="$rebuilt" -v rows="$rows" -v copied="$copied" -v bytes="$bytes" 'BEGIN {
  printf "rebuild: up to position %d in %.1f s, %d rows/s\n", events, rebuilt, rows / rebuilt
  printf "raw COPY of its %d rows (%.1f MB): %.1f s, %d rows/s\n", rows, bytes / 1e6, copied, rows / copied
}'
