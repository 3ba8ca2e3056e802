#!/usr/bin/env bash
# A SKU with a stream of 1,000,000 events, 100,000 of them keyed receipts, beside a new SKU: prints the times of
# receipts, of repeated receipts, of orders and of a restart. Fails only if a command fails. With FIXTURE, the path
# of `eventstoredb-fixture`, the events are in EventStoreDB; exits with 75 if its Python client cannot be installed.
#
#   tests/scripts/long-stream.sh [BINARY [EVENTS [RECEIPTS [FIXTURE]]]]
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh
python=python3
[ -z "${4:-}" ] || python=$(python_with kurrentdbclient kurrentdbclient==1.3.5)
exec "$python" tests/scripts/long_stream.py "${1:-target/release/orderly}" "${2:-1000000}" "${3:-100000}" "${4:-}"
