use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

#[test]
fn the_corpus_is_replayed() {
    let mut inputs = 0;
    for (name, target) in TARGETS {
        for entry in std::fs::read_dir(corpus(name)).unwrap_or_else(|_| panic!("{name} has no corpus")) {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            target(&bytes);
            // Each input also cut short, and with each of its first bytes changed.
            for cut in 0..bytes.len().min(300) {
                target(&bytes[..cut]);
                let mut changed = bytes.clone();
                changed[cut] ^= 1 << (cut % 8);
                target(&changed);
            }
            inputs += 1;
        }
    }
    assert!(inputs >= TARGETS.len(), "only {inputs} inputs");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_are_refused_in_order(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for (_, target) in TARGETS {
            target(&bytes);
        }
    }

    /// Bytes that look like CBOR get further than random ones.
    #[test]
    fn bytes_that_look_right_are_refused_in_order(bytes in proptest::collection::vec(
        prop_oneof![Just(0x80_u8), Just(0xa1), Just(0x58), Just(0x40), Just(0x82), Just(2), Just(0), any::<u8>()], 0..200)) {
        for (_, target) in TARGETS {
            target(&bytes);
        }
    }
}

/// Writes one good input for each target; run by hand when a format changes:
/// `UNDERTONE_WRITE_CORPUS=1 cargo test -p undertone-fuzz`.
#[test]
fn the_corpus_has_good_inputs() {
    use undertone_call::room::{EpochKey, KeySignal, RosterNews};
    use undertone_call::signal::Signal;
    use undertone_client::native::errand::Errand;
    use undertone_keys::agreement::{DeviceKey, SoftwareKey};
    use undertone_keys::cbor;
    use undertone_keys::choice::Agreement;
    use undertone_keys::device_list::DeviceList;
    use undertone_keys::envelope::{self, Address, Header, Purpose};
    use undertone_keys::epoch_secret::{EpochPlace, EpochSecret};
    use undertone_keys::record::DeviceRecord;
    use undertone_keys::recovery::RecoveryKey;
    use undertone_keys::sign::SigningKey;
    use undertone_keys::testing::SeededRng;
    use undertone_keys::{CallId, DeviceId, JoinId, RequestId, RoomId, UserId, WallTime};
    use undertone_media::packet::{Codec, Flags, Kind};
    use undertone_media::{MediaHeader, sframe};
    use undertone_protocol::control::{ToMember, ToRelay};
    use undertone_protocol::delivery::{GroupNews, GroupRequest, TreePatch, Welcoming, testing as mls};
    use undertone_protocol::group::{self, Cause, Place, Roster, SignedStatement, Statement as EpochStatement};
    use undertone_protocol::signal::{Letter, ReturnedLetter, ToDevice, ToServer, Why};
    use undertone_protocol::statement::Statement;
    use undertone_protocol::{Access, AccessList, Listed, Protection, Rights, Terms, access};
    use undertone_transparency::PeerTrust;

    let rng = &mut SeededRng::new(42);
    let user = UserId::parse("ada", "localhost").unwrap();
    let (account, identity, agreement) =
        (SigningKey::generate(rng), SigningKey::generate(rng), SoftwareKey::generate(rng));
    let now = WallTime::from_unix(1_000);
    let record = DeviceRecord::new(user.clone(), *identity.public(), *agreement.public(), now, "laptop".into());
    let signed = record.sign(&identity);
    let list = DeviceList::first(&account, &user, signed.clone()).unwrap();
    let address = Address { user, device: DeviceId::of(identity.public()) };
    let call = CallId::random(rng);
    let header = Header {
        format: envelope::FORMAT,
        algorithm: Agreement::P256,
        purpose: Purpose::CallSignal,
        context: *call.as_bytes(),
        term: 0,
        epoch: 0,
        not_before: now,
        sender: address.clone(),
        recipient: address.clone(),
        request: RequestId::random(rng),
    };
    let media = MediaHeader {
        flags: Flags::default(),
        kind: Kind::Audio,
        codec: Codec::OPUS_32K,
        stream: 0,
        fec_ratio: 0,
        sequence: 7,
        timestamp_ms: 140,
        fec_block: 0,
    };
    let mut frame = [0; 100];
    let key = sframe::SframeKey::derive(&[1; 32], 0x01_01);
    let length = sframe::Sealer::new(key).seal(&[], &[b"sound"], &mut frame).unwrap();
    let chain =
        |n| undertone_media::HopExporter::new(undertone_keys::Secret::filled_by(|bytes| bytes.fill(n))).chain([1; 32]);
    let mut hop = undertone_media::MemberHop::new(chain(7));
    let context = undertone_media::Context::MAIN_AUDIO;
    let info = undertone_media::FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context, captured_ms: 140 };
    let mut hop_packet = [0; 100];
    let hop_length = hop.seal(&media, 1, info, b"sound", &mut hop_packet).unwrap();
    // And what the relay hands on to the same member in its next epoch.
    let (mut next_packet, mut said) = ([0; 100], [0; 100]);
    let said_length = undertone_media::MemberHop::new(chain(8)).seal(&media, 2, info, b"sound", &mut said).unwrap();
    let mut other = undertone_media::RelayHop::new(chain(8));
    let said = other.open(undertone_keys::Time::ZERO, &mut said[..said_length]).unwrap();
    let mut relay = undertone_media::RelayHop::new(chain(7));
    relay.renew(undertone_keys::Time::ZERO, false);
    let next_length = relay.forward(&said, &mut next_packet).unwrap();
    let server = SigningKey::generate(rng);
    let statement = Statement {
        identity: *server.public(),
        domain: "localhost".into(),
        tls_key: [0; 32],
        created: now,
        vrf: [1; 32],
    };
    let hello = ToRelay::Join { version: 1, grant: signed.clone(), join: signed.clone() };
    let access = AccessList {
        format: access::FORMAT,
        room: RoomId::from_bytes([1; 16]),
        version: 1,
        previous: None,
        name: "team".into(),
        terms: Terms::room(Protection::Blind),
        creator: address.user.clone(),
        members: vec![Listed {
            user: address.user.clone(),
            account: *account.public(),
            rights: Rights { speak: true, moderate: true },
        }],
        signer: address.clone(),
        created: now,
    };
    let access = Access::sign(access, &identity).unwrap();
    let secret = EpochSecret::new(undertone_keys::Secret::filled_by(|bytes| bytes.fill(7)));
    let join = JoinId::from_bytes([2; 16]);
    let roster = Roster::new(vec![Place { join, index: 1 }]).unwrap();
    let call = CallId::from_bytes([3; 16]);
    let opened = EpochStatement {
        format: group::FORMAT,
        call,
        term: 1,
        epoch: 3,
        host: join,
        roster: roster.hash(),
        previous: None,
        commitment: secret.commitment(EpochPlace { call: &call, term: 1, epoch: 3 }),
        terms: Terms::room(Protection::Blind),
        access: access.hash(),
        version: 1,
        cause: Cause::Removed,
        removed: true,
        apply_ms: 250,
        handover: None,
    };
    let key = EpochKey { statement: SignedStatement::sign(&opened, &identity), secret };
    let roster = RosterNews::Whole(roster);
    let key_signal = KeySignal::Prepare { key, roster, checkpoint: vec![1, 2, 3], applied: 7 }.encode().to_vec();
    // SubjectPublicKeyInfo of a key of 2048 bits: what stands before the modulus, an odd number, and 65537.
    let before = b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00\
        \x30\x82\x01\x0a\x02\x82\x01\x01\x00";
    let legacy_key = [before.as_slice(), &[0xc3; 256], b"\x02\x03\x01\x00\x01"].concat();
    undertone_keys::legacy::LegacyPublicKey::from_spki(&legacy_key).unwrap();
    let letters = vec![Letter { to: address.clone(), envelope: vec![1, 2] }; 2];
    let returned = [Why::Away, Why::Later].map(|why| ReturnedLetter { to: address.device, why }).to_vec();
    let hop_epoch = ToMember::HopEpoch { epoch: 257, removed: true }.frame().unwrap();
    let (before, after) = (mls::tree(5, 1), mls::tree(6, 2));
    let patch = TreePatch::between(&before, &after);
    let commit = mls::commit(&call, 3, b"sealed");
    let request = GroupRequest::Commit {
        epoch: 3,
        commit: commit.clone(),
        welcomes: vec![Welcoming { to: vec![address.clone()], welcome: mls::welcome(b"sealed") }],
        info: mls::group_info(&call, 4, &after, b"history"),
        tree: patch.clone(),
    };
    let news = GroupNews::State { number: 1, oldest: 2, epoch: Some(3), seen: Some(4), born: Some([8; 32]) };
    let (reject, given_back) =
        (GroupRequest::Reject { epoch: 2 }, GroupNews::GivenBack { epoch: 2, oldest: 1, commit: [7; 32] });
    let group = ToServer::Group { room: RoomId::from_bytes([1; 16]), call, number: 1, request: request.clone() };
    let more = [
        ("delivery", "external_commit", mls::external_commit(&call, 3, b"signed")),
        ("delivery", "group_info", mls::group_info(&call, 4, &after, b"history")),
        ("delivery", "welcome", mls::welcome(b"sealed")),
        ("delivery", "key_package", mls::key_package(1)),
        ("delivery", "tree", after.encode()),
        ("delivery", "patch", cbor::encode(&patch)),
        ("delivery", "request", cbor::encode(&request)),
        ("delivery", "news", cbor::encode(&news)),
        ("delivery", "reject", cbor::encode(&reject)),
        ("delivery", "given_back", cbor::encode(&given_back)),
        ("to_server", "group", group.encode()),
        ("to_device", "group", ToDevice::Group { call, news }.encode()),
        ("to_device", "key_packages_low", ToDevice::KeyPackagesLow { suite: 2, left: 9 }.encode()),
        ("hop_packet", "next", next_packet[..next_length].to_vec()),
        ("control_stream", "hop_epoch", hop_epoch),
        ("to_server", "spread", ToServer::Spread { call, room: RoomId::from_bytes([1; 16]), letters }.encode()),
        ("to_device", "returned", ToDevice::Returned { call, letters: returned, after_ms: 1_001 }.encode()),
        (
            "to_device",
            "knocked",
            ToDevice::Knocked { room: RoomId::from_bytes([1; 16]), user: address.user.clone() }.encode(),
        ),
    ];
    let inputs: Vec<(&str, Vec<u8>)> = vec![
        ("media_header", [media.encode().as_slice(), &frame[..length]].concat()),
        ("sframe_header", frame[..length].to_vec()),
        ("sealed_frame", frame[..length].to_vec()),
        ("hop_packet", hop_packet[..hop_length].to_vec()),
        ("jitter", (0..90).collect()),
        ("envelope", envelope::seal(rng, &identity, &header, &(*agreement.public()).into(), b"text").unwrap()),
        ("device_list", list.to_bytes()),
        ("device_record", cbor::encode(&signed)),
        ("call_signal", Signal::Confirm { half: [1; 32], mac: [2; 32] }.encode().to_vec()),
        ("peer_trust", PeerTrust::pin(&undertone_transparency::testing::proven(&list)).to_bytes()),
        ("names", "Zoë@Example.org".as_bytes().to_vec()),
        ("recovery_key", RecoveryKey::generate(rng).to_text().into_bytes()),
        ("to_server", ToServer::Send { to: address.clone(), call, envelope: vec![1, 2] }.encode()),
        ("to_device", ToDevice::Welcome { version: 1, now, you: address }.encode()),
        ("papers", statement.sign(&server)),
        ("access_list", access.to_bytes()),
        ("key_signal", key_signal),
        ("legacy_key", legacy_key),
        ("control_stream", [hello.frame().unwrap(), ToRelay::Leave.frame().unwrap()].concat()),
        ("relay", hello.frame().unwrap()[2..].to_vec()),
        ("errand", Errand::TrustPeer { name: "bob".into(), fingerprint: "1f0c5 a7e".into(), accept: true }.to_bytes()),
        ("delivery", commit),
        ("delivery_service", of_a_group()),
        ("group_member", mls::commit(&groups::CALL, 2, b"sealed")),
    ];
    if std::env::var_os("UNDERTONE_WRITE_CORPUS").is_some() {
        let folder = corpus("group_member");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in groups::samples().unwrap() {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let inputs: Vec<(&str, Vec<u8>)> = inputs.into_iter().chain(of_the_directory(&list)).collect();
    let of_raida: Vec<_> = raida::good().into_iter().chain(swarm::good()).collect();
    let entries: std::collections::BTreeSet<_> = of_raida.iter().map(|(name, ..)| *name).collect();
    assert_eq!(inputs.len() + entries.len(), TARGETS.len());
    // And one of each message that has lists in it, or belongs to an epoch.
    let inputs = inputs.into_iter().map(|(name, bytes)| (name, "good", bytes)).chain(more).chain(of_raida);
    for (name, file, bytes) in inputs {
        let folder = corpus(name);
        if std::env::var_os("UNDERTONE_WRITE_CORPUS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), &bytes).unwrap();
        }
        let target = TARGETS.iter().find(|(target, _)| *target == name).unwrap().1;
        target(&bytes);
        assert_eq!(std::fs::read(folder.join(file)).unwrap(), bytes, "{name}: the format changed: see above");
    }
}

/// The life of a group: it is made, two bring a commit, one is rejected and given back, somebody comes in, and all is asked for.
fn of_a_group() -> Vec<u8> {
    use undertone_protocol::delivery::{GroupRequest, InfoFrame, Tree, TreePatch, testing as mls};

    let tree = |epoch: u8| mls::tree(4, epoch);
    let info = |epoch: u8| mls::group_info(&groups::CALL, u64::from(epoch), &tree(epoch), &[epoch]);
    let ending = |epoch: u8, commit: Vec<u8>| GroupRequest::Commit {
        epoch: u64::from(epoch),
        commit,
        welcomes: vec![],
        info: info(epoch + 1),
        tree: TreePatch::between(&tree(epoch), &tree(epoch + 1)),
    };
    let commit = |epoch: u8, inside: &[u8]| ending(epoch, mls::commit(&groups::CALL, u64::from(epoch), inside));
    let digest = InfoFrame::read(&info(1)).unwrap().digest();
    groups::requests(&[
        (0, GroupRequest::Follow { have: None }),
        (0, GroupRequest::Create { info: info(0), tree: TreePatch::between(&Tree::default(), &tree(0)) }),
        (1, GroupRequest::Follow { have: Some(0) }),
        (2, GroupRequest::Follow { have: Some(0) }),
        (0, commit(0, b"one")),
        (1, commit(0, b"another")),
        (1, GroupRequest::Attest { epoch: 1, digest }),
        (2, GroupRequest::Info),
        (2, ending(1, mls::external_commit(&groups::CALL, 1, b"signed"))),
        (0, GroupRequest::Reject { epoch: 1 }),
        (1, GroupRequest::Reject { epoch: 1 }),
        (2, GroupRequest::Withdraw { epoch: 1, born: None }),
        (0, GroupRequest::Reinform { epoch: 2, info: info(2), tree: TreePatch::default() }),
        (1, GroupRequest::Follow { have: Some(1) }),
    ])
}

/// What the entries of the key directory read. The proofs have the right form, and prove nothing.
fn of_the_directory(list: &undertone_keys::device_list::DeviceList) -> [(&'static str, Vec<u8>); 7] {
    use undertone_keys::WallTime;
    use undertone_keys::sign::{Server, SigningKey, Witness};
    use undertone_keys::testing::SeededRng;
    use undertone_transparency::answer::{Answer, Found, Hashes, Head, LeafOf, Older};
    use undertone_transparency::checkpoint::{Checkpoint, origin};
    use undertone_transparency::cosignature::Cosignature;
    use undertone_transparency::directory::wire::Update;
    use undertone_transparency::directory::wire::{Children, Present};
    use undertone_transparency::directory::{AbsenceProof, HistoryProof, LookupProof, Path};
    use undertone_transparency::evidence::Evidence;
    use undertone_transparency::follow::{Check, Progress};
    use undertone_transparency::history::{HistoryAnswer, Lists};
    use undertone_transparency::known::{KnownList, NewestAt};
    use undertone_transparency::leaf::Leaf;
    use undertone_transparency::note::{LogKey, WitnessKey};
    use undertone_transparency::policy::Witnesses;
    use undertone_transparency::verify::{Pins, Purpose, Question};

    let key = SigningKey::<Server>::generate(&mut SeededRng::new(43));
    let now = WallTime::from_unix(1_000);
    let leaf = Leaf { epoch: 1, root: [1; 32], vrf_key: [2; 32], time: now };
    let name = origin("localhost").unwrap();
    let mut checkpoint = Checkpoint { origin: name.clone(), size: 1, root: leaf.hash() }.sign(&key);
    let verified = checkpoint.clone().verify(&LogKey::new(name, *key.public())).unwrap();
    let witness = SigningKey::<Witness>::generate(&mut SeededRng::new(44));
    let witness_key = WitnessKey::new("witness.example.net".parse().unwrap(), *witness.public());
    let cosignature = Cosignature::sign(&verified, &witness, now).unwrap();
    checkpoint.push(cosignature.line(&witness_key)).unwrap();
    let path = || Path::new(vec![None]).unwrap();
    let absence = AbsenceProof { vrf: [3; 80], children: Children::new(None, None), path: path() };
    let existence = Present { vrf: [4; 80], path: path() };
    let proof = LookupProof {
        epoch: 1,
        version: 1,
        value: list.hash(),
        nonce: [5; 32],
        existence,
        freshness: absence,
        markers: Vec::new(),
    };
    let proof_bytes = proof.to_bytes();
    let update =
        Update { epoch: 1, value: list.hash(), nonce: [5; 32], existence: proof.existence.clone(), superseded: None };
    let head = Head {
        checkpoint: checkpoint.to_bytes(),
        consistency: Hashes::default(),
        leaf: leaf.to_bytes(),
        inclusion: Hashes::default(),
        witnessed: Some(vec![Older { checkpoint: checkpoint.to_bytes(), consistency: Hashes::default() }]),
    };
    let history = HistoryAnswer {
        head: head.clone(),
        proof: HistoryProof {
            latest: 1,
            updates: vec![update],
            past: Vec::new(),
            future: vec![proof.freshness.clone()],
        },
        lists: Lists(vec![list.to_bytes()]),
    };
    // Of a log whose key signed none of it.
    let other =
        LogKey::new(origin("localhost").unwrap(), *SigningKey::<Server>::generate(&mut SeededRng::new(45)).public());
    let accused = Check::begin(&Progress::new(other), Some(&witness_key), &checkpoint.to_bytes(), now).unwrap_err();
    let found = Found::Present { proof: Box::new(proof), lists: vec![list.to_bytes()] };
    let answer = Answer {
        head,
        found,
        announced: Some(LeafOf { index: 0, leaf: leaf.to_bytes(), inclusion: Hashes::default(), version: None }),
    };
    let answer = answer.to_bytes();
    let witnesses = Witnesses::new(1, vec![witness_key]).unwrap();
    let pins = Pins { domain: "localhost".into(), log: *key.public(), vrf: [6; 32], witnesses };
    let (user, purpose) = (list.user(), Purpose::Begin);
    let newest = Some(NewestAt { epoch: 1, time: now });
    let known = KnownList { list: list.clone(), newest };
    let question = Question { pins: &pins, user, seen: None, known: Some(&known), now, purpose };
    [
        ("directory_answer", answer.clone()),
        ("directory_proofs", proof_bytes),
        ("signed_note", checkpoint.to_bytes()),
        ("log_tiles", leaf.to_bytes()),
        ("evidence", Evidence::new(&question, &answer).to_bytes()),
        ("account_history", history.to_bytes()),
        ("log_evidence", accused.evidence.to_bytes()),
    ]
}
