# A private Apache Kafka for `infra/dev/services`, downloaded with Maven: one broker, which is also the
# controller. It has a second listener with TLS and SASL.
# shellcheck shell=bash disable=SC2154

KAFKA_JAVA_OLDEST=17
# Apache Kafka takes about 5 s to start on two idle cores.
KAFKA_START_SECONDS_MAX=120
# The user of the listener with TLS and SASL.
KAFKA_USER=orderly

kafka_up() {
  local pid
  if kafka_status >/dev/null; then
    kafka_status >&2
    return
  fi
  kafka_java || return 1
  kafka_install || return 1
  kafka_secure || return 1
  kafka_issuer || return 1
  kafka_configure
  if [ ! -s "$DEV/kafka/data/meta.properties" ]; then
    kafka_format || return 1
  fi
  # Closes the descriptors of this script: a caller that reads its output to the end would wait for the
  # broker.
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
  say "Kafka does not start. The end of $DEV/kafka/server.log:"
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
    # Safe: the broker replays acknowledged records from its log at the next start.
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
  echo "export ORDERLY_TEST_KAFKA_SECURE=kafka://$KAFKA_USER:$(cat "$DEV/kafka/password")@127.0.0.1:$(kafka_port secure)"
  echo "export ORDERLY_TEST_KAFKA_CA=$DEV/kafka/ca.pem"
  echo "export ORDERLY_TEST_KAFKA_ISSUER_KEY=$DEV/kafka/issuer.key"
}

# Prints the broker's process id. Another process may have taken the number, so this compares the arguments.
kafka_pid() {
  local pid
  pid=$(cat "$DEV/kafka/pid" 2>/dev/null) || return 1
  ps -o args= -p "$pid" 2>/dev/null | grep --quiet --fixed-strings "$DEV/kafka/server.properties" || return 1
  echo "$pid"
}

# Prints the port of `broker`, `secure` or `controller`.
kafka_port() { cat "$DEV/kafka/$1.port" 2>/dev/null; }

# Replaces this shell, so call it in a subshell. `nohup` keeps the broker alive when the terminal closes.
kafka_exec() {
  exec nohup java -cp "$DEV/kafka/lib/*" -Dlog4j2.configurationFile="$ROOT/infra/dev/kafka/log4j2.properties" \
    -Dorg.apache.kafka.sasl.oauthbearer.allowed.urls="file://$DEV/kafka/issuer.jwks" "$@"
}

kafka_java() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' || true)
  if [ "${version:-0}" -lt "$KAFKA_JAVA_OLDEST" ]; then
    say "Kafka needs Java $KAFKA_JAVA_OLDEST or newer, and this machine has none. Install one: apt-get install openjdk-17-jre-headless maven (Debian, Ubuntu), dnf install java-21-openjdk-headless maven (Fedora), brew install openjdk maven (macOS)"
    return 1
  fi
}

# Downloads Kafka's programs. Downloads them again only after pom.xml has changed.
kafka_install() {
  local wanted
  wanted=$(cksum <"$ROOT/infra/dev/kafka/pom.xml")
  if [ "$(cat "$DEV/kafka/installed" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  if ! command -v mvn >/dev/null; then
    say "Maven downloads Kafka, and this machine has no Maven. Install it: apt-get install maven (Debian, Ubuntu), dnf install maven (Fedora), brew install maven (macOS)"
    return 1
  fi
  say "downloading Apache Kafka (40 MB)"
  rm -rf "$DEV/kafka/lib"
  mkdir -p "$DEV/kafka"
  if ! mvn --batch-mode --quiet --file "$ROOT/infra/dev/kafka/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$DEV/kafka/lib" >"$DEV/kafka/install.log" 2>&1; then
    say "Maven cannot download Kafka. The end of $DEV/kafka/install.log:"
    tail -n 20 "$DEV/kafka/install.log" >&2
    return 1
  fi
  echo "$wanted" >"$DEV/kafka/installed"
}

# Creates the certificate and the password of the second listener. An earlier broker did not know the password,
# which is in its data, so those begin anew.
kafka_secure() {
  local made
  [ ! -s "$DEV/kafka/password" ] || return 0
  rm -rf "$DEV/kafka/data"
  made=$(mktemp -d)
  certify "$made" || return 1
  cp "$made/ca.pem" "$DEV/kafka/ca.pem"
  (umask 077; cat "$made/server.key" "$made/server.crt" >"$DEV/kafka/server.pem")
  rm -r "$made"
  (umask 077; new_password >"$DEV/kafka/password")
}

# Creates the key of an issuer of tokens (P-256, PKCS #8 in DER), and the key set by which the broker checks them.
# A public key ends with its two coordinates, 32 bytes each.
kafka_issuer() {
  local coordinates
  [ ! -s "$DEV/kafka/issuer.jwks" ] || return 0
  (umask 077; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 |
    openssl pkcs8 -topk8 -nocrypt -outform DER -out "$DEV/kafka/issuer.key")
  coordinates=$(openssl pkey -inform DER -in "$DEV/kafka/issuer.key" -pubout -outform DER | tail -c 64 | openssl base64 -A) \
    || return 1
  printf '{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"dev","x":"%s","y":"%s"}]}\n' \
    "$(kafka_coordinate "$coordinates" head)" "$(kafka_coordinate "$coordinates" tail)" >"$DEV/kafka/issuer.jwks"
}
kafka_coordinate() { # COORDINATES head|tail
  openssl base64 -d -A <<<"$1" | "$2" -c 32 | openssl base64 -A | tr '+/' '-_' | tr -d '='
}

# Writes the broker's settings. Keeps the ports of the last start, so that clients find a restarted broker.
kafka_configure() {
  local name port
  mkdir -p "$DEV/kafka"
  for name in broker secure controller; do
    port=$(kafka_port "$name" || free_port)
    port_is_free "$port" || port=$(free_port)
    echo "$port" >"$DEV/kafka/$name.port"
  done
  # A single broker has one copy of each record. Few partitions of Kafka's own topics and a small compaction
  # buffer make it start fast and use little memory. Tests of consumers that stop need short sessions. A client with
  # a token has to show the next one before that expires.
  (umask 077; cat >"$DEV/kafka/server.properties") <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$(kafka_port controller)
listeners=PLAINTEXT://127.0.0.1:$(kafka_port broker),SECURE://127.0.0.1:$(kafka_port secure),CONTROLLER://127.0.0.1:$(kafka_port controller)
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$DEV/kafka/server.pem
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN,OAUTHBEARER
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_$KAFKA_USER="$(cat "$DEV/kafka/password")";
listener.name.secure.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.secure.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.secure.oauthbearer.sasl.oauthbearer.jwks.endpoint.url=file://$DEV/kafka/issuer.jwks
listener.name.secure.oauthbearer.sasl.oauthbearer.expected.issuer=https://issuer.example
listener.name.secure.oauthbearer.sasl.oauthbearer.expected.audience=kafka
listener.name.secure.oauthbearer.sasl.oauthbearer.clock.skew.seconds=0
listener.name.secure.oauthbearer.connections.max.reauth.ms=3600000
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
  id=$(kafka_exec kafka.tools.StorageTool random-uuid) || { say "Kafka's storage tool cannot make an id"; return 1; }
  (kafka_exec kafka.tools.StorageTool format --cluster-id "$id" --config "$DEV/kafka/server.properties" \
    --add-scram "SCRAM-SHA-512=[name=$KAFKA_USER,password=$(cat "$DEV/kafka/password")]") \
    >"$DEV/kafka/format.log" 2>&1 || { say "Kafka cannot format its storage:"; cat "$DEV/kafka/format.log" >&2; return 1; }
}
