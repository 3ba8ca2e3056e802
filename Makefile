# Everything a developer runs. Needs a Rust toolchain and a C compiler; the tests of the production path also need
# Postgres, Java, Maven and Go, and are left out where these are missing.

CARGO ?= cargo

.PHONY: run test services services-down crash-test simulate mutations check deny bench

# The platform on its embedded default: builds, starts, prints where it listens. Ctrl-C stops it.
run:
	$(CARGO) run --release --locked --bin orderly -- serve

test:
	CARGO="$(CARGO)" tests/scripts/run.sh

# A private Postgres, Kafka and stripe-mock in .dev/, left running; `source .dev/env` says where they are.
services:
	infra/dev/services up

services-down:
	infra/dev/services down

# 200 times kill -9 under load, where `make test` does it 5 times.
crash-test:
	tests/scripts/crash-cycles.sh 200

# The whole platform in memory and virtual time, with faults drawn from a seed (docs/simulation.md): 10,000 seeds, or
# `SEED=7` alone with all that happens, or from `FROM=20001` on, `SEEDS=1000` of them. The dependencies are those of
# `cargo build`; only our own crates are built apart, with optimisations and every assertion.
FROM ?= 1
SEEDS ?= 10000
simulate:
	$(CARGO) --config 'profile.dev.opt-level=1' run --quiet --locked --package simulation --bin simulate -- \
	  $(if $(SEED),--seed $(SEED),--from $(FROM) --seeds $(SEEDS))

# Plants faults, and checks that the simulation sees each.
mutations:
	CARGO="$(CARGO)" tests/scripts/mutations.sh

# What has to hold before a change goes in; the same as in CI.
check: deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked --quiet

# Licences, sources and doubled dependencies, by deny.toml. Installs the tool when it is missing (about two minutes).
DENY_VERSION := 0.20.2
deny:
	@$(CARGO) deny --version 2>/dev/null | grep --quiet --fixed-strings "$(DENY_VERSION)" \
	  || $(CARGO) install cargo-deny --version $(DENY_VERSION) --locked --no-default-features
	$(CARGO) deny --workspace --locked check bans licenses sources

# Throughput, latency and their baselines, in release mode.
bench:
	$(CARGO) run --release --locked --bin orderly -- bench
