//! A RAIDA node as an operator runs it, asked by a program that shares no code with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use undertone_raida::coin::Authenticity;
use undertone_raida::coin_file::CoinFile;

#[path = "../../../dev/interop/python.rs"]
mod python;

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("undertone-raida-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn raida(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone-server"));
    command.arg("raida").args(arguments).args(["--config"]).arg(folder.join("node.toml")).arg("--json");
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A node that ends with its value.
struct Node {
    child: Child,
    address: String,
}

impl Node {
    fn start(folder: &Path) -> (Self, Value) {
        Self::start_by(raida(folder, &["serve"]))
    }

    fn start_by(mut serve: Command) -> (Self, Value) {
        let mut child = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        (Self { child, address: ready["address"].as_str().unwrap().to_owned() }, ready)
    }

    fn stop(mut self) {
        let ended = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(ended.success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A node with three coins, the last of which is its own.
fn set_up(folder: &Path, configuration: &str) -> Vec<String> {
    let data = folder.join("data");
    let often = if configuration.contains("write_back") { "" } else { "write_back = 1\n" };
    let text = format!("raida = 14\ndata = {data:?}\nlisten = \"127.0.0.1:0\"\n{often}{configuration}");
    std::fs::write(folder.join("node.toml"), text).unwrap();
    let keys = folder.join("coins.keys");
    let create = ["coins", "create", "--count", "3", "--denomination", "1", "--keys", keys.to_str().unwrap()];
    let created = lines(&raida(folder, &create).output().unwrap());
    let names: Vec<_> = created.iter().map(|line| line["coin"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["01.0", "01.1", "01.2"]);
    let written = std::fs::read_to_string(&keys).unwrap();
    let key = written.lines().last().unwrap().split(' ').nth(2).unwrap().to_owned();
    let mut own = std::array::from_fn(|n| Authenticity::from_bytes(&[u8::try_from(n + 1).unwrap(); 16]));
    let bytes: Vec<u8> = (0..16).map(|i| u8::from_str_radix(&key[2 * i..2 * i + 2], 16).unwrap()).collect();
    own[14] = Authenticity::from_bytes(bytes.as_slice().try_into().unwrap());
    std::fs::create_dir_all(data.join("coins")).unwrap();
    std::fs::write(data.join("coins/01.2.bin"), CoinFile::write(6, &own)).unwrap();
    names
}

/// Has the independent client ask a node; how many answers were as they should be.
fn ask(folder: &Path, node: &Node, arguments: &[&str]) -> u32 {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interop = here.join("../../dev/interop");
    let asked = Command::new(python::python(&interop, &here.join("../../target")))
        .arg(interop.join("raida.py"))
        .args(["--node", &node.address, "--raida", "14", "--keys"])
        .arg(folder.join("coins.keys"))
        .arg("--own")
        .arg(folder.join("data/coins/01.2.bin"))
        .args(arguments)
        .output()
        .unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&asked.stdout), String::from_utf8_lossy(&asked.stderr));
    assert!(asked.status.success(), "{wrong}");
    said.split(' ').next().unwrap().parse().unwrap()
}

/// A node takes nothing that may be from before its start, in whole seconds; a clock that is a little ahead need not wait for that.
const AHEAD: [&str; 2] = ["--ahead", "29"];
const WAIT: std::time::Duration = std::time::Duration::from_millis(2_100);

fn independent_client(name: &str, configuration: &str, arguments: &[&str]) {
    let folder = Folder::new(name);
    set_up(&folder.0, configuration);
    let (node, ready) = Node::start(&folder.0);
    assert_eq!((&ready["raida"], &ready["coins"]), (&14.into(), &3.into()));
    std::thread::sleep(WAIT);
    let count = ask(&folder.0, &node, arguments);
    assert!(count > 150, "{count}");
    node.stop();
    let checked = lines(&raida(&folder.0, &["coins", "check"]).output().unwrap());
    assert_eq!((checked.len(), &checked[0]["total"], &checked[0]["pages"]), (1, &3.into(), &1.into()));
}

#[test]
fn independent_client_of_a_strict_node() {
    independent_client("strict", "", &[&["--profile", "strict"][..], &AHEAD].concat());
}

#[test]
fn independent_client_of_a_compatible_node() {
    let configuration = "profile = \"compat\"\nkeystream = \"continue\"";
    independent_client("compat", configuration, &["--profile", "compat"]);
}

#[test]
fn independent_client_of_a_node_that_restarts_its_keystream() {
    // As the documents have it, and so what is meant where nothing is said.
    let configuration = "profile = \"compat\"";
    independent_client("restart", configuration, &["--profile", "compat", "--restart"]);
}

/// One thing after the other with a strict node; how many answers there were.
fn steps(folder: &Path, node: &Node, names: &[&str], key: &str) -> u32 {
    let steps: Vec<_> = names.iter().flat_map(|name| ["--step", *name]).collect();
    ask(folder, node, &[&["--profile", "strict", "--key", key][..], &AHEAD, &steps].concat())
}

/// What a node has said to be done is done, whatever becomes of its process.
#[test]
fn rkx_4_a_node_that_is_killed_has_the_key_that_it_said_to_have_written() {
    let folder = Folder::new("killed-after");
    set_up(&folder.0, "write_back = 600");
    let (node, ready) = Node::start(&folder.0);
    assert_eq!(ready["mended"], 0);
    std::thread::sleep(WAIT);
    let key = "5a".repeat(16);
    steps(&folder.0, &node, &["heal", "post"], &key);
    // Dropping it is a SIGKILL.
    drop(node);
    let (node, ready) = Node::start(&folder.0);
    assert_eq!(ready["mended"], 1, "the page in the file is the one from before");
    std::thread::sleep(WAIT);
    assert_eq!(steps(&folder.0, &node, &["prove", "get"], &key), 2);
    node.stop();
}

/// A node that can write no file at all, as on a full disk: each command has its status, and what is there stays and is served.
#[test]
fn rkx_1_statuses_of_a_node_without_room() {
    let folder = Folder::new("no-room");
    set_up(&folder.0, "");
    let key = "5b".repeat(16);
    let (node, _) = Node::start(&folder.0);
    std::thread::sleep(WAIT);
    steps(&folder.0, &node, &["heal", "post"], &key);
    node.stop();
    let serve = raida(&folder.0, &["serve"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 0; exec \"$0\" \"$@\""]).arg(serve.get_program()).args(serve.get_args());
    // Its log too, if this test's is a file.
    let log = std::fs::File::create(folder.0.join("log")).unwrap();
    limited.stdin(Stdio::null()).env_remove("RUST_LOG").stderr(log);
    let (node, _) = Node::start_by(limited);
    std::thread::sleep(WAIT);
    let all = ["post-refused", "heal-refused", "get", "prove", "heal-refused", "post-refused", "get", "prove"];
    assert_eq!(steps(&folder.0, &node, &all, &key), 10);
    node.stop();
    let (node, ready) = Node::start(&folder.0);
    assert_eq!(ready["mended"], 0);
    std::thread::sleep(WAIT);
    assert_eq!(steps(&folder.0, &node, &["get", "prove"], &key), 2);
    node.stop();
}

/// Folders that become read-only under a node that runs. A key that cannot be kept is refused; coins change in the journal, which is open.
/// When the folders can be written again everything is as before, and a crash has lost nothing.
#[test]
fn rkx_1_statuses_of_a_node_whose_folders_become_read_only() {
    let folder = Folder::new("read-only");
    set_up(&folder.0, "");
    let data = folder.0.join("data");
    std::fs::create_dir_all(data.join("Keys")).unwrap();
    let (node, _) = Node::start_by(bound_by_modes(&folder.0));
    std::thread::sleep(WAIT);
    let key = "5c".repeat(16);
    steps(&folder.0, &node, &["post"], &key);
    let modes = |mode| {
        for name in ["Keys", "Data"] {
            std::fs::set_permissions(data.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    modes(0o500);
    steps(&folder.0, &node, &["post-refused", "get", "heal"], &key);
    // Longer than pages wait before they are written back, which fails.
    std::thread::sleep(WAIT);
    let journals = std::fs::read_dir(data.join("Data")).unwrap().map(|file| file.unwrap());
    let mut journals = journals.filter(|file| file.file_name().to_string_lossy().starts_with("journal-"));
    assert!(journals.any(|file| file.metadata().unwrap().len() > 0), "what was changed is in the journal still");
    assert_eq!(steps(&folder.0, &node, &["prove", "get"], &key), 2);
    modes(0o700);
    steps(&folder.0, &node, &["post", "get"], &key);
    drop(node);
    let (node, _) = Node::start(&folder.0);
    std::thread::sleep(WAIT);
    assert_eq!(steps(&folder.0, &node, &["prove", "get"], &key), 2);
    node.stop();
}

/// `serve` as a user whom file modes bind, which root is not: then it is `nobody`, and the folder is theirs.
fn bound_by_modes(folder: &Path) -> Command {
    const NOBODY: u32 = 65_534;
    let serve = raida(folder, &["serve"]);
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return serve;
    }
    let copy = folder.join("copied-server");
    std::fs::copy(serve.get_program(), &copy).unwrap();
    let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(folder).status().unwrap();
    assert!(owned.success());
    let mut command = Command::new(copy);
    command.args(serve.get_args()).uid(NOBODY).gid(NOBODY).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// The first coin of denomination 0 has the name that means nobody: it is given to nobody.
#[test]
fn rkx_2_coins_that_are_issued_are_somebodys() {
    let folder = Folder::new("first-coin");
    set_up(&folder.0, "");
    let keys = folder.0.join("more.keys");
    let create =
        ["coins", "create", "--denomination", "0", "--first", "0", "--count", "2", "--keys", keys.to_str().unwrap()];
    let created = lines(&raida(&folder.0, &create).output().unwrap());
    assert_eq!(created.iter().map(|line| &line["coin"]).collect::<Vec<_>>(), ["00.1", "00.2"]);
}

/// Whoever starts a large node sees how far it is.
#[test]
fn rkx_4_a_start_says_how_far_it_is() {
    let folder = Folder::new("progress");
    set_up(&folder.0, "");
    let mut serve = raida(&folder.0, &["coins", "stats"]);
    let said = serve.env("RUST_LOG", "undertone_server=debug").output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    let steps = words.lines().filter(|line| line.contains("reading which coins are in use")).count();
    assert_eq!(steps, 15, "one for each denomination: {words}");
}

#[test]
fn rkx_4_a_node_that_is_killed_has_every_coin_and_one_store_goes_into_another() {
    let folder = Folder::new("killed");
    set_up(&folder.0, "");
    let (node, _) = Node::start(&folder.0);
    // A second process keeps its hands off.
    let refused = raida(&folder.0, &["coins", "stats"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by another process"));
    drop(node);
    assert_eq!(lines(&raida(&folder.0, &["coins", "stats"]).output().unwrap())[0]["used"]["1"], 3);
    let other = Folder::new("other");
    let data = other.0.join("data");
    std::fs::write(other.0.join("node.toml"), format!("data = {data:?}\nlisten = \"127.0.0.1:0\"")).unwrap();
    let from = folder.0.join("data/Data");
    let import = ["coins", "import", "--from", from.to_str().unwrap()];
    assert_eq!(lines(&raida(&other.0, &import).output().unwrap())[0]["taken"], 3);
    assert_eq!(lines(&raida(&other.0, &import).output().unwrap())[0]["kept"], 3);
    // What is amiss is named, all of it; a start names the first.
    assert_eq!(lines(&raida(&other.0, &["coins", "check"]).output().unwrap())[0]["total"], 3);
    std::fs::write(data.join("Data/01/00/0000.bin"), [0; 100]).unwrap();
    std::fs::create_dir_all(data.join("coins")).unwrap();
    std::fs::write(data.join("coins/01.2.bin"), [0; 439]).unwrap();
    std::fs::write(data.join("Data/images-00000009"), [1]).unwrap();
    let damaged = raida(&other.0, &["coins", "check"]).output().unwrap();
    let said = String::from_utf8_lossy(&damaged.stdout).into_owned();
    assert!(!damaged.status.success());
    for amiss in
        ["0000.bin is damaged: it has 100 bytes", "01.2.bin: the file has 439 bytes, as a wallet", "images-00000009"]
    {
        assert!(said.contains(amiss), "{said}");
    }
    let stats = raida(&other.0, &["coins", "stats"]).output().unwrap();
    assert!(String::from_utf8_lossy(&stats.stderr).contains("0000.bin is damaged"));
    let mistyped = raida(&other.0, &["coins", "stats", "--data", "nowhere"]).output().unwrap();
    assert!(String::from_utf8_lossy(&mistyped.stderr).contains("there is no coin store in nowhere"));
}

/// Rule RKX-2: who serves `compat`, or begins keystreams anew, is told what that means, and what to do.
#[test]
fn rkx_2_the_doctor_of_a_node_warns_of_compat_and_disturbs_nothing() {
    let doctor = |folder: &Path| -> (bool, Vec<Value>) {
        let output = raida(folder, &["doctor"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    };
    let amiss = |findings: &[Value]| -> Vec<String> {
        let bad = findings.iter().filter(|finding| finding["good"] == false);
        bad.map(|finding| finding["what"].as_str().unwrap().to_owned()).collect()
    };
    let seen = |findings: &[Value], what: &str| -> String {
        let finding = findings.iter().find(|finding| finding["what"] == what).unwrap();
        finding["seen"].as_str().unwrap().to_owned()
    };
    let folder = Folder::new("doctor");
    std::fs::write(folder.0.join("node.toml"), format!("data = {:?}\n", folder.0.join("data"))).unwrap();
    let (well, findings) = doctor(&folder.0);
    assert!(well && seen(&findings, "data folder").contains("coins create"), "{findings:?}");
    assert!(!folder.0.join("data").exists(), "it only looks");

    set_up(&folder.0, "");
    let (well, findings) = doctor(&folder.0);
    assert!(well && seen(&findings, "coins").contains("3 in use"), "{findings:?}");
    assert!(seen(&findings, "profile").starts_with("strict") && seen(&findings, "port").contains("free"));
    let (node, _) = Node::start(&folder.0);
    let (well, findings) = doctor(&folder.0);
    assert!(well && seen(&findings, "coins").contains("a node runs"), "{findings:?}");
    node.stop();

    let configuration = std::fs::read_to_string(folder.0.join("node.toml")).unwrap();
    let with = |more: &str| std::fs::write(folder.0.join("node.toml"), format!("{more}\n{configuration}")).unwrap();
    with("profile = \"compat\"");
    let (well, findings) = doctor(&folder.0);
    assert_eq!((well, amiss(&findings)), (false, vec!["profile".to_owned(), "keystream".to_owned()]));
    with("profile = \"compat\"\nkeystream = \"continue\"");
    assert_eq!(amiss(&doctor(&folder.0).1), ["profile"]);
    // A page that is not what it should be is found without a start.
    with("per_address = 0");
    std::fs::write(folder.0.join("data/Data/01/00/0000.bin"), b"short").unwrap();
    let (_, findings) = doctor(&folder.0);
    assert_eq!(amiss(&findings), ["coins"]);
    assert!(seen(&findings, "limits").contains("loopback"));
}
