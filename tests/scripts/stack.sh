# Starts the production path for scripts: each role in a process of its own, on a new database and new topics.
# Set `orderly` to the binary, then source it. Sets `work`, a directory that the exit removes, and `name`, the
# name of database and topics.
# shellcheck shell=bash disable=SC2154

: "${ORDERLY_TEST_POSTGRES:?run infra/dev/services up, and source .dev/env}"
: "${ORDERLY_TEST_KAFKA:?run infra/dev/services up, and source .dev/env}"
command_url=http://127.0.0.1:${COMMAND_PORT:-18482}
query_url=http://127.0.0.1:${QUERY_PORT:-18483}

work=$(mktemp -d)
name=stack_$$
declare -A processes=()
stack_down() {
  kill -9 "${processes[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  psql --quiet "$ORDERLY_TEST_POSTGRES" --command "DROP DATABASE IF EXISTS $name WITH (FORCE)" || true
  rm -rf "$work"
}
trap stack_down EXIT
psql --quiet "$ORDERLY_TEST_POSTGRES" --command "CREATE DATABASE $name"
export ORDERLY_DATA_DIR=$work/data ORDERLY_LOG=${ORDERLY_LOG:-warn}
export ORDERLY_READ_MODELS=${ORDERLY_TEST_POSTGRES%/*}/$name
export ORDERLY_BUS="$ORDERLY_TEST_KAFKA?prefix=$name"

serve() { # NAME ROLES [ARGUMENTS]
  local as=$1 log=$work/$1.log
  shift
  "$orderly" serve --roles "$@" >"$log" 2>&1 &
  processes[$as]=$!
  disown
  for _ in $(seq 600); do
    grep -q "Orderly is up" "$log" && return
    kill -0 "${processes[$as]}" 2>/dev/null || break
    sleep 0.1
  done
  echo "orderly serve --roles $1 did not start within 60 s:"; cat "$log"; exit 1
}

serve_projectors() { serve "$1" projectors; } # NAME

# Starts each role in a process of its own, and two processes of projectors. With SQLite, the owner of the
# event store runs three roles.
stack_up() {
  case "${ORDERLY_EVENT_STORE:-sqlite:}" in
    esdb*)
      serve owner command-api --command-listen "${command_url#http://}"
      serve process-manager process-manager
      serve relay relay
      ;;
    *) serve owner command-api,process-manager,relay --command-listen "${command_url#http://}" ;;
  esac
  serve_projectors projectors-1
  serve_projectors projectors-2
  serve query-api query-api --query-listen "${query_url#http://}"
}

# Waits until no projection lags for two seconds in a row. A single moment is not enough: the relay may be
# behind.
drained() {
  local idle=0 projections
  for _ in $(seq 6000); do
    projections=$(curl -sf "$query_url/v1/projections" || true)
    if grep -q '"lag_events":0' <<<"$projections" && ! grep -qE '"lag_events":([1-9]|null)' <<<"$projections"; then
      idle=$((idle + 1))
      [ "$idle" -lt 20 ] || return 0
    else
      idle=0
    fi
    sleep 0.1
  done
  echo "The projections still lag behind the log after 10 minutes"; exit 1
}

# Checks that every row equals the log.
verified() {
  drained
  "$orderly" audit verify >"$work/verify.log" 2>&1 || { tail "$work/verify.log"; exit 1; }
}

import() { # FILE
  "$orderly" import "$1" --command-url "$command_url" >"$work/import.log" 2>&1 || { tail "$work/import.log"; exit 1; }
}
