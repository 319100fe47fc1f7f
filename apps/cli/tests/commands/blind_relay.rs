//! What everything that a server has is worth: whether any of it opens what it carries.

use std::time::Duration;

use undertone_media::key_id::KeyId;
use undertone_media::packet::HEADER_LENGTH;
use undertone_testkit::locksmith::{self, Image, Keyhole, Shape};
use undertone_testkit::{Process, ServerProcess, Terminal, speech};

const PATIENCE: Duration = Duration::from_secs(30);

/// The last packet with sound in it that the relay took.
fn last_packet(server: &ServerProcess) -> Vec<u8> {
    let packets = locksmith::packets(&server.tap()).unwrap();
    let is_sound =
        |packet: &&Vec<u8>| packet.get(HEADER_LENGTH..).and_then(KeyId::of_frame).is_some_and(KeyId::is_track);
    packets.iter().rev().find(is_sound).unwrap().clone()
}

fn talk(server: &ServerProcess, terminal: &Terminal, who: &str) -> Process {
    let (voice, hears) = (speech(who).display().to_string(), server.join("hears").with_extension(who));
    let words = ["room", "join", "team", "--wav-in", &voice, "--wav-out", &hears.display().to_string()];
    let mut process = terminal.start(&words).unwrap();
    process.wait_for("epoch", PATIENCE).unwrap();
    process
}

/// Rules GRP-6, RLY-6: memory, database, tap; every run of 16 and 32 bytes, as a sender's key, the epoch's key, the exporter secret and
/// the epoch secret. The same locksmith opens the same packets with what one member has in memory.
#[test]
fn rly_6_blind_relay_opens_nothing_with_all_that_it_has() {
    let server = ServerProcess::start("blind-relay").unwrap();
    let [ada, bob] =
        ["ada", "bob"].map(|name| Terminal::registered(server.join(name), server.address(), name).unwrap());
    assert!(ada.run(&["room", "create", "team", "--invite", "bob"]).unwrap().status.success());
    let mut adas = talk(&server, &ada, "ada");
    let mut bobs = talk(&server, &bob, "bob");
    adas.wait_for("member_in", PATIENCE).unwrap();
    // Until the epoch that Bob's own new keys begin is the one that both seal under.
    std::thread::sleep(Duration::from_secs(4));

    let member = Image::of_process(adas.id()).unwrap();
    let packet = last_packet(&server);
    let mut everything = Image::of_process(server.id().unwrap()).unwrap();
    assert!(everything.length() > 10 << 20, "{} bytes are not all that a server may write", everything.length());
    everything.add_folder(&server.data()).unwrap();
    everything.add_file(&server.tap()).unwrap();
    assert!(adas.is_running() && bobs.is_running());
    adas.end().unwrap();
    bobs.end().unwrap();

    // The relay shows the papers of each to the other, so they are among what it has.
    let papers = everything.papers();
    assert!(papers.len() >= 2, "{papers:?}");
    // One of them has sent the packet: whose papers open it with what Ada has.
    let wanted = [Shape::MediaKey, Shape::ExporterSecret];
    let found = papers.iter().find_map(|papers| {
        let keyhole = Keyhole::new(&packet, core::slice::from_ref(papers)).unwrap();
        let by_member = keyhole.find(&member, &wanted);
        wanted.iter().all(|shape| by_member.opened.contains_key(shape)).then_some((keyhole, by_member))
    });
    let (keyhole, by_member) = found.expect("a member's memory opens what is sealed in its room");
    let by_server = keyhole.try_all(&everything);
    println!(
        "a member's {} bytes: {by_member:?}; the server's {} bytes: {by_server:?}",
        member.length(),
        everything.length()
    );
    assert!(by_server.opened.is_empty() && by_server.runs > 100_000, "{by_server:?}");
}
