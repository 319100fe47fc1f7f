//! Every size and rate that bounds what a peer can make us do. What an operator may change says so.

use core::time::Duration;

/// Bytes of a WebSocket message at most: the commit that removes somebody from a group of two hundred who have hardly committed
/// themselves is 166 kB under the hybrid suite, and its tree's changes come on top.
pub const MAX_SIGNAL: usize = 256 * 1024;
/// Bytes of an envelope that the server hands on at most: a call's signals need less than two thousand, and the first key of
/// a newcomer among a thousand members, with the roster of all of them, some twenty thousand.
pub const MAX_ENVELOPE: usize = 24 * 1024;
/// Bytes of a control-stream message at most.
pub const MAX_CONTROL: usize = 16 * 1024;
/// Bytes of a JSON body at most.
pub const MAX_JSON: usize = 256 * 1024;
/// Bytes of what a key directory proves of a user, as JSON, at most: all the lists that somebody slept through.
pub const MAX_PROOF: usize = 6 * 1024 * 1024;
/// OPAQUE exchanges in flight at most, over all addresses. Configurable.
pub const MAX_LOGINS: usize = 1_000;
/// OPAQUE exchanges in flight at most for one account from one address; eight times as many from one address, sixteen
/// times as many for one account. Whatever does not end well counts until its time is over. Configurable.
pub const MAX_LOGINS_PER_ACCOUNT: usize = 8;
/// How long an OPAQUE exchange may take.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long after a login a device may wait for the consent of one that is there, and how long such a consent is kept.
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the server lets a request wait for a consent before it says that there is none yet.
pub const CONSENT_WAIT: Duration = Duration::from_secs(20);
/// Consents that the server keeps for one account at most; an older one gives way.
pub const MAX_CONSENTS_PER_ACCOUNT: usize = 8;
/// Consents that the server keeps at most.
pub const MAX_CONSENTS: usize = 10_000;
/// Signals queued for one slow device; what comes on top is lost, and sent again by whoever sent it.
pub const SIGNAL_QUEUE: usize = 256;
/// Signals an account's devices may send in a burst. Configurable.
pub const SIGNAL_BURST: u32 = 200;
/// Signals per second they may go on sending. Configurable.
pub const SIGNAL_RATE: u32 = 50;
/// Letters of one spread at most: the members of a room are reached by a handful of messages.
pub const MAX_LETTERS: usize = 64;
/// Letters an account's devices may spread at once: a room of a thousand is given a new key, and the one after it. Configurable.
pub const SPREAD_BURST: u32 = 2_000;
/// Letters per second they may go on spreading. Configurable.
pub const SPREAD_RATE: u32 = 500;
/// Calls an account may open at once. Configurable.
pub const CALL_BURST: u32 = 16;
/// Calls per second it may go on opening. Configurable.
pub const CALL_RATE: u32 = 1;
/// New calls that reach one user at once, whoever makes them: each costs every device of theirs an agreement. Configurable.
pub const CALLEE_BURST: u32 = 60;
/// New calls per second that go on reaching them. Configurable.
pub const CALLEE_RATE: u32 = 4;
/// Look-ups of others that an account may make at once: whoever comes into a full room looks up everybody in it, and all of
/// them again every five minutes. Configurable.
pub const LOOKUP_BURST: u32 = 1_200;
/// Look-ups per second it may go on making. Configurable.
pub const LOOKUP_RATE: u32 = 20;
/// Requests about rooms that an account may make at once. Configurable.
pub const ROOM_BURST: u32 = 120;
/// Requests about rooms per second it may go on making. Configurable.
pub const ROOM_RATE: u32 = 4;
/// WebSockets that an account's devices may open at once. Configurable.
pub const SOCKET_BURST: u32 = 32;
/// WebSockets per second they may go on opening. Configurable.
pub const SOCKET_RATE: u32 = 1;
/// Envelopes that an account may send to one and the same device at once: a call needs a dozen. Configurable.
pub const ENVELOPE_BURST: u32 = 40;
/// Envelopes per second that it may go on sending to it. Configurable.
pub const ENVELOPE_RATE: u32 = 10;
/// TCP connections that may be in their TLS handshake. When there are more, the oldest gives way: somebody honest needs a
/// fraction of a second for one, so a flood must bring all of these anew in that time to be noticed. Configurable.
pub const HALF_OPEN: usize = 2_048;
/// Members of a room at most. Configurable.
pub const MAX_MEMBERS: usize = 1_000;
/// Those who only listen in a room with an audience, beside its members, at most. One speaker's sound for all of them is 150,000
/// packets a second. Configurable.
pub const MAX_LISTENERS: usize = 3_000;
/// People on a room's access list who may speak, at most.
pub const MAX_SPEAKERS: usize = 50;
/// People on a room's access list at most.
pub const MAX_LISTED: usize = 1_000;
/// The same where the room's keys come from a group under X-Wing, whose commits are ten times as long. The room's people may have as
/// many devices in it in all.
pub const MAX_LISTED_X_WING: usize = 150;
/// The same where the room has an audience: as many as may be members, and those who only listen.
pub const MAX_LISTED_WITH_AUDIENCE: usize = MAX_LISTED + MAX_LISTENERS;
/// Bytes of a room's signed access list at most: four thousand names and keys.
pub const MAX_ACCESS: usize = 512 * 1024;
/// Bytes of a page of versions of a room's access list at most, if it holds more than one.
pub const ACCESS_PAGE: usize = 128 * 1024;
/// Bytes of a request or answer that carries a room's access list at most: base64 of the largest.
pub const MAX_ACCESS_JSON: usize = 768 * 1024;
/// Versions of a room's access list at most; the server keeps all of them. Configurable.
pub const MAX_ACCESS_VERSIONS: u32 = 10_000;
/// Bytes of all versions of all lists of the rooms that one account has made; a room that is closed keeps its last.
/// Configurable.
pub const MAX_ACCESS_PER_CREATOR: u64 = 64 * 1024 * 1024;
/// Rooms that one account has made and not closed at most. Configurable.
pub const MAX_ROOMS_PER_CREATOR: u32 = 100;
/// How long a server remembers that somebody asks to be let into a room.
pub const KNOCK_LIFETIME: Duration = Duration::from_secs(600);
/// Those who ask to be let into one room at the same time at most, be there such a room or not.
pub const MAX_KNOCKS_PER_ROOM: usize = 16;
/// Rooms that one account asks to be let into at the same time at most.
pub const MAX_KNOCKS_PER_ACCOUNT: usize = 8;
/// All who ask at the same time at most.
pub const MAX_KNOCKS: usize = 10_000;
/// Rooms of a relay at most. Configurable.
pub const MAX_ROOMS: usize = 10_000;
/// Places in rooms that the devices of one user hold at the same time at most, in each of a relay's threads. Configurable.
pub const MAX_PLACES_PER_USER: usize = 32;
/// Packets per second that a member of a room may send, and twice as many at once: speech is 50 of them, ten megabits of
/// video in packets of 1,200 bytes a thousand, and half as many again repair what is lost. Configurable.
pub const MEMBER_PACKETS: u32 = 2_000;
/// Bytes per second that a member of a room may send, and twice as many at once: 20 megabits. Configurable.
pub const MEMBER_BYTES: u32 = 2_500_000;
/// Packets per second that the relay delivers in one room, each counted once for everybody it goes to, and twice as many at
/// once; one device alone may cause half of that. Fifty who all speak at once are 122,500, a speaker with video before a
/// hundred 100,000, a voice before an audience of three thousand 150,000: more than a thread carries each way. Configurable.
pub const ROOM_DELIVERIES: u32 = 400_000;
/// Media packets queued for one receiver; the oldest of whoever has most of them go first (rule RLY-4).
/// Configurable.
pub const RECEIVER_QUEUE: usize = 64;
/// Bytes of a control packet of a member who may not speak, or was silenced, at most: signs of life and reports of how others
/// are heard.
pub const CONTROL_PACKET: usize = 512;
/// Such packets per second that a relay still forwards of a member, and twice as many at once.
pub const CONTROL_PACKETS: u32 = 10;
/// QUIC connections of a relay at most. Configurable.
pub const RELAY_CONNECTIONS: usize = 20_000;
/// QUIC connections from one address at most (for IPv6, from one /64, and four times as many from a /48). Configurable.
pub const RELAY_CONNECTIONS_PER_ADDRESS: usize = 256;
/// How long a relay waits for the join after a connection stands.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that answers nothing for this long is removed (rule RLY-5: within 10 s).
pub const LIVENESS: Duration = Duration::from_secs(8);
/// Versions of an account's device list at most, but for such as revoke a device: all are kept, and an answer brings 1,024. By
/// the passphrase alone half as many.
pub const MAX_DEVICE_LISTS: u32 = 900;
/// Bytes of all versions of an account's device list at most, with those that it takes to revoke every device: an answer brings
/// as many. By the passphrase alone half as many.
pub const MAX_DEVICE_LIST_BYTES: u64 = 3 * 1024 * 1024;
/// Devices of an account, revoked ones included, of which the passphrase alone adds the last: the sixteen places behind are for
/// the recovery key, so that nobody who has stolen a passphrase uses an account up.
pub const MAX_DEVICES_BY_PASSPHRASE: usize = 48;
/// How long a grant is good for.
pub const GRANT_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Revoked devices whose grants a relay's thread still knows to refuse, at most; beyond, the oldest is forgotten.
pub const MAX_REVOKED: usize = 100_000;
/// How long the server remembers who may be handed a grant for a call that was opened.
pub const CALL_MEMORY: Duration = Duration::from_secs(120);
/// Bytes of an MLS commit at most.
pub const MAX_COMMIT: usize = 192 * 1024;
/// Bytes of a `GroupInfo` at most: it is 300 bytes, 1,415 under the hybrid suite, and holds no tree.
pub const MAX_GROUP_INFO: usize = 8 * 1024;
/// Bytes of all `Welcome`s of one commit at most.
pub const MAX_WELCOMES: usize = 96 * 1024;
/// Devices that one commit may welcome.
pub const MAX_WELCOMED: usize = 64;
/// Nodes of a ratchet tree at most: room for 2,048 leaves, which is a room's thousand members twice over.
pub const MAX_TREE_NODES: usize = 4_095;
/// Bytes of a node of it at most: a parent's with a thousand unmerged leaves has 4,000 and its key.
pub const MAX_TREE_NODE: usize = 8 * 1024;
/// Bytes of a ratchet tree at most: that of a thousand members has 364 kB, 2.6 MB under the hybrid suite.
pub const MAX_TREE: usize = 4 * 1024 * 1024;
/// Commits that the server keeps for one group at most; older ones go, and whoever lacks them comes in anew. Configurable.
pub const GROUP_HISTORY: u32 = 256;
/// Bytes of these commits at most. Configurable.
pub const GROUP_HISTORY_BYTES: u64 = 4 * 1024 * 1024;
/// Commits that one answer brings at most; whoever lacks more asks again.
pub const MAX_FOLLOWED_COMMITS: u32 = 64;
/// Bytes of these at most, but for one commit.
pub const MAX_FOLLOWED_BYTES: usize = 512 * 1024;
/// Epochs whose tree the server can hand out: the newest, and those that newcomers are fetching while commits go on.
pub const GROUP_TREES: usize = 8;
/// Devices that follow one group at most: a room's members with two devices each.
pub const MAX_FOLLOWERS: usize = 2_000;
/// Groups that one device follows at the same time at most.
pub const MAX_FOLLOWED_GROUPS: usize = 8;
/// A device that followed a group and is not connected is waited for this long before what it lacks may be forgotten.
pub const FOLLOWER_MEMORY: Duration = Duration::from_secs(600);
/// A group that nobody asked about for so long is forgotten; the grants of its call are over then.
pub const GROUP_IDLE: Duration = Duration::from_secs(24 * 3600);
/// Groups that a server keeps at most. Configurable.
pub const MAX_GROUPS: u32 = 10_000;
/// Commits that an account's devices may bring to groups at once, lost ones counted. Configurable.
pub const COMMIT_BURST: u32 = 20;
/// Commits per second that they may go on bringing. Configurable.
pub const COMMIT_RATE: u32 = 2;
/// Commits that may be brought to one group at once: a hundred who come in together. Configurable.
pub const GROUP_COMMIT_BURST: u32 = 100;
/// Commits per second that may go on being brought to it. Configurable.
pub const GROUP_COMMIT_RATE: u32 = 20;
/// How long a device that came in by an external commit waits before the next (rule MLS-2).
pub const EXTERNAL_COMMIT_EVERY: Duration = Duration::from_secs(30);
/// Group infos, trees and histories that an account's devices may ask for at once. Configurable.
pub const GROUP_BURST: u32 = 60;
/// Such requests per second that they may go on making. Configurable.
pub const GROUP_RATE: u32 = 2;
/// How long a commit stands at least before its epoch is given back: by then the members who could take it have said so (rule RLY-6).
pub const GIVEN_BACK_AFTER: Duration = Duration::from_secs(1);
/// Where everybody who was in a group is gone, and those outside cannot come in, it is given up: whoever has lost its connection is
/// waited for this long (rule RLY-6).
pub const DESERTED_AFTER: Duration = Duration::from_secs(20);
/// How long whoever began a group that was given up as nobody was there waits before they begin another: somebody else is first by then.
pub const DESERTED_BAN: Duration = Duration::from_secs(5);
/// How long whoever brought a commit that was given back waits before the next to the same epoch.
pub const GIVEN_BACK_BAN: Duration = Duration::from_secs(30);
/// Commits of a group that are remembered as given back at most.
pub const MAX_GIVEN_BACK: usize = 64;
/// Devices whose attests, and whose rejects, of one epoch are counted at most.
pub const MAX_ATTESTS: usize = 2_048;
/// Bytes of a key package at most: one of the hybrid suite has 2.7 kB.
pub const MAX_KEY_PACKAGE: usize = 4 * 1024;
/// Key packages that the server keeps for one device and suite at most, beside the last resort.
pub const MAX_KEY_PACKAGES: u32 = 100;
/// Key packages that one upload brings at most, so that it is no larger than [`MAX_JSON`].
pub const MAX_KEY_PACKAGES_AT_ONCE: usize = 40;
/// Suites for which one device has key packages at most.
pub const MAX_KEY_PACKAGE_SUITES: u32 = 4;
/// When fewer are left than this, their device is told.
pub const KEY_PACKAGES_LOW: u32 = 10;
/// How long a key package is good at most.
pub const KEY_PACKAGE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Devices that one claim names at most.
pub const MAX_CLAIMED: usize = 64;
/// Key packages of one device that one account may claim in a [`KEY_PACKAGE_CLAIM_WINDOW`].
pub const KEY_PACKAGE_CLAIMS: u32 = 5;
/// The time in which claims of one device's key packages are counted.
pub const KEY_PACKAGE_CLAIM_WINDOW: Duration = Duration::from_secs(600);
