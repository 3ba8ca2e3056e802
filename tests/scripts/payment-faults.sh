#!/usr/bin/env bash
# Places orders that are paid through a sandbox. The sandbox declines 20% of the charges, loses 20% of its
# answers and sends 20% of its webhooks twice. Customers dispute 5% of the charges, and 5% are refunded at the
# provider. The script kills the platform with -9 meanwhile. At the end the ledger of the sandbox equals the
# orders to the penny, no customer is charged twice, and no unit stays reserved.
#
#   tests/scripts/payment-faults.sh BINARY [ORDERS [KILLS]]
set -euo pipefail
cd "$(dirname "$0")/../.."
orderly=${1:?usage: tests/scripts/payment-faults.sh BINARY [ORDERS [KILLS]]}
work=$(mktemp -d)
trap 'pkill -9 -f -- "--data-dir $work/data" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/data"
python3 tests/scripts/payment_faults.py "$orderly" "$work/data" "${2:-10000}" "${3:-3}" || { tail -20 "$work/serve.log"; exit 1; }
"$orderly" audit verify --data-dir "$work/data"
