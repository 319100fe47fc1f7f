//! Command 45: coins that get other keys by tickets of two helpers, which somebody brings.

use std::time::Instant;

use rand_core::CryptoRng;
use undertone_keys::digest;
use zeroize::Zeroizing;

use super::answer::store_failed;
use super::turn::{Caller, Done, Turn};
use crate::coin::{Authenticity, Coin, Half};
use crate::coin_file::CoinFile;
use crate::command::{DecryptKey, TicketItem};
use crate::month;
use crate::node::coins::Record;
use crate::node::replays::{Names, Seen};
use crate::status::Status;
use crate::ticket;

/// The tickets of one request, and what opens them.
struct Tickets<'a> {
    items: &'a [TicketItem],
    form: ticket::Form,
    /// The keys on the helpers of the node's own coin, which they are under.
    keys: &'a CoinFile,
    iv: [u8; 16],
    /// When, in seconds since 1970.
    now: u64,
}

impl Tickets<'_> {
    fn open(&self, item: &TicketItem, about: Coin) -> Option<Zeroizing<[u8; 8]>> {
        ticket::open(self.form, &item.ticket, about, &self.keys.key(item.helper)?, &self.iv)
    }
}

/// The halves of one coin's key, by helpers that are not one.
struct Pair<'a> {
    coin: Coin,
    first: &'a TicketItem,
    second: &'a TicketItem,
    /// Which item the second is.
    place: usize,
}

impl<'a> Pair<'a> {
    /// The pair whose first half stands at a place. `None` where there are other than two items about its coin, or where this node or one
    /// helper alone would decide what the key is.
    fn at(place: usize, items: &'a [TicketItem], this: u8) -> Option<Self> {
        let first = items.get(place)?;
        let mut others = items.iter().enumerate().filter(|(other, item)| *other != place && item.coin == first.coin);
        let (place, second) = others.next()?;
        let halves = first.half() == Some(Half::First) && second.half() == Some(Half::Second);
        let apart = first.helper != second.helper && first.helper != this && second.helper != this;
        let pair = Self { coin: first.coin.coin()?, first, second, place };
        (halves && apart && others.next().is_none()).then_some(pair)
    }
}

impl Turn<'_> {
    pub(super) fn decrypt_key(&self, caller: &Caller, payload: &[u8], now: u64, rng: &mut dyn CryptoRng) -> Done {
        let asked = DecryptKey::read(payload)?;
        if self.is_strict() && asked.count() > self.node.options.items {
            return Err(Status::TooMany);
        }
        let coin = asked.coin.coin().ok_or(Status::CoinFile)?;
        let keys = self.node.own.get(coin, Instant::now()).ok_or(Status::CoinFile)?;
        let items: Vec<_> = asked.items().collect();
        let tickets = Tickets { items: &items, form: self.form(), keys: &keys, iv: caller.iv, now };
        let mut results = vec![0; items.len()];
        let healed = match self.is_strict() {
            true => self.heal_by_pairs(&tickets, &mut results, rng),
            false => self.heal_by_halves(&tickets, &mut results, rng),
        };
        // What was changed lasts, and is answered for, whatever became of the items behind it.
        if results.contains(&1) {
            self.node.coins.commit().map_err(|error| store_failed(&error))?;
        } else {
            healed?;
        }
        Ok((Status::Success, results))
    }

    /// Strict: a coin's key is written whole, and each pair of tickets once.
    fn heal_by_pairs(&self, tickets: &Tickets<'_>, results: &mut [u8], rng: &mut dyn CryptoRng) -> Result<(), Status> {
        for at in 0..tickets.items.len() {
            let Some(pair) = Pair::at(at, tickets.items, self.node.options.name.raida) else {
                continue;
            };
            let halves = tickets.open(pair.first, pair.coin).zip(tickets.open(pair.second, pair.coin));
            let Some((low, high)) = halves else {
                continue;
            };
            // The same tickets by another caller are the same tickets.
            let (first, second) = (&pair.first.ticket, &pair.second.ticket);
            let names = Names::of(first, &[*first, *second].concat());
            let hash = digest::sha256(&[&tickets.iv, first, second]);
            match self.node.pairs.note(pair.coin, &hash.first_chunk().copied().unwrap_or_default(), &names, tickets.now)
            {
                Seen::Never => {}
                Seen::Full => return Err(Status::Rate),
                Seen::Answered(_) | Seen::Unanswered | Seen::OtherwiseUsed => continue,
            }
            let mut key = Zeroizing::new([0; 16]);
            key.iter_mut().zip(low.iter().chain(high.iter())).for_each(|(to, from)| *to = *from);
            let healed = |record: &Record| {
                let key = Authenticity::from_bytes(&key);
                record.is_used().then(|| Record { key, changed: month::at(tickets.now) })
            };
            let written = self.write(pair.coin, rng, healed)?;
            for place in [at, pair.place] {
                if let Some(result) = results.get_mut(place) {
                    *result = u8::from(written);
                }
            }
        }
        Ok(())
    }

    /// As the original does: each item is half of a key, and written as it comes.
    fn heal_by_halves(&self, tickets: &Tickets<'_>, results: &mut [u8], rng: &mut dyn CryptoRng) -> Result<(), Status> {
        for (item, result) in tickets.items.iter().zip(results) {
            let (Some(coin), Some(half)) = (item.coin.coin(), item.half()) else {
                continue;
            };
            let Some(new) = tickets.open(item, coin) else {
                continue;
            };
            let healed = |record: &Record| {
                let mut key = Zeroizing::new(*record.key.expose());
                let start = usize::from(half.to_byte()) * 8;
                key.iter_mut().skip(start).zip(new.iter()).for_each(|(to, from)| *to = *from);
                Some(Record { key: Authenticity::from_bytes(&key), changed: month::at(tickets.now) })
            };
            *result = u8::from(self.write(coin, rng, healed)?);
        }
        Ok(())
    }

    fn write(
        &self,
        coin: Coin,
        rng: &mut dyn CryptoRng,
        healed: impl FnOnce(&Record) -> Option<Record>,
    ) -> Result<bool, Status> {
        let written = self.node.coins.change(coin, rng, healed).map_err(|error| store_failed(&error))?;
        if written {
            tracing::info!(%coin, "a coin's key was changed by tickets");
        }
        Ok(written)
    }
}
