//! What no host that hands a key to each can be faster than: one letter sealed for each, one after the other, and one opened.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context;
use undertone_client::Address;
use undertone_keys::agreement::EphemeralKey;
use undertone_keys::choice::Agreement;
use undertone_keys::envelope::{self, Envelope, Header, Purpose};
use undertone_keys::sign::{Device, SigningKey};
use undertone_keys::static_key::StaticKey;
use undertone_keys::{DeviceId, RequestId, UserId};

use super::people::{rng, wall_time};

/// Bytes of an epoch's letter, before it is padded: the secret, the statement and who has gone.
const TEXT: usize = 600;
/// Letters; the median counts.
const LETTERS: usize = 101;

/// One letter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    /// What it takes to seal and sign it.
    pub(super) seal: Duration,
    /// What it takes to read it and agree on its key, which is most of opening it.
    pub(super) open: Duration,
}

impl Letter {
    /// As this machine seals and opens them now.
    pub(super) fn measure() -> anyhow::Result<Self> {
        let (signer, key) = (SigningKey::<Device>::generate(&mut rng()), EphemeralKey::generate(&mut rng()));
        let address = Address { user: UserId::parse("ada", "x")?, device: DeviceId::of(signer.public()) };
        let (mut seal, mut open) = (Vec::with_capacity(LETTERS), Vec::with_capacity(LETTERS));
        for _ in 0..LETTERS {
            let header = Header {
                format: envelope::FORMAT,
                algorithm: Agreement::P256,
                purpose: Purpose::RoomKey,
                context: [7; 16],
                term: 1,
                epoch: 1,
                not_before: wall_time(),
                sender: address.clone(),
                recipient: address.clone(),
                request: RequestId::random(&mut rng()),
            };
            let began = Instant::now();
            let sealed = envelope::seal(&mut rng(), &signer, &header, &StaticKey::P256(*key.public()), &[7; TEXT]);
            let sealed = sealed.ok().context("a letter that cannot be sealed")?;
            seal.push(began.elapsed());
            let began = Instant::now();
            let letter = Envelope::from_bytes(&sealed)?;
            black_box(key.agree(key.public()).ok().context("a letter that cannot be opened")?);
            black_box(letter);
            open.push(began.elapsed());
        }
        Ok(Self { seal: median(seal), open: median(open) })
    }

    /// To so many, one after the other, and the last of them reads it.
    pub(super) fn to_all(self, others: u32) -> Duration {
        self.seal * others + self.open
    }
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_is_sealed_before_the_last_is_read() {
        let letter = Letter { seal: Duration::from_micros(100), open: Duration::from_micros(30) };
        assert_eq!(letter.to_all(199), Duration::from_micros(19_930));
        assert_eq!(letter.to_all(0), letter.open);
        let measured = Letter::measure().unwrap();
        assert!(measured.seal > Duration::ZERO && measured.open > Duration::ZERO);
    }
}
