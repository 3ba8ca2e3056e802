#!/usr/bin/env bash
# 495 listeners of single orders, SKUs and tiles, 5 of the whole feed, and 4 that do not read, while orders come at a fixed
# rate. The server places at least 0.9 of the orders that it places without listeners. Every listener that reads stays
# connected, those of the whole feed get every event, and those of a stream at most five a second. Listeners that do not
# read are closed with a place to go on. The memory grows by at most 128 MiB.
#
#   tests/scripts/feed-listeners.sh [BINARY [SECONDS [CLIENTS [RATE]]]]
#
# CLIENTS is the directory of the programs overload-clients and feed-listeners. Without it, target/release, where
# `cargo build --release --locked --bin overload-clients --bin feed-listeners` puts them. RATE is in orders a second.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/scripts/feed_listeners.py "${1:-target/release/orderly}" "${2:-60}" "${3:-target/release}" "${4:-1000}"
