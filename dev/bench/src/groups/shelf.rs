//! A server's data folder that has everybody's account and each group already: what a thousand registrations and a thousand joins
//! would have left in it, written into its database before the server starts. The server finds them as after any other start.

use std::path::Path;

use openmls_traits::OpenMlsProvider;
use undertone_groups::Suite;
use undertone_keys::digest::sha256;
use undertone_keys::{AccessToken, CallId, RoomId, WallTime};
use undertone_protocol::access::AccessList;
use undertone_protocol::delivery::{Tree, TreePatch};
use undertone_protocol::terms::GroupSuite;
use undertone_protocol::{Access, Terms};
use undertone_server::data::DataFolder;
use undertone_server::store::{
    Account, Accounts, EpochEnd, Groups, NewGroup, NodeChanges, Rooms, Sqlite, StoredAccess, Token,
};

use super::processing::Committed;
use super::roster::Roster;
use super::tree::{Populated, Public};
use crate::keys::people::{rng, wall_time};

/// A group as the server is to find it, and what happens in it then.
pub(super) struct Shelved {
    pub(super) suite: Suite,
    pub(super) size: usize,
    pub(super) room: RoomId,
    pub(super) call: CallId,
    epoch: u64,
    public: Public,
    /// What follows upon that.
    pub(super) updates: Vec<Committed>,
}

impl Shelved {
    /// Of a group that has just been made.
    pub(super) fn new<P: OpenMlsProvider + Send + Sync>(group: &Populated<P>) -> Self {
        let (room, call) = (RoomId::from_bytes(*group.id.as_bytes()), CallId::from_bytes(*group.id.as_bytes()));
        let epoch = u64::try_from(group.size).unwrap_or(u64::MAX).saturating_sub(1);
        let (suite, size, public) = (group.suite, group.size, group.public.clone());
        Self { suite, size, room, call, epoch, public, updates: Vec::new() }
    }

    /// The tree before each update, and in the end.
    pub(super) fn trees(&self) -> anyhow::Result<Vec<Tree>> {
        let trees = std::iter::once(&self.public).chain(self.updates.iter().map(|update| &update.made.public));
        Ok(trees.map(|public| Tree::decode(&public.tree)).collect::<Result<_, _>>()?)
    }

    /// The same group once more, in another call of another room.
    pub(super) fn copy(&self, id: [u8; 16]) -> Self {
        let (room, call) = (RoomId::from_bytes(id), CallId::from_bytes(id));
        Self { room, call, epoch: 1, public: self.public.clone(), updates: Vec::new(), ..*self }
    }
}

const fn group_suite(suite: Suite) -> GroupSuite {
    match suite {
        Suite::P256 => GroupSuite::P256,
        Suite::X25519 => GroupSuite::X25519,
        Suite::XWing => GroupSuite::XWing,
    }
}

/// Writes all of it into a data folder that is new; everybody's tokens.
pub(super) async fn fill(data: &Path, roster: &Roster, groups: &[&Shelved]) -> anyhow::Result<Vec<AccessToken>> {
    let folder = DataFolder::open(data)?;
    let store = Sqlite::open(&folder.database()?).await?;
    let (now, mut tokens) = (wall_time(), Vec::with_capacity(roster.people.len()));
    for (person, list) in roster.people.iter().zip(&roster.lists) {
        let (user, token) = (person.address.user.clone(), AccessToken::random(&mut rng()));
        let stored = Token { hash: token.hash(), user: user.clone(), device: person.address.device };
        let (opaque, by_passphrase, by_recovery) = (Vec::new(), Vec::new(), Vec::new());
        let account = Account { user, opaque, by_passphrase, by_recovery, recovery: None, created: now };
        store.create(account, list.to_bytes(), stored, None).await?;
        tokens.push(token);
    }
    for group in groups {
        shelve(&store, roster, group, now).await?;
    }
    store.close().await;
    Ok(tokens)
}

/// A room's list, with the first so many on it, of whom the first has made it.
pub(super) fn access(roster: &Roster, size: usize, room: RoomId, suite: Suite) -> anyhow::Result<Access> {
    let creator = roster.person(0)?;
    let mut members: Vec<_> =
        roster.people.iter().take(size).enumerate().map(|(place, person)| person.listed(place)).collect();
    members.sort_by(|a, b| a.user.cmp(&b.user));
    let list = AccessList {
        format: 1,
        room,
        version: 1,
        previous: None,
        name: "bench".into(),
        terms: Terms::mls(group_suite(suite)),
        creator: creator.address.user.clone(),
        members,
        signer: creator.address.clone(),
        created: wall_time(),
    };
    Ok(Access::sign(list, &creator.identity)?)
}

/// The room of a group, its list, and the group at its epoch.
async fn shelve(store: &Sqlite, roster: &Roster, group: &Shelved, now: WallTime) -> anyhow::Result<()> {
    let creator = roster.person(0)?;
    let access = access(roster, group.size, group.room, group.suite)?;
    let users = access.list().members.iter().map(|listed| listed.user.clone()).collect();
    let access = access.to_bytes();
    let by = creator.address.clone();
    let stored = StoredAccess { room: group.room, version: 1, access, creator: by.user.clone(), members: users };
    store.append_access(stored).await?;
    store.call_of(group.room, group.call, now, 0).await?;
    let patch = TreePatch::between(&Tree::default(), &Tree::decode(&group.public.tree)?);
    let nodes = patch.nodes.into_iter().map(|node| (node.index, Some(node.node.into()))).collect();
    let tree = NodeChanges { length: patch.length, nodes };
    let (info, length) = (group.public.info.clone(), tree.length);
    let suite = group.suite.mls_number();
    let new = NewGroup {
        call: group.call,
        room: group.room,
        suite,
        creator: by.clone(),
        hash: sha256(&[&info]),
        info: info.clone(),
        tree,
    };
    store.create_group(new, now).await?;
    // What was said on the way here nobody lacks: of these epochs only the number is left.
    for epoch in 0..group.epoch {
        let tree = NodeChanges { length, nodes: Vec::new() };
        let (commit, welcomes, hash) = (epoch.to_be_bytes().to_vec(), Vec::new(), sha256(&[&epoch.to_be_bytes()]));
        let (call, by, info, oldest) = (group.call, by.clone(), info.clone(), epoch);
        store.end_epoch(EpochEnd { call, epoch, by, hash, commit, info, tree, welcomes, oldest, now }).await?;
    }
    Ok(())
}
