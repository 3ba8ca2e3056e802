#!/usr/bin/env bash
# 5,000 slow connections from 100 addresses of this machine, which come again 15 s after they are closed, and orders at four times the rate that the server can
# place. The server has one processor, all clients another one. Goodput stays at 90% of the peak, the p99 of accepted
# orders at most doubles, every place for connections can be had, and the memory stays below 768 MiB.
#
#   tests/scripts/overload.sh [BINARY [SECONDS [CLIENTS]]]
#
# CLIENTS is the program overload-clients. Without it, target/release/overload-clients, which
# `cargo build --release --locked --bin overload-clients` makes.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/overload.py "${1:-target/release/orderly}" "${2:-120}" \
  "${3:-target/release/overload-clients}"
