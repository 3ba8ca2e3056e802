#!/usr/bin/env bash
# Fuzzes what reads input from outside and stored data (fuzz/README.md). Stops at the first input that breaks a
# rule, prints it, and names its file. Needs a C++ compiler; installs cargo-fuzz if it is missing.
#
#   tests/scripts/fuzz.sh [SECONDS [TARGET…]]      SECONDS for each target, 600 by default
#   tests/scripts/fuzz.sh --planted [SECONDS]      plants the faults of fuzz/planted/ and checks that each is found
#
# Keeps the inputs that reach new code in fuzz/corpus/, from which the next run goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo="${CARGO:-cargo}"
# Its programs have other compiler flags than those of a normal build.
target="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
tool=0.13.2

planted=
if [ "${1:-}" = --planted ]; then
  planted=1
  shift
fi
seconds=${1:-600}
shift || true
names=("$@")
if [ ${#names[@]} = 0 ]; then
  mapfile -t names < <(basename --multiple --suffix=.rs fuzz/fuzz_targets/*.rs)
fi

"$cargo" fuzz --version 2>/dev/null | grep --quiet --fixed-strings "$tool" \
  || "$cargo" install cargo-fuzz --version "$tool" --locked

corpus=$PWD/fuzz/corpus
if [ -n "$planted" ]; then
  scratch=$target/planted
  corpus=$(mktemp -d)
  trap 'rm -rf "$corpus"' EXIT
  rm -rf "$scratch"
  mkdir -p "$scratch"
  git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- \
    | tar --extract --directory="$scratch"
  for patch in fuzz/planted/*.patch; do
    patch --directory="$scratch" --strip=1 --fuzz=0 --batch --silent < "$patch" \
      || { echo "$patch no longer fits the code. Adapt it to the new code" >&2; exit 1; }
  done
  cd "$scratch"
fi

"$cargo" run --quiet --locked --package fuzz --bin fuzz-seeds -- "$corpus"
# The stable compiler has no sanitizer. Safe Rust needs none: a fault is a panic.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
fuzz=("$cargo" fuzz)
options=(--sanitizer none --features libfuzzer --target-dir "$target")
# One by one: without a name, it would also build fuzz-seeds, which is no target.
for name in "${names[@]}"; do
  "${fuzz[@]}" build "${options[@]}" "$name"
done

missed=0
for name in "${names[@]}"; do
  echo "== $name: at most $seconds s"
  status=0
  # Without counts of how often a branch was taken: threads and clocks change them, and inputs that found nothing would crowd
  # out the seeds.
  TMPDIR=${TMPDIR:-/dev/shm} "${fuzz[@]}" run "${options[@]}" "$name" "$corpus/$name" -- \
    -max_total_time="$seconds" -max_len=8192 -use_counters=0 -timeout=30 -rss_limit_mb=4096 -print_final_stats=1 \
    > "$target/$name.log" 2>&1 || status=$?
  grep --extended-regexp 'panicked at|stat::number_of_executed_units|stat::average_exec_per_sec|^Test unit written' \
    --after-context=1 "$target/$name.log" | grep --invert-match '^--' | head -8 || true
  if [ -n "$planted" ] && [ "$status" = 0 ]; then
    echo "$name: the planted fault was NOT FOUND in $seconds s" >&2
    missed=1
  elif [ -z "$planted" ] && [ "$status" != 0 ]; then
    echo "$name: an input breaks a rule; $target/$name.log has the whole output" >&2
    exit 1
  fi
done
exit "$missed"
