# Installs npm packages for the checks with clients that are not ours. To be sourced after python.sh.
# shellcheck shell=bash

# Sets NODE_BIN to the directory of the programs of these packages, in .dev/. Installs them at the first call.
node_packages() { # PACKAGE@VERSION…
  local dir
  dir=.dev/node-$(printf '%s\n' "$@" | sha256sum | cut -c1-12)
  NODE_BIN=$dir/node_modules/.bin
  if [ ! -e "$dir/installed" ]; then
    mkdir -p "$dir"
    echo '{"private": true}' >"$dir/package.json"
    if ! timeout 300 npm install --prefix "$dir" --silent --no-audit --no-fund "$@" >&2; then
      echo "$*: cannot be installed with npm" >&2
      # shellcheck disable=SC2154
      exit "$CANNOT_INSTALL"
    fi
    touch "$dir/installed"
  fi
}
