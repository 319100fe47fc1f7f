//! Device lists that stand in the directory and do not hold, or say what is not so: a server that checks nothing publishes what it
//! was handed, or made itself.
//!
//! Some of them list a key that is another's. An identity key signs the record that it stands in, so the list shows that its
//! holder did not (rule ID-2), and everybody can see that. An agreement key signs nothing: that its holder is there shows in each
//! call and nowhere else (ADR 1).

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use sqlx::SqlitePool;
use undertone_client::native::Home;
use undertone_keys::account::AccountWrap;
use undertone_keys::agreement::{DeviceKey, SoftwareKey};
use undertone_keys::consent::Consent;
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::record::DeviceRecord;
use undertone_keys::recovery::RecoveryKey;
use undertone_keys::sign::{Account, Device, Signed, SigningKey};
use undertone_keys::testing::{SeededRng, let_in};
use undertone_keys::{DeviceId, UserId, WallTime, cbor, labels};
use undertone_testkit::process::result as json;
use undertone_testkit::terminal::PASSPHRASE;
use undertone_testkit::{Process, ServerProcess, Terminal};

const PATIENCE: Duration = Duration::from_secs(30);

fn user(name: &str) -> UserId {
    UserId::parse(name, "localhost").unwrap()
}

/// The server's accounts. It does not run while they are changed, and publishes what is new at its start.
async fn accounts(server: &ServerProcess) -> SqlitePool {
    SqlitePool::connect(&format!("sqlite://{}", server.data().join("undertone.db").display())).await.unwrap()
}

/// Stores a list as a server does that checks nothing.
async fn store(accounts: &SqlitePool, user: &UserId, version: u32, list: &[u8]) {
    let insert = sqlx::query("INSERT INTO device_lists (user, version, list) VALUES (?, ?, ?)");
    let stored = insert.bind(user.as_str()).bind(version).bind(list).execute(accounts).await.unwrap();
    assert_eq!(stored.rows_affected(), 1);
}

/// An account that the server has made itself: the secrets are somebody's, and nobody logs in.
async fn make_account(accounts: &SqlitePool, user: &UserId, like: &UserId) {
    let insert = "INSERT INTO accounts SELECT ?, opaque, by_passphrase, by_recovery, created, recovery \
        FROM accounts WHERE user = ?";
    let made = sqlx::query(insert).bind(user.as_str()).bind(like.as_str()).execute(accounts).await.unwrap();
    assert_eq!(made.rows_affected(), 1);
}

/// The identity key of the device in a home.
fn identity(home: &Path) -> SigningKey<Device> {
    Home::open(home).unwrap().device().unwrap().unwrap().identity()
}

/// Bytes with `new` in the place of `old`, which stands there once and is as long.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..=bytes.len() - old.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
    let ([at], true) = (places.as_slice(), old.len() == new.len()) else { panic!("{places:?}") };
    [&bytes[..*at], new, &bytes[at + old.len()..]].concat()
}

/// Refused by rule KT-7 for this reason, and anybody comes to the same by what is kept. The log's key has signed one tree and no
/// more, so it convicts nobody.
fn refused(server: &ServerProcess, output: &Output, name: &str, why: &str) {
    let told = json(output);
    let message = told["message"].as_str().unwrap_or_default();
    assert_eq!(output.status.code(), Some(4), "{name}: {told}");
    assert!(message.contains("KT-7") && message.contains(why), "{name}: {told}");
    let (_, file) = message.rsplit_once("is kept in ").unwrap();
    let stranger = Terminal::new(server.join("stranger"), server.address());
    let judged = stranger.run(&["audit", "evidence", file.trim_end_matches('.')]).unwrap();
    let (code, judged) = (judged.status.code(), json(&judged));
    assert_eq!((code, &judged["rule"], &judged["holds"]), (Some(4), &"KT-7".into(), &false.into()), "{judged}");
    assert_eq!((judged["user"].as_str(), &judged["convicts"]), (Some(user(name).as_str()), &false.into()), "{judged}");
    assert!(judged["fault"].as_str().unwrap().contains(why), "{judged}");
}

/// Somebody whose keys are all here.
struct Person {
    user: UserId,
    account: SigningKey<Account>,
    phone: SigningKey<Device>,
    laptop: SigningKey<Device>,
}

impl Person {
    fn new(name: &str, rng: &mut SeededRng) -> Self {
        let (account, [phone, laptop]) = (SigningKey::generate(rng), [(); 2].map(|()| SigningKey::generate(rng)));
        Self { user: user(name), account, phone, laptop }
    }

    fn record(&self, of: &SigningKey<Device>, label: &str) -> DeviceRecord {
        let agreement = SoftwareKey::generate(&mut SeededRng::new(7));
        let (user, now) = (self.user.clone(), WallTime::from_unix(1));
        DeviceRecord::new(user, *of.public(), *agreement.public(), now, label.into())
    }

    /// The first list, with the phone.
    fn first(&self, label: &str) -> DeviceList {
        DeviceList::first(&self.account, &self.user, self.record(&self.phone, label).sign(&self.phone)).unwrap()
    }

    /// The laptop's record, with the phone's consent.
    fn let_in(&self) -> Signed {
        let_in(&self.phone, self.record(&self.laptop, "laptop")).sign(&self.laptop)
    }

    /// The list that follows, with the laptop let in.
    fn second(&self, first: &DeviceList) -> DeviceList {
        first.with(&self.account, self.let_in()).unwrap()
    }

    /// The same body with something else in it, signed by the account key.
    fn signed_anew(&self, list: &DeviceList, old: &[u8], new: &[u8]) -> Vec<u8> {
        let body: Signed = cbor::decode(&list.to_bytes()).unwrap();
        cbor::encode(&Signed::new(&self.account, labels::DEVICE_LIST, replaced(&body.bytes, old, new)))
    }
}

/// What stands in the directory behind somebody's first list.
#[derive(Clone, Copy, Debug)]
enum Behind {
    /// A list that the account key did not sign.
    BadSignature,
    /// One with a device that the server has put in.
    GhostDevice,
    /// One with a device that the account key alone has put in: the consent is not that of the phone.
    GhostDeviceWithoutConsent,
    /// An honest second, and then the first once more.
    OldListReplayed,
    /// The third as the second.
    VersionGap,
    /// One that follows another first list.
    BrokenChain,
    /// One of another account key.
    WrongKey,
}

impl Behind {
    const ALL: [(&'static str, Self); 7] = [
        ("bea", Self::BadSignature),
        ("ben", Self::GhostDevice),
        ("bill", Self::GhostDeviceWithoutConsent),
        ("bob", Self::OldListReplayed),
        ("brad", Self::VersionGap),
        ("bruno", Self::BrokenChain),
        ("bud", Self::WrongKey),
    ];

    /// The lists, as versions 2 and on.
    fn of(self, person: &Person, rng: &mut SeededRng) -> Vec<Vec<u8>> {
        let first = person.first("phone");
        let second = person.second(&first);
        let list = match self {
            Self::BadSignature => {
                let mut bytes = second.to_bytes();
                *bytes.last_mut().unwrap() ^= 1;
                bytes
            }
            Self::GhostDevice => replaced(&second.to_bytes(), b"laptop", b"ghosts"),
            Self::GhostDeviceWithoutConsent => {
                let (signed, stranger) = (person.let_in(), SigningKey::<Device>::generate(rng));
                let record = person.record(&person.laptop, "laptop");
                let consent = |by: &SigningKey<Device>| {
                    let phone = DeviceId::of(person.phone.public());
                    let given = Consent::new(person.user.clone(), phone, record.device, WallTime::from_unix(1));
                    *given.sign(by).signature.as_bytes()
                };
                let forged = replaced(&signed.bytes, &consent(&person.phone), &consent(&stranger));
                let forged = Signed::new(&person.laptop, labels::DEVICE_RECORD, forged);
                person.signed_anew(&second, &cbor::encode(&signed), &cbor::encode(&forged))
            }
            Self::OldListReplayed => return vec![second.to_bytes(), first.to_bytes()],
            Self::VersionGap => {
                second.revoke(&person.account, DeviceId::of(person.laptop.public())).unwrap().to_bytes()
            }
            Self::BrokenChain => person.second(&person.first("other")).to_bytes(),
            Self::WrongKey => {
                let (account, phone, laptop) =
                    (SigningKey::generate(rng), SigningKey::generate(rng), SigningKey::generate(rng));
                let theirs = Person { user: person.user.clone(), account, phone, laptop };
                theirs.second(&theirs.first("phone")).to_bytes()
            }
        };
        vec![list]
    }

    /// Why somebody refuses it who knows the first list.
    const fn why(self) -> &'static str {
        match self {
            Self::BadSignature | Self::GhostDevice => "the device list is not signed by its account key",
            Self::GhostDeviceWithoutConsent => "adds a device that none of the others let in",
            Self::OldListReplayed | Self::VersionGap | Self::BrokenChain | Self::WrongKey => {
                "does not follow the one before it"
            }
        }
    }

    /// Why somebody refuses it who is shown it alone; nothing where it holds by itself.
    const fn why_alone(self) -> Option<&'static str> {
        match self {
            Self::BrokenChain | Self::WrongKey => None,
            Self::OldListReplayed => Some("list 1 stands in the directory as version 3"),
            Self::VersionGap => Some("list 3 stands in the directory as version 2"),
            _ => Some(self.why()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_7_a_list_that_the_directory_names_has_to_hold_and_to_follow_the_one_before() {
    let mut server = ServerProcess::start("false-lists").unwrap();
    let [ada, dave] =
        ["ada", "dave"].map(|name| Terminal::registered(server.join(name), server.address(), name).unwrap());
    let rng = &mut SeededRng::new(1);
    let people: Vec<(Person, Behind)> =
        Behind::ALL.into_iter().map(|(name, behind)| (Person::new(name, rng), behind)).collect();
    server.end().unwrap();
    let database = accounts(&server).await;
    for (person, _) in &people {
        make_account(&database, &person.user, &user("ada")).await;
        store(&database, &person.user, 1, &person.first("phone").to_bytes()).await;
    }
    server.start_again().unwrap();
    let show = |terminal: &Terminal, name: &str| terminal.run(&["peer", "show", name]).unwrap();
    for (name, _) in Behind::ALL {
        let shown = show(&ada, name);
        assert_eq!(shown.status.code(), Some(0), "the first list holds: {}", json(&shown));
    }
    server.end().unwrap();
    for (person, behind) in &people {
        for (version, list) in (2..).zip(behind.of(person, rng)) {
            store(&database, &person.user, version, &list).await;
        }
    }
    database.close().await;
    server.start_again().unwrap();

    for (name, behind) in Behind::ALL {
        println!("{behind:?}");
        refused(&server, &show(&ada, name), name, behind.why());
        let alone = show(&dave, name);
        match behind.why_alone() {
            Some(why) => refused(&server, &alone, name, why),
            None => assert_eq!(alone.status.code(), Some(0), "{}", json(&alone)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_without_possession_id_2_kt_7_a_record_that_its_device_did_not_sign_is_refused_and_kept() {
    let mut server = ServerProcess::start("not-its-own").unwrap();
    let [ada, _] = ["ada", "bob"].map(|name| Terminal::registered(server.join(name), server.address(), name).unwrap());
    server.end().unwrap();
    let database = accounts(&server).await;
    let rng = &mut SeededRng::new(1);
    let bobs = identity(&server.join("bob"));
    for (name, is_forged) in [("eve", false), ("mallory", true)] {
        // Both accounts list Bob's identity key. Eve's does so with a signature of Bob's, which nobody but him could make; it is
        // here to show that all else in these lists is as it should be.
        let person = Person::new(name, rng);
        let record = person.record(&bobs, "phone");
        let (signed, forged) = (record.sign(&bobs), record.sign(&person.phone));
        let honest = DeviceList::first(&person.account, &person.user, signed.clone()).unwrap();
        let forged = person.signed_anew(&honest, signed.signature.as_bytes(), forged.signature.as_bytes());
        make_account(&database, &person.user, &user("bob")).await;
        store(&database, &person.user, 1, &if is_forged { forged } else { honest.to_bytes() }).await;
    }
    database.close().await;
    server.start_again().unwrap();

    let holds = ada.run(&["peer", "show", "eve"]).unwrap();
    assert_eq!((holds.status.code(), &json(&holds)["state"]), (Some(0), &"pinned".into()), "{}", json(&holds));
    for command in [["peer", "show", "mallory"].as_slice(), &["call", "mallory", "--no-devices"]] {
        refused(&server, &ada.run(command).unwrap(), "mallory", "the device record is not signed by the device");
    }
    // Who is in nobody's memory is not in this one's either.
    assert!(Home::open(&server.join("ada")).unwrap().peer(&user("mallory")).unwrap().is_none());
}

fn waiting(terminal: &Terminal) -> Process {
    let mut answer = terminal.start(&["answer", "--no-devices"]).unwrap();
    answer.wait_for("waiting", PATIENCE).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_without_possession_call_1_who_lists_anothers_agreement_key_talks_to_nobody() {
    let mut server = ServerProcess::start("anothers-key").unwrap();
    let [ada, bob] =
        ["ada", "bob"].map(|name| Terminal::registered(server.join(name), server.address(), name).unwrap());
    let eve = Terminal::new(server.join("eve"), server.address());
    let made = json(&eve.with_passphrase(PASSPHRASE, &["register", "eve"]).unwrap());
    let recovery = RecoveryKey::parse(made["recovery_key"].as_str().unwrap()).unwrap();
    server.end().unwrap();
    let (database, eves) = (accounts(&server).await, user("eve"));
    let list_of = async |user: &UserId| {
        let query = sqlx::query_as("SELECT list FROM device_lists WHERE user = ?").bind(user.as_str());
        let (list,): (Vec<u8>,) = query.fetch_one(&database).await.unwrap();
        ClaimedList::from_bytes(&list).unwrap().verify(user).unwrap()
    };
    // Eve's device goes on under its own identity with Bob's agreement key, and her account key signs that.
    let (before, bobs) = (list_of(&eves).await, list_of(&user("bob")).await);
    let wrapped = sqlx::query_as("SELECT by_recovery FROM accounts WHERE user = ?").bind(eves.as_str());
    let (wrapped,): (Vec<u8>,) = wrapped.fetch_one(&database).await.unwrap();
    let account = AccountWrap::from_recovery_key(&recovery, &eves).unwrap(&wrapped).unwrap();
    let record = DeviceRecord { version: 2, agreement: bobs.records()[0].agreement, ..before.records()[0].clone() };
    let list = before.with(&account, record.sign(&identity(&server.join("eve")))).unwrap();
    store(&database, &eves, 2, &list.to_bytes()).await;
    database.close().await;
    server.start_again().unwrap();

    // The directory's part holds: nothing in a list shows who holds an agreement key, and nobody is accused.
    let shown = ada.run(&["peer", "show", "eve"]).unwrap();
    let version = json(&shown)["version"].clone();
    assert_eq!((shown.status.code(), &json(&shown)["state"]), (Some(0), &"pinned".into()), "{version}");

    // Whom Ada calls there cannot read it, and the one whose key it is hears nothing of it: who calls him next is the first to.
    let (mut theirs, his) = (waiting(&eve), waiting(&bob));
    let mut call = ada.start(&["call", "eve", "--no-devices"]).unwrap();
    theirs.wait_for("rejected", PATIENCE).unwrap();
    came_to_nothing(&theirs);
    came_to_nothing(&call);
    assert!(call.is_running(), "nobody has answered");
    call.end().unwrap();
    theirs.end().unwrap();
    rings_first(&ada, "ada", his, "bob");

    // A call from there is sealed by Eve herself, and names another key than the list does: nobody is asked. What Ada's device
    // says to it is for the key in the list again.
    let mut hers = waiting(&ada);
    let mut call = eve.start(&["call", "ada", "--no-devices"]).unwrap();
    let rejected = hers.wait_for("rejected", PATIENCE).unwrap();
    assert!(rejected["reason"].as_str().unwrap().contains("other keys or accounts than the proven ones"), "{rejected}");
    call.wait_for("rejected", PATIENCE).unwrap();
    came_to_nothing(&hers);
    came_to_nothing(&call);
    call.end().unwrap();
    rings_first(&bob, "bob", hers, "ada");
    assert!(!server.join("ada").join("evidence").exists(), "nothing is disproven");
}

/// Calls somebody who waits: nothing else has come to them before.
fn rings_first(caller: &Terminal, name: &str, mut waiting: Process, callee: &str) {
    let call = caller.start(&["call", callee, "--no-devices"]).unwrap();
    let came = waiting.wait_for_any(&["incoming", "rejected", "over"], PATIENCE).unwrap();
    assert_eq!((&came["event"], came["peer"].as_str()), (&"incoming".into(), Some(user(name).as_str())), "{came}");
    call.end().unwrap();
    waiting.end().unwrap();
}

/// Nobody was asked, and nothing was agreed.
fn came_to_nothing(process: &Process) {
    for event in ["incoming", "established", "connected"] {
        assert!(process.last(event).is_none(), "{:?}", process.events);
    }
}
