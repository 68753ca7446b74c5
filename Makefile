# The commands of the project. `make up` and `make test` need nothing but Rust beforehand.

TARGET := $(or $(CARGO_TARGET_DIR),target)
RUN_TESTS := $(if $(shell cargo nextest --version 2>/dev/null),cargo nextest run,cargo test)
RUN_SOAK := $(RUN_TESTS) --release --package hub-tests
SOAK_ARGS := $(if $(findstring nextest,$(RUN_TESTS)),--run-ignored only --no-capture faults::soak,faults::soak -- --ignored --nocapture)

.PHONY: up test faults soak bench lint install

# Builds and runs everything on this machine, with a PostgreSQL and a NATS of its own, until Ctrl-C.
up: install
	cargo build --release --package hub && exec $(TARGET)/release/hub up $(ARGS)

# Every test, below one PostgreSQL that is started for them. `make test ARGS=tenant` runs those with that in their name.
test: install
	@scripts/schemathesis.sh install
	@scripts/interop.sh install
	@scripts/asyncapi.sh install
	$(RUN_TESTS) --workspace --no-run && exec $(TARGET)/debug/with_servers $(RUN_TESTS) --workspace $(ARGS)

# The fault suite alone, in its short form. HUB_FAULT_SEED=.. plays a run again.
faults: install
	$(RUN_TESTS) --package hub-tests --no-run && exec $(TARGET)/debug/with_servers $(RUN_TESTS) --package hub-tests faults:: $(ARGS)

# The fault suite for HUB_SOAK_MINUTES (20), with progress and a summary; see docs/guides/faults.md.
soak: install
	$(RUN_SOAK) --no-run && exec $(TARGET)/release/with_servers $(RUN_SOAK) $(SOAK_ARGS)

# Format, lints and documentation; anything they say is an error.
lint:
	cargo fmt --all --check && cargo fmt --manifest-path bench/Cargo.toml --check && cargo fmt --manifest-path examples/receivers/rust/Cargo.toml --check && cargo clippy --workspace --all-targets -- -D warnings && RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

# Measures everything against its peers and limits, in some 20 minutes; the result is in bench/results. `make bench ARGS="append --rounds 3"`.
bench: install
	cargo build --release --manifest-path bench/Cargo.toml --target-dir bench/target && exec bench/target/release/bench $(ARGS)

# PostgreSQL and nats-server from the packages of the system, when they are missing.
install:
	@scripts/install.sh
