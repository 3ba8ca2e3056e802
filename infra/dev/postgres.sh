# A private Postgres for `infra/dev/services`: runs the Postgres programs of this machine on its own cluster.
# ORDERLY_DEV_POSTGRES_BIN names the directory of other programs, which get a cluster of their own. Set it for `up`, `status`
# and `down` alike.
# shellcheck shell=bash disable=SC2154

POSTGRES_OLDEST=14
POSTGRES_USER=orderly

postgres_up() {
  local bin data port
  if postgres_status >/dev/null; then
    postgres_status >&2
    return
  fi
  bin=$(postgres_bin) || return 1
  data=$(postgres_data)
  if [ ! -s "$data/PG_VERSION" ]; then
    postgres_create "$bin" "$data" || return 1
  fi
  if [ ! -s "$(postgres_certificates)-client.pem" ]; then
    postgres_certify "$data" || return 1
  fi
  port=$(cat "$DEV/postgres.port" 2>/dev/null || free_port)
  port_is_free "$port" || port=$(free_port)
  # Closes the descriptors of this script: a caller that reads its output to the end would wait for the
  # server.
  if ! postgres_as "$data" "$bin/pg_ctl" start --pgdata="$data" --log="$data/server.log" --timeout=60 \
    --options="$(postgres_settings "$port")" --silent </dev/null >/dev/null 2>&1; then
    say "Postgres does not start. The end of $data/server.log:"
    tail -n 20 "$data/server.log" >&2
    return 1
  fi
  echo "$port" >"$DEV/postgres.port"
  echo "$bin" >"$DEV/postgres.bin"
  postgres_status >&2
}

postgres_down() {
  local data
  data=$(postgres_data)
  if postgres_status >/dev/null; then
    postgres_as "$data" "$(cat "$DEV/postgres.bin")/pg_ctl" stop --pgdata="$data" --mode=fast --timeout=60 --silent >/dev/null
  fi
  say "Postgres is stopped"
}

postgres_status() {
  local data
  data=$(postgres_data)
  if [ -s "$DEV/postgres.bin" ] && [ -s "$data/postmaster.pid" ] \
    && postgres_as "$data" "$(cat "$DEV/postgres.bin")/pg_ctl" status --pgdata="$data" >/dev/null 2>&1; then
    echo "Postgres runs on 127.0.0.1:$(cat "$DEV/postgres.port"), data in $data"
  else
    echo "Postgres does not run"
    return 1
  fi
}

postgres_env() {
  echo "export ORDERLY_TEST_POSTGRES=postgres://$POSTGRES_USER:$(cat "$DEV/postgres.password")@127.0.0.1:$(cat "$DEV/postgres.port")/postgres"
  echo "export ORDERLY_TEST_POSTGRES_CA=$(postgres_certificates)-ca.pem"
  echo "export ORDERLY_TEST_POSTGRES_CLIENT=$(postgres_certificates)-client.pem"
}

# Prints the directory of the newest Postgres programs of this machine; without one, prints what to install.
postgres_bin() {
  if [ -n "${ORDERLY_DEV_POSTGRES_BIN:-}" ]; then
    echo "$ORDERLY_DEV_POSTGRES_BIN"
    return
  fi
  local candidates bin newest='' newest_version=0 version
  candidates=$(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin 2>/dev/null || true)
  if command -v initdb >/dev/null; then
    candidates+=" $(dirname "$(readlink -f "$(command -v initdb)")")"
  fi
  for bin in $candidates; do
    [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] || continue
    version=$("$bin/initdb" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    if [ "$version" -gt "$newest_version" ]; then
      newest=$bin
      newest_version=$version
    fi
  done
  if [ "$newest_version" -lt "$POSTGRES_OLDEST" ]; then
    say "This machine has no Postgres $POSTGRES_OLDEST or newer. Install one: apt-get install postgresql (Debian, Ubuntu), dnf install postgresql-server (Fedora), brew install postgresql (macOS)"
    return 1
  fi
  echo "$newest"
}

# Prints the directory of the cluster. Postgres refuses to run as root, so root runs it as another user. If
# that user may not enter the project's directory, the cluster is in /var/tmp.
postgres_data() {
  local name=postgres
  if [ -n "${ORDERLY_DEV_POSTGRES_BIN:-}" ]; then
    name+=-$(printf %s "$ORDERLY_DEV_POSTGRES_BIN" | cksum | cut -d' ' -f1)
  fi
  if [ "$(id -u)" != 0 ] || postgres_runuser test -x "$DEV" 2>/dev/null; then
    echo "$DEV/$name"
  else
    echo "/var/tmp/orderly-dev-$(printf %s "$ROOT" | cksum | cut -d' ' -f1)/$name"
  fi
}

# Prints how the names of the cluster's certificates for clients begin.
postgres_certificates() { echo "$DEV/$(basename "$(postgres_data)")"; }

postgres_create() {
  local bin=$1 data=$2
  say "making a Postgres cluster in $data"
  if [ ! -s "$DEV/postgres.password" ]; then
    (umask 077; new_password >"$DEV/postgres.password")
  fi
  mkdir -p "$data"
  # initdb opens the file as its own user, so that user must own it.
  cp "$DEV/postgres.password" "$data.initdb-password"
  if [ "$(id -u)" = 0 ]; then
    chown "$(postgres_user)" "$data" "$data.initdb-password"
  fi
  postgres_as "$data" "$bin/initdb" --pgdata="$data" --username="$POSTGRES_USER" --auth=scram-sha-256 \
    --pwfile="$data.initdb-password" --encoding=UTF8 --locale=C --no-instructions >"$DEV/initdb.log" 2>&1 \
    || { say "initdb fails:"; cat "$DEV/initdb.log" >&2; return 1; }
  rm "$data.initdb-password"
}

# Gives this cluster a certificate of an authority of its own.
postgres_certify() {
  local data=$1 made
  made=$(mktemp -d)
  certify "$made" || return 1
  cp "$made/server.key" "$made/server.crt" "$made/ca.pem" "$data/"
  chmod 600 "$data/server.key"
  if [ "$(id -u)" = 0 ]; then
    chown "$(postgres_user)" "$data/server.key" "$data/server.crt" "$data/ca.pem"
  fi
  cp "$made/ca.pem" "$(postgres_certificates)-ca.pem"
  # Certificate and key in one file.
  (umask 077; cat "$made/client.crt" "$made/client.key" >"$(postgres_certificates)-client.pem")
  rm -r "$made"
}

# Prints the server's options. Commits are durable as in production, so that benchmarks and crash tests are
# valid. mmap, because containers often have a small /dev/shm. Keeps write-ahead log for tests that copy the server.
postgres_settings() {
  printf -- '-c %s ' listen_addresses=127.0.0.1 port="$1" unix_socket_directories= max_connections=200 \
    shared_buffers=256MB max_wal_size=4GB wal_keep_size=256MB dynamic_shared_memory_type=mmap ssl=on ssl_ca_file=ca.pem
}

# Runs a command as the owner of the cluster, in a directory that this user may enter.
postgres_as() {
  local data=$1
  shift
  if [ "$(id -u)" = 0 ]; then
    (cd / && postgres_runuser "$@")
  else
    "$@"
  fi
}

postgres_runuser() { runuser -u "$(postgres_user)" -- "$@"; }

postgres_user() {
  if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}
