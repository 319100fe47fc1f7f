//! The auditor in Python (`dev/interop`), which shares no code with the server, reads the log of a running one over HTTPS: it
//! accepts an honest one, and finds what was done to a dishonest one's data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use undertone_testkit::process::{self, program, result as json};
use undertone_testkit::{ServerProcess, Terminal};

use crate::python;

/// What the server knows of accounts, and its key directory.
const DATABASES: [&str; 2] = ["directory.db", "undertone.db"];

/// Somebody who audits a server with the other program, and what they know of its log.
struct Auditor {
    python: PathBuf,
    interop: PathBuf,
    url: String,
    log_key: String,
}

impl Auditor {
    fn new(server: &ServerProcess) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let interop = root.join("dev/interop");
        let python = python::python(&interop, &root.join("target"));
        let mut admin = program("undertone-server").unwrap();
        admin.args(["admin", "log-key", "--json", "--data"]).arg(server.data());
        let log_key = json(&process::run(&mut admin, "").unwrap())["log_key"].as_str().unwrap().to_owned();
        Self { python, interop, url: format!("https://{}", server.address()), log_key }
    }

    /// With a memory, or as somebody who comes for the first time.
    fn audit(&self, state: Option<&Path>) -> Output {
        let mut command = Command::new(&self.python);
        command.arg("audit.py").current_dir(&self.interop).env("PYTHONDONTWRITEBYTECODE", "1");
        command.args(["log", "--url", &self.url, "--log-key", &self.log_key]);
        state.map(|state| command.arg("--state").arg(state));
        command.output().unwrap()
    }

    /// Accepts it, and says how many leaves it has.
    fn accepts(&self, state: Option<&Path>) -> u64 {
        let output = self.audit(state);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text.lines().find_map(|line| line.strip_prefix("size ")?.parse().ok()).unwrap()
    }

    /// Finds this rule broken.
    fn accuses(&self, state: Option<&Path>, rule: &str) {
        let output = self.audit(state);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.starts_with(&format!("{rule}: ")), "{text}");
    }
}

/// The databases of a server that does not run, with what of them still stands in their write-ahead logs.
fn copy(server: &ServerProcess) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let files = DATABASES.iter().flat_map(|name| ["", "-wal", "-shm"].map(|beside| format!("{name}{beside}")));
    files.map(|name| server.data().join(name)).map(|path| (path.clone(), fs::read(path).ok())).collect()
}

fn put_back(copies: &[(PathBuf, Option<Vec<u8>>)]) {
    for (path, bytes) in copies {
        match bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }
}

/// Changes the directory's database behind the back of the server that runs on it.
async fn tamper(server: &ServerProcess, change: &'static str) {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", server.data().join("directory.db").display())).await;
    let pool = pool.unwrap();
    assert!(sqlx::query(change).execute(&pool).await.unwrap().rows_affected() > 0, "{change}");
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_3_kt_4_kt_12_a_second_implementation_audits_a_running_server_and_finds_what_was_done_to_it() {
    let mut server = ServerProcess::start("second-opinion").unwrap();
    let register = |server: &ServerProcess, name: &str| {
        Terminal::registered(server.join(name), server.address(), name).unwrap();
    };
    register(&server, "ada");
    register(&server, "bob");
    let (auditor, memory) = (Auditor::new(&server), server.join("seen"));
    let memory = Some(memory.as_path());
    let size = auditor.accepts(memory);
    server.end().unwrap();
    let yesterday = copy(&server);
    server.start_again().unwrap();
    register(&server, "carol");
    assert!(auditor.accepts(memory) > size, "it grew from what was seen");
    assert_eq!(auditor.accepts(None), auditor.accepts(memory), "and holds from its first leaf on");
    server.end().unwrap();
    let today = copy(&server);

    // Yesterday's copy: who comes for the first time sees nothing amiss, and who was there does.
    put_back(&yesterday);
    server.start_again().unwrap();
    assert_eq!(auditor.accepts(None), size);
    auditor.accuses(memory, "KT-4");
    // As long as the true one, and another.
    register(&server, "dave");
    assert!(auditor.accepts(None) > size);
    auditor.accuses(memory, "KT-4");
    server.end().unwrap();

    // The true one again, and what it says of its past is changed under the server: an epoch that did more than add, and a leaf
    // that is not the one in the tree. Everybody sees these.
    put_back(&today);
    server.start_again().unwrap();
    auditor.accepts(memory);
    // The proof of one epoch in the place of another's.
    tamper(&server, "UPDATE epoch SET audit = (SELECT audit FROM epoch WHERE number = 2) WHERE number = 3").await;
    auditor.accuses(None, "KT-12");
    server.end().unwrap();
    put_back(&today);
    server.start_again().unwrap();
    tamper(&server, "UPDATE leaf SET entry = (SELECT entry FROM leaf WHERE number = 1) WHERE number = 2").await;
    auditor.accuses(None, "KT-3");
    server.end().unwrap();
}
