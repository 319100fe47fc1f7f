use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;

use undertone_keys::secret::SecretBytes;

use super::*;
use crate::native::home::{Home, HomeError};

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("undertone-errand-{name}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn sto_1_the_owner_of_a_home_runs_an_errand_and_asks_what_a_person_has_to_say() {
    // Longer than any socket's path may be.
    let folder = Folder::new(&"long".repeat(40));
    let home = Home::open(&folder.0).unwrap();
    assert!(matches!(Home::open(&folder.0), Err(HomeError::InUse(_))));
    assert!(matches!(Owner::find(&folder.0).await, Err(NoOwner::Nobody)));
    let counter = Counter::open(&home).unwrap();
    let socket = folder.0.join(NAME);
    let metadata = fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);

    let owner = async {
        let mut caller = counter.next().await.unwrap();
        assert_eq!(caller.errand().await.unwrap(), Errand::Rename { label: "laptop".into() });
        let Answer::Passphrase(typed) = caller.ask(Question::Unlock { recovery: false }).await.unwrap() else {
            panic!("no passphrase");
        };
        assert_eq!(typed.as_slice(), b"a long passphrase");
        caller.tell(&Reply::Shown { object: "{}".into(), text: "Renamed.".into() }).await.unwrap();
        caller.tell(&Reply::Done { code: 0 }).await.unwrap();
    };
    let second = async {
        let mut owner = Owner::find(&folder.0).await.unwrap();
        owner.send(&Errand::Rename { label: "laptop".into() }).await.unwrap();
        let asked = Reply::Asked { question: Question::Unlock { recovery: false } };
        assert_eq!(owner.reply().await.unwrap(), asked);
        owner.answer(&Answer::Passphrase(SecretBytes::new(b"a long passphrase".to_vec()))).await.unwrap();
        assert!(matches!(owner.reply().await.unwrap(), Reply::Shown { .. }));
        assert_eq!(owner.reply().await.unwrap(), Reply::Done { code: 0 });
        assert!(matches!(owner.reply().await, Err(NoOwner::Gone)));
    };
    tokio::join!(owner, second);
    drop(counter);
    assert!(!socket.exists());
}

#[tokio::test]
async fn sto_1_a_socket_that_was_left_behind_is_the_next_owners_to_take_away_and_nothing_else_is() {
    let folder = Folder::new("stale");
    let home = Home::open(&folder.0).unwrap();
    let socket = folder.0.join(NAME);
    // An owner that was killed leaves its socket: nobody listens on it.
    let stale = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    drop(stale);
    assert!(matches!(Owner::find(&folder.0).await, Err(NoOwner::Nobody)));
    drop(Counter::open(&home).unwrap());
    fs::write(&socket, "somebody's own").unwrap();
    assert!(Counter::open(&home).is_err());
    assert_eq!(fs::read_to_string(&socket).unwrap(), "somebody's own");
}

#[tokio::test]
async fn sto_1_an_owner_of_another_version_is_asked_for_nothing() {
    let folder = Folder::new("version");
    let _home = Home::open(&folder.0).unwrap();
    let listener = tokio::net::UnixListener::bind(folder.0.join(NAME)).unwrap();
    for (greeting, nobody) in [(Greeting { version: VERSION + 1 }.to_bytes(), false), (b"hello".to_vec(), true)] {
        let greet = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            frame::write(&mut stream, &greeting, MAX_QUESTION).await.unwrap();
            stream
        };
        let (_stream, found) = tokio::join!(greet, Owner::find(&folder.0));
        let right = matches!((&found, nobody), (Err(NoOwner::Version), false) | (Err(NoOwner::Nobody), true));
        assert!(right, "{found:?}");
    }
}

#[test]
fn sto_1_errands_and_answers_are_bounded() {
    let long = Errand::Rename { label: "x".repeat(5_000) };
    assert!(Errand::from_bytes(&long.to_bytes()).is_err());
    let most = Errand::ShowPeer { name: "bob".into(), proof: true, save: Some("/".repeat(4_096)) };
    assert_eq!(Errand::from_bytes(&most.to_bytes()), Ok(most));
    let secret = |length| Answer::Passphrase(SecretBytes::new(vec![7; length])).to_bytes();
    assert!(Answer::from_bytes(&secret(8 * 1024)).is_ok() && Answer::from_bytes(&secret(8 * 1024 + 1)).is_err());
    assert!(secret(100).capacity() >= secret(100).len(), "it did not have to grow");
    // Nothing but the one encoding: a yes with bytes, and a passphrase without.
    for bytes in [[0xa2, 0, 0, 1, 0x40].as_slice(), &[0xa1, 0, 1], &[0xa1, 0, 3], &[0xa1, 0, 0x18, 0]] {
        assert!(Answer::from_bytes(bytes).is_err(), "{bytes:?}");
    }
    assert!(matches!(Answer::from_bytes(&[0xa1, 0, 0]), Ok(Answer::Yes)));
    assert_eq!(format!("{:?}", Answer::Passphrase(SecretBytes::new(vec![1]))), "Passphrase(SecretBytes)");
}
