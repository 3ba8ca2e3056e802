# Everything a developer runs. Needs a Rust toolchain, a C compiler and OpenSSL. The tests of the production path also need
# Postgres, Java, Maven and Go; without them `make test` prints which tests it ignores.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help run demo test services services-down crash-test simulate mutations check lint fmt deny bench

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Build and start the platform on its embedded stores. Ctrl-C stops it.
	$(CARGO) run --profile quick --locked --package platform --bin orderly -- serve

demo: ## Build and start a throw-away platform with the orders of a made-up shop, and open its pages.
	$(CARGO) run --profile quick --locked --package platform --bin orderly -- demo

test: ## Run every test; start Postgres, Kafka and stripe-mock for them where they can be installed.
	CARGO="$(CARGO)" tests/scripts/run.sh

services: ## Start a private Postgres, Kafka and stripe-mock in .dev/; `source .dev/env` sets their addresses.
	infra/dev/services up

services-down: ## Stop these services; their data stays.
	infra/dev/services down

crash-test: ## Kill the server 200 times under load and check what it acknowledged; `make test` does it 5 times.
	tests/scripts/crash-cycles.sh 200

# Builds only our own crates apart, with optimisations and every assertion; the dependencies are those of `cargo build`.
FROM ?= 1
SEEDS ?= 10000
simulate: ## Run 10,000 seeds of the simulation (docs/simulation.md); SEED=7 runs and shows one, FROM= and SEEDS= set a range.
	$(CARGO) --config 'profile.dev.opt-level=1' run --quiet --locked --package simulation --bin simulate -- \
	  $(if $(SEED),--seed $(SEED),--from $(FROM) --seeds $(SEEDS))

mutations: ## Plant faults and check that the simulation finds each.
	CARGO="$(CARGO)" tests/scripts/mutations.sh

check: lint test ## Run everything that CI runs: lint and test.

lint: fmt deny ## Check format, clippy, documentation and dependencies.
	$(CARGO) clippy --workspace --all-targets --locked -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked --quiet

fmt:
	$(CARGO) fmt --all --check

# Installs cargo-deny if it is missing, which takes about two minutes.
DENY_VERSION := 0.20.2
deny: ## Check licences, sources and duplicate dependencies (deny.toml).
	@$(CARGO) deny --version 2>/dev/null | grep --quiet --fixed-strings "$(DENY_VERSION)" \
	  || $(CARGO) install cargo-deny --version $(DENY_VERSION) --locked --no-default-features
	$(CARGO) deny --workspace --locked check bans licenses sources

bench: ## Measure throughput and latency beside their baselines (docs/benchmarks.md).
	$(CARGO) run --release --locked --package platform --bin orderly -- bench
