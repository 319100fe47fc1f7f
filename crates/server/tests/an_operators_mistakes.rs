//! What an operator can get wrong gets a sentence that says what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::collections::HashSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use undertone_server::{Config, Server};

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("undertone-operator-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn server(arguments: &[&str]) -> Output {
    // Whatever goes wrong goes wrong at once; one that starts after all is ended by the time limit.
    let mut command = Command::new("timeout");
    command.arg("10").arg(env!("CARGO_BIN_EXE_undertone-server")).args(arguments);
    command.stdin(Stdio::null()).env_remove("RUST_LOG").output().unwrap()
}

fn fails(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(words), "{text:?} does not say {words:?}");
}

#[test]
fn a_taken_port_is_named() {
    let (folder, taken) = (Folder::new("port"), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.0.join("data").display().to_string();
    let output = server(&["serve", "--data", &data, "--listen", &address]);
    fails(&output, &format!("port {} is taken", taken.local_addr().unwrap().port()));
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let folder = Folder::new("readonly");
    let file = folder.0.join("a-file");
    std::fs::write(&file, "not a folder").unwrap();
    let data = file.join("data").display().to_string();
    fails(&server(&["serve", "--data", &data, "--listen", "127.0.0.1:0"]), "a-file");
}

#[test]
fn damaged_keys_are_not_replaced_in_silence() {
    let folder = Folder::new("damaged");
    std::fs::write(folder.0.join("identity.key"), "short").unwrap();
    let data = folder.0.display().to_string();
    fails(&server(&["serve", "--data", &data, "--listen", "127.0.0.1:0"]), "is damaged");
    assert_eq!(std::fs::read(folder.0.join("identity.key")).unwrap(), b"short");
}

#[test]
fn a_wrong_configuration_is_explained() {
    let folder = Folder::new("config");
    let file = folder.0.join("undertone.toml");
    std::fs::write(&file, "lisen = \"127.0.0.1:1\"").unwrap();
    let path = file.display().to_string();
    fails(&server(&["serve", "--config", &path]), "unknown field `lisen`");
    fails(&server(&["serve", "--config", "/nowhere.toml"]), "cannot read /nowhere.toml");
    let data = folder.0.join("data").display().to_string();
    fails(&server(&["serve", "--data", &data, "--domain", "no domain"]), "is no domain");
    fails(&server(&["admin", "invite", "--data", &data]), "there is no server");
    let open = ["serve", "--data", &data, "--listen", "127.0.0.1:0", "--metrics", "0.0.0.0:0"];
    fails(&server(&open), "no loopback address");
}

#[test]
fn half_a_tls_pair_is_named_and_a_first_start_that_was_cut_off_goes_on() {
    let folder = Folder::new("tls");
    let data = folder.0.display().to_string();
    // A first start makes a pair. It ends at an address that is none of this machine's, after the pair was made.
    fails(&server(&["serve", "--data", &data, "--listen", "192.0.2.1:1"]), "cannot listen");
    let [key, chain, partial] = ["tls.key", "tls.crt", "tls.key.partial"].map(|name| folder.0.join(name));
    let made = std::fs::read(&key).unwrap();
    // Half of an operator's pair is not overwritten.
    for (gone, stays) in [(&key, &chain), (&chain, &key)] {
        let (half, other) = (std::fs::read(gone).unwrap(), std::fs::read(stays).unwrap());
        std::fs::remove_file(gone).unwrap();
        let name = gone.file_name().unwrap().to_string_lossy().into_owned();
        fails(&server(&["serve", "--data", &data, "--listen", "192.0.2.1:1"]), &format!("{name} is missing beside"));
        assert_eq!(std::fs::read(stays).unwrap(), other);
        std::fs::write(gone, half).unwrap();
    }
    // Killed between the two: the key waits under its other name, and is the one of the certificate.
    std::fs::rename(&key, &partial).unwrap();
    fails(&server(&["serve", "--data", &data, "--listen", "192.0.2.1:1"]), "cannot listen");
    assert_eq!(std::fs::read(&key).unwrap(), made);
    // Killed before the certificate: nothing was ever shown to anybody, and all is made anew.
    std::fs::rename(&key, &partial).unwrap();
    std::fs::remove_file(&chain).unwrap();
    fails(&server(&["serve", "--data", &data, "--listen", "192.0.2.1:1"]), "cannot listen");
    assert_ne!(std::fs::read(&key).unwrap(), made);
    // A key that is not the certificate's is not used.
    std::fs::write(&key, made).unwrap();
    fails(&server(&["serve", "--data", &data, "--listen", "192.0.2.1:1"]), "is damaged");
}

/// What `doctor` says of this folder: exit code and text.
fn doctor(data: &str, listen: &str) -> (Option<i32>, String) {
    let output = server(&["doctor", "--data", data, "--listen", listen]);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn the_doctor_finds_what_is_amiss_and_disturbs_nothing() {
    let folder = Folder::new("doctor");
    let data = folder.0.join("data");
    let text = data.display().to_string();
    let (code, said) = doctor(&text, "127.0.0.1:0");
    assert!(code == Some(0) && said.contains("the first start makes it") && !data.exists(), "{said}");

    let config = Config { data: data.clone(), listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
    let running = Server::start(&config).await.unwrap();
    let at = running.address().to_string();
    let (code, said) = doctor(&text, &at);
    let words = ["runs on this folder and listens", "all there, for the domain localhost", "sound, 0 accounts"];
    assert!(code == Some(0) && words.iter().all(|words| said.contains(words)), "{said}");
    let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, said) = doctor(&text, &other);
    assert!(code == Some(1) && said.contains("but not at"), "{said}");
    assert!(std::net::TcpStream::connect(running.address()).is_ok());
    running.stop().await;

    // SQLite's own two files beside the database come with any reader.
    let files = || {
        let names = std::fs::read_dir(&data).unwrap().flatten().map(|file| file.file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm")).collect::<HashSet<_>>()
    };
    let before = files();
    let (code, said) = doctor(&text, &at);
    assert!(code == Some(0) && said.contains("is free for one"), "{said}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, said) = doctor(&text, &taken.local_addr().unwrap().to_string());
    assert!(said.contains("is taken"), "{said}");
    let output = server(&["doctor", "--data", &text, "--domain", "example.org", "--json"]);
    assert!(String::from_utf8_lossy(&output.stdout).lines().any(|line| {
        let finding: serde_json::Value = serde_json::from_str(line).unwrap();
        finding["what"] == "keys" && finding["good"] == false
    }));
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::remove_file(data.join("opaque.key")).unwrap();
    std::fs::write(data.join("undertone.db"), vec![7; 20_000]).unwrap();
    let (code, said) = doctor(&text, &at);
    let words = ["chmod 700", "opaque.key is missing", "undertone.db: ", "3 amiss"];
    assert!(code == Some(1) && words.iter().all(|words| said.contains(words)), "{said}");
    std::fs::write(data.join("opaque.key"), "short").unwrap();
    assert!(doctor(&text, &at).1.contains("opaque.key is damaged"));
    assert_eq!(files(), before);
}

/// A scraper that asks for half a page and waits does not keep the server from its end.
#[tokio::test]
async fn a_half_asked_question_holds_up_no_stop() {
    use std::io::Write as _;
    use std::net::{SocketAddr, TcpStream};
    let folder = Folder::new("half-asked");
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { data: folder.0.clone(), listen: loopback, metrics: Some(loopback), ..Config::default() };
    let server = Server::start(&config).await.unwrap();
    let mut scraper = TcpStream::connect(server.metrics().unwrap()).unwrap();
    scraper.write_all(b"GET /me").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, server.stop()).await.expect("the server waits for the rest of the question");
}
