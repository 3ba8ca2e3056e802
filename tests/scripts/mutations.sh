#!/usr/bin/env bash
# Plants the faults of tests/mutations/*.patch, one at a time, and runs the simulation until it sees each
# fault. Prints the seed and the violated rule for each. Fails if the simulation misses a fault.
#
# Applies all patches to one scratch copy of the code, where ORDERLY_MUTATION chooses one at run time. So one
# build serves all faults. A patch that no longer fits the code stops the script.
#
#   tests/scripts/mutations.sh [NAME…]
#
# SEEDS is the most seeds for each fault, 20000 by default.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo="${CARGO:-cargo}"
seeds="${SEEDS:-20000}"
target="${CARGO_TARGET_DIR:-$PWD/target}"
scratch="$target/mutations"

staged="$(mktemp -d)"
trap 'rm -rf "$staged"' EXIT
git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- | tar --extract --directory="$staged"
for patch in tests/mutations/*.patch; do
  # `git apply` would patch the repository around the scratch directory, so this uses patch.
  if ! patch --directory="$staged" --strip=1 --fuzz=0 --batch --silent < "$patch"; then
    echo "$patch no longer fits the code. Adapt it to the new code" >&2
    exit 1
  fi
done
# Copies only changed files, so that cargo rebuilds only those.
(cd "$staged" && find . -type f -print0) | while IFS= read -r -d '' file; do
  if ! cmp --silent "$staged/$file" "$scratch/$file"; then
    mkdir -p "$scratch/$(dirname "$file")"
    cp "$staged/$file" "$scratch/$file"
  fi
done

# Shares the built dependencies with the normal build. Cargo would also take our own crates of the scratch
# copy for those of the repository; the different number of codegen units keeps them apart.
settings=(--config 'profile.dev.opt-level=1')
for crate in $(sed -nE 's/^([a-z-]+) = \{ path = .*/\1/p' Cargo.toml); do
  settings+=(--config "profile.dev.package.$crate.codegen-units=15")
done
(cd "$scratch" && CARGO_TARGET_DIR="$target" "$cargo" "${settings[@]}" \
  build --locked --quiet --package simulation --bin simulate)
simulate="$scratch/simulate"
cp "$target/debug/simulate" "$simulate"

if ! "$simulate" --seeds 200 > /dev/null; then
  echo "The simulation fails without a planted fault. Fix that first: make simulate SEEDS=200" >&2
  exit 1
fi
unseen=0
names=("$@")
if [ ${#names[@]} = 0 ]; then
  mapfile -t names < <(basename --suffix=.patch tests/mutations/*.patch | grep --invert-match --line-regexp switch)
fi
for name in "${names[@]}"; do
  if found="$(ORDERLY_MUTATION="$name" "$simulate" --seeds "$seeds")"; then
    printf '%-36s NOT SEEN in %s seeds\n' "$name" "$seeds"
    unseen=1
  else
    printf '%-36s %s\n' "$name" "$(grep --max-count=1 FAILED <<< "$found" | cut --characters=1-150)"
  fi
done
exit "$unseen"
