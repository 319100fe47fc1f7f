//! What is known of others: pins, rooms' lists, and the calls that were accepted.

use undertone_keys::{CallId, RoomId, UserId, WallTime};
use undertone_protocol::Access;
use undertone_transparency::PeerTrust;

use super::{Home, HomeError};
use crate::engine::{Memory, Record};

pub(super) const PEER: &str = "peer/";
const ACCEPTED: &str = "accepted/";
const ROOM: &str = "room/";
const CLOCK: &str = "clock";

impl Home {
    /// What is known of a peer.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn peer(&self, user: &UserId) -> Result<Option<PeerTrust>, HomeError> {
        let name = format!("{PEER}{user}");
        let Some(bytes) = self.get(&name)? else { return Ok(None) };
        PeerTrust::from_bytes(&bytes).map(Some).map_err(|_| HomeError::Damaged(name))
    }

    /// Changes what is known of a peer in one step, so that an alarm and a decision never overwrite each other.
    /// Nothing is written where `change` leaves it as it was.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn change_peer<T>(
        &self,
        user: &UserId,
        change: impl FnOnce(Option<PeerTrust>) -> (Option<PeerTrust>, T),
    ) -> Result<T, HomeError> {
        let name = format!("{PEER}{user}");
        self.change(&name, |before| {
            let known = before.map(PeerTrust::from_bytes).transpose().map_err(|_| HomeError::Damaged(name.clone()))?;
            let (after, result) = change(known);
            let after = after.map(|trust| trust.to_bytes());
            Ok((after.filter(|after| Some(after.as_slice()) != before), result))
        })
    }

    /// The newest list of a room that this device has checked.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn access(&self, room: RoomId) -> Result<Option<Access>, HomeError> {
        let name = format!("{ROOM}{room}");
        let Some(bytes) = self.get(&name)? else { return Ok(None) };
        Access::from_stored(&bytes).map(Some).map_err(|_| HomeError::Damaged(name))
    }

    /// The newest list of every room that this device has checked one of.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn accesses(&self) -> Result<Vec<Access>, HomeError> {
        let mut accesses = Vec::new();
        for name in self.names(ROOM)? {
            let access = self.get(&name)?.and_then(|bytes| Access::from_stored(&bytes).ok());
            accesses.push(access.ok_or(HomeError::Damaged(name))?);
        }
        Ok(accesses)
    }

    /// Keeps a room's list, unless a newer one is kept: an old one must not be taken for the newest again.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keep_access(&self, access: &Access) -> Result<(), HomeError> {
        let name = format!("{ROOM}{}", access.list().room);
        self.change(&name, |before| {
            let known = before.map(Access::from_stored).transpose().map_err(|_| HomeError::Damaged(name.clone()))?;
            let newer = known.is_none_or(|known| known.list().version < access.list().version);
            Ok((newer.then(|| access.to_bytes()), ()))
        })
    }

    /// Keeps what the engine must know after a restart; forgets accepted calls whose time is over by the server's clock.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn remember(&self, record: Record) -> Result<(), HomeError> {
        let (name, time) = match record {
            Record::Accepted { call, until } => (format!("{ACCEPTED}{call}"), until),
            Record::Clock(clock) => (CLOCK.to_owned(), clock),
        };
        let clock = if let Record::Clock(clock) = record { clock } else { self.clock()? };
        let accepted = self.accepted()?;
        let over = accepted.iter().filter(|(_, until)| *until < clock).map(|(call, _)| format!("{ACCEPTED}{call}"));
        let over: Vec<String> = over.collect();
        let time = time.as_unix().to_be_bytes();
        let mut records: Vec<(&str, Option<&[u8]>)> = over.iter().map(|name| (name.as_str(), None)).collect();
        records.push((&name, Some(&time)));
        self.put(&records)
    }

    /// What the engine knew in earlier runs.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn memory(&self) -> Result<Memory, HomeError> {
        Ok(Memory { accepted: self.accepted()?, clock: self.clock()? })
    }

    fn clock(&self) -> Result<WallTime, HomeError> {
        let Some(bytes) = self.get(CLOCK)? else { return Ok(WallTime::default()) };
        let bytes = <[u8; 8]>::try_from(bytes.as_slice()).map_err(|_| HomeError::Damaged(CLOCK.into()))?;
        Ok(WallTime::from_unix(u64::from_be_bytes(bytes)))
    }

    fn accepted(&self) -> Result<Vec<(CallId, WallTime)>, HomeError> {
        let mut accepted = Vec::new();
        for name in self.names(ACCEPTED)? {
            let call = name.strip_prefix(ACCEPTED).and_then(CallId::parse);
            let time = self.get(&name)?.and_then(|bytes| <[u8; 8]>::try_from(bytes.as_slice()).ok());
            let (Some(call), Some(time)) = (call, time) else { return Err(HomeError::Damaged(name)) };
            accepted.push((call, WallTime::from_unix(u64::from_be_bytes(time))));
        }
        Ok(accepted)
    }
}
