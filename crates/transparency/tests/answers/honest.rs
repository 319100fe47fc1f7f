use undertone_keys::UserId;
use undertone_transparency::answer::{Answer, Found, Hashes, Older};
use undertone_transparency::checkpoint::SignedCheckpoint;
use undertone_transparency::evidence::Evidence;
use undertone_transparency::label;
use undertone_transparency::log::prove_consistency;
use undertone_transparency::policy::Witnesses;
use undertone_transparency::seen::Seen;
use undertone_transparency::verify::{Proven, Purpose};

use crate::server::{Person, START, Server, cosign, witness};

#[test]
fn an_honest_server_is_believed_over_epochs() {
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    let devices = asker.learn(&bob, &server.answer(&bob, &asker));
    assert_eq!((devices.list(), devices.published()), (bob.newest(), 2));
    // Epochs pass: of others, of a device more, and of three at once of which only the last is asked about.
    for n in 2..12_u64 {
        let other = Person::new(&format!("other{n}"), n);
        server.clock += 3;
        server.publish(&[&other]);
        if n % 3 == 0 {
            bob.add_device();
            server.publish(&[&bob]);
        }
        asker.clock = server.clock;
        if n % 4 == 0 {
            let devices = asker.learn(&bob, &server.answer(&bob, &asker));
            assert_eq!(devices.list(), bob.newest());
            assert_eq!(devices.attested().size, server.log.size());
            assert!(!devices.attested().is_witnessed(), "nobody else has seen it");
        }
    }
    // A leaf that repeats the epoch is as good as a new one.
    server.clock += 240;
    server.log_epoch();
    asker.clock = server.clock + 600;
    assert_eq!(asker.learn(&bob, &server.answer(&bob, &asker)).list(), bob.newest());
    // Somebody who asks for the first time needs the newest list alone.
    let mut fresh = server.asker();
    fresh.clock = server.clock;
    let answer = server.answer(&bob, &fresh);
    assert!(matches!(&answer.found, Found::Present { lists, .. } if lists.len() == 1));
    assert_eq!(fresh.learn(&bob, &answer).list(), bob.newest());
}

#[test]
fn kt_6_who_was_never_there_is_proven_absent() {
    let (server, carol) = (Server::new(), Person::new("carol", 3));
    let asker = server.asker();
    let label = String::from_utf8(label::devices(&carol.user)).unwrap();
    let absent = Found::Absent(Box::new(server.world.absence(&label)));
    let answer = server.answer_with(&server.log, None, absent);
    assert!(matches!(asker.ask(&carol, &answer), Ok(Proven::Absent(_))));
    // It is about her and nobody else.
    let dave: UserId = "dave@example.org".parse().unwrap();
    assert!(asker.question(&dave).verify(&answer.to_bytes()).is_err());
}

#[test]
fn kt_2_as_many_witnesses_as_are_asked_for() {
    let (mut server, bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    let policy = Witnesses::new(2, (1..=3).map(|n| witness(n).1).collect()).unwrap();
    asker.pins.witnesses = policy.clone().insisting();
    let mut answer = server.answer(&bob, &asker);
    cosign(&server, &mut answer, 1, START);
    assert_eq!(asker.ask(&bob, &answer).unwrap_err().rule(), "KT-2");
    // The same one again, and a stranger, are nobody more.
    cosign(&server, &mut answer, 1, START + 1);
    cosign(&server, &mut answer, 9, START);
    assert_eq!(asker.ask(&bob, &answer).unwrap_err().rule(), "KT-2");
    cosign(&server, &mut answer, 3, START);
    let attested = asker.learn(&bob, &answer).attested();
    assert!(attested.is_witnessed());
    assert_eq!(attested.witnesses, ["witness1.example.net", "witness3.example.net"]);
    assert_eq!(attested.leaves_since(), 0);
    // What they saw too long ago is not enough to begin with, and enough to show.
    asker.clock = START + 601;
    server.clock = asker.clock;
    server.log_epoch();
    let mut later = server.answer(&bob, &asker);
    later.head.witnessed = Some(vec![older(&server, answer.head.checkpoint.clone())]);
    assert_eq!(asker.ask(&bob, &later).unwrap_err().rule(), "KT-2");
    asker.purpose = Purpose::Show;
    assert!(asker.ask(&bob, &later).is_ok());
    // Whoever does not insist is told how things are, and goes on.
    (asker.purpose, asker.pins.witnesses) = (Purpose::Begin, policy);
    let attested = asker.clone().learn(&bob, &later).attested();
    assert!(attested.is_witnessed());
    assert_eq!((attested.leaves_since(), attested.witnesses.len()), (1, 2));
    // One of them has seen the newest, the other an older one: both count, as far as both have seen it.
    cosign(&server, &mut later, 3, asker.clock);
    let attested = asker.clone().learn(&bob, &later).attested();
    assert_eq!((attested.is_witnessed(), attested.leaves_since(), attested.witnesses.len()), (true, 1, 2));
    let mut later = server.answer(&bob, &asker);
    later.head.witnessed = Some(vec![older(&server, answer.head.checkpoint); 9]);
    assert_eq!(asker.ask(&bob, &later).unwrap_err().rule(), "KT-1", "more than anybody needs");
    later.head.witnessed = None;
    let attested = asker.learn(&bob, &later).attested();
    assert_eq!((attested.is_witnessed(), attested.threshold, attested.witnessed), (false, 2, None));
}

/// An older checkpoint, with what was added to it, as a server shows it beside its newest.
fn older(server: &Server, checkpoint: Vec<u8>) -> Older {
    let size = SignedCheckpoint::from_bytes(&checkpoint).unwrap().claimed().size;
    let Ok(proof) = prove_consistency(size, server.log.size(), &server.log);
    Older { checkpoint, consistency: Hashes(proof) }
}

/// The older checkpoint that witnesses saw has to be one that the newest grew from: another one is evidence, also for somebody
/// who insists on no witness.
#[test]
fn kt_2_a_witnessed_checkpoint_of_a_forked_log_is_caught() {
    let (mut server, bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    asker.pins.witnesses = Witnesses::new(1, vec![witness(1).1]).unwrap();
    let mut fork = server.log.clone();
    fork.0.last_mut().unwrap().root = [9; 32];
    let mut seen_by_witness = server.answer_with(&fork, None, server.present(&bob, 0));
    cosign(&server, &mut seen_by_witness, 1, START);
    server.publish(&[&Person::new("carol", 2)]);
    let mut answer = server.answer(&bob, &asker);
    answer.head.witnessed = Some(vec![older(&server, seen_by_witness.head.checkpoint.clone())]);
    assert_eq!(asker.ask(&bob, &answer).unwrap_err().rule(), "KT-4");
    // One that the log's key did not sign is none at all.
    let mut stranger = Server::new();
    stranger.key = undertone_keys::sign::SigningKey::generate(&mut undertone_keys::testing::SeededRng::new(5));
    stranger.publish(&[&bob]);
    let other = stranger.answer(&bob, &asker);
    answer.head.witnessed = Some(vec![older(&server, other.head.checkpoint)]);
    assert_eq!(asker.ask(&bob, &answer).unwrap_err().rule(), "KT-1");
}

#[test]
fn kt_8_what_is_shown_may_be_a_day_old_and_what_begins_ten_minutes() {
    let (mut server, bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    let answer = server.answer(&bob, &asker);
    for (purpose, age, holds) in [
        (Purpose::Begin, 600, true),
        (Purpose::Begin, 601, false),
        (Purpose::Show, 601, true),
        (Purpose::Show, 86_400, true),
        (Purpose::Show, 86_401, false),
    ] {
        (asker.purpose, asker.clock) = (purpose, START + age);
        assert_eq!(asker.ask(&bob, &answer).is_ok(), holds, "{purpose:?} after {age} s");
    }
    for (ahead, holds) in [(300, true), (301, false)] {
        asker.clock = START - ahead;
        assert_eq!(asker.ask(&bob, &answer).is_ok(), holds, "{ahead} s ahead");
    }
}

#[test]
fn kt_4_what_was_seen_survives_being_stored() {
    let (mut server, bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    asker.learn(&bob, &server.answer(&bob, &asker));
    let seen = asker.seen.clone().unwrap();
    let read = |domain: &str, key| Seen::from_bytes(&seen.to_bytes(), domain, key);
    assert_eq!(read("example.org", server.key.public()), Ok(seen.clone()));
    assert!(read("example.com", server.key.public()).is_err());
    let other = Server {
        key: undertone_keys::sign::SigningKey::generate(&mut undertone_keys::testing::SeededRng::new(5)),
        ..server
    };
    assert!(read("example.org", other.key.public()).is_err());
}

/// What is asked with is all that is needed to ask again.
#[test]
fn kt_9_evidence_says_the_same_to_everybody() {
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    asker.pins.witnesses = Witnesses::new(1, vec![witness(1).1]).unwrap().insisting();
    let mut answer = server.answer(&bob, &asker);
    cosign(&server, &mut answer, 1, START);
    asker.learn(&bob, &answer);
    bob.add_device();
    server.publish(&[&bob]);
    let answer = server.answer(&bob, &asker);
    let accusation = asker.ask(&bob, &answer).unwrap_err();
    let kept = Evidence::new(&asker.question(&bob.user), &answer.to_bytes()).to_bytes();
    let evidence = Evidence::from_bytes(&kept).unwrap();
    assert_eq!(evidence.check().unwrap(), Err(accusation));
    assert_eq!((evidence.user(), evidence.about().domain), (&bob.user, "example.org"));
    // What holds accuses nobody, and what is no evidence is not read.
    let mut answer = server.answer(&bob, &asker);
    cosign(&server, &mut answer, 1, START);
    let evidence = Evidence::new(&asker.question(&bob.user), &answer.to_bytes());
    assert!(evidence.check().unwrap().is_ok());
    assert_eq!((evidence.known(), evidence.answer()), (Some(1), answer.to_bytes().as_slice()));
    assert!(evidence.seen().is_some_and(|seen| seen > 0), "the log was seen before");
    for cut in 0..kept.len() {
        assert!(Evidence::from_bytes(&kept[..cut]).is_err());
    }
}

#[test]
fn an_answer_has_one_form() {
    let (mut server, bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let asker = server.asker();
    let bytes = server.answer(&bob, &asker).to_bytes();
    assert_eq!(Answer::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    for cut in 0..bytes.len() {
        assert!(Answer::from_bytes(&bytes[..cut]).is_err());
    }
    // No bit can be another one: what does not make it unreadable makes it untrue.
    for bit in (0..bytes.len() * 8).step_by(7) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(asker.question(&bob.user).verify(&changed).is_err(), "bit {bit}");
    }
}
