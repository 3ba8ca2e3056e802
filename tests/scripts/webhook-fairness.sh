#!/usr/bin/env bash
# Sends webhooks to nine receivers, of which eight accept connections and never answer. The healthy one gets
# its events as fast as alone (p99 at most doubled), the queues and the memory stay bounded, and all nine get
# every event once the eight answer again.
#
#   tests/scripts/webhook-fairness.sh [BINARY [EVENTS_PER_S [SECONDS]]]
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-target/release/orderly}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 tests/scripts/webhook_fairness.py "$binary" "$work" "${2:-1000}" "${3:-60}"
