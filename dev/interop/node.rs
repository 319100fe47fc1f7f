//! The Node.js program that speaks MLS with what it needs around it, for tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Puts the folder `mls` beside this file below `target`, with the packages that its lock file names, and says where: a program is
/// run from there. Packages are looked for beside the program, and the tree stays as it was checked out. `interop` is the folder of this
/// file.
pub(crate) fn mls(interop: &Path, target: &Path) -> PathBuf {
    let (from, to) = (interop.join("mls"), target.join("interop-mls"));
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let done = to.join("package-lock.done");
    let wanted = std::fs::read(to.join("package-lock.json")).unwrap();
    if std::fs::read(&done).is_ok_and(|had| had == wanted) {
        return to;
    }
    for (program, arguments) in [("node", &["--version"][..]), ("npm", &["ci", "--no-audit", "--no-fund"])] {
        let ended = Command::new(program).args(arguments).current_dir(&to).status();
        assert!(
            ended.as_ref().is_ok_and(std::process::ExitStatus::success),
            "{program} {arguments:?}: {ended:?}. `dev/setup.sh test` installs what is missing; the packages come from npm's registry"
        );
    }
    std::fs::write(&done, wanted).unwrap();
    to
}
