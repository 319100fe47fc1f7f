//! Runs the target that `UNDERTONE_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("UNDERTONE_TARGET").expect("UNDERTONE_TARGET names a target");
    let found = undertone_fuzz::TARGETS.iter().find(|(name, _)| *name == wanted);
    found.expect("no such target").1
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
