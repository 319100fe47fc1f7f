//! Answers about users. The verdict of each is the Rust verifier's.

use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_keys::{UserId, WallTime};
use undertone_transparency::answer::{Answer, Found};
use undertone_transparency::directory::{AbsenceProof, LookupProof, marker_versions};
use undertone_transparency::known::{KnownList, NewestAt};
use undertone_transparency::label;
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::prove_inclusion;
use undertone_transparency::verify::Proven;

use crate::folders::grown;
use crate::out::{Out, hex, log_key};
use crate::server::{Asker, Person, START, Server};
use crate::world::{Fresh, Stale};

struct Cases<'a> {
    out: &'a mut Out,
    count: usize,
}

impl Cases<'_> {
    /// Writes an answer with everything that the asker knew, and what Rust says of it.
    fn add(
        &mut self,
        name: &str,
        asker: &Asker,
        server_key: &str,
        user: &UserId,
        answer: &[u8],
    ) -> Result<Proven, String> {
        let verdict = asker.question(user).verify(answer).map_err(|accusation| accusation.rule().to_owned());
        let file = format!("answers/{}", self.count);
        self.count += 1;
        self.out.write(&file, answer);
        let (vrf, at) = (hex(&asker.pins.vrf), asker.clock.to_string());
        let mut arguments: Vec<String> = [
            "answer",
            &format!("@{file}"),
            "--domain",
            &asker.pins.domain,
            "--user",
            user.name(),
            "--log-key",
            server_key,
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(["--vrf-key".to_owned(), vrf, "--at".into(), at]);
        if let Some(seen) = &asker.seen {
            self.out.write(&format!("{file}.seen"), seen.to_bytes());
            arguments.extend(["--seen".to_owned(), format!("@{file}.seen")]);
        }
        if let Some(known) = &asker.known {
            self.out.write(&format!("{file}.known"), known.list.to_bytes());
            arguments.extend(["--known".to_owned(), format!("@{file}.known")]);
            if let Some(NewestAt { epoch, time }) = known.newest {
                arguments.extend(["--newest".to_owned(), format!("{epoch}:{}", time.as_unix())]);
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let shown = match &verdict {
            Ok(Proven::Devices(devices)) => format!(
                "ok version {} list {} published {} epoch {}",
                devices.list().version(),
                hex(&devices.list().hash()),
                devices.published(),
                devices.provenance().epoch()
            ),
            Ok(Proven::Absent(provenance)) => format!("ok version none epoch {}", provenance.epoch()),
            Err(rule) => rule.clone(),
        };
        self.out.case(name, &shown, &arguments);
        verdict
    }
}

pub fn make(out: &mut Out) {
    markers(out);
    let mut cases = Cases { out, count: 0 };
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    let key = log_key(&server);
    server.publish(&[&bob]);
    let mut asker = server.asker();
    // Versions 1 to 18: those with no, one, two and three earlier versions to be shown.
    for version in 1..=18 {
        let answer = server.answer(&bob, &asker).to_bytes();
        let name = format!("honest version {version}");
        cases.add(&name, &asker, &key, &bob.user, &answer).unwrap();
        let mut fresh = server.asker();
        fresh.clock = server.clock;
        let first = server.answer(&bob, &fresh).to_bytes();
        cases.add(&format!("{name} asked for the first time"), &fresh, &key, &bob.user, &first).unwrap();
        asker.learn(&bob, &server.answer(&bob, &asker));
        cases.add(&format!("{name} again"), &asker, &key, &bob.user, &server.answer(&bob, &asker).to_bytes()).unwrap();
        bob.add_device();
        server.clock += 20;
        asker.clock = server.clock;
        server.publish(&[&bob, &Person::new(&format!("o{version}"), version + 50)]);
    }
    let carol = Person::new("carol", 3);
    for name in ["carol", "dave", "zo\u{eb}", "a.b-c_d+e"] {
        let user = UserId::new(name, "example.org").unwrap();
        let label = String::from_utf8(label::devices(&user)).unwrap();
        let absent = Found::Absent(Box::new(server.world.absence(&label)));
        let mut fresh = server.asker();
        fresh.clock = server.clock;
        let answer = server.answer_with(&server.log, None, absent).to_bytes();
        cases.add(&format!("honest absence of {name}"), &fresh, &key, &user, &answer).unwrap();
        assert!(cases.add("absence of somebody else", &fresh, &key, &carol.user, &answer).is_err() || name == "carol");
    }
    lies(&mut cases);
    anew(&mut cases);
    mutants(&mut cases);
}

/// Rule ID-7: an account that begins anew, rightly and wrongly.
fn anew(cases: &mut Cases<'_>) {
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    let key = log_key(&server);
    server.publish(&[&bob]);
    let mut asker = server.asker();
    asker.learn(&bob, &server.answer(&bob, &asker));
    bob.begin_anew();
    server.publish(&[&bob]);
    let leaf = server.log.size() - 1;
    server.clock += 1;
    server.log_epoch();
    let user = bob.user.clone();
    let mut judge = |name: &str, asker: &Asker, answer: &Answer, expected: Option<&str>| {
        let verdict = cases.add(name, asker, &key, &user, &answer.to_bytes());
        assert_eq!(verdict.err().as_deref(), expected, "{name}");
    };
    let mut good = server.answer(&bob, &asker);
    judge("begins anew, and since when is not shown", &asker, &good, Some("ID-7"));
    good.announced = Some(server.leaf_at(leaf - 1));
    judge("begins anew, as of an earlier epoch", &asker, &good, Some("ID-7"));
    good.announced = Some(server.leaf_at(leaf));
    let mut stranger = asker.clone();
    stranger.known = None;
    let mut alone = server.answer(&bob, &stranger);
    alone.announced = Some(server.leaf_at(leaf));
    judge("begins anew, and nobody was there before", &stranger, &alone, Some("ID-7"));
    // A list of the new key at once: it is not in force, and after three days it is.
    let device = bob.newest().records()[0].device;
    let early = bob.newest().revoke(bob.begun.as_ref().unwrap(), device).unwrap();
    bob.lists.push(early);
    server.publish(&[&bob]);
    let mut behind = server.answer(&bob, &asker);
    behind.announced = Some(server.leaf_at(leaf));
    judge("a list of the new key, and the announcement's epoch is not shown", &asker, &behind, Some("ID-7"));
    let update = server.world.history(&bob.label(), akd::HistoryParams::MostRecent(2)).updates[1].clone();
    behind.announced.as_mut().unwrap().version = Some(Box::new(update.clone()));
    judge("a list of the new key within the three days", &asker, &behind, Some("ID-7"));
    let mut later = asker.clone();
    server.clock += undertone_transparency::verify::ANEW;
    later.clock = server.clock;
    server.log_epoch();
    let mut behind = server.answer(&bob, &later);
    behind.announced = Some(server.leaf_at(leaf));
    behind.announced.as_mut().unwrap().version = Some(Box::new(update));
    judge("a list of the new key after the three days", &later, &behind, None);

    // Whoever looked for three days holds that against an announcement that is dated back, by its epoch or by its leaf.
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    let carol = Person::new("carol", 2);
    server.publish(&[&bob]);
    server.publish(&[&carol]);
    let mut asker = server.asker();
    server.clock += undertone_transparency::verify::ANEW;
    asker.clock = server.clock;
    server.log_epoch();
    asker.learn(&bob, &server.answer(&bob, &asker));
    let mut other = Server::new();
    other.publish(&[&bob]);
    bob.begin_anew();
    other.publish(&[&bob]);
    other.publish(&[&carol]);
    let honest = std::mem::replace(&mut server.world, other.world);
    server.log_epoch();
    let mut forged = server.answer(&bob, &asker);
    forged.announced = Some(server.leaf_at(2));
    judge("begins anew, and was published before the last look", &asker, &forged, Some("KT-6"));
    let mut forgot = asker.clone();
    forgot.known.as_mut().unwrap().newest = None;
    judge("begins anew, for somebody who knows not when they looked", &forgot, &forged, None);
    server.log.0.pop();
    server.world = honest;
    server.publish(&[&bob]);
    let rightly = server.log.0.pop().unwrap();
    server.log.0.push(Leaf { time: WallTime::from_unix(START), ..rightly });
    server.log.0.push(rightly);
    let mut shown = server.answer(&bob, &asker);
    let mut later = asker.clone();
    shown.announced = Some(server.leaf_at(5));
    later.seen = Some(later.clone().learn(&bob, &shown).provenance().seen().clone());
    let mut shown = server.answer(&bob, &later);
    shown.announced = Some(server.leaf_at(4));
    judge("begins anew, with an older time than the last look's", &later, &shown, Some("KT-8"));

    // The same from the start, and taken back.
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    bob.begin_anew();
    server.publish(&[&bob]);
    let mut asker = server.asker();
    asker.known = Some(KnownList::new(bob.lists[0].clone()));
    let (before, announcement) = (bob.lists[0].clone(), bob.newest().clone());
    bob.lists.push(before.keep(&bob.account, &announcement).unwrap());
    server.publish(&[&bob]);
    judge("begins anew, and the old key takes it back", &asker, &server.answer(&bob, &asker), None);
    bob.lists.pop();
    bob.lists.push(Person::new("bob", 77).newest().clone());
    server.publish(&[&bob]);
    judge("another key's list behind an announcement", &asker, &server.answer(&bob, &asker), Some("KT-7"));
}

fn lies(cases: &mut Cases<'_>) {
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    let key = log_key(&server);
    server.publish(&[&bob]);
    let mut asker = server.asker();
    asker.learn(&bob, &server.answer(&bob, &asker));
    let old_log = server.log.clone();
    let first_proof: LookupProof = server.world.lookup(&bob.label());
    let first_answer = server.answer(&bob, &asker);
    let denied = |cases: &mut Cases<'_>, name: &str, asker: &Asker, answer: &Answer, rule: &str| {
        let verdict = cases.add(name, asker, &key, &bob.user, &answer.to_bytes());
        assert_eq!(verdict.err().as_deref(), Some(rule), "{name}");
    };

    server.publish(&[&Person::new("carol", 2)]);
    let honest = server.answer(&bob, &asker);
    let mut anew = server.asker();
    anew.clock = server.clock;
    // KT-1
    let own = std::mem::replace(&mut server.key, SigningKey::generate(&mut SeededRng::new(7)));
    denied(cases, "answer signed by another key", &asker, &server.answer(&bob, &asker), "KT-1");
    server.key = own;
    let mut answer = honest.clone();
    let at = answer.head.checkpoint.len() - 20;
    answer.head.checkpoint[at] ^= 1;
    denied(cases, "answer with a broken signature", &asker, &answer, "KT-1");
    // KT-3
    let mut answer = honest.clone();
    (answer.head.leaf, answer.found) = (first_answer.head.leaf.clone(), first_answer.found.clone());
    let Ok(inclusion) = prove_inclusion(server.log.size() - 2, server.log.size(), &server.log);
    answer.head.inclusion.0 = inclusion;
    denied(cases, "a leaf that is not the last", &asker, &answer, "KT-3");
    let mut answer = honest.clone();
    answer.head.inclusion.0.push([0; 32]);
    denied(cases, "an inclusion proof with a hash more", &asker, &answer, "KT-3");
    let mut answer = honest.clone();
    answer.head.leaf.truncate(60);
    denied(cases, "a leaf cut off", &asker, &answer, "KT-3");
    // KT-4
    let mut ahead = asker.clone();
    ahead.learn(&bob, &honest);
    let back = server.answer_with(&old_log, None, server.present(&bob, 1));
    denied(cases, "answer from a log that went back", &ahead, &back, "KT-4");
    let mut other = old_log.clone();
    other.0.push(Leaf { root: [7; 32], ..server.leaf() });
    let answer = server.answer_with(&other, None, server.present(&bob, 1));
    denied(cases, "answer from another log of the same size", &ahead, &answer, "KT-4");
    let mut fork = old_log.clone();
    fork.0.last_mut().unwrap().root = [9; 32];
    fork.0.push(server.leaf());
    let answer = server.answer_with(&fork, asker.seen.as_ref(), server.present(&bob, 1));
    denied(cases, "answer from a forked log", &asker, &answer, "KT-4");
    let mut answer = honest.clone();
    answer.head.consistency.0[0][0] ^= 1;
    denied(cases, "an altered consistency proof", &asker, &answer, "KT-4");
    // Whoever remembers nothing has nothing that the proof could be about: neither verifier reads it.
    let forgot = Asker { seen: None, ..asker.clone() };
    cases
        .add(
            "an altered consistency proof for somebody who has seen nothing",
            &forgot,
            &key,
            &bob.user,
            &answer.to_bytes(),
        )
        .unwrap();
    let mut answer = honest.clone();
    answer.head.consistency.0.clear();
    denied(cases, "no consistency proof", &asker, &answer, "KT-4");
    let mut answer = server.answer(&bob, &ahead);
    answer.head.consistency.0.push([1; 32]);
    denied(cases, "a consistency proof of one log with itself", &ahead, &answer, "KT-4");
    // KT-5
    let answer = server.answer_with(&server.log, asker.seen.as_ref(), server.present(&Person::new("carol", 2), 0));
    denied(cases, "a proof about somebody else", &asker, &answer, "KT-5");
    // KT-14
    let mut changed = asker.clone();
    changed.pins.vrf =
        *SigningKey::<undertone_keys::sign::Server>::generate(&mut SeededRng::new(77)).public().as_bytes();
    denied(cases, "another VRF key than the pinned one", &changed, &honest, "KT-14");
    let mut lying = server.log.clone();
    lying.0.push(Leaf { vrf_key: undertone_keys::digest::sha256(&[&changed.pins.vrf]), ..server.leaf() });
    let mut told = changed.clone();
    (told.seen, told.known) = (None, None);
    let answer = server.answer_with(&lying, None, server.present(&bob, 0));
    denied(cases, "VRF proofs by another key than the one named", &told, &answer, "KT-5");

    // KT-6
    bob_supersedes(cases, &mut server, &mut bob, &asker, &first_proof, &key);
    let denied = |cases: &mut Cases<'_>, name: &str, asker: &Asker, answer: &Answer, rule: &str| {
        let verdict = cases.add(name, asker, &key, &bob.user, &answer.to_bytes());
        assert_eq!(verdict.err().as_deref(), Some(rule), "{name}");
    };
    let label = bob.label();
    let place = server.world.place(&label, Fresh, 1);
    for prefix in server.world.above(place) {
        let forged = server.world.forged_non_membership(place, prefix);
        let Ok(proof) = AbsenceProof::from_akd(&server.world.vrf(&label, Fresh, 1), &forged) else { continue };
        let answer = server.answer_with(&server.log, None, Found::Absent(Box::new(proof)));
        denied(cases, "false absence", &anew, &answer, "KT-6");
    }
    let elsewhere = Server::new();
    let absent = Found::Absent(Box::new(elsewhere.world.absence(&label)));
    let answer = server.answer_with(&server.log, None, absent.clone());
    denied(cases, "absence from another directory", &anew, &answer, "KT-6");
    let mut knows = anew.clone();
    knows.known = asker.known.clone();
    let answer = elsewhere.answer_with(&elsewhere.log, None, absent);
    denied(cases, "a user that was there is denied", &knows, &answer, "KT-6");
    let good = server.answer(&bob, &anew);
    let proof = |answer: &Answer| match &answer.found {
        Found::Present { proof, lists } => (proof.clone(), lists.clone()),
        Found::Absent(_) => panic!("absent"),
    };
    type Change = fn(&mut LookupProof);
    let changes: [(&str, Change, &str); 7] = [
        ("another nonce", |proof| proof.nonce[0] ^= 1, "KT-6"),
        ("another value", |proof| proof.value[0] ^= 1, "KT-6"),
        ("another epoch", |proof| proof.epoch -= 1, "KT-6"),
        ("a version above its epoch", |proof| proof.version = 9, "KT-6"),
        ("no earlier versions", |proof| proof.markers.clear(), "KT-6"),
        ("an earlier version of another value", |proof| proof.markers[0].value[0] ^= 1, "KT-6"),
        ("an epoch to come", |proof| proof.epoch = 99, "KT-6"),
    ];
    for (name, change, rule) in changes {
        let (mut forged, lists) = proof(&good);
        change(&mut forged);
        let answer = Answer { found: Found::Present { proof: forged, lists }, ..good.clone() };
        denied(cases, name, &anew, &answer, rule);
    }
    // A scalar that is not reduced: the same number to akd, another text to RFC 9381.
    let (mut forged, lists) = proof(&good);
    add_order(&mut forged.existence.vrf);
    let answer = Answer { found: Found::Present { proof: forged, lists }, ..good.clone() };
    denied(cases, "a VRF proof with an unreduced scalar", &anew, &answer, "KT-5");

    // KT-7
    let ghost = Person::new("bob", 666);
    let lists: [(&str, Vec<Vec<u8>>); 5] = [
        ("a list of somebody else under his name", vec![ghost.newest().to_bytes()]),
        ("an older list", vec![bob.lists[1].to_bytes()]),
        ("no list", vec![]),
        ("lists in another order", vec![bob.lists[2].to_bytes(), bob.lists[1].to_bytes()]),
        ("a gap between lists", vec![bob.lists[0].to_bytes(), bob.lists[2].to_bytes()]),
    ];
    for (name, lists) in lists {
        let answer = Answer { found: Found::Present { proof: proof(&good).0, lists }, ..good.clone() };
        denied(cases, name, &anew, &answer, "KT-7");
    }
    let all = bob.lists.iter().map(|list| list.to_bytes()).collect();
    let answer = Answer { found: Found::Present { proof: proof(&good).0, lists: all }, ..good.clone() };
    cases.add("all lists", &anew, &key, &bob.user, &answer.to_bytes()).unwrap();
    let mut bytes = bob.newest().to_bytes();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    server.world.publish_values(&[(&label, undertone_keys::digest::sha256(&[&bytes]))]);
    server.log_epoch();
    let found = Found::Present { proof: Box::new(server.world.lookup(&label)), lists: vec![bytes] };
    denied(cases, "ghost device", &anew, &server.answer_with(&server.log, None, found), "KT-7");
    // A list whose account key signed a record that its device did not sign, and one with a false signature of its own.
    // Each is version 1 of a directory of its own, so that nothing but the signature is wrong.
    let body = bob.lists[0].to_bytes();
    let signed: undertone_keys::sign::Signed = undertone_keys::cbor::decode(&body).unwrap();
    let (mut record, mut outer) = (signed.bytes.clone(), body.clone());
    // The last record's signature ends before `6: []`.
    let at = record.len() - 5;
    record[at] ^= 1;
    let record = undertone_keys::sign::Signed::new(&bob.account, undertone_keys::labels::DEVICE_LIST, record);
    *outer.last_mut().unwrap() ^= 1;
    for (name, bytes) in [
        ("a record that its device did not sign", undertone_keys::cbor::encode(&record)),
        ("a list with a false signature", outer),
    ] {
        let mut server = Server::new();
        server.world.publish_values(&[(&label, undertone_keys::digest::sha256(&[&bytes]))]);
        server.log_epoch();
        let found = Found::Present { proof: Box::new(server.world.lookup(&label)), lists: vec![bytes] };
        denied(cases, name, &anew, &server.answer_with(&server.log, None, found), "KT-7");
    }
    let old_list = bob.lists[0].clone();
    server.world.publish_values(&[(&label, old_list.hash())]);
    server.log_epoch();
    let found = Found::Present { proof: Box::new(server.world.lookup(&label)), lists: vec![old_list.to_bytes()] };
    denied(cases, "old list replayed", &anew, &server.answer_with(&server.log, None, found), "KT-7");
    let mut knows = anew.clone();
    knows.known = Some(KnownList::new(bob.newest().clone()));
    denied(cases, "an older version than is known", &knows, &first_answer, "KT-7");

    // KT-8
    let mut late = asker.clone();
    late.clock += 601;
    denied(cases, "stale checkpoint", &late, &honest, "KT-8");
    late.clock = asker.clock - 301;
    denied(cases, "a directory ahead of the clock", &late, &honest, "KT-8");
    for (name, rule, leaf) in [
        ("time that goes back", "KT-8", Leaf { time: WallTime::from_unix(server.clock - 1), ..server.leaf() }),
        ("epoch that goes back", "KT-3", Leaf { epoch: 1, root: server.world.roots[1], ..server.leaf() }),
    ] {
        let mut log = server.log.clone();
        log.0.push(leaf);
        let answer = server.answer_with(&log, asker.seen.as_ref(), server.present(&bob, 1));
        denied(cases, name, &asker, &answer, rule);
    }
}

fn bob_supersedes(
    cases: &mut Cases<'_>,
    server: &mut Server,
    bob: &mut Person,
    asker: &Asker,
    old: &LookupProof,
    key: &str,
) {
    let label = bob.label();
    for _ in 0..2 {
        bob.add_device();
        server.publish(&[bob]);
    }
    let place = server.world.place(&label, Stale, 1);
    let (existing, fresh) = (server.world.place(&label, Fresh, 1), server.world.akd_lookup(&label).0);
    let mut tried = 0;
    for prefix in server.world.above(place) {
        let mut forged = fresh.clone();
        forged.version = 1;
        forged.epoch = old.epoch;
        forged.value = akd::AkdValue(bob.lists[0].hash().to_vec());
        forged.commitment_nonce = old.nonce.to_vec();
        forged.existence_vrf_proof = server.world.vrf(&label, Fresh, 1).to_vec();
        forged.existence_proof = server.world.membership(existing);
        forged.marker_vrf_proof = forged.existence_vrf_proof.clone();
        forged.marker_proof = forged.existence_proof.clone();
        forged.freshness_vrf_proof = server.world.vrf(&label, Stale, 1).to_vec();
        forged.freshness_proof = server.world.forged_non_membership(place, prefix);
        let Ok(proof) = LookupProof::from_akd(&forged, &[]) else { continue };
        tried += 1;
        let found = Found::Present { proof: Box::new(proof), lists: Vec::new() };
        let answer = server.answer_with(&server.log, asker.seen.as_ref(), found);
        let verdict = cases.add("forged freshness", asker, key, &bob.user, &answer.to_bytes());
        assert_eq!(verdict.err().as_deref(), Some("KT-6"));
    }
    assert!(tried > 0);
}

/// Adds the group's order to the scalar s of a VRF proof.
fn add_order(proof: &mut [u8; 80]) {
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (digit, add) in proof[48..].iter_mut().zip(order) {
        let sum = u16::from(*digit) + u16::from(add) + carry;
        *digit = sum as u8;
        carry = sum >> 8;
    }
}

/// Every so many bits of two honest answers changed, one at a time.
fn mutants(cases: &mut Cases<'_>) {
    let (server, bob) = grown(20);
    let key = log_key(&server);
    let mut asker = server.asker();
    asker.clock = server.clock;
    let absent = UserId::new("nobody", "example.org").unwrap();
    let label = String::from_utf8(label::devices(&absent)).unwrap();
    let absence = Found::Absent(Box::new(server.world.absence(&label)));
    let (mut grows, mut ann) = (Server::new(), Person::new("ann", 8));
    grows.publish(&[&ann]);
    let mut met = grows.asker();
    met.learn(&ann, &grows.answer(&ann, &met));
    for n in 0..6 {
        ann.add_device();
        grows.publish(&[&ann, &Person::new(&format!("n{n}"), n + 90)]);
    }
    let answer = grows.answer(&ann, &met).to_bytes();
    for bit in (5..answer.len() * 8).step_by(131) {
        let mut changed = answer.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let _ = cases.add(&format!("bit {bit} for somebody who has seen more"), &met, &key, &ann.user, &changed);
    }
    for (user, answer, step) in [
        (&bob.user, server.answer(&bob, &asker).to_bytes(), 97),
        (&absent, server.answer_with(&server.log, None, absence).to_bytes(), 61),
    ] {
        for bit in (3..answer.len() * 8).step_by(step) {
            let mut changed = answer.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(cases.add(&format!("bit {bit} of the answer about {user}"), &asker, &key, user, &changed).is_err());
        }
    }
}

fn markers(out: &Out) {
    let mut text = String::new();
    let mut odd = 1_u32;
    for n in 1..=6000 {
        odd = odd.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        for version in [n, odd >> (n % 31)] {
            if version > 0 {
                let versions: Vec<String> = marker_versions(version).iter().map(u64::to_string).collect();
                text += &format!("{version}:{}\n", versions.join(","));
            }
        }
    }
    out.write("markers.txt", text);
}
