#!/usr/bin/env bash
# Imports the credits of the Online Retail file (UCI Machine Learning Repository, CC BY 4.0) into a server. A
# second file matches each credit with a sale line, and each match becomes a return with a refund. Imports
# once, a second time, and once with a kill -9 in the middle of the refunds, a restart and another import.
# After each, checks the report of the import, checks that sales, payments and orders show the same money, and
# runs `orderly audit verify`.
#
# The files credit 3,268 orders, 153 of them wholly. The platform refuses the credits of five orders, three of
# them credited wholly, because more would be refunded than was paid.
#
#   tests/scripts/real-refunds.sh FILE.csv[.zst] MATCHES.csv[.zst] [ORDERLY_BINARY]
set -euo pipefail

usage="usage: tests/scripts/real-refunds.sh FILE.csv[.zst] MATCHES.csv[.zst] [ORDERLY_BINARY]"
file=${1:?"$usage"}
matches=${2:?"$usage"}
orderly=${3:-target/release/orderly}
# shellcheck source=tests/scripts/embedded.sh
source "$(dirname "$0")/embedded.sh"

# Prints a figure of the report.
figure() { # NAME
  sed -nE "s/^$1 +(.*)/\1/p" "$work/import.log" | sed -E 's/ \([^)]*\)$//'
}

sum_of() { # MEMBER
  grep -oE "\"$1\":[0-9]+" | awk -F: '{ sum += $2 } END { printf "%d", sum }'
}

check() { # WHAT DATA_DIR
  same "$1, credited" "3,268 orders, 153 of them wholly" "$(figure credited)"
  same "$1, returns" "7,726" "$(figure returns)"
  same "$1, refunded" "3,263 orders, 150 of them returned wholly" "$(figure refunded)"
  same "$1, given back" "47,079,765 pence" "$(figure 'gave back')"
  same "$1, turned down" 5 "$(figure 'turned down')"
  for refused in '563576, line ' '554924, line ' '571324, line ' '572293, line ' '575043, line '; do
    grep -q "$refused.*: refund_too_large: " "$work/import.log" || { echo "$1: the platform did not refuse $refused"; exit 1; }
  done

  drained
  same "$1, sales" \
    '{"currency":"GBP","time_zone":"UTC","total":{"orders":19959,"lines":530103,"units":5588375,"gross":1065562248,"discounts":0,"tax":0,"shipping":0,"fees":0,"cancelled":0,"refunded":47079765,"net":1018482483}}' \
    "$(curl -sf "$query_url/v1/sales?currency=GBP")"
  pages /v1/payments >"$work/payments"
  same "$1, refunded by payments" 47079765 "$(sum_of refunded <"$work/payments")"
  same "$1, captured by payments" 1065562248 "$(sum_of captured <"$work/payments")"
  same "$1, refundable by payments" $((1065562248 - 47079765)) "$(sum_of refundable <"$work/payments")"
  pages /v1/orders >"$work/orders"
  same "$1, orders refunded" 3263 "$(grep -oE '"payment_status":"(partially_)?refunded"' "$work/orders" | wc -l)"
  same "$1, orders returned wholly" 150 "$(grep -o '"fulfilment_status":"returned"' "$work/orders" | wc -l)"
  verify "$2"
  echo "$1: 3,263 of 3,268 credited orders refunded 47,079,765 pence, 150 returned wholly; 5 would be refunded more than they paid; $(tail -n 1 "$work/verify.log")"
}

serve "$work/whole"
import_well "$file" --refunds "$matches"
check "first import" "$work/whole"
before=$(head_position)
import_well "$file" --refunds "$matches"
check "second import" "$work/whole"
same "second import, position of the log" "$before" "$(head_position)"
echo "second import: no new events (log at position $before)"
kill -TERM "$server"; wait "$server" || true

serve "$work/killed"
import_well "$file"
placed=$(head_position)
import "$file" --refunds "$matches" & importing=$!
until_position $((placed + (before - placed) / 2))
kill_all "$importing"
serve "$work/killed"
killed=$(head_position)
[ "$killed" -lt "$before" ] || { echo "The kill came after the last refund"; exit 1; }
echo "killed in the middle of the refunds, at position $killed between $placed and $before"
import_well "$file" --refunds "$matches"
check "import after kill -9" "$work/killed"
same "import after kill -9, position of the log" "$before" "$(head_position)"
