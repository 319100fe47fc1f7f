//! Several questions to the key directory under way at once: an answer that another has overtaken is of an earlier state of the log
//! than the one that was checked meanwhile. That is nobody's lie, so it is asked for once more; what comes then has to follow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::sync::Mutex;
use std::time::Duration;

use tokio::runtime::Runtime;
use undertone_client::native::{Client, ClientError, Home, KeyChoice, Registration};
use undertone_keys::secret::SecretBytes;
use undertone_testkit::{Face, TestServer, TwoFaces};
use undertone_transparency::checkpoint::NotFollowing;
use undertone_transparency::verify::Accusation;

/// A server, and ada, who meets a face of it.
struct Asking {
    runtime: Runtime,
    server: TestServer,
    face: Face,
    ada: Client,
    _front: TwoFaces,
}

impl Asking {
    fn new(name: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(TestServer::start(name)).unwrap();
        let front = TwoFaces::new(&server.data(), server.address()).unwrap();
        let face = front.face().unwrap();
        let ada = Client::open(&server.join("ada")).unwrap();
        runtime.block_on(async {
            let passphrase = SecretBytes::new(b"passphrase of ada".to_vec());
            let registration = Registration {
                server: &face.address(),
                name: "ada",
                passphrase: &passphrase,
                label: "test",
                invite: None,
                anew: None,
                key: KeyChoice::P256,
            };
            ada.register(registration).await.unwrap();
            for name in ["bob", "carol"] {
                server.register(name).await.unwrap();
            }
        });
        Self { runtime, server, face, ada, _front: front }
    }

    /// What comes of `question`, whose answer is given and arrives only when the log has grown and another answer has shown it;
    /// and the leaves which that other one has shown.
    fn overtaken<T>(
        &self,
        path: &str,
        question: impl Future<Output = Result<T, ClientError>>,
    ) -> (Result<T, ClientError>, u64) {
        self.face.keeps_back(Some(path));
        let meanwhile = async {
            while self.face.kept_back() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.server.register("dave").await.unwrap();
            let carol = self.ada.user("carol").unwrap();
            let (_, proof) = self.ada.peer_with_proof(&carol).await.unwrap();
            self.face.keeps_back(None);
            proof.growth.size
        };
        self.runtime.block_on(async { tokio::join!(question, meanwhile) })
    }

    fn evidence(&self) -> usize {
        std::fs::read_dir(self.server.join("ada").join("evidence")).map_or(0, Iterator::count)
    }

    /// Leaves of the log that ada's home remembers, once nobody uses it any more.
    fn remembered(self) -> u64 {
        assert_eq!(self.evidence(), 0, "nobody is accused");
        drop(self.ada);
        let home = Home::open(&self.server.join("ada")).unwrap();
        let pin = home.server().unwrap().unwrap();
        home.seen(&pin).unwrap().unwrap().size()
    }
}

#[test]
fn kt_4_a_look_up_that_was_overtaken_is_made_again_and_accuses_nobody() {
    let asking = Asking::new("overtaken");
    let bob = asking.ada.user("bob").unwrap();
    let (pinned, shown) = asking.overtaken("/v1/users/bob", asking.ada.peer(&bob));
    assert_eq!(pinned.unwrap().user(), &bob);
    assert_eq!(asking.remembered(), shown, "what was seen of the log does not go back");
}

#[test]
fn kt_4_kt_11_a_history_that_was_overtaken_is_asked_for_again_and_accuses_nobody() {
    let asking = Asking::new("overtaken-history");
    let (audit, shown) = asking.overtaken("/v1/account/history", asking.ada.self_audit());
    assert_eq!(audit.unwrap().versions.len(), 1);
    assert_eq!(asking.remembered(), shown, "what was seen of the log does not go back");
}

#[test]
fn kt_4_who_is_asked_again_and_shows_the_earlier_log_once_more_is_accused_of_going_back() {
    let asking = Asking::new("overtaken-rollback");
    let bob = asking.ada.user("bob").unwrap();
    let first = Mutex::new(None);
    asking.face.lies(move |asked, answer| {
        let is_bobs = asked.user.starts_with("bob@");
        if is_bobs { first.lock().unwrap().get_or_insert(answer).clone() } else { answer }
    });
    let (refused, size) = asking.overtaken("/v1/users/bob", asking.ada.peer(&bob));
    let Err(ClientError::Proof { accusation, evidence }) = refused else { panic!("{refused:?}") };
    let went_back = NotFollowing::SmallerSize { known: size, shown: size - 1 };
    assert_eq!(*accusation, Accusation::Log(went_back));
    assert!(evidence.is_some_and(|file| file.is_file()) && asking.evidence() == 1);
}
