# Two commands are all that a user needs: `make run` builds and serves, `make test` passes the tests. Neither needs root.

# Outside the checkout, so that clean clones share what is built: Lance alone takes a quarter of an hour.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/persisting-target
# Building Lance needs protoc. Its path is part of what is built: were it to move, all of Lance would be built again.
TOOLS := $(CARGO_TARGET_DIR)/tools
export PROTOC := $(CARGO_TARGET_DIR)/protoc/bin/protoc
export PROTOC_INCLUDE := $(CARGO_TARGET_DIR)/protoc/include

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(TOOLS)/bin/cargo-deny
DEBUG_BINARY := $(CARGO_TARGET_DIR)/debug/persisting
ARGS ?=
CYCLES ?= 200
N ?= 1000
SEED ?=

.PHONY: help run build test check fmt clippy deny tidy e2e crash sim audit it clean-tools

help: ## What there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(PROTOC) ## Build and serve on 127.0.0.1:8080, data in ./data; options in ARGS
	@$(call say-slow,release/deps/liblance-,25)
	cargo run --release --locked -- serve $(ARGS)

build: $(PROTOC) ## Build the release binary
	@$(call say-slow,release/deps/liblance-,25)
	cargo build --release --locked

test: check it-all ## All checks and tests

check: fmt clippy deny ## Formatting, lints, licences

fmt:
	cargo fmt --check

clippy: $(PROTOC)
	@$(call say-slow,debug/deps/liblance-,15)
	cargo clippy --locked --all-targets -- -D warnings

deny: $(CARGO_DENY)
	$(CARGO_DENY) --locked --all-features check licenses bans sources

audit: $(CARGO_DENY) ## Known vulnerabilities; needs the network's advisory database
	$(CARGO_DENY) --locked --all-features check advisories

.PHONY: it-all
it-all: $(PROTOC)
	@$(call say-slow,debug/deps/liblance-,15)
	cargo test --locked

it: $(PROTOC) ## Some integration tests: make it T=contract
	cargo test --locked --test it -- $(T)

e2e: $(PROTOC) ## A real server with curl, a browser, pylance, LanceDB and a generated client
	@$(call say-slow,debug/deps/liblance-,15)
	cargo test --locked --no-run
	python3 tests/e2e/run.py --binary $(DEBUG_BINARY) $(ARGS)

crash: $(PROTOC) ## Kill the server CYCLES times under load, check that nothing acknowledged is lost
	PERSISTING_CRASH_CYCLES=$(CYCLES) cargo test --locked --test it -- crash:: --nocapture

sim: $(PROTOC) ## N seeded simulations of faults and power loss, from SEED on
	PERSISTING_SIM_SEED=$(SEED) PERSISTING_SIM_N=$(N) cargo test --locked --test it -- sim:: --nocapture

# The crate protoc-bin-vendored carries protoc for the usual platforms.
$(PROTOC):
	@echo 'placing protoc in $(CARGO_TARGET_DIR)/protoc' >&2
	cargo run --quiet --locked --manifest-path tools/protoc/Cargo.toml -- $(CARGO_TARGET_DIR)/protoc

$(CARGO_DENY):
	@echo 'building cargo-deny $(CARGO_DENY_VERSION), once; this takes a few minutes' >&2
	CARGO_TARGET_DIR=$(TOOLS)/build cargo install --quiet --locked --version $(CARGO_DENY_VERSION) --root $(TOOLS) cargo-deny
	@rm -rf $(TOOLS)/build

# $(call say-slow,what the build leaves,minutes): says so before a build that takes long.
say-slow = ls $(CARGO_TARGET_DIR)/$(1)*.rlib >/dev/null 2>&1 || \
	echo 'The first build compiles Lance and some 500 other crates: about $(2) minutes on 2 cores. Later ones take seconds.' >&2
