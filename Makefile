# The front door. Nothing to install first but git and rustup's Rust: the rest is looked for and installed by
# dev/setup.sh, which says what and why.

SERVER_FLAGS ?=

.PHONY: help build run demo test check bench bench-keys bench-groups bench-sound simulate fuzz docs clean

help:
	@echo "make run    start a server on this machine, with everything it needs"
	@echo "make demo   watch two people talk, five whose room loses keys and people, with either source of keys, and a server that lies (SCENE=call, room, host, drill)"
	@echo "make test   run every test"
	@echo "make check  format, lints and layers only"
	@echo "make bench  measure sealing, relays, joins, calls, memory, group keys, MLS groups and the key directory, beside limits and peers (some twenty minutes)"
	@echo "make bench-keys   count what a change of a room's key costs, and draw it"
	@echo "make bench-groups  the same beside MLS groups, over sizes and over a day of coming and going, and draw both"
	@echo "make bench-sound  measure speech over bad paths"
	@echo "make simulate  play group calls in virtual time, a million schedules, for hours (SCHEDULES=N, SEED=N; one alone prints all that happens)"
	@echo "make fuzz   fuzz every parser for a while (needs cargo-fuzz and a nightly toolchain)"
	@echo "make docs   build the documentation"

build:
	@sh dev/setup.sh build
	cargo build --workspace --bins

run: build
	@echo
	@echo "Next, in two other terminals:"
	@echo "  target/debug/undertone --home /tmp/ada register ada"
	@echo "  target/debug/undertone --home /tmp/ada answer"
	@echo "and"
	@echo "  target/debug/undertone --home /tmp/bob register bob"
	@echo "  target/debug/undertone --home /tmp/bob call ada"
	@echo "(no sound card? add --no-devices behind answer and call; README.md says more)"
	@echo
	@exec target/debug/undertone-server serve $(SERVER_FLAGS)

demo: build
	@target/debug/undertone-demo

test:
	@sh dev/setup.sh test
	@cargo xtask test

check:
	@sh dev/setup.sh build
	cargo fmt --all --check
	cargo xtask layers
	cargo clippy --workspace --all-targets -- -D warnings

bench:
	@sh dev/setup.sh build
	cargo run --release --quiet --package undertone-bench --features akd-as-shipped -- --json target/bench.json

bench-keys:
	@sh dev/setup.sh build
	cargo run --quiet --package undertone-bench -- key-traffic --plot docs/key-traffic.svg

bench-groups:
	@sh dev/setup.sh build
	cargo run --release --quiet --package undertone-bench -- group-traffic --plot docs/group-traffic.svg --churn docs/group-churn.svg

bench-sound:
	@sh dev/setup.sh build
	cargo run --quiet --package undertone-bench -- sound --plot docs/sound-under-loss.svg

SCHEDULES ?= 1000000
SEED ?= 0
MEMBERS ?= 1000
LISTENERS ?= 3000
simulate:
	UNDERTONE_MEMBERS=$(MEMBERS) UNDERTONE_LISTENERS=$(LISTENERS) UNDERTONE_SCHEDULES=$(SCHEDULES) UNDERTONE_SEED=$(SEED) cargo test --package undertone-testkit --test simulation -- --nocapture

fuzz:
	@sh dev/fuzz/run.sh

docs:
	cargo doc --workspace --no-deps --open

clean:
	cargo clean
