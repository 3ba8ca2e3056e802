#!/usr/bin/env bash
# Every test of the workspace, on the services of `infra/dev/services`. What was not running before is stopped again.
# Where services cannot be had, the tests that need one are left out, loudly; with ORDERLY_REQUIRE_SERVICES=1 this is a
# failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! infra/dev/services status >/dev/null; then
  trap 'infra/dev/services down' EXIT
fi
with_services=(--include-ignored)
if infra/dev/services up; then
  # shellcheck source=/dev/null
  source .dev/env
elif [ "${ORDERLY_REQUIRE_SERVICES:-}" = 1 ]; then
  echo "The services that tests need cannot be started, and ORDERLY_REQUIRE_SERVICES=1 asks for them." >&2
  exit 1
else
  with_services=()
  printf '\n%s\n\n' "*** WITHOUT Postgres, Kafka and stripe-mock: the tests that need them are NOT run, and counted as ignored. ***" >&2
fi
"${CARGO:-cargo}" test --workspace --locked -- ${with_services[@]+"${with_services[@]}"}
tests/scripts/eventstoredb-client-check.sh
tests/scripts/webhooks-client-check.sh
tests/scripts/stripe-client-check.sh
