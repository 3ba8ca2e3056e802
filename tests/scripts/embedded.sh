# Starts and checks one `orderly serve` on embedded stores, for scripts. Set `orderly` to the binary, then
# source it.
# shellcheck shell=bash
# shellcheck disable=SC2154

work=$(mktemp -d)
command_url=http://127.0.0.1:${COMMAND_PORT:-18480}
query_url=http://127.0.0.1:${QUERY_PORT:-18481}
server=
trap 'kill -9 "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

serve() { # DATA_DIR
  "$orderly" serve --data-dir "$1" --command-listen "${command_url#http://}" --query-listen "${query_url#http://}" --payment-provider none \
    >>"$work/serve.log" 2>&1 &
  server=$!
  for _ in $(seq 600); do
    curl -sf "$query_url/readyz" >/dev/null 2>&1 && curl -sf "$command_url/readyz" >/dev/null 2>&1 && return
    kill -0 "$server" || { cat "$work/serve.log"; exit 1; }
    sleep 0.1
  done
  echo "The server did not answer /readyz within 60 s"; exit 1
}

import() { # FILE [OPTION…]
  "$orderly" import "$@" --command-url "$command_url" >"$work/import.log" 2>&1
}

import_well() { # FILE [OPTION…]
  import "$@" || { tail "$work/import.log"; exit 1; }
}

# Kills the server and the import at the same time, as a power cut would.
kill_all() { # IMPORT_PID
  kill -9 "$server"; wait "$server" 2>/dev/null || true
  kill -9 "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true
}

head_position() { curl -sf "$query_url/v1/projections" | sed -E 's/.*"head":([0-9]+).*/\1/'; }

until_position() { # POSITION
  until [ "$(head_position || echo 0)" -gt "$1" ] 2>/dev/null; do sleep 0.1; done
}

drained() {
  for _ in $(seq 600); do
    curl -sf "$query_url/v1/projections" | grep -qvE '"lag_events":[1-9]' && return
    sleep 0.1
  done
  echo "The projections still lag behind the log after 60 s"; exit 1
}

same() { # WHAT EXPECTED FOUND
  [ "$3" = "$2" ] || { echo "$1: expected $2"; echo "$1: found    $3"; exit 1; }
}

verify() { # DATA_DIR
  "$orderly" audit verify --data-dir "$1" >"$work/verify.log" 2>&1 || { tail "$work/verify.log"; exit 1; }
}

# Prints every page of a list.
pages() { # PATH
  local cursor='' page next
  while :; do
    page=$(curl -sf "$query_url$1?limit=200$cursor")
    echo "$page"
    next=$(sed -nE 's/.*"next_cursor":"([^"]+)".*/\1/p' <<<"$page")
    [ -n "$next" ] || return 0
    cursor="&cursor=$next"
  done
}
