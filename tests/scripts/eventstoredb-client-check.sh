#!/usr/bin/env bash
# Checks the EventStoreDB fixture with the official Python client, so that it cannot merely agree with us. The fixture
# is built with the tests: `cargo test --workspace --no-run`. Where the client cannot be installed this is said loudly,
# and with ORDERLY_REQUIRE_SERVICES=1 it is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

client=kurrentdbclient==1.3.5
fixture=${CARGO_TARGET_DIR:-target}/debug/eventstoredb-fixture
venv=.dev/$client
if ! "$venv/bin/python" -c 'import kurrentdbclient' 2>/dev/null; then
  mkdir -p .dev
  if ! python3 -m venv --clear "$venv" || ! "$venv/bin/pip" install --quiet --disable-pip-version-check "$client"; then
    printf '\n%s\n\n' "*** The EventStoreDB fixture is NOT checked: $client cannot be installed. ***" >&2
    [ "${ORDERLY_REQUIRE_SERVICES:-}" != 1 ]
    exit
  fi
fi
"$venv/bin/python" tests/scripts/eventstoredb_client_check.py "$fixture"
