#!/usr/bin/env bash
# Plants the faults of tests/mutations/*.patch, one at a time, and runs the simulation until it sees each of them. Prints
# how many seeds that took, and by what it was seen; fails if a fault goes unseen.
#
# The patches are applied together to a scratch copy of the tree, where `ORDERLY_MUTATION` chooses among them: so there is
# one build, and not one for each fault. A patch that does not fit the code any more stops the script.
#
# Usage: tests/scripts/mutations.sh [NAME...]     SEEDS: seeds at most for each, default 20000
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
  # Not git: from a directory within a repository, it would patch the repository.
  if ! patch --directory="$staged" --strip=1 --fuzz=0 --batch --silent < "$patch"; then
    echo "$patch does not fit the code any more: make it anew." >&2
    exit 1
  fi
done
# Only what differs is written, so that only that is built again.
(cd "$staged" && find . -type f -print0) | while IFS= read -r -d '' file; do
  if ! cmp --silent "$staged/$file" "$scratch/$file"; then
    mkdir -p "$scratch/$(dirname "$file")"
    cp "$staged/$file" "$scratch/$file"
  fi
done

# The dependencies are those that are built already. To cargo our own crates in the scratch copy are those of the tree,
# unless they are built otherwise.
settings=(--config 'profile.dev.opt-level=1')
for crate in domain infra command-api projectors simulation; do
  settings+=(--config "profile.dev.package.$crate.codegen-units=15")
done
(cd "$scratch" && CARGO_TARGET_DIR="$target" "$cargo" "${settings[@]}" \
  build --locked --quiet --package simulation --bin simulate)
simulate="$scratch/simulate"
cp "$target/debug/simulate" "$simulate"

if ! "$simulate" --seeds 200 > /dev/null; then
  echo "The simulation fails without any fault planted: see to that first." >&2
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
