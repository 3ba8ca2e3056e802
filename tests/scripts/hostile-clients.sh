#!/usr/bin/env bash
# Hostile clients attack the command API in three ways, each for 20 s, while well-behaved clients place orders:
# bodies that arrive byte by byte, pipelined requests for large answers, and clients that never read. The server
# takes at most 512 MiB more memory, answers every order, and the p99 of orders at most doubles.
#
#   tests/scripts/hostile-clients.sh [BINARY [SECONDS]]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/hostile_clients.py "${1:-target/release/orderly}" "${2:-20}"
