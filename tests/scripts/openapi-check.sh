#!/usr/bin/env bash
# Checks the OpenAPI documents as their users use them:
#
#   1. redocly lints the documents of both APIs and the combined one, with the examples in them.
#   2. A strict TypeScript program compiles against types that openapi-typescript generates.
#   3. A client that openapi-python-client generates places, pays, ships and returns an order at the running server, and
#      sends every other example of the document. With nginx, it does so through the sample proxy, under one host name.
#
# Build the binary first: `cargo test --workspace --no-run`. Exits with 75 if a package cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh
# shellcheck source=tests/scripts/node.sh
source tests/scripts/node.sh

orderly=${1:-${CARGO_TARGET_DIR:-target}/debug/orderly}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python=$(python_with openapi_python_client openapi-python-client==0.29.1 openapi-spec-validator==0.9.0)
node_packages @redocly/cli@1.34.5 openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3

for api in command query all; do
  "$orderly" openapi --api "$api" >"$work/$api.json"
done

echo 'openapi-spec-validator and redocly lint:'
"$python" -m openapi_spec_validator "$work"/{command,query,all}.json
"$NODE_BIN/redocly" lint --config tests/scripts/redocly.yaml "$work"/{command,query,all}.json

echo 'openapi-typescript and tsc --strict:'
mkdir "$work/typescript"
"$NODE_BIN/openapi-typescript" "$work/all.json" --output "$work/typescript/orderly.d.ts"
cp tests/scripts/openapi_client.ts "$work/typescript/client.ts"
ln -s "$(realpath "$NODE_BIN/..")" "$work/typescript/node_modules"
"$NODE_BIN/tsc" --noEmit --strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --skipLibCheck \
  --target es2022 --module nodenext --moduleResolution nodenext "$work/typescript/client.ts"

echo 'openapi-python-client:'
(
  cd "$work"
  PATH="$(dirname "$OLDPWD/$python"):$PATH" "$OLDPWD/$python" -m openapi_python_client generate --path all.json \
    --output-path client --meta none --fail-on-warning
)
PYTHONPATH="$work" "$python" tests/scripts/openapi_client_check.py "$orderly" "$work/all.json"
