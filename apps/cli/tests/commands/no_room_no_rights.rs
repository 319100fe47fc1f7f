//! Disks that are full, folders that may not be written, machines without sound: a clear answer, and nothing lost.
//!
//! "Full" is a limit on the size of files (`ulimit -f`), which works on every machine and without privileges.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::Duration;

use undertone_testkit::process::{self, result, unprivileged, with_file_limit};
use undertone_testkit::terminal::PASSPHRASE;
use undertone_testkit::{Folder, Process, ServerProcess, SwarmProcess, Terminal, speech};

const PATIENCE: Duration = Duration::from_secs(30);

fn says(output: &Output, code: i32, words: &[&str]) {
    let text = [output.stderr.as_slice(), &output.stdout].map(String::from_utf8_lossy).concat();
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}

#[test]
fn a_server_whose_disk_is_full_keeps_what_it_has() -> anyhow::Result<()> {
    let mut server = ServerProcess::start("full-disk")?;
    let ada = Terminal::registered(server.join("ada"), server.address(), "ada")?;
    server.end()?;
    // Room for a few more in either database, whose logs grow by some pages for each.
    let sizes = ["undertone.db", "directory.db"].map(|name| fs::metadata(server.data().join(name)));
    let [accounts, directory] = sizes;
    server.start_with_file_limit(accounts?.len().max(directory?.len()) + 256 * 1024)?;
    let people = || (0..30).map(|n| (format!("p{n}"), Terminal::new(server.join(&format!("p{n}")), server.address())));
    let register = |(name, person): (String, Terminal)| {
        let output = person.with_passphrase(PASSPHRASE, &["register", &name])?;
        anyhow::Ok((name, person, output))
    };
    let mut registered = Vec::new();
    let (name, refused) = loop {
        let next = people().nth(registered.len()).expect("thirty accounts fit into 256 KiB");
        let (name, person, output) = register(next)?;
        if !output.status.success() {
            says(&output, 1, &["no room left", "operator"]);
            break (name, person);
        }
        registered.push(person);
    };
    // What can be read is still read, and calls need no disk.
    assert!(ada.run(&["devices"])?.status.success());
    let mut answering = ada.start(&["answer", "--no-devices"])?;
    answering.wait_for("waiting", PATIENCE)?;
    let first = registered.first().expect("at least one account fits");
    let called = first.run(&["call", "ada", "--no-devices", "--seconds", "1"])?;
    assert_eq!(result(&called)["result"], "ended", "{}", String::from_utf8_lossy(&called.stdout));
    assert_eq!(answering.exit_code()?, Some(0));
    // With room again nothing is missing, and the refused name is free.
    server.end()?;
    server.start_again()?;
    for person in registered.iter().chain([&ada]) {
        assert!(person.run(&["devices"])?.status.success());
    }
    assert!(refused.with_passphrase(PASSPHRASE, &["register", &name])?.status.success());
    Ok(())
}

#[test]
fn a_home_without_room_asks_nothing_of_the_server() -> anyhow::Result<()> {
    let server = ServerProcess::start("full-home")?;
    let ada = Terminal::new(server.join("ada"), server.address());
    let mut register = ada.command(&["register", "ada", "--passphrase-stdin"])?;
    let output = process::run(&mut with_file_limit(&register, 4096), PASSPHRASE)?;
    says(&output, 1, &["no room left", "--home"]);
    // The name was not taken, and what is left of the attempt is in nobody's way.
    says(&process::run(&mut register, PASSPHRASE)?, 0, &["recovery_key"]);

    // A recording that finds no room is told about once, and the call goes on.
    let bob = Terminal::registered(server.join("bob"), server.address(), "bob")?;
    let mut answering = bob.start(&["answer", "--no-devices", "--wav-in", &speech("bob").display().to_string()])?;
    answering.wait_for("waiting", PATIENCE)?;
    let heard = server.join("heard.wav").display().to_string();
    let call = ada.command(&["call", "bob", "--no-devices", "--wav-out", &heard, "--seconds", "6"])?;
    let home = fs::metadata(server.join("ada").join("undertone.redb"))?.len();
    let recorded = home.max(200_000);
    let mut calling = Process::start("call", &mut with_file_limit(&call, recorded))?;
    let failed = calling.wait_for("sound_failed", PATIENCE)?;
    assert!(failed["reason"].as_str().unwrap_or_default().contains("heard.wav"), "{failed}");
    assert_eq!(calling.wait_for("over", PATIENCE)?["result"], "ended");
    assert_eq!(calling.events.iter().filter(|event| event["event"] == "sound_failed").count(), 1);
    let begun = hound::WavReader::open(&heard)?;
    assert!(begun.duration() > 48_000, "what fitted can be played: {} samples", begun.duration());
    Ok(())
}

#[test]
fn folders_that_may_not_be_written_are_named() -> anyhow::Result<()> {
    let folder = Folder::new("read-only")?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let closed = folder.join("closed");
    fs::create_dir(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555))?;
    let mut serve = unprivileged("undertone-server", folder.path())?;
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&closed);
    says(&process::run(&mut serve, "")?, 1, &["closed/lock", "must be able to write there", "--data"]);
    let mut node = unprivileged("undertone-server", folder.path())?;
    node.args(["raida", "serve", "--raida", "3", "--listen", "127.0.0.1:0", "--data"]).arg(&closed);
    says(&process::run(&mut node, "")?, 1, &["closed/Data", "must be able to write there", "--data"]);
    // A node whose coins are there, and whose folder for keys is not to be had.
    let half = folder.join("half");
    fs::create_dir(&half)?;
    fs::set_permissions(&half, fs::Permissions::from_mode(0o777))?;
    let keys = half.join("coin.keys").display().to_string();
    let mut create = unprivileged("undertone-server", folder.path())?;
    create.args(["raida", "coins", "create", "--raida", "3", "--keys", &keys, "--data"]).arg(&half);
    says(&process::run(&mut create, "")?, 0, &[]);
    fs::set_permissions(&half, fs::Permissions::from_mode(0o555))?;
    let mut node = unprivileged("undertone-server", folder.path())?;
    node.args(["raida", "serve", "--raida", "3", "--listen", "127.0.0.1:0", "--data"]).arg(&half);
    says(&process::run(&mut node, "")?, 1, &["half/Keys", "must be able to write there", "--data"]);
    fs::set_permissions(&half, fs::Permissions::from_mode(0o777))?;
    let mut whoami = unprivileged("undertone", folder.path())?;
    whoami.arg("--home").arg(&closed).arg("whoami");
    says(&process::run(&mut whoami, "")?, 1, &["closed", "must be writable", "--home"]);
    Ok(())
}

/// On a machine with a sound card too: the sound system is told of none.
#[test]
fn a_machine_without_sound_says_what_to_do() -> anyhow::Result<()> {
    let server = ServerProcess::start("no-sound")?;
    let ada = Terminal::registered(server.join("ada"), server.address(), "ada")?;
    for (command, missing) in [
        (["call", "bob", "--wav-out", "/dev/null"].as_slice(), "no microphone can be used"),
        (["answer", "--wav-in", &speech("ada").display().to_string()].as_slice(), "no loudspeaker can be used"),
    ] {
        let mut command = ada.command(command)?;
        command.env("ALSA_CONFIG_PATH", "/dev/null").env_remove("PULSE_SERVER").env("XDG_RUNTIME_DIR", "/nowhere");
        says(&process::run(&mut command, "")?, 1, &[missing, "--wav-in", "--no-devices"]);
    }
    Ok(())
}

/// A real full disk, where this machine lets a test have one: nothing is lost, a call is not disturbed, and with room again
/// everything is as before, without a restart.
#[test]
fn a_server_goes_on_as_before_when_its_full_disk_has_room_again() -> anyhow::Result<()> {
    let Some(mut server) = ServerProcess::start_on_small_disk("small-disk", 4 * 1024 * 1024)? else {
        println!(
            "no tmpfs here: a_server_whose_disk_is_full_keeps_what_it_has stands for it, by a limit of file sizes"
        );
        return Ok(());
    };
    println!("on a tmpfs of 4 MiB");
    let person = |name: &str| Terminal::registered(server.join(name), server.address(), name);
    let (ada, bob, carol) = (person("ada")?, person("bob")?, person("carol")?);
    let mut bobs = bob.start(&["answer", "--no-devices", "--wav-in", &speech("bob").display().to_string()])?;
    bobs.wait_for("waiting", PATIENCE)?;
    let mut adas = ada.start(&["call", "bob", "--no-devices", "--wav-in", &speech("ada").display().to_string()])?;
    adas.wait_for("connected", PATIENCE)?;

    // Somebody else's file takes all there is.
    let filler = server.data_inside()?.join("filler");
    let (mut file, block) = (fs::File::create(&filler)?, vec![0; 4096]);
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    // More attempts than the server has connections to its database: none of them may be left unusable.
    let late = |n: usize| (format!("late{n}"), Terminal::new(server.join(&format!("late{n}")), server.address()));
    for (name, person) in (0..6).map(late) {
        let output = person.with_passphrase(PASSPHRASE, &["register", &name])?;
        says(&output, 1, &["no room left", "operator"]);
    }
    for side in [&mut adas, &mut bobs] {
        side.hears(50, PATIENCE)?;
    }
    assert!(carol.run(&["devices"])?.status.success(), "what can be read is read");

    // With room again, and the same server, the very same attempts are good.
    drop(file);
    fs::remove_file(&filler)?;
    for (name, person) in (0..6).map(late) {
        says(&person.with_passphrase(PASSPHRASE, &["register", &name])?, 0, &["recovery_key"]);
    }
    assert!(carol.run(&["devices"])?.status.success());
    adas.hears(20, PATIENCE)?;
    adas.end()?;
    assert_eq!(bobs.wait_for("over", PATIENCE)?["result"], "ended");
    server.end()
}

/// The same for nodes of a swarm: what they have is read, what they cannot keep is refused and nothing of it is half there, and with room
/// again everything is as before.
#[test]
fn rkx_4_nodes_go_on_as_before_when_their_full_disk_has_room_again() -> anyhow::Result<()> {
    let server = ServerProcess::start("full-swarm")?;
    let Some(swarm) = SwarmProcess::start_on_small_disk(&server.join("swarm"), 2, 24 * 1024 * 1024)? else {
        println!("no tmpfs here: page_store_model stands for it, where a disk fails at any write");
        return Ok(());
    };
    println!("on a tmpfs of 24 MiB");
    let person = |name: &str| Terminal::registered(server.join(name), server.address(), name);
    let (ada, bob) = (person("ada")?, person("bob")?);
    // The wallet says something else of a coin on node 3 than the node does: there is something to heal.
    let wallet = fs::read_to_string(swarm.wallet(1))?;
    let wrong = |line: &str| match line.starts_with("00.26 3 ") {
        true => format!("00.26 3 {}\n", "5a".repeat(16)),
        false => format!("{line}\n"),
    };
    let (description, keys) = (server.join("swarm.toml"), server.join("wrong.keys"));
    fs::copy(swarm.file(), &description)?;
    fs::write(&keys, wallet.lines().map(wrong).collect::<String>())?;
    let (description, keys) = (description.display().to_string(), keys.display().to_string());
    says(&ada.run(&["raida", "enrol", "--swarm", &description, "--keys", &keys])?, 0, &["\"not_right\":1"]);
    let enrolled = swarm.enrol(&bob, 2)?;
    let coin = enrolled["swarm"]["coins"][0].as_str().unwrap().to_owned();
    let key = server.join("key");
    fs::write(&key, [7; 1_600])?;
    let key = key.display().to_string();
    says(&ada.run(&["raida", "send", "--to", &coin, "--key", &key])?, 0, &["sent"]);

    let filler = swarm.folder().join("filler");
    let (mut file, block) = (fs::File::create(&filler)?, vec![0; 512]);
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    assert_ne!(ada.run(&["raida", "send", "--to", &coin, "--key", &key])?.status.code(), Some(0), "there is no room");
    let healed = ada.run(&["raida", "heal"])?;
    says(&healed, 1, &["not_healed"]);
    says(&bob.run(&["raida", "check"])?, 0, &[]);

    drop(file);
    fs::remove_file(&filler)?;
    says(&ada.run(&["raida", "send", "--to", &coin, "--key", &key])?, 0, &["sent"]);
    says(&ada.run(&["raida", "heal"])?, 0, &["healed"]);
    for person in [&ada, &bob] {
        says(&person.run(&["raida", "check"])?, 0, &[]);
    }
    // What the nodes have on the disk is sound: all that is amiss is that one of them runs.
    let mut check = process::program("undertone-server")?;
    check.args(["raida", "coins", "check", "--json", "--raida", "3", "--data"]).arg(swarm.folder().join("nodes/3"));
    let checked = process::run(&mut check, "")?;
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.lines().filter(|line| line.contains("amiss")).all(|line| line.contains("journal")), "{checked}");
    assert!(checked.contains("\"total\":29"), "{checked}");
    swarm.end()
}
