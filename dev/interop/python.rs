//! The Python that has what the auditor needs, for tests of several programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `UNDERTONE_PYTHON` names one, otherwise it is made once below `target`. `interop` is the folder of this file.
pub(crate) fn python(interop: &Path, target: &Path) -> PathBuf {
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
    // Tests that run at the same time do not make it at the same time.
    let lock = std::fs::File::create(target.join("interop-venv.lock")).unwrap();
    lock.lock().unwrap();
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
