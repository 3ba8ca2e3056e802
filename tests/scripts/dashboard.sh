#!/usr/bin/env bash
# Every query of the Grafana dashboard returns data from a running system, and Prometheus evaluates every alert rule.
# Needs Prometheus (Debian package prometheus). The panels of Kafka, Postgres and EventStoreDB are left out.
#
#   tests/scripts/dashboard.sh [BINARY]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/dashboard.py "${1:-target/release/orderly}"
