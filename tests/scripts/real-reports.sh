#!/usr/bin/env bash
# Places the real orders of the Online Retail file over HTTP, every third with a voucher of 20% and a tax of 20%, and
# returns what the file of matches says. A program of its own computes shares, refunds and reports again: by SKU, country,
# month and by the days of a time zone. All are equal to the penny.
#
#   tests/scripts/real-reports.sh FILE.csv[.zst] MATCHES.csv[.zst] [BINARY [ORDERS]]
set -euo pipefail
usage="usage: tests/scripts/real-reports.sh FILE.csv[.zst] MATCHES.csv[.zst] [BINARY [ORDERS]]"
file=$(realpath "${1:?"$usage"}")
matches=$(realpath "${2:?"$usage"}")
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/real_reports.py "${3:-target/release/orderly}" "$file" "$matches" "${@:4}"
