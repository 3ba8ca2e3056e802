#!/usr/bin/env bash
# Faults of Kafka under load, on a broker of its own with access lists and a small disk: a kill of the broker, a full disk,
# a revoked right, a deleted topic, and topics that were all deleted and created again. Orders are accepted all the time.
# Prints what an operator sees. After each remedy every row equals the log, and a reader with read_committed finds each
# event once and in order.
#
#   infra/dev/services up kafka      # downloads Kafka; the script uses its programs only
#   tests/scripts/kafka-faults.sh [ORDERLY_BINARY]
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh
python=$(python_with confluent_kafka confluent-kafka==2.16.1)
# The small disk is mounted in a namespace of its own, which ends with the script.
namespace=(--mount)
[ "$(id -u)" = 0 ] || namespace+=(--map-root-user)
exec unshare "${namespace[@]}" "$python" tests/scripts/kafka_faults.py "${1:-target/release/orderly}" .dev/kafka/lib
