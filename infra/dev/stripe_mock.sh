# Stripe's own mock server for `infra/dev/services`, built from its Go module. It checks requests against
# Stripe's OpenAPI description, and keeps no state.
# shellcheck shell=bash disable=SC2154

# This release describes the version of Stripe's API that the adapter uses: API_VERSION in the adapter.
STRIPE_MOCK_VERSION=v0.203.0
# The Go that builds it if the machine's Go is too old.
STRIPE_MOCK_TOOLCHAIN=v0.0.1-go1.24.4

stripe_mock_up() {
  local port pid
  if stripe_mock_status >/dev/null; then
    stripe_mock_status >&2
    return
  fi
  stripe_mock_install || return 1
  port=$(stripe_mock_port || free_port)
  port_is_free "$port" || port=$(free_port)
  echo "$port" >"$DEV/stripe-mock/port"
  # Closes the descriptors of this script: a caller that reads its output to the end would wait for the
  # server.
  nohup "$DEV/stripe-mock/bin/stripe-mock" -http-addr "127.0.0.1:$port" -strict-version-check \
    </dev/null >"$DEV/stripe-mock/server.log" 2>&1 &
  pid=$!
  echo "$pid" >"$DEV/stripe-mock/pid"
  for _ in $(seq 150); do
    if ! kill -0 "$pid" 2>/dev/null; then
      break
    elif ! port_is_free "$port"; then
      stripe_mock_status >&2
      return
    fi
    sleep 0.2
  done
  say "stripe-mock does not start. The end of $DEV/stripe-mock/server.log:"
  tail -n 20 "$DEV/stripe-mock/server.log" >&2
  stripe_mock_down
  return 1
}

stripe_mock_down() {
  local pid
  if pid=$(stripe_mock_pid); then
    kill "$pid"
  fi
  rm -f "$DEV/stripe-mock/pid"
  say "stripe-mock is stopped"
}

stripe_mock_status() {
  local pid
  if pid=$(stripe_mock_pid); then
    echo "stripe-mock runs on 127.0.0.1:$(stripe_mock_port), process $pid"
  else
    echo "stripe-mock does not run"
    return 1
  fi
}

stripe_mock_env() {
  echo "export ORDERLY_TEST_STRIPE_MOCK=http://127.0.0.1:$(stripe_mock_port)"
  echo "export ORDERLY_TEST_STRIPE_SPEC=$DEV/stripe-mock/spec3.json"
}

# Prints the server's process id. Another process may have taken the number, so this compares the arguments.
stripe_mock_pid() {
  local pid
  pid=$(cat "$DEV/stripe-mock/pid" 2>/dev/null) || return 1
  ps -o args= -p "$pid" 2>/dev/null | grep --quiet --fixed-strings "$DEV/stripe-mock/bin/" || return 1
  echo "$pid"
}

stripe_mock_port() { cat "$DEV/stripe-mock/port" 2>/dev/null; }

# Builds the server and copies the description out of its module, once for each version.
stripe_mock_install() {
  local modules=$DEV/stripe-mock/modules
  if [ "$(cat "$DEV/stripe-mock/installed" 2>/dev/null)" = "$STRIPE_MOCK_VERSION" ]; then
    return
  fi
  if ! command -v go >/dev/null; then
    say "Go builds stripe-mock, and this machine has no Go. Install it: apt-get install golang-go (Debian, Ubuntu), dnf install golang (Fedora), brew install go (macOS)"
    return 1
  fi
  say "building stripe-mock $STRIPE_MOCK_VERSION"
  mkdir -p "$DEV/stripe-mock"
  # Writable modules, so that .dev/ can be deleted. A Go that is too old downloads a newer one.
  if ! (
    set -e
    export GOBIN=$DEV/stripe-mock/bin GOMODCACHE=$modules GOFLAGS=-modcacherw GOTOOLCHAIN=auto
    go=$(stripe_mock_go)
    "$go" install "github.com/stripe/stripe-mock@$STRIPE_MOCK_VERSION"
  ) >"$DEV/stripe-mock/install.log" 2>&1; then
    say "Go cannot build stripe-mock. The end of $DEV/stripe-mock/install.log:"
    tail -n 20 "$DEV/stripe-mock/install.log" >&2
    return 1
  fi
  cp "$modules/github.com/stripe/stripe-mock@$STRIPE_MOCK_VERSION/embedded/openapi/spec3.json" "$DEV/stripe-mock/spec3.json"
  rm -rf "$modules"
  echo "$STRIPE_MOCK_VERSION" >"$DEV/stripe-mock/installed"
}

# Prints the Go to build with. Go 1.21 and newer download the Go that a module requires. For an older one,
# such as that of Debian 12, this function downloads it.
stripe_mock_go() {
  local minor toolchain root
  minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  if [ "${minor:-0}" -ge 21 ]; then
    command -v go
    return
  fi
  toolchain=$STRIPE_MOCK_TOOLCHAIN.$(go env GOOS)-$(go env GOARCH)
  go mod download "golang.org/toolchain@$toolchain" >&2 || return 1
  root=$GOMODCACHE/golang.org/toolchain@$toolchain
  # Modules lose file modes.
  chmod +x "$root"/bin/* "$root"/pkg/tool/*/*
  echo "$root/bin/go"
}
