#!/bin/sh
# Kills relays with SIGKILL at random moments, another one always beside them, and checks that a reader with
# read_committed finds every event in Kafka once and in order: 100 kills, or as many as the first argument says.
# Needs Kafka: infra/dev/services up. See tests/tests/relay/kills.rs.
set -eu
cd "$(dirname "$0")/../.."
infra/dev/services up
. .dev/env
ORDERLY_RELAY_KILLS="${1:-100}"
export ORDERLY_RELAY_KILLS
exec "${CARGO:-cargo}" test --locked --package tests --test platform -- --exact \
  relay::kills::killed_relays_publish_every_event_once_and_in_order --include-ignored --nocapture
