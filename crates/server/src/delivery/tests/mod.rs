//! Rooms with groups, in one process and on a real database.

mod attested;
mod given_back;
mod key_packages;
mod left_behind;
mod one_commit;
mod refused;
mod restarted;
mod withdrawn;

use std::path::PathBuf;
use std::sync::atomic::AtomicU32;

use tokio::sync::mpsc::Receiver;
use undertone_keys::sign::{Device as DeviceKind, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, DeviceId, RoomId};
use undertone_protocol::access::{self, Access, AccessList, Listed};
use undertone_protocol::delivery::{EpochDigest, InfoFrame, Tree, TreePatch, Welcoming, testing};

use undertone_protocol::terms::GroupSuite;
use undertone_protocol::{Rights, Terms};

use super::*;
use crate::clock::Clock;
use crate::store::{Account, Accounts, Sqlite, StoredAccess, Token};

const NOW: WallTime = WallTime::from_unix(1_000);
const ROOM: RoomId = RoomId::from_bytes([7; 16]);
const CALL: CallId = CallId::from_bytes([8; 16]);

struct World {
    folder: PathBuf,
    limits: Limits,
    store: Sqlite,
    rooms: Arc<RoomDesk<Sqlite>>,
    board: Arc<Switchboard>,
    desk: Arc<GroupDesk<Sqlite>>,
    clock: Clock,
    versions: u32,
}

/// A connected device of somebody's.
struct Phone {
    you: Address,
    line: u64,
    queue: Receiver<ToDevice>,
}

/// Limits under which a test does as much as it wants.
fn ample() -> Limits {
    let many = 1_000_000;
    Limits {
        commit_burst: many,
        group_commit_burst: many,
        group_burst: many,
        room_burst: many,
        envelope_burst: many,
        ..Limits::default()
    }
}

fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

fn address(name: &str, n: u8) -> Address {
    Address { user: name.parse().unwrap(), device: device(n) }
}

fn switchboard(limits: &Limits, clock: &Clock) -> Arc<Switchboard> {
    let key = SigningKey::generate(&mut SeededRng::new(1));
    Arc::new(Switchboard::new(key, limits, true).with_clock(clock.clone()))
}

impl World {
    async fn new(limits: Limits) -> Self {
        Self::by(Clock::default(), limits).await
    }

    /// Whose time is set by hand.
    async fn by(clock: Clock, limits: Limits) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("undertone-delivery-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store = Sqlite::open(&folder.join("test.db")).await.unwrap();
        for (name, n) in [("ada@x", 1), ("bob@x", 2), ("eve@x", 3)] {
            let user: UserId = name.parse().unwrap();
            let account = Account {
                user: user.clone(),
                opaque: vec![1],
                by_passphrase: vec![2],
                by_recovery: vec![3],
                recovery: None,
                created: NOW,
            };
            store.create(account, vec![1], Token { hash: [n; 32], user, device: device(n) }, None).await.unwrap();
        }
        let board = switchboard(&limits, &clock);
        let rooms = Arc::new(RoomDesk::new(store.clone(), &limits, true));
        let desk = Arc::new(GroupDesk::new(store.clone(), rooms.clone(), board.clone(), &limits));
        let mut world = Self { folder, limits, store, rooms, board, desk, clock, versions: 0 };
        world.list(&["ada@x", "bob@x"]).await;
        world.store.call_of(ROOM, CALL, NOW, u64::MAX).await.unwrap();
        world
    }

    /// The room's list has these on it.
    async fn list(&mut self, members: &[&str]) {
        self.versions += 1;
        let access = StoredAccess {
            room: ROOM,
            version: self.versions,
            access: vec![1],
            creator: "ada@x".parse().unwrap(),
            members: members.iter().map(|name| name.parse().unwrap()).collect(),
        };
        self.store.append_access(access).await.unwrap();
        self.rooms.memberships.forget(ROOM);
    }

    /// The room's list has a speaker, who made it, and a listener, in a room with an audience.
    async fn list_with_audience(&mut self, speaker: &str, listener: &str) {
        let mut rng = SeededRng::new(9);
        let (key, account) = (SigningKey::<DeviceKind>::generate(&mut rng), *SigningKey::generate(&mut rng).public());
        let listed = |name: &str, speak| Listed {
            user: name.parse().unwrap(),
            account,
            rights: Rights { speak, moderate: speak },
        };
        let list = AccessList {
            format: access::FORMAT,
            room: ROOM,
            version: 1,
            previous: None,
            name: "talk".into(),
            terms: Terms::mls(GroupSuite::X25519).with_audience(),
            creator: speaker.parse().unwrap(),
            members: vec![listed(speaker, true), listed(listener, false)],
            signer: Address { user: speaker.parse().unwrap(), device: DeviceId::of(key.public()) },
            created: NOW,
        };
        self.versions += 1;
        let stored = StoredAccess {
            room: ROOM,
            version: self.versions,
            access: Access::sign(list, &key).unwrap().to_bytes(),
            creator: speaker.parse().unwrap(),
            members: [speaker, listener].map(|name| name.parse().unwrap()).to_vec(),
        };
        self.store.append_access(stored).await.unwrap();
        self.rooms.memberships.forget(ROOM);
    }

    /// Another process over the same database: nothing is left of what was in memory.
    async fn restart(&mut self) {
        self.store.close().await;
        self.store = Sqlite::open(&self.folder.join("test.db")).await.unwrap();
        self.board = switchboard(&self.limits, &self.clock);
        self.rooms = Arc::new(RoomDesk::new(self.store.clone(), &self.limits, true));
        self.desk = self.another_desk();
    }

    fn another_desk(&self) -> Arc<GroupDesk<Sqlite>> {
        Arc::new(GroupDesk::new(self.store.clone(), self.rooms.clone(), self.board.clone(), &self.limits))
    }

    fn phone(&self, name: &str, n: u8) -> Phone {
        let you = address(name, n);
        let identity = *SigningKey::<DeviceKind>::generate(&mut SeededRng::new(u64::from(n))).public();
        let (line, queue) = self.board.connect(you.clone(), identity);
        Phone { you, line, queue }
    }

    /// What is answered; what a device was seen in stands in [`Self::seen`].
    async fn ask(&self, phone: &Phone, request: GroupRequest) -> Vec<GroupNews> {
        let mut news = ask(&self.desk, phone, (ROOM, CALL), request).await;
        if let Some(GroupNews::State { seen, born, .. }) = news.first_mut() {
            (*seen, *born) = (None, None);
        }
        news
    }

    /// What a device is told that follows: the newest epoch in which it has shown to be.
    async fn seen(&self, phone: &Phone, have: Option<u64>) -> Option<u64> {
        match ask(&self.desk, phone, (ROOM, CALL), GroupRequest::Follow { have }).await[..] {
            [GroupNews::State { seen, .. }, ..] => seen,
            ref other => panic!("{other:?}"),
        }
    }

    async fn follow(&self, phone: &Phone, have: Option<u64>) -> Vec<GroupNews> {
        self.ask(phone, GroupRequest::Follow { have }).await
    }

    /// The group, at epoch 0.
    async fn begin(&self, phone: &Phone) {
        assert_eq!(self.ask(phone, create()).await, [accepted(0)]);
    }

    /// Ends an epoch as the only one who tries.
    async fn step(&self, phone: &Phone, epoch: u64) {
        assert_eq!(self.ask(phone, commit(epoch, 0)).await, [accepted(epoch + 1)]);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Phone {
    /// What came since.
    fn news(&mut self) -> Vec<GroupNews> {
        let messages = std::iter::from_fn(|| self.queue.try_recv().ok());
        let group = messages.filter_map(|message| match message {
            ToDevice::Group { call, news } => {
                assert_eq!(call, CALL);
                Some(news)
            }
            _ => None,
        });
        group.collect()
    }
}

async fn ask(
    desk: &GroupDesk<Sqlite>,
    phone: &Phone,
    place: (RoomId, CallId),
    request: GroupRequest,
) -> Vec<GroupNews> {
    let answers = desk.request(&phone.you, phone.line, place, 5, request).await;
    let news = answers.into_iter().map(|answer| match answer {
        ToDevice::Group { news, .. } => news,
        other => panic!("{other:?}"),
    });
    news.collect()
}

const fn accepted(epoch: u64) -> GroupNews {
    GroupNews::Accepted { number: 5, epoch }
}

fn refused(why: Denied) -> GroupNews {
    GroupNews::Refused { number: 5, why, after_ms: 0 }
}

fn is_later(news: &[GroupNews]) -> bool {
    matches!(news, [GroupNews::Refused { why: Denied::Later, after_ms: 1.., .. }])
}

/// The tree of an epoch: of four leaves that all changed.
fn tree(epoch: u64) -> Tree {
    testing::tree(4, u8::try_from(epoch % 200).unwrap())
}

fn info(epoch: u64) -> Vec<u8> {
    testing::group_info(&CALL, epoch, &tree(epoch), &epoch.to_be_bytes())
}

fn digest(info: &[u8]) -> EpochDigest {
    InfoFrame::read(info).unwrap().digest()
}

fn create() -> GroupRequest {
    GroupRequest::Create { info: info(0), tree: TreePatch::between(&Tree::default(), &tree(0)) }
}

fn bytes_of(epoch: u64, who: u8) -> Vec<u8> {
    testing::commit(&CALL, epoch, &[who; 200])
}

/// A commit that ends an epoch, another one for each who tries.
fn commit(epoch: u64, who: u8) -> GroupRequest {
    let patch = TreePatch::between(&tree(epoch), &tree(epoch + 1));
    GroupRequest::Commit { epoch, commit: bytes_of(epoch, who), welcomes: vec![], info: info(epoch + 1), tree: patch }
}

fn welcoming(epoch: u64, who: u8, to: Vec<Address>) -> GroupRequest {
    let GroupRequest::Commit { commit, info, tree, .. } = commit(epoch, who) else { unreachable!() };
    let welcomes = vec![Welcoming { to, welcome: testing::welcome(&[who; 30]) }];
    GroupRequest::Commit { epoch, commit, welcomes, info, tree }
}

fn news_of(epoch: u64, who: u8) -> GroupNews {
    GroupNews::Commit { epoch, commit: bytes_of(epoch, who).into() }
}
