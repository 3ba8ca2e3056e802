#!/usr/bin/env bash
# Restarts two processes of projectors one after the other, under a constant load over Kafka and Postgres. Prints how long
# events wait for their rows; in no partition may one wait longer than ORDERLY_WAIT_MS_MAX, 1,000. Then kills a process, and
# prints how long its partitions wait for the others. In the end every row equals the log.
#
# The processes have names (ORDERLY_INSTANCE), so they keep their partitions. `unnamed` takes the names away.
#
#   infra/dev/services up kafka postgres && source .dev/env
#   tests/scripts/rolling-projectors.sh [ORDERLY_BINARY [unnamed]]
set -euo pipefail
cd "$(dirname "$0")/../.."

orderly=${1:-target/release/orderly}
names=${2:-named}
# shellcheck source=tests/scripts/stack.sh
source tests/scripts/stack.sh

serve_projectors() { # NAME
  [ "$names" = unnamed ] || export ORDERLY_INSTANCE=$1
  serve "$1" projectors
  unset ORDERLY_INSTANCE
}

# The figures of a phase are of the events that are recorded during the command and 5 s after it.
during() { # PHASE COMMAND…
  echo "$(date +%s.%N) $1" >>"$work/phases"
  "${@:2}"
  sleep 5
  echo "$(date +%s.%N) -" >>"$work/phases"
  sleep 2
}

restarted() { # PROCESS
  kill -TERM "${processes[$1]}"
  while kill -0 "${processes[$1]}" 2>/dev/null; do sleep 0.02; done
  serve_projectors "$1"
}

killed() { # PROCESS
  kill -KILL "${processes[$1]}"
  sleep 15
  serve_projectors "$1"
}

stack_up
python3 tests/scripts/rolling_projectors.py load "$command_url" "$work" & load=$!
until [ -e "$work/loaded" ]; do kill -0 $load; sleep 0.1; done
# Samples of the checkpoints show when rows were committed.
psql --quiet --no-align --tuples-only "$ORDERLY_READ_MODELS" >"$work/checkpoints" <<'SQL' & sampling=$!
SET search_path = orderly_read_models;
SELECT extract(epoch FROM clock_timestamp()), partition, max(position) FROM checkpoints GROUP BY partition \watch 0.02
SQL
sleep 10
during "no restart" true
during "a restart of the first process" restarted projectors-1
during "a restart of the second process" restarted projectors-2
during "a kill of the second process" killed projectors-2
touch "$work/stop"
wait $load
drained
kill $sampling
for topic in stock orders payments; do
  kcat -C -e -q -b "${ORDERLY_TEST_KAFKA#kafka://}" -X isolation.level=read_committed -f '%t/%p %o %T\n' \
    -t "$name.$topic" >>"$work/events"
done
verified
python3 tests/scripts/rolling_projectors.py waits "$work"
