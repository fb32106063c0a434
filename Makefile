# `make demo` and `make test` are all that a fresh machine needs; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps build demo test lint fmt deny bench ci clean

# The demo builds like the tests, so that the second of the two commands finds its dependencies built.
DEMO_PROFILE ?= dev
DEMO_BUILT = $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(DEMO_PROFILE)),debug,$(DEMO_PROFILE))
NEXTEST_PROFILE ?= default

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install what is missing: Postgres, Redis, a C compiler, age, zstd
	@scripts/deps.sh

build: deps ## Build lifeboat, optimised, into target/release
	cargo build --locked --release

demo: deps ## See it work: two targets, two backups, restores, proofs, a caught corruption
	cargo build --locked --quiet --profile $(DEMO_PROFILE) --bin lifeboat --example s3_server
	$(DEMO_BUILT)/lifeboat demo --s3-server $(DEMO_BUILT)/examples/s3_server

# Nextest runs each test in a process of its own and notices what is left running; plain `cargo test` does where it is missing.
test: deps ## Run every test, against real servers that the tests start themselves
	@majors=$$(scripts/postgres-majors.sh) || true; releases=$$(scripts/redis-versions.sh) || true; \
	moto=$$(scripts/moto.sh) || true; stores=$$(scripts/store-servers.sh) || true; lfs=$$(scripts/lfs-server.sh) || true; \
	set -a; eval "$$majors"; eval "$$releases"; eval "$$moto"; eval "$$stores"; eval "$$lfs"; set +a; \
	export INSTA_UPDATE=$${INSTA_UPDATE:-no}; \
	if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --locked --profile $(NEXTEST_PROFILE); \
	else \
		cargo test --locked --lib --bins --tests; \
	fi

lint: ## Format and clippy, warnings denied
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

fmt: ## Format the sources
	cargo fmt --all

deny: ## Licences, banned crates, sources, advisories
	@scripts/deny.sh

bench: deps ## Measure against pg_dump, zstd, age, restic, borg and redis-cli
	cargo build --locked --release --bins --examples
	benches/bench.sh

ci: ## What the CI runs
	.ci/run

clean: ## Remove what was built, and the demo's folder
	cargo clean
	rm -rf lifeboat-demo bench-work
