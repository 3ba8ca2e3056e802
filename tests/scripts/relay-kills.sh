#!/bin/sh
# Kills relays with SIGKILL at random moments, with another relay always beside them, 100 times. Checks that a
# reader with read_committed finds every event in Kafka once and in order. The first argument is another
# number of kills. Starts Kafka, and leaves it running. The test is in tests/tests/relay/kills.rs.
set -eu
cd "$(dirname "$0")/../.."
infra/dev/services up kafka
. .dev/env
ORDERLY_RELAY_KILLS="${1:-100}"
export ORDERLY_RELAY_KILLS
exec "${CARGO:-cargo}" test --locked --package tests --test platform -- --exact \
  relay::kills::killed_relays_publish_every_event_once_and_in_order --include-ignored --nocapture
