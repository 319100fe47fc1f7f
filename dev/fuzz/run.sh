#!/bin/sh
# Fuzzes every target, or those named, for SECONDS_EACH seconds each (default 60). Needs cargo-fuzz; where there is no
# nightly toolchain the stable one is asked for the same instrumentation.
set -eu
cd "$(dirname "$0")/libfuzzer"
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz is missing: cargo install cargo-fuzz" >&2
    exit 1
fi
toolchain=""
if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    toolchain="+nightly"
else
    export RUSTC_BOOTSTRAP=1
fi
[ $# -gt 0 ] || set -- $(cd ../corpus && ls)
count=0
for name in "$@"; do
    echo "== $name"
    # The good inputs are read; what is new goes into a folder of its own, which git does not keep.
    mkdir -p "../findings/$name"
    # shellcheck disable=SC2086
    UNDERTONE_TARGET="$name" cargo $toolchain fuzz run --fuzz-dir . any "../findings/$name" "../corpus/$name" -- \
        -max_total_time="${SECONDS_EACH:-60}" -max_len=4096 -print_final_stats=0
    count=$((count + 1))
done
echo "fuzz: $count targets for ${SECONDS_EACH:-60} s each, nothing found"
