#!/usr/bin/env bash
# Runs every test of the workspace: `make test`.
#
#   1. Checks the machine with needs.sh. Starts each of Kafka, Postgres and stripe-mock that can run, and
#      stops it at the end.
#   2. Runs all tests without needs.
#   3. Runs the tests marked #[ignore = "needs A and B: …"] whose needs are met, the checks with clients that
#      are not ours, and that of the alert rules.
#
# Skips a test with an unmet need, and prints its name at the end. With ORDERLY_REQUIRE_SERVICES=1 a missing
# need is a failure instead.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/needs.sh
source tests/scripts/needs.sh
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh
cargo=${CARGO:-cargo}
work=$(mktemp -d)
started=()

finish() {
  [ ${#started[@]} = 0 ] || infra/dev/services down "${started[@]}"
  rm -rf "$work"
}
trap finish EXIT

# Why a need of a test is not met, by its name in the attribute. Absent means met.
declare -A unmet=()
known=(Kafka Postgres stripe-mock kcat root 'Python clients')

loudly() { printf '\n*** %s ***\n' "$*" >&2; }

refused() { # WHY
  loudly "$1, and ORDERLY_REQUIRE_SERVICES=1 makes this a failure"
  exit 1
}

check_machine() {
  local need package user install
  while IFS='|' read -r need package user; do
    install=${package:+; install it with apt-get install $package}
    loudly "$need is missing on this machine (used by: $user)$install"
    unmet[$user]+="${unmet[$user]:+, }$need is missing$install"
  done < <(needs_missing)
  if [ -n "${unmet[the build]:-}" ]; then
    loudly "The project cannot be built: ${unmet[the build]}"
    exit 1
  fi
  [ ${#unmet[@]} = 0 ] || [ "${ORDERLY_REQUIRE_SERVICES:-}" != 1 ] || refused "Something is missing"
}

# Starts a service, unless one of its needs is missing. A service that ran before is not stopped at the end.
start_service() { # SERVICE NEED
  [ -z "${unmet[$2]:-}" ] || return 0
  if infra/dev/services status "$1" >/dev/null; then
    return
  fi
  started+=("$1")
  if ! infra/dev/services up "$1"; then
    unmet[$2]="it does not start"
    [ "${ORDERLY_REQUIRE_SERVICES:-}" != 1 ] || refused "$2 does not start"
  fi
}

start_services() {
  start_service kafka Kafka
  start_service postgres Postgres
  start_service stripe_mock stripe-mock
  # The caller's shell may still have the addresses of stopped servers.
  unset ORDERLY_TEST_KAFKA ORDERLY_TEST_POSTGRES ORDERLY_TEST_POSTGRES_CA ORDERLY_TEST_STRIPE_MOCK ORDERLY_TEST_STRIPE_SPEC
  if [ -e .dev/env ]; then
    # shellcheck source=/dev/null
    source .dev/env
  fi
}

# Prints "NAME|NEEDS" for each ignored test of the first run, as in `relay::publishing::…|Kafka and kcat`.
ignored_tests() {
  sed -nE 's/^test (.+) \.\.\. ignored, needs ([^:]+).*$/\1|\2/p' "$work/first-run.log"
}

skip=()
skipped=()
skip_unmet() {
  local name needs need why
  while IFS='|' read -r name needs; do
    why=
    while read -r need; do
      if [[ "|$(IFS='|'; echo "${known[*]}")|" != *"|$need|"* ]]; then
        loudly "The test $name needs \"$need\", which tests/scripts/run.sh does not know"
        exit 1
      fi
      [ -z "${unmet[$need]:-}" ] || why+="${why:+; }$need: ${unmet[$need]}"
    done <<<"${needs// and /$'\n'}"
    if [ -n "$why" ]; then
      skip+=(--skip "$name")
      skipped+=("$name ($why)")
    fi
  done < <(ignored_tests)
}

client_check() { # SCRIPT NEED…
  local script=$1 need why='' status=0
  shift
  for need in "$@"; do
    [ -z "${unmet[$need]:-}" ] || why+="${why:+; }$need: ${unmet[$need]}"
  done
  if [ -n "$why" ]; then
    skipped+=("$script ($why)")
    return
  fi
  "$script" || status=$?
  case $status in
    0) ;;
    "$CANNOT_INSTALL")
      [ "${ORDERLY_REQUIRE_SERVICES:-}" != 1 ] || refused "$script cannot install its packages"
      skipped+=("$script (its packages cannot be installed)")
      ;;
    *) exit "$status" ;;
  esac
}

check_machine
start_services
"$cargo" test --workspace --locked | tee "$work/first-run.log"
skip_unmet
"$cargo" test --workspace --locked --tests -- --ignored --exact ${skip[@]+"${skip[@]}"}
client_check tests/scripts/eventstoredb-client-check.sh 'Python clients'
client_check tests/scripts/webhooks-client-check.sh 'Python clients'
client_check tests/scripts/stripe-client-check.sh 'Python clients' stripe-mock
client_check tests/scripts/alert-rules.sh 'alert rules'
client_check tests/scripts/openapi-check.sh 'Python clients' 'Node clients' 'sample proxy'
client_check tests/scripts/rolling-restart.sh HAProxy
client_check tests/scripts/packages.sh 'Python clients' root Kafka Postgres

if [ ${#skipped[@]} -gt 0 ]; then
  loudly "${#skipped[@]} tests are NOT run, because of what is missing on this machine:"
  printf '      %s\n' "${skipped[@]}" >&2
fi
