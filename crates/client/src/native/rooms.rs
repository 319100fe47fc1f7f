//! The rooms of this account: lists that are fetched, checked version by version and remembered, and changes to them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use undertone_call::room::access::{Disbelief, believe};
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Account, Device, SigningKey, VerifyingKey};
use undertone_keys::{RoomId, UserId, label};
use undertone_protocol::access::{AccessError, FORMAT};
use undertone_protocol::rest::code;
use undertone_protocol::{Access, AccessList, ClaimedAccess, Listed, Rights, Terms};
use undertone_transparency::TrustedPeer;

use super::directory::Directory;
use super::error::{ClientError, ExitClass};
use super::{rng, wall_time};

/// Pages of versions that are fetched for one look at most: far more than a list can have.
const MAX_PAGES: usize = 1_000;
/// How often a change is tried again when somebody else was first.
const ATTEMPTS: usize = 5;

/// What can be wrong with a room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomFault {
    /// None of that name.
    #[error("there is no room {0:?} that you may come into: `undertone room list` shows those there are")]
    Unknown(String),
    /// More than one of that name.
    #[error("there is more than one room {name:?}: name it by its id, one of {ids}")]
    Ambiguous {
        /// The name.
        name: String,
        /// What tells them apart.
        ids: String,
    },
    /// There is one of that name.
    #[error("there is a room {0:?} already: choose another name")]
    Exists(String),
    /// Not a name for a room.
    #[error("a room's name has 1 to 64 bytes and no control characters")]
    Name,
    /// Not on the list.
    #[error("{0} is not on the room's list")]
    NotListed(String),
    /// On the list already, with these rights.
    #[error("{0} is on the room's list already")]
    Listed(String),
    /// The creator cannot be taken off.
    #[error("{0} made this room and holds its keys: nobody can be there without them")]
    Creator(String),
    /// The list, as this device would change it, would be none, or this device may not make the change.
    #[error(transparent)]
    Refused(AccessError),
    /// The server shows a list that does not hold.
    #[error("the server showed an access list of this room that does not hold: {0}")]
    Disbelief(#[from] Disbelief),
    /// Somebody else changed the list again and again.
    #[error("the room's list was changed by others at the same time: try again")]
    Contended,
}

impl RoomFault {
    pub(super) const fn class(&self) -> ExitClass {
        match self {
            Self::Name | Self::Ambiguous { .. } => ExitClass::Usage,
            Self::Disbelief(_) => ExitClass::ProofFailed,
            _ => ExitClass::Failed,
        }
    }
}

/// A room as this device believes it, and who the relay says is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomView {
    /// The newest version of its list, checked.
    pub access: Access,
    /// Whose devices are in it now: the relay's word.
    pub present: Vec<UserId>,
}

/// A room that this user made under an account key from before they began anew: nobody can sign for them there any more. The server's
/// word, and nothing but closing it hangs on that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRoom {
    /// Its id.
    pub room: RoomId,
    /// What it is called.
    pub name: String,
}

/// Somebody who is to be on a room's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitee {
    /// A full or a bare name.
    pub name: String,
    /// What they may do.
    pub rights: Rights,
}

/// A device as far as it signs: without its static key, for which a token might be wanted.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    pub(super) address: Address,
    pub(super) identity: Arc<SigningKey<Device>>,
    pub(super) account: VerifyingKey<Account>,
}

/// Rooms, looked up and changed for one device.
#[derive(Clone, Debug)]
pub struct RoomBook {
    directory: Arc<Directory>,
    me: Signer,
}

impl RoomBook {
    pub(super) const fn new(directory: Arc<Directory>, me: Signer) -> Self {
        Self { directory, me }
    }

    pub(super) const fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Every room that this account may come into.
    ///
    /// # Errors
    /// [`ClientError`], [`RoomFault::Disbelief`] where a list does not hold.
    pub async fn list(&self) -> Result<Vec<RoomView>, ClientError> {
        Ok(self.list_all().await?.0)
    }

    /// The same, and those that this user made before they began anew.
    ///
    /// # Errors
    /// See [`RoomBook::list`].
    pub async fn list_all(&self) -> Result<(Vec<RoomView>, Vec<LostRoom>), ClientError> {
        let (mut views, mut lost) = (Vec::new(), Vec::new());
        for shown in self.directory.rooms().await?.rooms {
            let bad = || ClientError::BadAnswer(self.directory.pin().address.clone());
            let room = RoomId::parse(&shown.room).ok_or_else(bad)?;
            if let Some(name) = shown.lost {
                lost.push(LostRoom { room, name: label::shown(&name).into_owned() });
                continue;
            }
            let access = match self.access(room).await {
                Ok(access) => access,
                // One room that does not hold is no reason not to show the others; whoever asks for it hears why.
                Err(error @ (ClientError::Room(_) | ClientError::Trust(_) | ClientError::List(_))) => {
                    tracing::warn!(room = shown.room, %error, "a room is left out");
                    continue;
                }
                Err(error) => return Err(error),
            };
            // A room that this device has seen closed, or left, is none of its own whatever the server says.
            if access.list().listed(&self.me.address.user).is_some() {
                views.push(RoomView { access, present: shown.present.into_iter().map(|name| name.0).collect() });
            }
        }
        Ok((views, lost))
    }

    /// Closes a room that this user made before they began anew, by its name or the beginning of its id. `None` where there is none.
    ///
    /// # Errors
    /// [`ClientError`], [`RoomFault::Ambiguous`].
    pub async fn close_lost(&self, name: &str) -> Result<Option<LostRoom>, ClientError> {
        let (_, mut lost) = self.list_all().await?;
        let starts = |room: &LostRoom| name.len() >= 4 && room.room.to_string().starts_with(name);
        lost.retain(|room| room.name == name || starts(room));
        if lost.len() > 1 {
            let ids: Vec<String> = lost.iter().map(|room| room.room.to_string().chars().take(8).collect()).collect();
            return Err(RoomFault::Ambiguous { name: name.to_owned(), ids: ids.join(", ") }.into());
        }
        let Some(room) = lost.pop() else { return Ok(None) };
        self.directory.close_room(room.room).await?;
        Ok(Some(room))
    }

    /// The room of this name, or whose id begins like this.
    ///
    /// # Errors
    /// [`RoomFault::Unknown`], [`RoomFault::Ambiguous`] and what [`RoomBook::list`] can bring.
    pub async fn find(&self, name: &str) -> Result<RoomView, ClientError> {
        if let Some(room) = RoomId::parse(name) {
            let access = self.access(room).await.map_err(|error| match error {
                ClientError::Refused { code, .. } if code == code::UNKNOWN_ROOM => {
                    RoomFault::Unknown(name.to_owned()).into()
                }
                error => error,
            })?;
            return Ok(RoomView { access, present: Vec::new() });
        }
        let views = self.list().await?;
        let id = |view: &RoomView| view.access.list().room.to_string();
        let named = |view: &&RoomView| view.access.list().name == name;
        let mut found: Vec<&RoomView> = views.iter().filter(named).collect();
        if found.is_empty() && name.len() >= 4 {
            found = views.iter().filter(|view| id(view).starts_with(name)).collect();
        }
        match found.as_slice() {
            [] => Err(RoomFault::Unknown(name.to_owned()).into()),
            [one] => Ok((*one).clone()),
            many => {
                let ids: Vec<String> = many.iter().map(|view| id(view).chars().take(8).collect()).collect();
                Err(RoomFault::Ambiguous { name: name.to_owned(), ids: ids.join(", ") }.into())
            }
        }
    }

    /// The newest list of a room: what this device knew, and every version since, checked one after the other.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn access(&self, room: RoomId) -> Result<Access, ClientError> {
        let mut known = self.directory.home().access(room)?;
        // Who signed one version mostly signed others. Whoever cannot be looked up matters when their version is come to.
        let mut signers: HashMap<UserId, Result<TrustedPeer, ClientError>> = HashMap::new();
        // Whether the newest of what was fetched was checked as such: a server may not hide behind "more to come" that
        // its signer may not act any more.
        let mut settled = true;
        for _ in 0..MAX_PAGES {
            let above = known.as_ref().map_or(0, |known| known.list().version);
            let page = self.directory.access_above(room, above).await?;
            let (count, more) = (page.versions.len(), page.more);
            if more && count == 0 {
                return Err(ClientError::BadAnswer(self.directory.pin().address.clone()));
            }
            let mut versions = Vec::with_capacity(count);
            for version in page.versions {
                let claimed = ClaimedAccess::from_bytes(&version.0).map_err(Disbelief::Access);
                let claimed = claimed.map_err(RoomFault::Disbelief)?;
                if claimed.claimed().room != room {
                    return Err(RoomFault::Disbelief(AccessError::Chain.into()).into());
                }
                versions.push(claimed);
            }
            let named: BTreeSet<&UserId> = versions.iter().map(|claimed| &claimed.claimed().signer.user).collect();
            let new: Vec<UserId> = named.into_iter().filter(|user| !signers.contains_key(user)).cloned().collect();
            let found = self.directory.resolve_all(&new).await;
            signers.extend(new.into_iter().zip(found));
            for (place, claimed) in versions.into_iter().enumerate() {
                let user = &claimed.claimed().signer.user;
                if let Some(error) = signers.get_mut(user).and_then(|found| found.as_mut().err()) {
                    return Err(std::mem::replace(error, ClientError::Stopped));
                }
                let Some(Ok(signer)) = signers.get(user) else { return Err(ClientError::Stopped) };
                settled = !more && place + 1 == count;
                known = Some(believe(known.as_ref(), claimed, signer, settled).map_err(RoomFault::Disbelief)?);
            }
            if !more {
                break;
            }
        }
        let access = known.ok_or_else(|| RoomFault::Unknown(room.to_string()))?;
        if !settled {
            return Err(RoomFault::Disbelief(Disbelief::Device).into());
        }
        self.directory.home().keep_access(&access)?;
        Ok(access)
    }

    /// Makes a room with these terms for ever, and this device's user as its creator.
    ///
    /// # Errors
    /// [`ClientError`]; nothing is made where one of the invited cannot be looked up or is not trusted.
    pub async fn create(&self, name: &str, terms: Terms, invited: &[Invitee]) -> Result<Access, ClientError> {
        if self.list().await?.iter().any(|view| view.access.list().name == name) {
            return Err(RoomFault::Exists(name.to_owned()).into());
        }
        let creator = self.me.address.user.clone();
        let rights = Rights { speak: true, moderate: true };
        let mut members = vec![Listed { user: creator.clone(), account: self.me.account, rights }];
        for listed in self.listed(invited).await? {
            if members.iter().any(|member| member.user == listed.user) {
                return Err(RoomFault::Listed(listed.user.display()).into());
            }
            members.push(listed);
        }
        members.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        let list = AccessList {
            format: FORMAT,
            room: RoomId::random(&mut rng()),
            version: 1,
            previous: None,
            name: name.to_owned(),
            terms,
            creator,
            members,
            signer: self.me.address.clone(),
            created: wall_time(),
        };
        let access = Access::sign(list, &self.me.identity).map_err(|error| match error {
            AccessError::Malformed => RoomFault::Name,
            error => RoomFault::Refused(error),
        })?;
        self.directory.put_access(&access).await?;
        self.directory.home().keep_access(&access)?;
        Ok(access)
    }

    /// Puts people on a room's list, or gives them other rights: all of them in one version.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn invite(&self, room: RoomId, invited: &[Invitee]) -> Result<Access, ClientError> {
        let mut invited = self.listed(invited).await?;
        invited.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        if let Some([twice, _]) = invited.array_windows().find(|[one, next]| one.user == next.user) {
            return Err(RoomFault::Listed(twice.user.display()).into());
        }
        self.change(room, |list| {
            if let Some(creator) = invited.iter().find(|listed| listed.user == list.creator) {
                return Err(RoomFault::Creator(creator.user.display()));
            }
            // Who is on the list already with these rights does not keep the others from it.
            if let Some(listed) = invited.first()
                && invited.iter().all(|listed| list.members.contains(listed))
            {
                return Err(RoomFault::Listed(listed.user.display()));
            }
            let is_new = |member: &&Listed| invited.iter().all(|listed| listed.user != member.user);
            Ok(list.members.iter().filter(is_new).chain(&invited).cloned().collect())
        })
        .await
    }

    /// Takes somebody off a room's list. Who is in the room puts them out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn kick(&self, room: RoomId, name: &str) -> Result<Access, ClientError> {
        let user = UserId::parse(name, &self.directory.pin().domain).map_err(ClientError::Name)?;
        self.change(room, |list| {
            if user == list.creator {
                return Err(RoomFault::Creator(user.display()));
            }
            without(list, &user)
        })
        .await
    }

    /// Asks those who may decide to let this user into a room (rule GRP-8). The answer does not say whether there is such a room.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn knock(&self, room: RoomId) -> Result<(), ClientError> {
        self.directory.knock(room).await
    }

    /// Tells somebody who asks that they are not let in. Nothing is signed for it, and nothing where nobody of that name asks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn turn_away(&self, room: RoomId, name: &str) -> Result<UserId, ClientError> {
        let user = UserId::parse(name, &self.directory.pin().domain).map_err(ClientError::Name)?;
        self.directory.turn_away(room, user.clone()).await?;
        Ok(user)
    }

    /// Takes this account off a room's list; its creator closes it for good.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn leave(&self, room: RoomId) -> Result<Access, ClientError> {
        let me = self.me.address.user.clone();
        self.change(room, |list| if me == list.creator { Ok(Vec::new()) } else { without(list, &me) }).await
    }

    /// Signs the next version of a list. If somebody else was first it is made anew from theirs.
    async fn change(
        &self,
        room: RoomId,
        change: impl Fn(&AccessList) -> Result<Vec<Listed>, RoomFault>,
    ) -> Result<Access, ClientError> {
        for _ in 0..ATTEMPTS {
            let known = self.access(room).await?;
            let members = change(known.list())?;
            let next = known.next(members, self.me.address.clone(), wall_time());
            let next = Access::sign(next, &self.me.identity).map_err(RoomFault::Refused)?;
            next.follows(&known).map_err(RoomFault::Refused)?;
            match self.directory.put_access(&next).await {
                Ok(()) => {
                    self.directory.home().keep_access(&next)?;
                    return Ok(next);
                }
                Err(ClientError::Refused { code, .. }) if code == code::BAD_ACCESS => {}
                Err(error) => return Err(error),
            }
        }
        Err(RoomFault::Contended.into())
    }

    /// These people, each with the account key that this device trusts; in their order.
    async fn listed(&self, invited: &[Invitee]) -> Result<Vec<Listed>, ClientError> {
        let domain = &self.directory.pin().domain;
        let users = invited.iter().map(|invitee| UserId::parse(&invitee.name, domain).map_err(ClientError::Name));
        let users: Vec<UserId> = users.collect::<Result<_, _>>()?;
        let found = self.directory.resolve_all(&users).await.into_iter().zip(users).zip(invited);
        found.map(|((peer, user), who)| Ok(Listed { user, account: *peer?.account(), rights: who.rights })).collect()
    }
}

fn without(list: &AccessList, user: &UserId) -> Result<Vec<Listed>, RoomFault> {
    if list.listed(user).is_none() {
        return Err(RoomFault::NotListed(user.display()));
    }
    Ok(list.members.iter().filter(|listed| listed.user != *user).cloned().collect())
}
