# Installs Python packages for the checks with clients that are not ours. To be sourced.
# shellcheck shell=bash

# The exit status of a check whose packages cannot be installed (EX_TEMPFAIL).
# shellcheck disable=SC2034
CANNOT_INSTALL=75

# Prints the Python of an environment in .dev/ that has the packages. Makes it at the first call.
python_with() { # MODULE PACKAGE…
  local module=$1 venv=.dev/python-${2//[^a-z0-9.]/-}
  shift
  if ! "$venv/bin/python" -c "import $module" 2>/dev/null; then
    mkdir -p .dev
    if ! python3 -m venv --clear "$venv" >&2 \
      || ! "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" >&2; then
      echo "$*: cannot be installed with python3 -m venv and pip" >&2
      return "$CANNOT_INSTALL"
    fi
  fi
  echo "$venv/bin/python"
}
