#!/usr/bin/env bash
# Uses the web pages in headless Chromium, as people do: finds, ships, refunds and follows an order, logs in, and is refused
# without a scope. axe-core looks for barriers on every page, in light and in dark, at a desk and on a phone.
#
#   tests/scripts/pages.sh [BINARY] [DIRECTORY]    DIRECTORY gets a screenshot of every page
#
# Build the binary first: `cargo test --workspace --no-run`. Exits with 75 if a package cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh
# shellcheck source=tests/scripts/node.sh
source tests/scripts/node.sh

orderly=${1:-${CARGO_TARGET_DIR:-target}/debug/orderly}
screenshots=${2:-}
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$chromium" ]; then
  echo 'there is no Chromium: apt-get install chromium' >&2
  # shellcheck disable=SC2154
  exit "$CANNOT_INSTALL"
fi
node_packages puppeteer-core@24.10.0 axe-core@4.10.3

NODE_PATH=$(realpath "$NODE_BIN/..") exec python3 tests/scripts/pages.py "$orderly" "$chromium" "$screenshots"
