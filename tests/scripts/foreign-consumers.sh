#!/usr/bin/env bash
# Kills the consumers of examples/consumers, two processes in Python and two in Java, with SIGKILL at random moments, 50
# times each, while a platform over Kafka takes orders and is killed too. At the end the tables of each must equal the log
# and the answers of the query API, with no event twice and none missing.
#
#   infra/dev/services up kafka postgres && source .dev/env
#   tests/scripts/foreign-consumers.sh [KILLS [ORDERLY_BINARY]]
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${ORDERLY_TEST_POSTGRES:?run infra/dev/services up, and source .dev/env}"
: "${ORDERLY_TEST_KAFKA:?run infra/dev/services up, and source .dev/env}"
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh

mapfile -t packages <examples/consumers/python/requirements.txt
python=$(python_with confluent_kafka "${packages[@]}" jsonschema==4.26.0)
mvn --batch-mode --quiet --file examples/consumers/java/pom.xml package dependency:copy-dependencies -DincludeScope=runtime \
  -DoutputDirectory=target/lib >&2 || exit "$CANNOT_INSTALL"
exec "$python" tests/scripts/foreign_consumers.py "${1:-50}" "${2:-target/release/orderly}"
