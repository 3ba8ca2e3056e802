#!/bin/sh
# Kills the running platform with SIGKILL at random moments under load, 200 times, and checks the data after
# each restart. The first argument is another number of kills. ORDERLY_CRASH_SEED repeats the load of an
# earlier run. The checks are in platform/tests/crash.
set -eu
cd "$(dirname "$0")/../.."
ORDERLY_CRASH_CYCLES="${1:-200}"
export ORDERLY_CRASH_CYCLES
exec "${CARGO:-cargo}" test --release --locked --package platform --test crash -- --nocapture
