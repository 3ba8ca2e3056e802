#!/usr/bin/env bash
# Puts each process of a loaded stack, Kafka and Postgres to sleep for 30 s, then restarts Kafka and Postgres.
# After each outage everything must drain, and every row must equal the log. Stops the services of infra/dev,
# so no other program may use them meanwhile. platform/tests/stack tests kills.
#
# ORDERLY_PAUSE_SECONDS changes the 30 s.
#
#   infra/dev/services up && source .dev/env
#   tests/scripts/outages.sh [ORDERLY_BINARY]
set -euo pipefail
cd "$(dirname "$0")/../.."

orderly=${1:-target/release/orderly}
pause=${ORDERLY_PAUSE_SECONDS:-30}
# shellcheck source=tests/scripts/stack.sh
source tests/scripts/stack.sh

# Writes a file of 2,000 orders of one to four lines. Another seed gives other orders.
sales_file() { # SEED
  awk -v seed="$1" 'BEGIN {
    srand(seed)
    print "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    for (order = 0; order < 2000; order++)
      for (line = int(rand() * 4); line >= 0; line--)
        printf "%d,S%03d,,%d,2011-0%d-1%dT10:0%d:00,%.2f,%d,France\n", 100000 + order, rand() * 200, 1 + rand() * 9,
          1 + order % 9, order % 9, order % 9, 1 + rand() * 9, 10000 + order % 500
  }' >"$work/sales-$1.csv"
}

imports=0
during() { # WHAT COMMAND…
  local what=$1 loading
  shift
  imports=$((imports + 1))
  sales_file $imports
  import "$work/sales-$imports.csv" & loading=$!
  sleep 2
  "$@"
  wait "$loading"
  verified
  echo "$what: $(tail -n 1 "$work/verify.log")"
}

# Stops a process and its children for a while: a Postgres server is many processes.
asleep() { # PROCESS
  local all
  mapfile -t all < <(echo "$1"; pgrep --parent "$1")
  kill -STOP "${all[@]}"
  sleep "$pause"
  kill -CONT "${all[@]}"
}

# Gives the files of infra/dev the variables and functions that they use. The port was in use until now, so it
# counts as free.
export ROOT=$PWD DEV=$PWD/.dev
say() { echo "$@" >&2; }
port_is_free() { true; }
# shellcheck source=/dev/null
source infra/dev/kafka.sh
# shellcheck source=/dev/null
source infra/dev/postgres.sh

# Stops a service and starts it again on the same port. The other service keeps running.
restarted() { # SERVICE
  "$1_down" >/dev/null 2>&1
  sleep 5
  "$1_up" >/dev/null 2>&1
}

stack_up
for process in "${!processes[@]}"; do
  during "$process slept for $pause s" asleep "${processes[$process]}"
done
during "Kafka slept for $pause s" asleep "$(kafka_pid)"
during "Postgres slept for $pause s" asleep "$(head -n 1 "$(postgres_data)/postmaster.pid")"
during "Kafka was restarted" restarted kafka
during "Postgres was restarted" restarted postgres
