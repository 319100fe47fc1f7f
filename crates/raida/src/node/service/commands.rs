//! What a node does of each command but 45, which is in [`heal`](super::heal).

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;

use super::turn::{Caller, Done, Turn};
use crate::coin::{Authenticity, Coin, Named};
use crate::command::{AlertPart, EncryptKey, GetKey, KEY_ID, KeyId, PostKey, StoredKey, read_alert};
use crate::frame::{self, FrameKey};
use crate::header::{Encryption, RequestHeader, nonce};
use crate::node::alerts::Alert;
use crate::node::keys::{Held, PostError};
use crate::status::Status;
use crate::ticket;

/// What an alert is about that says where its coin listens.
const NOTHING: KeyId = KeyId([0; KEY_ID]);

impl Turn<'_> {
    pub(super) fn post_key(&self, caller: &Caller, payload: &[u8], now: u64) -> Done {
        let post = PostKey::read(payload)?;
        let strict = self.is_strict();
        if strict && !post.coin.is_none() && post.coin.coin().is_none() {
            return Err(Status::Parameter);
        }
        let owner = caller.coin.map(Coin::named).unwrap_or_default();
        let bytes = zeroize::Zeroizing::new([post.coin.to_bytes().as_slice(), post.key].concat());
        let posted = if strict && post.key.is_empty() {
            self.node.keys.withdraw(post.id, owner, now)
        } else {
            self.node.keys.post(post.id, owner, !strict, &bytes, now)
        };
        match posted {
            Ok(()) => Ok((Status::Success, Vec::new())),
            Err(PostError::Exists) => Err(Status::Exists),
            Err(PostError::Full) => Err(Status::Rate),
            Err(PostError::Io(error)) => {
                tracing::error!(%error, "a posted key cannot be written");
                Err(Status::Files)
            }
        }
    }

    /// Tells those whom keys are for. In the compatible profile it is acknowledged and no more, as in the original.
    pub(super) fn key_alert(&self, caller: &Caller, payload: &[u8], now: u64, rng: &mut dyn CryptoRng) -> Done {
        let done = Ok((Status::Success, Vec::new()));
        if !self.is_strict() {
            return done;
        }
        let coin = caller.coin.ok_or(Status::Encryption)?;
        let parts = read_alert(payload)?;
        if parts.iter().any(|part| part.sender != coin.named()) {
            return Err(Status::Parameter);
        }
        // About nothing, from a coin to itself: that is where it listens.
        if let [AlertPart { id: NOTHING, receiver, .. }] = parts.as_slice()
            && *receiver == coin.named()
        {
            let at = self.listens.ok_or(Status::Parameter)?;
            return if self.node.alerts.listen(coin, at, now) { done } else { Err(Status::Rate) };
        }
        let mut receivers: Vec<Named> = parts.iter().map(|part| part.receiver).collect();
        receivers.sort_unstable();
        receivers.dedup();
        for receiver in receivers {
            // Whether somebody listens is not the sender's to know.
            let Some(to) = receiver.coin().and_then(|receiver| self.node.alerts.tell(receiver, coin, now)) else {
                continue;
            };
            let key = self.issued(receiver, Status::Serial, rng)?;
            let mut told = Vec::new();
            parts.iter().filter(|part| part.receiver == receiver).for_each(|part| part.write(&mut told));
            let nonce = nonce(now, rng);
            let header = RequestHeader {
                encryption: Ok(Encryption::Tagged(receiver)),
                nonce,
                echo: nonce.last_chunk().copied().unwrap_or_default(),
                ..self.header
            };
            if let Some(bytes) = frame::seal_request(header, &FrameKey::of_one(&key), &[0; frame::CHALLENGE], &told) {
                self.node.alerts.send(Alert { to, bytes });
            }
        }
        done
    }

    pub(super) fn get_key(&self, caller: &Caller, payload: &[u8], now: u64) -> Done {
        let get = GetKey::read(payload)?;
        let may = |held: &Held| {
            let Some(stored) = StoredKey::read(&held.bytes) else {
                return false;
            };
            let mine = stored.coin.is_none() || stored.coin.coin().is_some_and(|coin| caller.is(coin));
            let from = get.sender.is_none() || get.sender == held.owned.owner;
            !self.is_strict() || mine && from
        };
        // A key that is not for the caller looks like one that is not there.
        let held = self.node.keys.fetch(get.id, now, may).ok_or(Status::Files)?;
        Ok((Status::Success, held.bytes.to_vec()))
    }

    pub(super) fn encrypt_key(
        &self,
        caller: &Caller,
        encryption: Encryption,
        payload: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Done {
        let asked = EncryptKey::read(payload)?;
        let strict = self.is_strict();
        let target = asked.under().coin().ok_or(Status::Serial)?;
        if strict && !self.node.is_somebodys(target) {
            return Err(Status::Serial);
        }
        let record = self.record(target, rng)?;
        let (half, coin) = match asked {
            EncryptKey::Wrapped { .. } => {
                if strict && !caller.is(target) {
                    return Err(Status::Encryption);
                }
                let mut key = zeroize::Zeroizing::new([0; 16]);
                rng.fill_bytes(key.as_mut_slice());
                return Ok((Status::Done, ticket::wrap(&key, &record.key).to_vec()));
            }
            EncryptKey::Ticket { half, .. } => {
                // Whoever owns the coin that the ticket is about shows it by the second key of type 5: under the first the ticket's layer and
                // the reply's would be one.
                let proven = matches!(encryption, Encryption::TaggedByTwo(..))
                    && caller.second == Some(target)
                    && caller.coin != Some(target);
                if strict && !proven {
                    return Err(Status::Encryption);
                }
                (half, target)
            }
            EncryptKey::TicketFor { half, coin, key, .. } => {
                let coin = coin.coin().ok_or(Status::Serial)?;
                if strict {
                    let owned = self.record(coin, rng)?;
                    let right = owned.is_used() & bool::from(owned.key.ct_eq(&Authenticity::from_bytes(key)));
                    if !right || caller.is(target) {
                        return Err(Status::Encryption);
                    }
                }
                (half, coin)
            }
        };
        let mut drawn = [0; 2];
        rng.fill_bytes(&mut drawn);
        let ticket = ticket::seal(self.form(), &half, coin, &record.key, &caller.iv, drawn);
        Ok((Status::Done, ticket.to_vec()))
    }
}
