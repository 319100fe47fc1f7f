#!/bin/sh
# Fuzzes every target for SECONDS_EACH seconds (default 60). Needs cargo-fuzz and a nightly toolchain.
set -eu
cd "$(dirname "$0")/libfuzzer"
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz is missing: cargo install cargo-fuzz, and rustup toolchain install nightly" >&2
    exit 1
fi
for target in ../corpus/*/; do
    name=$(basename "$target")
    echo "== $name"
    UNDERTONE_TARGET="$name" cargo +nightly fuzz run --fuzz-dir . any "$target" -- -max_total_time="${SECONDS_EACH:-60}" -max_len=4096
done
