#!/usr/bin/env bash
# Restarts two query APIs one after the other, and then the one writer, behind HAProxy and under load. No request may
# fail. Build the binary first: `cargo test --workspace --no-run`.
#
#   tests/scripts/rolling-restart.sh [BINARY]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/rolling_restart.py "${1:-${CARGO_TARGET_DIR:-target}/debug/orderly}"
