#!/usr/bin/env bash
# Checks the EventStoreDB fixture with the official Python client. Our adapter and our fixture could share an
# error; the official client does not share it. Build the fixture first: `cargo test --workspace --no-run`.
# Exits with 75 if the client cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh

python=$(python_with kurrentdbclient kurrentdbclient==1.3.5)
"$python" tests/scripts/eventstoredb_client_check.py "${CARGO_TARGET_DIR:-target}/debug/eventstoredb-fixture"
