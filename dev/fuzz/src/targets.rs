//! The entries.

use bytes::Bytes;
use undertone_call::room::KeySignal;
use undertone_call::signal::{Answer, Invite, Signal};
use undertone_keys::agreement::AgreementPublicKey;
use undertone_keys::cbor;
use undertone_keys::device_list::ClaimedList;
use undertone_keys::envelope::Envelope;
use undertone_keys::legacy::{LegacyPublicKey, SoftwareLegacyKey};
use undertone_keys::record::DeviceRecord;
use undertone_keys::recovery::RecoveryKey;
use undertone_keys::sign::{Device, Server, Signed, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, DeviceId, JoinId, Secret, Time, UserId, WallTime};
use undertone_media::packet::{Codec, Kind};
use undertone_media::{Epoch, HopExporter, MediaHeader, MemberHop, RelayHop, Ring, Sender, sframe};
use undertone_protocol::control::{ToMember, ToRelay, Unframer};
use undertone_protocol::delivery::frame::{key_package_suite, welcome_suite};
use undertone_protocol::delivery::{
    CommitFrame, GroupNews, GroupRequest, InfoFrame, Tree, TreeHashes, TreePatch, epoch_digest, testing,
};
use undertone_protocol::signal::{ToDevice, ToServer};
use undertone_protocol::statement::Statement;
use undertone_protocol::{Access, ClaimedAccess, Entry, Grant};
use undertone_relay::{ConnectionId, Input, Limits, Rooms};
use undertone_transparency::PeerTrust;

use crate::{Target, directory, groups, raida, swarm};

/// All of them.
pub const TARGETS: &[Target] = &[
    ("media_header", media_header),
    ("sframe_header", sframe_header),
    ("sealed_frame", sealed_frame),
    ("hop_packet", hop_packet),
    ("jitter", jitter),
    ("envelope", envelope),
    ("device_list", device_list),
    ("device_record", device_record),
    ("call_signal", call_signal),
    ("peer_trust", peer_trust),
    ("names", names),
    ("recovery_key", recovery_key),
    ("to_server", to_server),
    ("to_device", to_device),
    ("papers", papers),
    ("access_list", access_list),
    ("key_signal", key_signal),
    ("legacy_key", legacy_key),
    ("control_stream", control_stream),
    ("relay", relay),
    ("directory_answer", directory::answer),
    ("directory_proofs", directory::proofs),
    ("signed_note", directory::signed_note),
    ("log_tiles", directory::log_tiles),
    ("evidence", directory::evidence),
    ("account_history", directory::history),
    ("log_evidence", directory::log_evidence),
    ("errand", errand),
    ("delivery", delivery),
    ("delivery_service", groups::delivery_service),
    ("group_member", groups::group_member),
    ("raida_request", raida::request),
    ("raida_reply", raida::reply),
    ("raida_node", raida::node_answers),
    ("raida_client", swarm::client),
];

pub(crate) fn same(kind: &str, written: &[u8], read: &[u8]) {
    assert!(written == read, "{kind}: what was accepted is written differently");
}

/// What the owner of a home and a second process say to each other.
fn errand(bytes: &[u8]) {
    use undertone_client::native::errand::{Answer, Errand, Greeting, Reply};
    if let Ok(greeting) = Greeting::from_bytes(bytes) {
        same("greeting", &greeting.to_bytes(), bytes);
    }
    if let Ok(errand) = Errand::from_bytes(bytes) {
        same("errand", &errand.to_bytes(), bytes);
    }
    if let Ok(reply) = Reply::from_bytes(bytes) {
        same("reply", &reply.to_bytes(), bytes);
    }
    if let Ok(answer) = Answer::from_bytes(bytes) {
        same("answer", &answer.to_bytes(), bytes);
    }
}

fn media_header(bytes: &[u8]) {
    if let Ok((header, payload)) = MediaHeader::decode(bytes) {
        same("media header", &[header.encode().as_slice(), payload].concat(), bytes);
    }
}

fn sframe_header(bytes: &[u8]) {
    if let Ok((header, length)) = sframe::Header::decode(bytes) {
        let mut out = [0; sframe::MAX_HEADER];
        let written = header.encode(&mut out);
        same("SFrame header", out.get(..written).unwrap_or_default(), bytes.get(..length).unwrap_or_default());
    }
}

/// A ring that is handed frames of a stranger's making: none may open, none may disturb it.
fn sealed_frame(bytes: &[u8]) {
    let id = |n| [n; 16];
    let sender = |n: u8| {
        let user = UserId::parse("ada", "x").ok()?;
        let (device, join) = (DeviceId::from_bytes(id(n)), JoinId::from_bytes(id(n)));
        Some(Sender { user, device, join, index: u16::from(n) })
    };
    let mut ring = Ring::new(CallId::from_bytes(id(1)));
    let key = undertone_keys::call_agreement::MediaKey::new(Secret::filled_by(|key| key.fill(7)));
    let ready = ring.install(Time::ZERO, Epoch(1), key).is_ok()
        && sender(0).is_some_and(|me| ring.join(me).is_ok())
        && sender(1).is_some_and(|peer| ring.admit(peer).is_ok());
    assert!(ready, "the ring is not ready");
    let mut frame = bytes.to_vec();
    let opened = ring.open(Time::ZERO, Kind::Audio, Codec::OPUS_32K, &mut frame).is_ok();
    assert!(!opened, "a frame opened that nobody sealed");
}

fn hop_exporter() -> HopExporter {
    HopExporter::new(Secret::filled_by(|bytes| bytes.fill(7)))
}

/// Both ends of a hop that are handed packets of a stranger's making: what does not open moves no epoch, and what opens moves
/// it by one at most.
fn hop_packet(bytes: &[u8]) {
    let chain = || hop_exporter().chain([1; 32]);
    let (mut member, mut relay) = (MemberHop::new(chain()), RelayHop::new(chain()));
    // The corpus has a packet that opens at each end, once.
    let opened =
        [relay.open(Time::ZERO, &mut bytes.to_vec()).is_ok(), member.open(Time::ZERO, &mut bytes.to_vec()).is_ok()];
    let again =
        relay.open(Time::ZERO, &mut bytes.to_vec()).is_ok() || member.open(Time::ZERO, &mut bytes.to_vec()).is_ok();
    assert!(!again && opened != [true; 2], "a packet opened twice");
    assert!(relay.epoch() == Epoch(0), "a packet moved the relay's epoch");
    assert!(member.epoch().0 <= u32::from(opened == [false, true]), "a packet moved the member's epoch too far");
}

fn jitter(bytes: &[u8]) {
    use undertone_client::audio::jitter::{CAPACITY, JitterBuffer};
    let mut buffer = JitterBuffer::default();
    for (i, chunk) in bytes.chunks(9).enumerate() {
        let number = chunk.iter().skip(1).fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        buffer.push(Time::from_millis(u64::try_from(i).unwrap_or(0) * 7), number, vec![0; 3]);
        for _ in 0..chunk.first().map_or(0, |byte| byte % 4) {
            buffer.pop();
        }
        assert!(buffer.depth() <= CAPACITY, "the buffer grows without end");
    }
}

fn envelope(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::from_bytes(bytes) {
        assert!(envelope.claimed().format == undertone_keys::envelope::FORMAT, "an unknown format was read");
    }
}

fn device_list(bytes: &[u8]) {
    let Ok(user) = UserId::parse("ada", "localhost") else { return };
    if let Ok(list) = ClaimedList::from_bytes(bytes).and_then(|claimed| claimed.verify(&user)) {
        same("device list", &list.to_bytes(), bytes);
    }
}

fn device_record(bytes: &[u8]) {
    if let Ok(signed) = cbor::decode::<Signed>(bytes) {
        same("signed bytes", &cbor::encode(&signed), bytes);
        let _ = DeviceRecord::verify(&signed);
    }
}

fn call_signal(bytes: &[u8]) {
    if let Ok(signal) = Signal::decode(bytes) {
        same("signal", &signal.encode(), bytes);
    }
    if let Ok(invite) = cbor::decode::<Invite>(bytes) {
        same("invite", &cbor::encode(&invite), bytes);
    }
    if let Ok(answer) = cbor::decode::<Answer>(bytes) {
        same("answer", &cbor::encode(&answer), bytes);
    }
}

fn peer_trust(bytes: &[u8]) {
    if let Ok(trust) = PeerTrust::from_bytes(bytes) {
        same("peer trust", &trust.to_bytes(), bytes);
    }
}

fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(user) = UserId::parse(&text, "localhost") {
        let again = user.as_str().parse::<UserId>();
        assert!(again.as_ref() == Ok(&user), "{:?} is not its own name: {again:?}", user.as_str());
        assert!(!user.display().is_empty(), "a name that shows nothing");
    }
    let _ = AgreementPublicKey::from_sec1(bytes);
}

fn recovery_key(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(key) = RecoveryKey::parse(&text) {
        assert!(RecoveryKey::parse(&key.to_text()).is_ok(), "a key that cannot be read again");
    }
}

fn to_server(bytes: &[u8]) {
    if let Ok(message) = ToServer::decode(bytes) {
        same("message", &message.encode(), bytes);
    }
}

fn to_device(bytes: &[u8]) {
    if let Ok(message) = ToDevice::decode(bytes) {
        same("message", &message.encode(), bytes);
    }
}

/// What a server sees of an MLS group: frames, trees, what changes in them, and what is said about all of it.
fn delivery(bytes: &[u8]) {
    if let Ok(commit) = CommitFrame::read(bytes) {
        assert!(InfoFrame::read(bytes).is_err() && commit.group.len() < bytes.len(), "a commit that is a group info");
    }
    if let Ok(info) = InfoFrame::read(bytes) {
        assert_eq!(info.digest(), epoch_digest(info.context, info.confirmation_tag), "another digest than a member's");
    }
    let (welcome, package) = (welcome_suite(bytes), key_package_suite(bytes));
    assert!(welcome.is_err() || package.is_err(), "a Welcome that is a key package");
    let before = testing::tree(5, 1);
    let hashes = TreeHashes::of(&before);
    let changed = |after: &Tree, patch: &TreePatch| {
        let places = patch.nodes.iter().filter_map(|node| usize::try_from(node.index).ok());
        assert_eq!(hashes.after(&before, after, places), TreeHashes::of(after), "hashes that do not fit the tree");
    };
    if let Ok(tree) = Tree::decode(bytes) {
        same("tree", &tree.encode(), bytes);
        let patch = TreePatch::between(&before, &tree);
        assert_eq!(patch.apply(&before), Ok(tree.clone()), "a patch that does not lead there");
        changed(&tree, &patch);
    }
    if let Ok(patch) = cbor::decode::<TreePatch>(bytes)
        && let Ok(tree) = patch.apply(&before)
    {
        assert_eq!(TreePatch::between(&before, &tree), patch, "two ways to one tree");
        assert_eq!(Tree::decode(&tree.encode()), Ok(tree.clone()), "a tree that does not read back");
        changed(&tree, &patch);
    }
    if let Ok(request) = cbor::decode::<GroupRequest>(bytes) {
        same("request", &cbor::encode(&request), bytes);
    }
    if let Ok(news) = cbor::decode::<GroupNews>(bytes) {
        same("news", &cbor::encode(&news), bytes);
    }
}

fn papers(bytes: &[u8]) {
    let server = SigningKey::<Server>::generate(&mut SeededRng::new(1));
    let (first, second) = bytes.split_at(bytes.len() / 2);
    if let (Ok(grant), Ok(join)) = (cbor::decode::<Signed>(first), cbor::decode::<Signed>(second)) {
        let entry = Entry::verify(&grant, &join, server.public(), WallTime::from_unix(1));
        assert!(entry.is_err(), "papers that nobody signed");
    }
    let _ = Statement::verify(bytes, &[0; 32]);
}

/// A room's list: as it comes from a server, and as a home keeps it.
fn access_list(bytes: &[u8]) {
    let stranger = SigningKey::<Device>::generate(&mut SeededRng::new(9));
    if let Ok(claimed) = ClaimedAccess::from_bytes(bytes) {
        assert!(claimed.verify(stranger.public()).is_err(), "a list that its signer never signed");
    }
    if let Ok(access) = Access::from_stored(bytes) {
        same("access list", &access.to_bytes(), bytes);
        assert!(access.follows(&access).is_err(), "a list that follows itself");
    }
}

fn key_signal(bytes: &[u8]) {
    if let Ok(signal) = KeySignal::decode(&undertone_keys::secret::SecretBytes::new(bytes.to_vec())) {
        same("key signal", &signal.encode(), bytes);
    }
}

fn legacy_key(bytes: &[u8]) {
    if let Ok(key) = LegacyPublicKey::from_spki(bytes) {
        same("RSA key", key.as_bytes(), bytes);
    }
    assert!(SoftwareLegacyKey::from_pkcs8(bytes).is_none(), "a private key out of noise");
}

fn control_stream(bytes: &[u8]) {
    let mut unframer = Unframer::default();
    for piece in bytes.chunks(5) {
        unframer.push(piece);
        loop {
            match unframer.next_message() {
                Ok(Some(body)) => {
                    let framed = |frame: Option<Vec<u8>>| frame.and_then(|frame| frame.get(2..).map(<[u8]>::to_vec));
                    if let Ok(message) = ToRelay::decode(&body) {
                        same("control message", &framed(message.frame()).unwrap_or_default(), &body);
                        if let ToRelay::Join { grant, .. } = &message {
                            // A shard is chosen by what may be anything.
                            let _ = Grant::claimed_room(grant);
                        }
                    }
                    if let Ok(message) = ToMember::decode(&body) {
                        same("control message", &framed(message.frame()).unwrap_or_default(), &body);
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// A connection without papers says anything at all to a relay.
fn relay(bytes: &[u8]) {
    let server = SigningKey::<Server>::generate(&mut SeededRng::new(1));
    let mut rooms = Rooms::new(*server.public(), Limits::default());
    let connection = ConnectionId(1);
    rooms.handle_input(Time::ZERO, Input::Connected { connection, binding: [0; 32], hop: hop_exporter() });
    for (i, piece) in bytes.chunks(64).enumerate() {
        let now = Time::from_millis(u64::try_from(i).unwrap_or(0));
        let input = if i % 2 == 0 {
            Input::Control { connection, body: piece.to_vec(), wall: WallTime::from_unix(1) }
        } else {
            Input::Datagram { connection, bytes: Bytes::copy_from_slice(piece) }
        };
        rooms.handle_input(now, input);
        while rooms.poll_output().is_some() {}
    }
    rooms.handle_input(Time::from_millis(60_000), Input::Tick);
    assert!(rooms.stats().joins == 0, "somebody joined without papers");
    assert!(rooms.room_id(connection).is_none(), "somebody is in a room without papers");
}
