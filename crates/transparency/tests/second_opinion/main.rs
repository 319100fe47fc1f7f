//! The auditor in Python (`dev/interop`), which shares no code with this crate, comes to the same verdicts about honest and
//! forged logs and answers, rule by rule.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "the world is shared by several test programs")]

mod answers;
mod folders;
mod out;
#[path = "../../../../dev/interop/python.rs"]
mod python;
#[allow(dead_code, reason = "the other test program uses the rest")]
#[path = "../answers/server.rs"]
mod server;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../directory/world.rs"]
mod world;

use std::path::Path;
use std::process::Command;

use out::Out;

#[test]
fn kt_1_to_kt_14_a_second_implementation_says_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (interop, target) = (root.join("dev/interop"), root.join("target"));
    let cases = target.join("interop-cases");
    let mut out = Out::new(cases.to_str().unwrap());
    folders::make(&mut out);
    answers::make(&mut out);
    out.finish();
    let done = Command::new(python::python(&interop, &target))
        .args(["-m", "unittest", "test_audit"])
        .current_dir(&interop)
        .env("CASES", &cases)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
