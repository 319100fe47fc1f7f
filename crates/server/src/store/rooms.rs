//! What the server keeps about rooms: every version of their access lists, and the call they are in.

use std::future::Future;

use undertone_keys::{CallId, RoomId, UserId, WallTime};

use super::StoreError;

/// One version of an access list, and what of it the server has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAccess {
    /// Which room.
    pub room: RoomId,
    /// Counts from 1.
    pub version: u32,
    /// The signed bytes.
    pub access: Vec<u8>,
    /// Who made the room.
    pub creator: UserId,
    /// Everybody who may come in; nobody where the room is closed.
    pub members: Vec<UserId>,
}

/// What of a room says who may write to whom in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRoom {
    /// The call that its members are in, or may find each other in; none before the first grant.
    pub call: Option<CallId>,
    /// Everybody on the newest list, in no particular order.
    pub members: Vec<UserId>,
}

/// Rooms and their access lists. Each call is all or nothing, and durable when it returns.
pub trait Rooms: Send + Sync + 'static {
    /// Keeps the first version of a new room, or the next of an old one. [`StoreError::Conflict`] when that version is
    /// there, or the one before it is not the newest. A version without members closes the room: those before it go.
    fn append_access(&self, access: StoredAccess) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The newest version of this room's list: its number and its signed bytes.
    fn newest_access(&self, room: RoomId) -> impl Future<Output = Result<Option<(u32, Vec<u8>)>, StoreError>> + Send;

    /// The versions above this one, oldest first, as many as fit into `room_for` bytes and at least one; and whether
    /// there are more.
    fn access_above(
        &self,
        room: RoomId,
        version: u32,
        room_for: usize,
    ) -> impl Future<Output = Result<(Vec<Vec<u8>>, bool), StoreError>> + Send;

    /// The rooms that this user may come into, and the newest version of each, ascending.
    fn rooms_of(&self, user: &UserId) -> impl Future<Output = Result<Vec<(RoomId, u32)>, StoreError>> + Send;

    /// Closes a room without a list that says so, and forgets its lists; its id stays barred. [`StoreError::Conflict`] where another version
    /// than this is the newest, or it is closed.
    fn close_room(&self, room: RoomId, version: u32) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The open rooms that this user has made.
    fn open_rooms_of(&self, creator: &UserId) -> impl Future<Output = Result<Vec<RoomId>, StoreError>> + Send;

    /// How many open rooms this user has made.
    fn rooms_made(&self, creator: &UserId) -> impl Future<Output = Result<u32, StoreError>> + Send;

    /// Bytes of all versions of the lists of this user's rooms.
    fn access_bytes(&self, creator: &UserId) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// This room as it is now. `None` where there is no such room.
    fn room(&self, room: RoomId) -> impl Future<Output = Result<Option<StoredRoom>, StoreError>> + Send;

    /// The call of this room for a grant that is signed `now`: the one that earlier grants which are still good after
    /// `lifetime` seconds name, else `fresh`. `None` where there is no such room.
    fn call_of(
        &self,
        room: RoomId,
        fresh: CallId,
        now: WallTime,
        lifetime: u64,
    ) -> impl Future<Output = Result<Option<CallId>, StoreError>> + Send;
}

#[cfg(test)]
pub(crate) mod conformance {
    use super::*;

    fn access(room: RoomId, version: u32, members: &[&str]) -> StoredAccess {
        StoredAccess {
            room,
            version,
            access: vec![u8::try_from(version).unwrap(); 100],
            creator: "ada@x".parse().unwrap(),
            members: members.iter().map(|name| name.parse().unwrap()).collect(),
        }
    }

    /// What every keeper of rooms must do; `ada@x` and `bob@x` have accounts.
    pub(crate) async fn run(store: &impl Rooms) {
        let (one, two) = (RoomId::from_bytes([1; 16]), RoomId::from_bytes([2; 16]));
        let (ada, bob): (UserId, UserId) = ("ada@x".parse().unwrap(), "bob@x".parse().unwrap());
        assert_eq!(store.newest_access(one).await.unwrap(), None);
        let early = store.append_access(access(one, 2, &["ada@x"])).await;
        assert!(matches!(early, Err(StoreError::Conflict)), "a room begins with version 1");

        store.append_access(access(one, 1, &["ada@x"])).await.unwrap();
        store.append_access(access(two, 1, &["ada@x", "bob@x"])).await.unwrap();
        let again = store.append_access(access(one, 1, &["bob@x"])).await;
        assert!(matches!(again, Err(StoreError::Conflict)));
        store.append_access(access(one, 2, &["ada@x", "bob@x"])).await.unwrap();
        assert!(matches!(store.append_access(access(one, 4, &[])).await, Err(StoreError::Conflict)), "a gap");
        assert_eq!(store.newest_access(one).await.unwrap(), Some((2, vec![2; 100])));
        assert_eq!(store.rooms_of(&bob).await.unwrap(), [(one, 2), (two, 1)]);
        assert_eq!(store.rooms_made(&ada).await.unwrap(), 2);
        assert_eq!(store.rooms_made(&bob).await.unwrap(), 0);
        assert_eq!(store.access_bytes(&ada).await.unwrap(), 300);
        assert_eq!(store.access_bytes(&bob).await.unwrap(), 0);

        // Pages: as many as fit, one at least.
        assert_eq!(store.access_above(one, 0, 1000).await.unwrap(), (vec![vec![1; 100], vec![2; 100]], false));
        assert_eq!(store.access_above(one, 0, 150).await.unwrap(), (vec![vec![1; 100]], true));
        assert_eq!(store.access_above(one, 1, 1).await.unwrap(), (vec![vec![2; 100]], false));
        assert_eq!(store.access_above(one, 2, 1000).await.unwrap(), (vec![], false));

        // A call lives for as long as grants for it do.
        let call = |n| CallId::from_bytes([n; 16]);
        let at = WallTime::from_unix;
        assert_eq!(store.call_of(RoomId::from_bytes([9; 16]), call(1), at(100), 10).await.unwrap(), None);
        let room = async |room| {
            let mut room = store.room(room).await.unwrap()?;
            room.members.sort();
            Some(room)
        };
        let both = vec![ada.clone(), bob.clone()];
        assert_eq!(room(RoomId::from_bytes([9; 16])).await, None);
        assert_eq!(room(one).await, Some(StoredRoom { call: None, members: both.clone() }));
        assert_eq!(store.call_of(one, call(1), at(100), 10).await.unwrap(), Some(call(1)));
        assert_eq!(room(one).await, Some(StoredRoom { call: Some(call(1)), members: both }));
        assert_eq!(store.call_of(one, call(2), at(109), 10).await.unwrap(), Some(call(1)));
        assert_eq!(store.call_of(one, call(3), at(118), 10).await.unwrap(), Some(call(1)));
        assert_eq!(store.call_of(one, call(4), at(128), 10).await.unwrap(), Some(call(4)));

        // A closed room is nobody's, and counts no more.
        store.append_access(access(one, 3, &[])).await.unwrap();
        assert_eq!(store.rooms_of(&bob).await.unwrap(), [(two, 1)]);
        assert_eq!(room(one).await, Some(StoredRoom { call: Some(call(4)), members: vec![] }));
        assert_eq!(store.rooms_made(&ada).await.unwrap(), 1);
        assert_eq!(store.access_bytes(&ada).await.unwrap(), 200, "its last version is kept, and bars its id");
        assert!(matches!(store.append_access(access(one, 1, &["ada@x"])).await, Err(StoreError::Conflict)));

        // Or without a list that says so.
        assert_eq!(store.open_rooms_of(&ada).await.unwrap(), [two]);
        assert!(matches!(store.close_room(two, 2).await, Err(StoreError::Conflict)), "not the newest");
        store.close_room(two, 1).await.unwrap();
        assert!(matches!(store.close_room(two, 1).await, Err(StoreError::Conflict)), "closed already");
        assert_eq!((store.rooms_of(&bob).await.unwrap(), store.open_rooms_of(&ada).await.unwrap()), (vec![], vec![]));
        assert_eq!(store.newest_access(two).await.unwrap(), None);
        for version in [1, 2] {
            let again = store.append_access(access(two, version, &["ada@x"])).await;
            assert!(matches!(again, Err(StoreError::Conflict)), "its id is barred");
        }
    }
}
