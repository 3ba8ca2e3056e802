#!/usr/bin/env bash
# Checks the double of Stripe with Stripe's own Python library, and its answers by Stripe's OpenAPI description, so that
# it cannot merely agree with us. The double is built with the tests: `cargo test --workspace --no-run`; the description
# comes with stripe-mock: `infra/dev/services up`. Where one of them cannot be had this is said loudly, and with
# ORDERLY_REQUIRE_SERVICES=1 it is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(stripe==16.1.0 jsonschema==4.26.0)
double=${CARGO_TARGET_DIR:-target}/debug/stripe-double
venv=.dev/${packages[0]}

not_checked() {
  printf '\n%s\n\n' "*** The double of Stripe is NOT checked: $1 ***" >&2
  [ "${ORDERLY_REQUIRE_SERVICES:-}" != 1 ]
  exit
}

[ -n "${ORDERLY_TEST_STRIPE_SPEC:-}" ] || not_checked "stripe-mock, which brings Stripe's OpenAPI description, does not run."
if ! "$venv/bin/python" -c 'import jsonschema, stripe' 2>/dev/null; then
  mkdir -p .dev
  if ! python3 -m venv --clear "$venv" || ! "$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"; then
    not_checked "${packages[*]} cannot be installed."
  fi
fi
"$venv/bin/python" tests/scripts/stripe_client_check.py "$double" "$ORDERLY_TEST_STRIPE_SPEC"
