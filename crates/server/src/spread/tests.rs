use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::mpsc::Receiver;
use undertone_keys::agreement::{DeviceKey, SoftwareKey};
use undertone_keys::device_list::DeviceList;
use undertone_keys::record::DeviceRecord;
use undertone_keys::sign::{Account as AccountKind, Device, SigningKey, VerifyingKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{DeviceId, UserId, WallTime};
use undertone_protocol::limits::{ENVELOPE_BURST, SIGNAL_QUEUE};
use undertone_protocol::{Access, AccessList, Listed, Protection, Rights, Terms, access};

use super::*;
use crate::config::Limits;
use crate::store::{Account, Accounts, Sqlite, Token};

const NOW: WallTime = WallTime::from_unix(1_000);
pub(crate) const ROOM: RoomId = RoomId::from_bytes([7; 16]);

pub(crate) struct Person {
    pub(crate) address: Address,
    identity: SigningKey<Device>,
    account: VerifyingKey<AccountKind>,
    pub(crate) line: Receiver<ToDevice>,
}

pub(crate) struct World {
    folder: PathBuf,
    rng: SeededRng,
    store: Sqlite,
    pub(crate) desk: RoomDesk<Sqlite>,
    pub(crate) board: Switchboard,
}

impl World {
    pub(crate) async fn new(limits: &Limits) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("undertone-spread-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut rng = SeededRng::new(9);
        let store = Sqlite::open(&folder.join("test.db")).await.unwrap();
        let desk = RoomDesk::new(store.clone(), limits, true);
        let board = Switchboard::new(SigningKey::generate(&mut rng), limits, true);
        Self { folder, rng, store, desk, board }
    }

    /// Somebody with an account and a connected device.
    pub(crate) async fn person(&mut self, name: &str) -> Person {
        let user = UserId::parse(name, "x").unwrap();
        let rng = &mut self.rng;
        let (account, identity, agreement) =
            (SigningKey::<AccountKind>::generate(rng), SigningKey::<Device>::generate(rng), SoftwareKey::generate(rng));
        let record = DeviceRecord::new(user.clone(), *identity.public(), *agreement.public(), NOW, "laptop".into());
        let list = DeviceList::first(&account, &user, record.sign(&identity)).unwrap();
        let device = DeviceId::of(identity.public());
        let kept = Account {
            user: user.clone(),
            opaque: vec![1],
            by_passphrase: vec![2],
            by_recovery: vec![3],
            recovery: None,
            created: NOW,
        };
        let mut hash = [0; 32];
        hash[..16].copy_from_slice(device.as_bytes());
        let token = Token { hash, user: user.clone(), device };
        self.store.create(kept, list.to_bytes(), token, None).await.unwrap();
        let address = Address { user, device };
        let (_, line) = self.board.connect(address.clone(), *identity.public());
        Person { address, identity, account: *account.public(), line }
    }

    /// The list of the room with these in it, the first of whom made it and signs.
    pub(crate) async fn list(&self, before: Option<&Access>, people: &[&Person]) -> Access {
        let listed = |(place, person): (usize, &&Person)| Listed {
            user: person.address.user.clone(),
            account: person.account,
            rights: Rights { speak: true, moderate: place == 0 },
        };
        let mut members: Vec<Listed> = people.iter().enumerate().map(listed).collect();
        members.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        let creator = people[0];
        let list = match before {
            Some(before) => before.next(members, creator.address.clone(), NOW),
            None => AccessList {
                format: access::FORMAT,
                room: ROOM,
                version: 1,
                previous: None,
                name: "team".into(),
                terms: Terms::room(Protection::Blind),
                creator: creator.address.user.clone(),
                members,
                signer: creator.address.clone(),
                created: NOW,
            },
        };
        let access = Access::sign(list, &creator.identity).unwrap();
        let key = creator.identity.public();
        self.desk.take(&self.board, ROOM, &creator.address, key, &access.to_bytes()).await.unwrap();
        access
    }

    /// The call of whoever comes in now.
    async fn enter(&self, person: &Person) -> CallId {
        let entered = self.desk.enter(&self.board, ROOM, &person.address, *person.identity.public(), NOW).await;
        entered.unwrap();
        self.store.room(ROOM).await.unwrap().unwrap().call.unwrap()
    }

    async fn spread(&self, from: &Person, call: CallId, letters: Vec<Letter>) -> Option<ToDevice> {
        self.desk.spread(&self.board, &from.address, (ROOM, call), letters).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn letter(to: &Address, byte: u8) -> Letter {
    Letter { to: to.clone(), envelope: vec![byte; 300] }
}

/// What came on a line: from whom, and the first byte; nothing but what was delivered for this call, without a grant.
fn came(person: &mut Person, of: CallId) -> Vec<(UserId, u8)> {
    let mut came = Vec::new();
    while let Ok(message) = person.line.try_recv() {
        match message {
            ToDevice::Deliver { from, call, envelope, grant: None } if call == of => {
                came.push((from.user, envelope[0]))
            }
            ToDevice::RoomChanged { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    came
}

fn whys(answer: Option<ToDevice>) -> Vec<(DeviceId, Why)> {
    match answer {
        Some(ToDevice::Returned { letters, .. }) => letters.into_iter().map(|letter| (letter.to, letter.why)).collect(),
        None => Vec::new(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn grp_8_letters_go_among_those_on_the_newest_list_and_nobody_else() {
    let mut world = World::new(&Limits::default()).await;
    let (mut ada, mut bob) = (world.person("ada").await, world.person("bob").await);
    let (mut cid, mut eve) = (world.person("cid").await, world.person("eve").await);
    let first = world.list(None, &[&ada, &bob, &cid]).await;
    let call = world.enter(&ada).await;
    let away = Address { device: DeviceId::from_bytes([9; 16]), ..bob.address.clone() };
    let under_bobs_name = Address { user: bob.address.user.clone(), device: eve.address.device };
    let (to_bob, to_cid, to_eve, to_ada) =
        (bob.address.clone(), cid.address.clone(), eve.address.clone(), ada.address.clone());
    let to = [&to_bob, &to_eve, &away, &to_cid, &under_bobs_name, &to_ada];
    let letters = || to.iter().map(|to| letter(to, 1)).collect::<Vec<_>>();
    let answer = world.spread(&ada, call, letters()).await;
    let returned = [(eve.address.device, Why::Unlisted), (away.device, Why::Away), (eve.address.device, Why::Away)];
    assert!(matches!(answer, Some(ToDevice::Returned { call: of, after_ms: 0, .. }) if of == call));
    assert_eq!(whys(answer), returned);
    let one = [(ada.address.user.clone(), 1)];
    assert_eq!(
        (came(&mut bob, call), came(&mut cid, call), came(&mut ada, call)),
        (one.to_vec(), one.to_vec(), one.to_vec())
    );
    assert!(came(&mut eve, call).is_empty());
    assert_eq!(world.spread(&bob, call, vec![letter(&cid.address, 2)]).await, None, "all were handed on");
    assert_eq!(came(&mut cid, call), [(bob.address.user.clone(), 2)]);

    // Not by somebody who is not on the list, not for another call, and not in a room that is none.
    let refused: Vec<_> = to.iter().map(|to| (to.device, Why::Refused)).collect();
    assert_eq!(whys(world.spread(&eve, call, letters()).await), refused);
    let other = CallId::from_bytes([3; 16]);
    assert_eq!(whys(world.spread(&ada, other, letters()).await), refused);
    let nowhere = (RoomId::from_bytes([8; 16]), call);
    let nowhere = world.desk.spread(&world.board, &ada.address, nowhere, letters()).await.unwrap();
    assert_eq!(whys(nowhere), refused);

    // Who was taken off the list is off it from then on, as sender and as receiver; who was put on it is on it.
    world.list(Some(&first), &[&ada, &cid, &eve]).await;
    assert_eq!(
        whys(world.spread(&bob, call, vec![letter(&cid.address, 3)]).await),
        [(cid.address.device, Why::Refused)]
    );
    let answer = world.spread(&ada, call, vec![letter(&bob.address, 4), letter(&eve.address, 4)]).await;
    assert_eq!(whys(answer), [(bob.address.device, Why::Unlisted)]);
    assert_eq!((came(&mut bob, call), came(&mut eve, call)), (vec![], vec![(ada.address.user.clone(), 4)]));
}

#[tokio::test]
async fn grp_8_a_room_that_gets_its_call_is_known_by_it_at_once() {
    let mut world = World::new(&Limits::default()).await;
    let (ada, mut bob) = (world.person("ada").await, world.person("bob").await);
    world.list(None, &[&ada, &bob]).await;
    let early = CallId::from_bytes([1; 16]);
    let letters = || vec![letter(&bob.address, 1)];
    assert_eq!(whys(world.spread(&ada, early, letters()).await), [(bob.address.device, Why::Refused)]);
    let call = world.enter(&ada).await;
    assert_eq!(world.spread(&ada, call, letters()).await, None);
    assert_eq!(came(&mut bob, call).len(), 1);
}

#[tokio::test]
async fn dos_1_too_many_letters_or_too_large_ones_end_the_connection() {
    let mut world = World::new(&Limits::default()).await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    world.list(None, &[&ada, &bob]).await;
    let call = world.enter(&ada).await;
    let large = Letter { envelope: vec![0; MAX_ENVELOPE + 1], ..letter(&bob.address, 1) };
    for letters in [vec![], vec![letter(&bob.address, 1); MAX_LETTERS + 1], vec![letter(&bob.address, 1), large]] {
        let refused = world.desk.spread(&world.board, &ada.address, (ROOM, call), letters).await;
        assert_eq!(refused, Err(Reason::Malformed));
    }
    let most = vec![Letter { envelope: vec![0; MAX_ENVELOPE], ..letter(&bob.address, 1) }; 2];
    assert_eq!(world.spread(&ada, call, most).await, None);
}

#[tokio::test]
async fn dos_1_letters_have_a_budget_of_their_own_that_says_when_to_come_back() {
    let limits = Limits { spread_burst: 70, spread_rate: 10, envelope_burst: 1_000, ..Limits::default() };
    let mut world = World::new(&limits).await;
    let (ada, mut bob) = (world.person("ada").await, world.person("bob").await);
    world.list(None, &[&ada, &bob]).await;
    let call = world.enter(&ada).await;
    let letters = || vec![letter(&bob.address, 1); MAX_LETTERS];
    assert_eq!(world.spread(&ada, call, letters()).await, None);
    let answer = world.spread(&ada, call, letters()).await;
    let Some(ToDevice::Returned { letters: returned, after_ms, .. }) = answer else { panic!("{answer:?}") };
    // A bucket fills while this runs, by one or another.
    assert!((50..=58).contains(&returned.len()), "{}", returned.len());
    assert!(returned.iter().all(|letter| letter.why == Why::Later));
    assert!((4_000..=5_901).contains(&after_ms), "{after_ms} ms at ten a second");
    assert_eq!(came(&mut bob, call).len(), 2 * MAX_LETTERS - returned.len(), "what was not returned arrived");
    // It is nobody else's budget, and no other budget of hers.
    assert_eq!(world.spread(&bob, call, vec![letter(&ada.address, 1)]).await, None);
    let signals = (0..200).filter(|_| world.board.allow(&ada.address.user, Spending::Signal)).count();
    assert_eq!(signals, 200);
}

#[tokio::test]
async fn dos_1_letters_do_not_fill_the_queue_of_a_device_that_does_not_read() {
    let mut world = World::new(&Limits::default()).await;
    let (ada, mut bob) = (world.person("ada").await, world.person("bob").await);
    let mut people = Vec::new();
    for n in 0..8 {
        people.push(world.person(&format!("m{n}")).await);
    }
    let everybody: Vec<&Person> = [&ada, &bob].into_iter().chain(&people).collect();
    world.list(None, &everybody).await;
    let call = world.enter(&ada).await;
    let letters = || vec![letter(&bob.address, 1); MAX_LETTERS];
    let mut later = 0;
    for _ in 0..10 {
        later += whys(world.spread(&ada, call, letters()).await).len();
    }
    let burst = usize::try_from(ENVELOPE_BURST).unwrap();
    let handed_on = 10 * MAX_LETTERS - later;
    // The word of the new list was one of hers.
    assert!((burst - 1..SIGNAL_QUEUE / 2).contains(&handed_on), "one sender has its share: {handed_on}");
    for person in &people {
        let answer = world.spread(person, call, letters()).await;
        assert!(matches!(answer, Some(ToDevice::Returned { after_ms: 1_001, .. })), "{answer:?}");
    }
    assert_eq!(came(&mut bob, call).len() + 1, SIGNAL_QUEUE, "the queue is full, with the word that the list is new");
    assert_eq!(world.spread(&people[7], call, vec![letter(&ada.address, 1)]).await, None, "nobody else is touched");
}

#[tokio::test]
async fn dos_1_the_database_is_asked_once_and_not_for_each_spread() {
    let mut world = World::new(&Limits { room_burst: 4, room_rate: 0, ..Limits::default() }).await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    world.list(None, &[&ada, &bob]).await;
    let call = world.enter(&ada).await;
    let letters = || vec![letter(&bob.address, 1)];
    assert_eq!(world.spread(&ada, call, letters()).await, None);
    // There is no database any more, and nobody notices.
    world.store.close().await;
    for _ in 0..20 {
        assert_eq!(world.spread(&ada, call, letters()).await, None);
    }
    // What has to be looked up costs as much as any other request about a room, and comes back when that is spent.
    let nowhere = RoomId::from_bytes([8; 16]);
    let mut asked = 0;
    for _ in 0..10 {
        let answer = world.desk.spread(&world.board, &ada.address, (nowhere, call), letters()).await.unwrap();
        assert!(matches!(answer, Some(ToDevice::Returned { after_ms: 1_001, .. })), "{answer:?}");
        asked += usize::from(world.board.allow(&bob.address.user, Spending::Room));
    }
    assert_eq!(asked, 4, "Bob's own budget is untouched");
    assert!(!world.board.allow(&ada.address.user, Spending::Room), "hers is spent");
}
