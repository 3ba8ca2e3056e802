#!/usr/bin/env bash
# Lists what the build and the tests need from the machine. run.sh skips tests by this list, and .ci/run
# installs packages by it. The table in README.md describes the same rows for readers.
#
#   tests/scripts/needs.sh             prints each need, and whether this machine has it
#   tests/scripts/needs.sh packages    prints the Debian packages of the missing needs, one a line
#
# A test states its needs in its attribute: #[ignore = "needs Kafka and kcat: infra/dev/services up"].

# The columns are: need, function that checks it, Debian package, user. apt-get cannot install a need without
# a package.
needs_table() {
  cat <<'TABLE'
Rust 1.95         | needs_rust           |                        | the build
C and C++         | needs_compiler       | build-essential        | the build
pkg-config        | needs_pkg_config     | pkg-config             | the build
OpenSSL headers   | needs_openssl_headers | libssl-dev            | the build
Java 17           | needs_java           | default-jre-headless   | Kafka
Maven             | needs_maven          | maven                  | Kafka
Postgres 14       | needs_postgres       | postgresql             | Postgres
openssl           | needs_openssl        | openssl                | Postgres
Go                | needs_go             | golang-go              | stripe-mock
kcat              | needs_kcat           | kcat                   | kcat
Python 3 and venv | needs_python         | python3-venv           | Python clients
promtool          | needs_promtool       | prometheus             | alert rules
Node 18 and npm   | needs_node           | npm                    | Node clients
nginx             | needs_nginx          | nginx-light            | sample proxy
HAProxy           | needs_haproxy        | haproxy                | HAProxy
root              | needs_root           |                        | root
TABLE
}

NEEDS_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# The version checks of infra/dev, without their advice.
needs_service_check() { # SERVICE FUNCTION
  (
    # shellcheck disable=SC2317
    say() { :; }
    # shellcheck source=/dev/null
    source "$NEEDS_ROOT/infra/dev/$1.sh"
    "$2"
  ) >/dev/null 2>&1
}

needs_rust() {
  local minor
  minor=$(rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')
  [ "${minor:-0}" -ge 95 ]
}
needs_compiler() { command -v cc && command -v c++ && command -v make; } >/dev/null
needs_pkg_config() { command -v pkg-config; } >/dev/null
# The client of Kafka links OpenSSL. The build on macOS looks where Homebrew installs it.
needs_openssl_headers() { pkg-config --exists 'openssl >= 3' || [ -d /opt/homebrew/opt/openssl@3 ]; } 2>/dev/null
needs_java() { needs_service_check kafka kafka_java; }
needs_maven() { command -v mvn; } >/dev/null
needs_postgres() { needs_service_check postgres postgres_bin; }
needs_openssl() { command -v openssl; } >/dev/null
needs_go() { command -v go; } >/dev/null
needs_kcat() { command -v kcat; } >/dev/null
needs_promtool() { command -v promtool; } >/dev/null
needs_nginx() { command -v nginx || test -x /usr/sbin/nginx; } >/dev/null
needs_node() {
  local major
  major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p')
  [ "${major:-0}" -ge 18 ] && command -v npm >/dev/null
}
needs_haproxy() { command -v haproxy || [ -x /usr/sbin/haproxy ]; } >/dev/null
needs_python() { python3 -c 'import ensurepip, venv'; } 2>/dev/null

# Root in a container may lack the right to mount, so this mounts a small disk as the test does.
needs_root() {
  local disk status=1
  [ "$(id -u)" = 0 ] || return 1
  disk=$(mktemp -d)
  if mount -t tmpfs -o size=1m tmpfs "$disk" 2>/dev/null; then
    umount "$disk"
    status=0
  fi
  rmdir "$disk"
  return $status
}

# Calls FUNCTION with the four columns of each row.
needs_each() { # FUNCTION
  local need check package user
  while IFS='|' read -r need check package user; do
    # `read` strips blanks at the ends of the line only.
    read -r need <<<"$need"; read -r check <<<"$check"; read -r package <<<"$package"; read -r user <<<"$user"
    "$1" "$need" "$check" "$package" "$user"
  done < <(needs_table)
}

# Prints a line for each missing need: NEED|PACKAGE|USED BY.
needs_missing() {
  needs_each needs_missing_row
}
needs_missing_row() { "$2" || echo "$1|$3|$4"; }

needs_status_row() {
  local state=found
  "$2" || state=MISSING
  printf '%-18s %-8s %-22s %s\n' "$1" "$state" "${3:--}" "$4"
}

needs_main() {
  case "${1:-}" in
    '') printf '%-18s %-8s %-22s %s\n' NEED STATE 'DEBIAN PACKAGE' 'USED BY'; needs_each needs_status_row ;;
    packages) needs_missing | cut -d'|' -f2 | grep . || true ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 64 ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  needs_main "$@"
fi
