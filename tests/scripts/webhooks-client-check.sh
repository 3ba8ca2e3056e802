#!/usr/bin/env bash
# Receives webhooks of the real binary with the official Python library for Standard Webhooks, so that signatures cannot
# merely agree with us. The binary is built with the tests: `cargo test --workspace --no-run`. Where the library cannot be
# installed this is said loudly, and with ORDERLY_REQUIRE_SERVICES=1 it is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

library=standardwebhooks==1.1.0
binary=${CARGO_TARGET_DIR:-target}/debug/orderly
venv=.dev/$library
if ! "$venv/bin/python" -c 'import standardwebhooks' 2>/dev/null; then
  mkdir -p .dev
  if ! python3 -m venv --clear "$venv" || ! "$venv/bin/pip" install --quiet --disable-pip-version-check "$library"; then
    printf '\n%s\n\n' "*** Signatures of webhooks are NOT checked: $library cannot be installed. ***" >&2
    [ "${ORDERLY_REQUIRE_SERVICES:-}" != 1 ]
    exit
  fi
fi
"$venv/bin/python" tests/scripts/webhooks_client_check.py "$binary"
