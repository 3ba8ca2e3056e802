#!/usr/bin/env bash
# Receives webhooks of the real binary with the official Python library for Standard Webhooks. Our signatures
# and our own tests could share an error; the official library does not share it. Build the binary first:
# `cargo test --workspace --no-run`. Exits with 75 if the library cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh

python=$(python_with standardwebhooks standardwebhooks==1.1.0)
"$python" tests/scripts/webhooks_client_check.py "${CARGO_TARGET_DIR:-target}/debug/orderly"
