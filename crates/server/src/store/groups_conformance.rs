//! What every keeper of groups must do.

use undertone_keys::envelope::Address;
use undertone_keys::{CallId, DeviceId, RoomId, WallTime};
use undertone_protocol::delivery::{Node, testing};

use super::{
    Ended, EpochEnd, Groups, NewGroup, NodeChanges, Opened, Rooms, StoreError, StoredAccess, StoredGroup, Winner,
};

const NOW: WallTime = WallTime::from_unix(1_000);

fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

fn address(name: &str, n: u8) -> Address {
    Address { user: name.parse().unwrap(), device: device(n) }
}

fn changes(length: u32, nodes: &[(u32, Option<u8>)]) -> NodeChanges {
    let nodes = nodes.iter().map(|(place, key)| (*place, key.map(testing::leaf))).collect();
    NodeChanges { length, nodes }
}

fn end(call: CallId, epoch: u64, n: u8) -> EpochEnd {
    EpochEnd {
        call,
        epoch,
        by: address("bob@x", n),
        hash: [n; 32],
        commit: vec![n; 100],
        info: vec![n; 10],
        tree: changes(3, &[(2, Some(n))]),
        welcomes: vec![],
        oldest: 0,
        now: NOW,
    }
}

fn is_conflict<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict))
}

/// `ada@x` and `bob@x` have accounts; there is no room with these ids.
pub(crate) async fn run(store: &(impl Groups + Rooms)) {
    let (room, call) = (RoomId::from_bytes([0x51; 16]), CallId::from_bytes([0x61; 16]));
    let access = StoredAccess {
        room,
        version: 1,
        access: vec![1],
        creator: "ada@x".parse().unwrap(),
        members: vec!["ada@x".parse().unwrap(), "bob@x".parse().unwrap()],
    };
    store.append_access(access.clone()).await.unwrap();
    let new = NewGroup {
        call,
        room,
        suite: 2,
        creator: Address { user: "ada@x".parse().unwrap(), device: device(1) },
        hash: [9; 32],
        info: vec![7; 10],
        tree: changes(1, &[(0, Some(1))]),
    };

    // A group is of the room's present call, and there is one of it.
    assert!(is_conflict(&store.create_group(new.clone(), NOW).await), "the room is in no call");
    store.call_of(room, call, NOW, 10).await.unwrap();
    assert_eq!(store.group(call).await.unwrap(), None);
    store.create_group(new.clone(), NOW).await.unwrap();
    assert!(is_conflict(&store.create_group(new.clone(), NOW).await));
    assert_eq!(store.group_count().await.unwrap(), 1);
    let group = store.group(call).await.unwrap().unwrap();
    let tree = |keys: &[Option<u8>]| keys.iter().map(|key| key.map(testing::leaf)).collect::<Vec<Option<Node>>>();
    assert_eq!((group.suite, group.epoch, group.oldest, group.creator, group.hash), (2, 0, 0, device(1), [9; 32]));
    assert_eq!((group.info, group.nodes, group.history), (vec![7; 10], tree(&[Some(1)]), vec![]));

    // Where nobody else has shown to be in it, it can be withdrawn, and begun by somebody else.
    assert_eq!(group.alone, Some("ada@x".parse().unwrap()));
    store.withdraw_group(call).await.unwrap();
    assert!(is_conflict(&store.withdraw_group(call).await), "there is none");
    assert_eq!(store.group(call).await.unwrap(), None);
    store.create_group(NewGroup { creator: address("bob@x", 2), ..new.clone() }, NOW).await.unwrap();
    store.not_alone(call).await.unwrap();
    assert!(is_conflict(&store.withdraw_group(call).await), "somebody is in it");
    store.forget_group(call).await.unwrap();
    assert_eq!(store.group(call).await.unwrap(), None, "whoever was in it");
    store.create_group(new.clone(), NOW).await.unwrap();
    assert_eq!(store.forget_groups(WallTime::from_unix(u64::MAX / 4)).await.unwrap(), 1);
    store.create_group(new.clone(), NOW).await.unwrap();

    // Of all commits to one epoch there is one, and nothing of another is kept.
    assert!(is_conflict(&store.end_epoch(end(call, 1, 2)).await), "ahead");
    let welcomed = vec![(vec![address("ada@x", 31), address("bob@x", 32)], vec![8; 20])];
    store.end_epoch(EpochEnd { welcomes: welcomed, ..end(call, 0, 2) }).await.unwrap();
    let loser = EpochEnd { welcomes: vec![(vec![address("ada@x", 33)], vec![9])], ..end(call, 0, 3) };
    assert!(is_conflict(&store.end_epoch(loser).await));
    assert!(is_conflict(&store.end_epoch(end(CallId::from_bytes([1; 16]), 0, 3)).await), "no such group");
    assert_eq!(store.welcome_for(call, &address("ada@x", 33)).await.unwrap(), None);
    let group = store.group(call).await.unwrap().unwrap();
    assert_eq!((group.epoch, group.info, group.nodes), (1, vec![2; 10], tree(&[Some(1), None, Some(2)])));
    let ended = |epoch, n| Ended { epoch, bytes: 100, by: device(n), external: false };
    assert_eq!(group.history, [ended(0, 2)]);
    let mut opened = group.opened.unwrap();
    opened.welcomed.sort_unstable();
    assert_eq!(opened, Opened { by: address("bob@x", 2), hash: [2; 32], welcomed: vec![device(31), device(32)] });
    let winner = Winner { device: device(2), hash: [2; 32], commit: vec![2; 100] };
    assert_eq!(store.winner(call, 0).await.unwrap(), Some(winner));
    assert_eq!(store.winner(call, 1).await.unwrap(), None);

    // A Welcome is for the device it names, of the user it names, until it has it.
    assert_eq!(store.welcome_for(call, &address("ada@x", 31)).await.unwrap(), Some((1, vec![8; 20])));
    assert_eq!(store.welcome_for(call, &address("bob@x", 32)).await.unwrap(), Some((1, vec![8; 20])));
    assert_eq!(store.welcome_for(call, &address("bob@x", 31)).await.unwrap(), None);
    store.welcomed(call, device(31)).await.unwrap();
    assert_eq!(store.welcome_for(call, &address("ada@x", 31)).await.unwrap(), None);

    // A tree shrinks and blanks.
    store.end_epoch(EpochEnd { tree: changes(5, &[(0, None), (4, Some(4))]), ..end(call, 1, 4) }).await.unwrap();
    let nodes = async || store.group(call).await.unwrap().unwrap().nodes;
    assert_eq!(nodes().await, tree(&[None, None, Some(2), None, Some(4)]));
    store.end_epoch(EpochEnd { tree: changes(3, &[]), ..end(call, 2, 5) }).await.unwrap();
    assert_eq!(nodes().await, tree(&[None, None, Some(2)]));

    // Pages: as many as fit, one at least.
    let epochs = async |from, most, room_for| {
        let commits = store.commits_from(call, from, most, room_for).await.unwrap();
        commits.into_iter().map(|(epoch, commit)| (epoch, commit[0])).collect::<Vec<_>>()
    };
    assert_eq!(epochs(0, 10, 1_000).await, [(0, 2), (1, 4), (2, 5)]);
    assert_eq!(epochs(1, 1, 1_000).await, [(1, 4)]);
    assert_eq!(epochs(0, 10, 250).await, [(0, 2), (1, 4)]);
    assert_eq!(epochs(0, 10, 1).await, [(0, 2)]);
    assert_eq!(epochs(3, 10, 1_000).await, []);

    // What is too old goes, with the Welcomes that lead there.
    store.end_epoch(EpochEnd { oldest: 2, ..end(call, 3, 6) }).await.unwrap();
    let group = store.group(call).await.unwrap().unwrap();
    assert_eq!((group.oldest, group.history), (2, vec![ended(2, 5), ended(3, 6)]));
    assert_eq!(store.welcome_for(call, &address("bob@x", 32)).await.unwrap(), None);
    assert_eq!((store.winner(call, 1).await.unwrap(), epochs(0, 10, 1_000).await), (None, vec![]));

    // Another group info, for this epoch alone.
    assert!(is_conflict(&store.reinform(call, 3, vec![1], changes(1, &[])).await));
    store.reinform(call, 4, vec![5; 9], changes(3, &[(0, Some(5))])).await.unwrap();
    let group = store.group(call).await.unwrap().unwrap();
    assert_eq!((group.epoch, group.info, group.nodes), (4, vec![5; 9], tree(&[Some(5), None, Some(6)])));

    // One step back, as often as somebody goes forward: with everything that came with the commit, and nothing else.
    let before = StoredGroup { opened: None, ..store.group(call).await.unwrap().unwrap() };
    let step = |n, length, nodes: &[_], to| EpochEnd {
        welcomes: vec![(vec![address("ada@x", to)], vec![n; 20])],
        tree: changes(length, nodes),
        commit: [vec![0, 1, 0, 1], vec![n; 96]].concat(),
        ..end(call, 4, n)
    };
    for (n, length, nodes) in [
        (21, 5, &[(0, None), (1, Some(21)), (4, Some(21))][..]),
        (22, 1, &[(0, Some(22))]),
        (23, 7, &[(0, Some(23)), (2, None), (6, Some(23))]),
    ] {
        store.end_epoch(step(n, length, nodes, 34)).await.unwrap();
        let group = store.group(call).await.unwrap().unwrap();
        assert_eq!(group.opened.map(|opened| opened.welcomed), Some(vec![device(34)]));
        assert_eq!(group.history.last(), Some(&Ended { epoch: 4, bytes: 100, by: device(n), external: true }));
        store
            .reinform(call, 5, vec![1; 9], changes(5, &[(0, Some(9)), (2, Some(9)), (3, Some(9)), (4, Some(9))]))
            .await
            .unwrap();
        assert!(is_conflict(&store.give_back(call, 4, [99; 32]).await), "another commit");
        assert!(is_conflict(&store.give_back(call, 3, [6; 32]).await), "not the newest");
        assert!(is_conflict(&store.give_back(CallId::from_bytes([1; 16]), 4, [n; 32]).await), "no such group");
        store.give_back(call, 4, [n; 32]).await.unwrap();
        assert_eq!(store.group(call).await.unwrap().unwrap(), before);
        assert_eq!((store.winner(call, 4).await.unwrap(), epochs(4, 10, 1_000).await), (None, vec![]));
        assert_eq!(store.welcome_for(call, &address("ada@x", 34)).await.unwrap(), None);
        assert!(is_conflict(&store.give_back(call, 4, [n; 32]).await), "it is given back");
        assert!(is_conflict(&store.give_back(call, 3, [6; 32]).await), "one step");
    }

    // Nobody's for long.
    let at = WallTime::from_unix;
    store.groups_used(&[call], at(2_000)).await.unwrap();
    store.groups_used(&[call], at(1_500)).await.unwrap();
    assert_eq!(store.forget_groups(at(2_000)).await.unwrap(), 0);
    assert_eq!(store.forget_groups(at(2_001)).await.unwrap(), 1);
    assert_eq!((store.group(call).await.unwrap(), store.group_count().await.unwrap()), (None, 0));
    assert!(is_conflict(&store.end_epoch(end(call, 4, 7)).await));

    // It goes with its call: a new group, that has nothing of the old one.
    store.create_group(new.clone(), NOW).await.unwrap();
    store.end_epoch(end(call, 0, 2)).await.unwrap();
    let next = CallId::from_bytes([0x62; 16]);
    assert_eq!(store.call_of(room, next, at(5_000), 10).await.unwrap(), Some(next));
    assert_eq!(store.group(call).await.unwrap(), None);
    assert!(is_conflict(&store.create_group(new.clone(), NOW).await), "not the present call");
    store.create_group(NewGroup { call: next, ..new.clone() }, NOW).await.unwrap();
    assert_eq!(store.winner(next, 0).await.unwrap(), None);
    assert_eq!(store.call_of(room, call, at(5_001), 10).await.unwrap(), Some(next), "the call goes on");
    assert!(store.group(next).await.unwrap().is_some());

    // And with its room.
    store.append_access(StoredAccess { version: 2, members: vec![], ..access }).await.unwrap();
    assert_eq!(store.group(next).await.unwrap(), None);
    assert!(is_conflict(&store.create_group(NewGroup { call: next, ..new }, NOW).await), "the room is closed");
}
