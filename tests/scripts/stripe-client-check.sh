#!/usr/bin/env bash
# Drives the double of Stripe with Stripe's own Python library, and checks every answer against Stripe's
# OpenAPI description. Our adapter and our double could share an error; these two do not share it. Build the
# double first: `cargo test --workspace --no-run`. The description comes with stripe-mock:
# `infra/dev/services up stripe_mock && source .dev/env`. Exits with 75 if the library cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh

: "${ORDERLY_TEST_STRIPE_SPEC:?run infra/dev/services up stripe_mock, and source .dev/env}"
python=$(python_with stripe,jsonschema stripe==16.1.0 jsonschema==4.26.0)
"$python" tests/scripts/stripe_client_check.py "${CARGO_TARGET_DIR:-target}/debug/stripe-double" \
  "$ORDERLY_TEST_STRIPE_SPEC"
