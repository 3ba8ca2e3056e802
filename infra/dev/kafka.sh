# A private Apache Kafka for `infra/dev/services`: one broker that is its own controller, from its Maven artifacts.
# shellcheck shell=bash disable=SC2154

KAFKA_JAVA_OLDEST=17
# Apache Kafka takes about 5 s to start on two idle cores.
KAFKA_START_SECONDS_MAX=120

kafka_up() {
  local pid
  if kafka_status >/dev/null; then
    kafka_status >&2
    return
  fi
  kafka_java || return 1
  kafka_install || return 1
  kafka_configure
  if [ ! -s "$DEV/kafka/data/meta.properties" ]; then
    kafka_format || return 1
  fi
  # Started without the descriptors of this script: whoever waits for its output would wait for the broker.
  kafka_exec -Xmx512m -XX:+UseSerialGC kafka.Kafka "$DEV/kafka/server.properties" \
    </dev/null >"$DEV/kafka/server.log" 2>&1 &
  pid=$!
  echo "$pid" >"$DEV/kafka/pid"
  for _ in $(seq $((KAFKA_START_SECONDS_MAX * 5))); do
    if ! kill -0 "$pid" 2>/dev/null; then
      break
    elif grep --quiet 'Kafka Server started' "$DEV/kafka/server.log"; then
      kafka_status >&2
      return
    fi
    sleep 0.2
  done
  say "Kafka does not start; the end of $DEV/kafka/server.log:"
  tail -n 20 "$DEV/kafka/server.log" >&2
  kafka_down
  return 1
}

kafka_down() {
  local pid
  if pid=$(kafka_pid); then
    kill "$pid"
    for _ in $(seq 150); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.2
    done
    # What is acknowledged is replayed from the log at the next start.
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$DEV/kafka/pid"
  say "Kafka is stopped"
}

kafka_status() {
  local pid
  if pid=$(kafka_pid); then
    echo "Kafka runs on 127.0.0.1:$(kafka_port broker), process $pid, data in $DEV/kafka/data"
  else
    echo "Kafka does not run"
    return 1
  fi
}

kafka_env() {
  echo "export ORDERLY_TEST_KAFKA=kafka://127.0.0.1:$(kafka_port broker)"
}

# The broker's process; another one may have its number by now.
kafka_pid() {
  local pid
  pid=$(cat "$DEV/kafka/pid" 2>/dev/null) || return 1
  ps -o args= -p "$pid" 2>/dev/null | grep --quiet --fixed-strings "$DEV/kafka/server.properties" || return 1
  echo "$pid"
}

# The port kept for `broker` or `controller`.
kafka_port() { cat "$DEV/kafka/$1.port" 2>/dev/null; }

# Replaces this shell, so call it in one of its own. A terminal that closes does not end it.
kafka_exec() {
  exec nohup java -cp "$DEV/kafka/lib/*" -Dlog4j2.configurationFile="$ROOT/infra/dev/kafka/log4j2.properties" "$@"
}

kafka_java() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' || true)
  if [ "${version:-0}" -lt "$KAFKA_JAVA_OLDEST" ]; then
    say "there is no Java $KAFKA_JAVA_OLDEST or newer on this machine, which Kafka needs; install one: apt-get install openjdk-17-jre-headless maven (Debian, Ubuntu), dnf install java-21-openjdk-headless maven (Fedora), brew install openjdk maven (macOS)"
    return 1
  fi
}

# Brings Kafka's programs, once for each state of the pom.
kafka_install() {
  local wanted
  wanted=$(cksum <"$ROOT/infra/dev/kafka/pom.xml")
  if [ "$(cat "$DEV/kafka/installed" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  if ! command -v mvn >/dev/null; then
    say "there is no Maven on this machine, which brings Kafka; install it: apt-get install maven (Debian, Ubuntu), dnf install maven (Fedora), brew install maven (macOS)"
    return 1
  fi
  say "fetching Apache Kafka (40 MB)"
  rm -rf "$DEV/kafka/lib"
  mkdir -p "$DEV/kafka"
  if ! mvn --batch-mode --quiet --file "$ROOT/infra/dev/kafka/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$DEV/kafka/lib" >"$DEV/kafka/install.log" 2>&1; then
    say "Maven could not fetch Kafka; the end of $DEV/kafka/install.log:"
    tail -n 20 "$DEV/kafka/install.log" >&2
    return 1
  fi
  echo "$wanted" >"$DEV/kafka/installed"
}

# The ports stay the same from start to start, so that clients find a restarted broker.
kafka_configure() {
  local name port
  mkdir -p "$DEV/kafka"
  for name in broker controller; do
    port=$(kafka_port "$name" || free_port)
    port_is_free "$port" || port=$(free_port)
    echo "$port" >"$DEV/kafka/$name.port"
  done
  # A single broker replicates nothing. Few partitions of Kafka's own topics, and a small buffer for compaction: it
  # shall start fast and fit beside everything else. Short sessions are for tests of consumers that fall silent.
  cat >"$DEV/kafka/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$(kafka_port controller)
listeners=PLAINTEXT://127.0.0.1:$(kafka_port broker),CONTROLLER://127.0.0.1:$(kafka_port controller)
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$DEV/kafka/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=8388608
PROPERTIES
}

kafka_format() {
  local id
  id=$(kafka_exec kafka.tools.StorageTool random-uuid) || { say "Kafka's storage tool does not run"; return 1; }
  (kafka_exec kafka.tools.StorageTool format --cluster-id "$id" --config "$DEV/kafka/server.properties") \
    >"$DEV/kafka/format.log" 2>&1 || { say "Kafka's storage cannot be formatted:"; cat "$DEV/kafka/format.log" >&2; return 1; }
}
