#!/usr/bin/env bash
# Orders paid through the sandbox, which declines 20%, loses 20% of its answers and sends 20% of its webhooks twice, while the
# platform is killed with -9: in the end the money is what orders say to the penny, nobody was charged twice, and no unit is
# left reserved.
#   tests/scripts/payment-faults.sh BINARY [ORDERS [KILLS]]
set -euo pipefail
cd "$(dirname "$0")/../.."
orderly=${1:?usage: tests/scripts/payment-faults.sh BINARY [ORDERS [KILLS]]}
work=$(mktemp -d)
trap 'pkill -9 -f -- "--data-dir $work/data" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/data"
python3 tests/scripts/payment_faults.py "$orderly" "$work/data" "${2:-10000}" "${3:-3}" || { tail -20 "$work/serve.log"; exit 1; }
"$orderly" audit verify --data-dir "$work/data"
