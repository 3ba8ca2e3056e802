#!/usr/bin/env bash
# Checks the alert rules and the tests of them with promtool (Debian package prometheus).
set -euo pipefail
cd "$(dirname "$0")/../../infra/deploy/prometheus"
promtool check rules alerts.yml
promtool test rules alerts_test.yml
