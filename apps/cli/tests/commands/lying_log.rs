//! A server that lies with its log's own key: it goes on with a leaf that none of the rules about the log allows, signs that, and
//! proves whatever can be proven of it. All else in its answers is as it should be.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{SystemTime, UNIX_EPOCH};

use undertone_keys::sign::{Server, SigningKey};
use undertone_keys::{Secret, WallTime};
use undertone_testkit::process::result as json;
use undertone_testkit::{Asked, ServerProcess, Terminal, TwoFaces};
use undertone_transparency::answer::{Answer, Hashes};
use undertone_transparency::checkpoint::{Checkpoint, origin};
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::{Hash, Subtrees, node_hash, prove_consistency, prove_inclusion, root};

/// How the log goes on, and what that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgery {
    /// With a leaf of an earlier time.
    TimeGoesBack,
    /// With a leaf of half an hour from now.
    FromTheFuture,
    /// With the epoch before.
    EpochGoesBack,
    /// With another directory for the same epoch.
    OtherDirectory,
    /// With another VRF key.
    OtherVrfKey,
    /// Not at all: its last leaf is another one.
    SameSizeOtherRoot,
    /// As a longer one that does not begin with what was shown.
    NotGrown,
    /// It begins anew with a leaf of an hour ago, for somebody who remembers nothing.
    Stale,
}

impl Forgery {
    /// For somebody who has seen the log.
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::TimeGoesBack, "KT-8", "went back"),
        (Self::FromTheFuture, "KT-8", "ahead of this device's clock"),
        (Self::EpochGoesBack, "KT-3", "went back from epoch"),
        (Self::OtherDirectory, "KT-3", "two directories for epoch"),
        (Self::OtherVrfKey, "KT-14", "VRF key is not the pinned one"),
        (Self::SameSizeOtherRoot, "KT-4", "two different trees of"),
        (Self::NotGrown, "KT-4", "is not shown to begin with"),
    ];

    fn of(self, honest: &[Leaf]) -> Log {
        let (last, mut leaves) = (*honest.last().unwrap(), honest.to_vec());
        let at = |time: WallTime, more: i64| WallTime::from_unix(time.as_unix().saturating_add_signed(more));
        let now = WallTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
        let next = Leaf { time: at(last.time, 1), ..last };
        match self {
            Self::TimeGoesBack => leaves.push(Leaf { time: at(last.time, -1), ..last }),
            Self::FromTheFuture => leaves.push(Leaf { time: at(now, 1_800), ..last }),
            Self::EpochGoesBack => leaves.push(Leaf { epoch: last.epoch - 1, ..next }),
            Self::OtherDirectory => leaves.push(Leaf { root: [7; 32], ..next }),
            Self::OtherVrfKey => leaves.push(Leaf { vrf_key: [7; 32], ..next }),
            Self::SameSizeOtherRoot => *leaves.last_mut().unwrap() = next,
            Self::NotGrown => {
                *leaves.last_mut().unwrap() = next;
                leaves.push(Leaf { time: at(next.time, 1), ..next });
            }
            Self::Stale => leaves = vec![Leaf { time: at(now, -3_600), ..last }],
        }
        Log(leaves)
    }
}

struct Log(Vec<Leaf>);

impl Subtrees for Log {
    type Error = Infallible;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        if level == 0 {
            return Ok(self.0[usize::try_from(index).unwrap()].hash());
        }
        Ok(node_hash(&self.subtree(level - 1, index * 2)?, &self.subtree(level - 1, index * 2 + 1)?))
    }
}

impl Log {
    /// Puts this log in the place of an answer's own, with every proof that there is.
    fn head(&self, key: &SigningKey<Server>, asked: &Asked, mut answer: Answer) -> Answer {
        let size = self.0.len() as u64;
        let Ok(root) = root(size, self);
        let Ok(consistency) = prove_consistency(asked.seen.min(size), size, self);
        let Ok(inclusion) = prove_inclusion(size - 1, size, self);
        let signed = Checkpoint { origin: origin("localhost").unwrap(), size, root }.sign(key);
        answer.head.checkpoint = signed.to_bytes();
        (answer.head.consistency, answer.head.inclusion) = (Hashes(consistency), Hashes(inclusion));
        answer.head.leaf = self.0.last().unwrap().to_bytes();
        answer
    }
}

/// The leaves that the server has signed so far.
fn leaves(data: &Path) -> Vec<Leaf> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entries: Vec<(Vec<u8>,)> = runtime.block_on(async {
        let pool =
            sqlx::SqlitePool::connect(&format!("sqlite://{}", data.join("directory.db").display())).await.unwrap();
        let entries = sqlx::query_as("SELECT entry FROM leaf ORDER BY number").fetch_all(&pool).await.unwrap();
        pool.close().await;
        entries
    });
    entries.iter().map(|(entry,)| Leaf::from_bytes(entry).unwrap()).collect()
}

/// Makes a home forget what it has seen of the log, as one does that was put back from a copy.
fn forget_the_log(home: &Path) {
    let table = redb::TableDefinition::<&str, &[u8]>::new("records");
    let database = redb::Database::open(home.join("undertone.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut forgotten = 0;
    transaction
        .open_table(table)
        .unwrap()
        .retain(|name, _| {
            let seen = name.starts_with("seen/");
            forgotten += u32::from(seen);
            !seen
        })
        .unwrap();
    assert_eq!(forgotten, 1);
    transaction.commit().unwrap();
}

/// Exit code 4, this rule for this reason, and a file that says the same to somebody without an account.
fn refused(server: &ServerProcess, output: &Output, (forgery, rule, why): (Forgery, &str, &str)) {
    let told = json(output);
    let message = told["message"].as_str().unwrap_or_default();
    assert_eq!(output.status.code(), Some(4), "{forgery:?}: {told}");
    assert!(message.contains(&format!("({rule})")) && message.contains(why), "{forgery:?}: {told}");
    let (_, file) = message.rsplit_once("is kept in ").unwrap_or_else(|| panic!("{forgery:?}: {told}"));
    let stranger = Terminal::new(server.join("stranger"), server.address());
    let judged = stranger.run(&["audit", "evidence", file.trim_end_matches('.')]).unwrap();
    let (code, judged) = (judged.status.code(), json(&judged));
    assert_eq!((code, &judged["rule"], &judged["holds"]), (Some(4), &rule.into(), &false.into()), "{judged}");
    // Two trees of one size convict the log's key by themselves; whatever else it signed says what this device was shown.
    assert_eq!(judged["convicts"], forgery == Forgery::SameSizeOtherRoot, "{judged}");
}

#[test]
fn kt_3_kt_4_kt_8_kt_14_what_the_logs_own_key_signs_has_to_go_on_from_what_was_seen() {
    let server = ServerProcess::start("lying-log").unwrap();
    let front = TwoFaces::new(&server.data(), server.address()).unwrap();
    let face = front.face().unwrap();
    Terminal::registered(server.join("bob"), server.address(), "bob").unwrap();
    let [ada, dora] =
        ["ada", "dora"].map(|name| Terminal::registered(server.join(name), face.address(), name).unwrap());
    let show = |terminal: &Terminal| terminal.run(&["peer", "show", "bob"]).unwrap();
    assert_eq!(show(&ada).status.code(), Some(0));
    let honest = leaves(&server.data());
    let seed = fs::read(server.data().join("identity.key")).unwrap();
    let lies = |forgery: Forgery| {
        let (log, key) = (forgery.of(&honest), SigningKey::from_seed(Secret::from_slice(&seed).unwrap()));
        face.lies(move |asked, answer| log.head(&key, asked, answer));
    };
    for case in Forgery::ALL {
        lies(case.0);
        refused(&server, &show(&ada), case);
        refused(&server, &ada.run(&["call", "bob", "--no-devices"]).unwrap(), case);
    }
    // Who remembers nothing is told how old it is.
    forget_the_log(&server.join("dora"));
    lies(Forgery::Stale);
    refused(&server, &show(&dora), (Forgery::Stale, "KT-8", "60 minutes old"));
    face.is_honest();
    for terminal in [&ada, &dora] {
        assert_eq!(show(terminal).status.code(), Some(0), "{}", json(&show(terminal)));
    }
}
