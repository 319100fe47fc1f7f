//! Checkpoints that peers have told this device, and of which the server has not shown yet that they are of the log that this
//! device was shown (rule KT-13).
//!
//! | record | what |
//! |--------|------|
//! | `told/<key>` | of the log of that key, CBOR map: 0: format 1; 1: `[{0: the checkpoint, a note; 1: who told it; 2: when, by this device's clock}]`, oldest first |

use minicbor::{Decode, Encode};
use undertone_keys::{UserId, WallTime, cbor};

use super::{Home, HomeError, ServerPin};

const TOLD: &str = "told/";
/// Checkpoints that are kept of one log; the oldest go first.
pub(in crate::native) const MAX_TOLD: usize = 64;
/// Of those, by one user: nobody pushes out what others have told.
pub(in crate::native) const MAX_OF_ONE: usize = 8;

/// A checkpoint that a peer told, signed by the log's key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(in crate::native) struct KeptTold {
    /// The checkpoint as a note.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(in crate::native) note: Vec<u8>,
    /// Who told it first.
    #[n(1)]
    pub(in crate::native) by: UserId,
    /// When, by this device's clock.
    #[n(2)]
    pub(in crate::native) at: WallTime,
}

/// All of one log.
#[derive(Default, Encode, Decode)]
#[cbor(map)]
struct ToldRecord {
    #[n(0)]
    format: u8,
    #[n(1)]
    kept: Vec<KeptTold>,
}

impl Home {
    /// What is open between this device and the log of this server, oldest first.
    pub(in crate::native) fn told(&self, server: &ServerPin) -> Result<Vec<KeptTold>, HomeError> {
        Ok(self.read::<ToldRecord>(&name(server))?.map(|record| record.kept).unwrap_or_default())
    }

    /// Keeps a checkpoint until [`Home::settle_told`]. One that is kept already stays as it was.
    pub(in crate::native) fn keep_told(&self, server: &ServerPin, told: KeptTold) -> Result<(), HomeError> {
        self.change_told(server, |kept| {
            if kept.iter().any(|known| known.note == told.note) {
                return false;
            }
            let of_one = |known: &KeptTold| known.by == told.by;
            if kept.iter().filter(|known| of_one(known)).count() >= MAX_OF_ONE {
                let oldest = kept.iter().position(of_one);
                oldest.map(|oldest| kept.remove(oldest));
            }
            kept.drain(..(kept.len() + 1).saturating_sub(MAX_TOLD));
            kept.push(told);
            true
        })
    }

    /// Forgets a checkpoint: it is proven to be of one log with what this device was shown, or there is evidence that it is not.
    pub(in crate::native) fn settle_told(&self, server: &ServerPin, note: &[u8]) -> Result<(), HomeError> {
        self.change_told(server, |kept| {
            let before = kept.len();
            kept.retain(|known| known.note != note);
            kept.len() != before
        })
    }

    fn change_told(
        &self,
        server: &ServerPin,
        change: impl FnOnce(&mut Vec<KeptTold>) -> bool,
    ) -> Result<(), HomeError> {
        let name = name(server);
        self.change(&name, |before| {
            let damaged = |_| HomeError::Damaged(name.clone());
            let before: Option<ToldRecord> = before.map(cbor::decode).transpose().map_err(damaged)?;
            let mut kept = before.map(|record| record.kept).unwrap_or_default();
            let changed = change(&mut kept);
            Ok((changed.then(|| cbor::encode(&ToldRecord { format: 1, kept })), ()))
        })
    }
}

fn name(server: &ServerPin) -> String {
    format!("{TOLD}{}", server.identity.fingerprint())
}

#[cfg(test)]
mod tests {
    use undertone_keys::sign::SigningKey;
    use undertone_keys::testing::SeededRng;
    use undertone_protocol::statement::Statement;

    use super::*;

    fn pin(seed: u64) -> ServerPin {
        let identity = *SigningKey::generate(&mut SeededRng::new(seed)).public();
        let created = WallTime::from_unix(1);
        let statement = Statement { identity, domain: "x".into(), tls_key: [1; 32], created, vrf: [3; 32] };
        ServerPin::new("x:1".into(), &statement)
    }

    fn told(by: &str, number: usize) -> KeptTold {
        let at = WallTime::from_unix(u64::try_from(number).unwrap());
        KeptTold { note: format!("{by} {number}").into_bytes(), by: UserId::parse(by, "x").unwrap(), at }
    }

    #[test]
    fn kt_13_what_is_open_outlives_a_restart_and_the_oldest_go_first() {
        let folder = std::env::temp_dir().join(format!("undertone-told-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let home = Home::open(&folder).unwrap();
        let (server, other) = (pin(1), pin(2));
        assert_eq!(home.told(&server).unwrap(), []);
        home.keep_told(&server, told("bob", 1)).unwrap();
        // The same once more, by somebody else and later, is the one that is kept.
        home.keep_told(&server, KeptTold { note: told("bob", 1).note, ..told("eve", 9) }).unwrap();
        drop(home);
        let home = Home::open(&folder).unwrap();
        assert_eq!((home.told(&server).unwrap(), home.told(&other).unwrap()), (vec![told("bob", 1)], vec![]));

        // One who tells much pushes out what they have told themselves, and nothing else.
        for number in 0..MAX_OF_ONE + 5 {
            home.keep_told(&server, told("eve", number)).unwrap();
        }
        let kept = home.told(&server).unwrap();
        assert_eq!((kept.len(), &kept[0], &kept[1]), (MAX_OF_ONE + 1, &told("bob", 1), &told("eve", 5)));
        // Many together push out the oldest.
        for number in 0..MAX_TOLD {
            home.keep_told(&server, told(&format!("user{number}"), number)).unwrap();
        }
        let kept = home.told(&server).unwrap();
        assert_eq!((kept.len(), &kept[0]), (MAX_TOLD, &told("user0", 0)));
        home.settle_told(&server, &told("user0", 0).note).unwrap();
        home.settle_told(&server, b"never told").unwrap();
        assert_eq!(home.told(&server).unwrap()[0], told("user1", 1));
        drop(home);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
