#!/usr/bin/env bash
# Sends random requests to both APIs, behind the sample proxy under one host name, with and without credentials: single
# requests and chains of them, valid ones and invalid ones, as schemathesis makes them from the combined OpenAPI document.
# Fails at an answer with status 5xx, with a status or content type that the document does not have, or with a body or a
# header against its schema. Prints the seed of each run. Exits with 75 if schemathesis cannot be installed.
#
#   tests/scripts/schemathesis.sh [BINARY [REQUESTS [SEED]]]     BINARY: target/release/orderly, REQUESTS: 50000
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh

python=$(python_with schemathesis schemathesis==4.32.5)
"$python" tests/scripts/schemathesis_check.py "${1:-target/release/orderly}" "${2:-50000}" "${3:-1}"
