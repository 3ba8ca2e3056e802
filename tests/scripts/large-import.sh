#!/usr/bin/env bash
# Imports a sales file of 500,000 rows, ten of them broken, as a spreadsheet in German writes it: semicolons, decimal
# commas, days first, windows-1252. All other invoices are placed with exact totals, the ten rows are listed with their
# lines, and a second import of the same rows in UTF-8 records nothing. Prints seconds and the memory of the import.
#
#   tests/scripts/large-import.sh [BINARY [ROWS [ROWS_PER_INVOICE]]]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/large_import.py "${1:-target/release/orderly}" "${2:-500000}" "${3:-20}"
