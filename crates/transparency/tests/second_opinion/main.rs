//! The auditor in Python (`dev/interop`), which shares no code with this crate, comes to the same verdicts about honest and
//! forged logs and answers, rule by rule.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "the world is shared by several test programs")]

mod answers;
mod folders;
mod out;
#[allow(dead_code, reason = "the other test program uses the rest")]
#[path = "../answers/server.rs"]
mod server;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../directory/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;

use out::Out;

/// The Python that has what the auditor needs: `UNDERTONE_PYTHON` names one, otherwise it is made once below `target`.
fn python(interop: &Path, target: &Path) -> PathBuf {
    if let Some(named) = std::env::var_os("UNDERTONE_PYTHON") {
        return named.into();
    }
    let venv = target.join("interop-venv");
    let python = venv.join("bin/python");
    let done = venv.join("requirements.done");
    let wanted = std::fs::read(interop.join("requirements.txt")).unwrap();
    if std::fs::read(&done).is_ok_and(|had| had == wanted) {
        return python;
    }
    let run = |program: &Path, arguments: &[&std::ffi::OsStr]| {
        let ended = Command::new(program).args(arguments).status();
        assert!(
            ended.is_ok_and(|status| status.success()),
            "{arguments:?}: `dev/setup.sh test` installs what is missing"
        );
    };
    run(Path::new("python3"), &["-m".as_ref(), "venv".as_ref(), venv.as_os_str()]);
    let requirements = interop.join("requirements.txt");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"].map(AsRef::as_ref);
    run(&python, &[&install[..], &[requirements.as_os_str()]].concat());
    std::fs::write(&done, wanted).unwrap();
    python
}

#[test]
fn kt_1_to_kt_14_a_second_implementation_says_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (interop, target) = (root.join("dev/interop"), root.join("target"));
    let cases = target.join("interop-cases");
    let mut out = Out::new(cases.to_str().unwrap());
    folders::make(&mut out);
    answers::make(&mut out);
    out.finish();
    let done = Command::new(python(&interop, &target))
        .args(["-m", "unittest", "test_audit"])
        .current_dir(&interop)
        .env("CASES", &cases)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
