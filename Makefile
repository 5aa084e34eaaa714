# `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# local: a one-node Kubernetes of its own. current: the cluster of the current kube context.
CLUSTER ?= local
# Environment of kubectl and helm for the local cluster.
ENV = env=$$(tests/cluster/cluster env) && eval "$$env"

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo demo-down
demo: ## Bring up a cluster, install the operator, launch two tasks three times each (CLUSTER=current for yours)
	@tests/cluster/demo up $(CLUSTER)

demo-down: ## Remove everything that the demo made
	@tests/cluster/demo down $(CLUSTER)

.PHONY: test lint unit proxy fuzz bench bench-operator bench-proxy e2e
# The same inputs in every run: a find of the fuzzer is for `make fuzz`, not for somebody's change.
test: export FUZZ_SEED ?= 1
test: lint parts unit proxy fuzz cluster-check e2e ## Run all tests, the end-to-end ones on a real cluster included

.PHONY: parts
parts: # all that takes long, built at once: downloads of one fill the pauses of another
	@tests/e2e/prepare parts

lint: ## Check format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and sources are not checked"; fi

unit: ## Run all tests that need no cluster
	@tools=$$(tests/tools) && export $$tools && $(CARGO) test --locked

proxy: ## Run the tests of the metrics proxy with real peers
	@peers=$$(tests/proxy/peers) && export $${peers?} && $(CARGO) test --locked --test proxy --features peers

bench: bench-operator bench-proxy ## Measure all that docs/performance.md tells, in three quarters of an hour

bench-operator: ## Measure the operator beside a bare client, on an API server of its own (ONLY="quick growth" for a part)
	@$(CARGO) bench --locked --bench operator -- $(ONLY)

# As many files as the system allows: each of 10,000 connections is one.
bench-proxy: ## Measure the metrics proxy beside the Java one, in a quarter of an hour (ONLY="quick java" for a part)
	@peers=$$(tests/proxy/peers) && export $${peers?} && ulimit -n "$$(ulimit -Hn)" && \
	$(CARGO) bench --locked --bench proxy -- $(ONLY)

fuzz: ## Fuzz what reads foreign bytes in the proxy, a minute each (FUZZ_SECONDS to change)
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-60} $(CARGO) test --locked --test fuzz --features fuzz -- --test-threads=2 --nocapture

e2e: ## Run the end-to-end tests on the local cluster
	@tests/e2e/prepare
	@$(ENV) && $(CARGO) test --locked --test e2e --features e2e -- --test-threads=8

.PHONY: cluster cluster-down cluster-check
cluster: ## Bring up only the local cluster
	@tests/cluster/cluster up

cluster-down: ## Remove the local cluster
	@tests/cluster/cluster down

cluster-check: ## Prove the local cluster: restarts, two at once, nothing left behind
	@tests/cluster/check

.PHONY: generate
generate: ## Write crds/, deploy/, the chart's CRDs and docs/reference.md from the code
	$(CARGO) run --locked --quiet -- crds --dir crds
	@tools=$$(tests/tools) && export $$tools && charts/render >deploy/millrace.yaml
	@tools=$$(tests/tools) && export $$tools && UPDATE_DOCS=1 $(CARGO) test --locked --quiet --test it reference
