#!/usr/bin/env bash
# Every important alert fires on a running platform while its condition holds, no other one does, and it is resolved
# when the condition has ended: parked stream, provider outage, dead receiver of webhooks, nearly full disk, stalled
# projectors, relay that is down. Prints the seconds that each takes.
#
# A Prometheus evaluates a copy of the committed rules in which each `for:` and each range is a fifteenth. Needs the Debian
# package prometheus, the right to mount (root, or user namespaces), and the Kafka of infra/dev, which the script freezes
# for a while, so no other program may use it.
#
#   infra/dev/services up kafka && source .dev/env
#   tests/scripts/alerts.sh [BINARY [FIXTURE]]
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${ORDERLY_TEST_KAFKA:?run infra/dev/services up kafka, and source .dev/env}"

export ROOT=$PWD DEV=$PWD/.dev
# shellcheck source=/dev/null
source infra/dev/kafka.sh
# The small disk is mounted in a namespace of its own, which ends with the script.
namespace=(--mount)
[ "$(id -u)" = 0 ] || namespace+=(--map-root-user)
exec unshare "${namespace[@]}" python3 tests/scripts/alerts.py "${1:-target/release/orderly}" \
  "${2:-target/release/eventstoredb-fixture}" "$ORDERLY_TEST_KAFKA" "$(kafka_pid)"
