#!/usr/bin/env bash
# Replaces the roles of an earlier build by those of this one, under load and in the order of docs/upgrading.md, on
# the EventStoreDB fixture, Kafka and Postgres. Meanwhile it stores events of a type that only this build knows.
# Checks that only their streams park, that this build resumes them without an operator, that no request fails, and
# that every row equals the log at the end.
#
# The earlier build is the commit of tests/earlier-builds/rolling-upgrade.patch with this patch. Without
# EARLIER_BINARY, the script builds it in target/earlier, which takes about 10 minutes the first time.
#
#   infra/dev/services up kafka postgres && source .dev/env
#   tests/scripts/rolling-upgrade.sh [BINARY [FIXTURE [EARLIER_BINARY]]]
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${ORDERLY_TEST_POSTGRES:?run infra/dev/services up, and source .dev/env}"
: "${ORDERLY_TEST_KAFKA:?run infra/dev/services up, and source .dev/env}"

# Prints the path of the earlier build.
built() {
  local patch=$PWD/tests/earlier-builds/rolling-upgrade.patch target=$PWD/target/earlier commit source
  commit=$(sed -n 's/^commit //p' "$patch")
  source=$target/$commit
  if [ ! -d "$source" ]; then
    mkdir -p "$source.new"
    git archive "$commit" | tar --extract --directory="$source.new"
    patch --directory="$source.new" --strip=1 --fuzz=0 --batch --silent <"$patch"
    mv "$source.new" "$source"
  fi
  (cd "$source" && CARGO_TARGET_DIR=$target "${CARGO:-cargo}" build --release --locked --quiet --bin orderly) >&2
  echo "$target/release/orderly"
}

orderly=${1:-target/release/orderly}
fixture=${2:-target/release/eventstoredb-fixture}
earlier=${3:-$(built)}
database=rolling_upgrade_$$
psql --quiet "$ORDERLY_TEST_POSTGRES" --command "CREATE DATABASE $database"
trap 'psql --quiet "$ORDERLY_TEST_POSTGRES" --command "DROP DATABASE IF EXISTS $database WITH (FORCE)"' EXIT
python3 tests/scripts/rolling_upgrade.py "$orderly" "$fixture" "$earlier" "${ORDERLY_TEST_POSTGRES%/*}/$database" \
  "$ORDERLY_TEST_KAFKA?prefix=$database&partitions=6"
