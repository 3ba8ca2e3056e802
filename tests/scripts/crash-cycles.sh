#!/bin/sh
# Kills the running platform with SIGKILL at random moments under load and checks what is left: 200 times, or as
# often as the first argument says. ORDERLY_CRASH_SEED repeats the load of an earlier run. See platform/tests/crash.
set -eu
cd "$(dirname "$0")/../.."
ORDERLY_CRASH_CYCLES="${1:-200}"
export ORDERLY_CRASH_CYCLES
exec "${CARGO:-cargo}" test --release --locked --package platform --test crash -- --nocapture
