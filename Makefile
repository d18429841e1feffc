# Two commands do everything: `make run` and `make test`.

.PHONY: help run services test check bench

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: ## Build and start the demo at http://localhost:8080
	@mkdir -p target/demo
	cargo build --release --locked --package eventbooker
	target/release/eventbooker serve --demo --database sqlite:target/demo/eventbooker.db

services: ## Build and start the four services behind nginx at http://localhost:8080
	@command -v nginx /usr/sbin/nginx >/dev/null || { echo "nginx is missing: apt-get install nginx-light"; exit 1; }
	cargo build --release --locked --package eventbooker
	cargo build --locked --package eventbooker-testkit --bin services
	target/debug/services target/release/eventbooker

test: ## Run every test (installs what they need, as root through apt)
	testkit/setup
	testkit/run

check: ## Formatting, lints, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	testkit/deny

bench: ## Measure on both stores, print tables, write bench/results/ (needs wrk, nginx and PostgreSQL)
	bench/run
