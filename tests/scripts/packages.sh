#!/usr/bin/env bash
# Checks what infra/deploy/ says: the manifests against the schemas of Kubernetes, the unit by systemd-analyze (if it is
# installed), and then starts the containers of Dockerfile, compose files and manifests as plain processes of an
# unprivileged user, with a read-only root, and runs the README's tour on them. Build the programs first:
# `cargo test --workspace --no-run`. Exits with 75 if the Python packages cannot be installed.
#
#   tests/scripts/packages.sh [BINARY [FIXTURE]]
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/scripts/python.sh
source tests/scripts/python.sh
: "${ORDERLY_TEST_POSTGRES:?run infra/dev/services up, and source .dev/env}"
: "${ORDERLY_TEST_KAFKA:?run infra/dev/services up, and source .dev/env}"
programs=${CARGO_TARGET_DIR:-target}/debug

python=$(python_with kubernetes_validate kubernetes-validate==1.37.0 'moto[server]==5.2.5' PyYAML==6.0.4)
"$python" tests/scripts/packages.py "${1:-$programs/orderly}" "${2:-$programs/eventstoredb-fixture}"
