//! What every keeper of the directory must do. The storage it is given is new.

use super::{Batch, Binding, LogLeaf, NewEpoch, NodeRow, Storage, StorageError, Version, View, VrfPair, VrfProof};

fn row(name: u8, state: u8) -> NodeRow {
    NodeRow { label: vec![0, name], node: vec![state; 60] }
}

fn version(version: u32, epoch: u64) -> Version {
    Version { version, epoch, value: [version as u8; 32], vrf: None }
}

fn pair(n: u8) -> VrfPair {
    let proof = |n| VrfProof { place: [n; 16], proof: [n; 80] };
    VrfPair { fresh: proof(n), stale: proof(n + 1) }
}

fn leaf(index: u64) -> LogLeaf {
    LogLeaf { index, entry: vec![index as u8; 103], subtrees: vec![(0, index, [index as u8; 32])] }
}

fn epoch(number: u64, state: u8, versions: &[(&str, u32)]) -> NewEpoch {
    let versions = versions.iter().map(|(label, n)| (label.as_bytes().to_vec(), version(*n, number))).collect();
    let changed = vec![row(9, state), row(number as u8, state)];
    NewEpoch { number, root: [state; 32], nodes: 10 + number, changed, versions, audit: vec![state; 500] }
}

fn batch(index: u64, epoch: Option<NewEpoch>) -> Batch {
    Batch { epoch, leaf: leaf(index) }
}

pub(crate) fn run(storage: &impl Storage) {
    let binding = |key| Binding { origin: "x/undertone/directory".into(), vrf_key: [key; 32], log_key: [2; 32] };
    storage.bind(&binding(1)).unwrap();
    storage.bind(&binding(1)).unwrap();
    assert_eq!(storage.bind(&binding(3)), Err(StorageError::OtherBinding));
    assert_eq!(storage.view().unwrap().head(), Ok(None));
    assert_eq!(storage.commit(&batch(0, None)), Err(StorageError::Conflict), "nothing to repeat yet");
    assert_eq!(storage.commit(&batch(0, Some(epoch(2, 2, &[])))), Err(StorageError::Conflict));
    assert_eq!(storage.commit(&batch(1, Some(epoch(1, 1, &[])))), Err(StorageError::Conflict));

    storage.commit(&batch(0, Some(epoch(1, 1, &[("ada", 1), ("bob", 1)])))).unwrap();
    let old = storage.view().unwrap();
    let head = old.head().unwrap().unwrap();
    assert_eq!((head.epoch, head.root, head.nodes, head.size, head.leaf), (1, [1; 32], 11, 1, vec![0; 103]));
    assert_eq!(old.newest(b"ada", 1), Ok(Some(version(1, 1))));
    assert_eq!(old.newest(b"eve", 1), Ok(None));

    // A heartbeat, and what follows it.
    storage.commit(&batch(1, None)).unwrap();
    storage.commit(&batch(2, Some(epoch(2, 2, &[("ada", 2)])))).unwrap();
    let head = storage.view().unwrap().head().unwrap().unwrap();
    assert_eq!((head.epoch, head.size, head.leaf), (2, 3, vec![2; 103]));
    // The old view shows the old state, the newest the newest.
    assert_eq!(old.head().unwrap().unwrap().epoch, 1);
    assert_eq!(old.node(&[0, 9]), Ok(Some(vec![1; 60])));
    assert_eq!(old.root(2), Ok(None));
    drop(old);
    for view in [storage.view().unwrap(), storage.own_view().unwrap()] {
        assert_eq!(view.node(&[0, 9]), Ok(Some(vec![2; 60])));
        assert_eq!(view.node(&[0, 7]), Ok(None));
        assert_eq!(view.root(1), Ok(Some([1; 32])));
        assert_eq!(view.root(u64::MAX), Ok(None));
        assert_eq!(view.audit(2), Ok(Some(vec![2; 500])));
        assert_eq!(view.audit(3), Ok(None));
        assert_eq!(view.newest(b"ada", 1), Ok(Some(version(1, 1))), "an older epoch");
        assert_eq!(view.newest(b"ada", 2), Ok(Some(version(2, 2))));
        assert_eq!(view.versions(b"ada", 1, 9), Ok(vec![version(1, 1), version(2, 2)]));
        assert_eq!(view.versions(b"ada", 2, 2), Ok(vec![version(2, 2)]));
        assert_eq!(view.leaves(1, 5), Ok(vec![vec![1; 103], vec![2; 103]]));
        assert_eq!(view.leaves(u64::MAX, 5), Ok(vec![]));
        assert_eq!(view.subtree(0, 2), Ok([2; 32]));
        assert_eq!(view.subtree(1, 2), Err(StorageError::Damaged));
        let mut labels = Vec::new();
        view.nodes(&mut |label, _| {
            labels.push(label.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(labels, [[0, 1], [0, 2], [0, 9]], "each once, in order");
        let stopped = view.nodes(&mut |_, _| Err(StorageError::Full));
        assert_eq!(stopped, Err(StorageError::Full));
    }

    // Never two roots for an epoch, nor two leaves for a place; and nothing of a batch that is refused stays.
    let before = storage.view().unwrap().head();
    for refused in [
        batch(3, Some(epoch(2, 7, &[("ada", 3)]))),
        batch(3, Some(epoch(1, 7, &[]))),
        batch(3, Some(epoch(4, 7, &[]))),
        batch(2, Some(epoch(3, 7, &[]))),
        batch(4, Some(epoch(3, 7, &[]))),
        batch(2, None),
        batch(4, None),
        // A version that is not the label's next, behind one that is.
        batch(3, Some(epoch(3, 7, &[("bob", 2), ("ada", 2)]))),
        batch(3, Some(epoch(3, 7, &[("bob", 2), ("ada", 4)]))),
        batch(3, Some(epoch(3, 7, &[("bob", 2), ("eve", 2)]))),
        batch(3, Some(NewEpoch { versions: vec![(b"bob".to_vec(), version(2, 2))], ..epoch(3, 7, &[]) })),
    ] {
        assert_eq!(storage.commit(&refused), Err(StorageError::Conflict), "{refused:?}");
        let view = storage.view().unwrap();
        assert_eq!(view.head(), before);
        assert_eq!(view.node(&[0, 9]), Ok(Some(vec![2; 60])));
        assert_eq!((view.root(1), view.root(2), view.root(3)), (Ok(Some([1; 32])), Ok(Some([2; 32])), Ok(None)));
        assert_eq!(view.newest(b"bob", 9), Ok(Some(version(1, 1))));
    }

    // Many reads in one go show the same, and what is written meanwhile is there when the write is done.
    storage.begin_reading().unwrap();
    storage.begin_reading().unwrap();
    assert_eq!(storage.own_view().unwrap().head(), before);
    assert_eq!(storage.keep_cosignature("w2", 1, "meanwhile"), Ok(true));
    assert_eq!(storage.view().unwrap().cosignatures(), Ok(vec![(1, "meanwhile".into())]));
    assert_eq!(storage.keep_cosignature("w2", 3, "later"), Ok(true));
    storage.begin_reading().unwrap();
    assert_eq!(storage.own_view().unwrap().cosignatures(), Ok(vec![(3, "later".into())]));
    storage.end_reading();
    storage.end_reading();

    // VRF proofs come with their versions once they were kept, in the order of publication.
    let unproven = storage.view().unwrap().unproven(2).unwrap();
    let named: Vec<_> = unproven.iter().map(|(_, label, version)| (label.as_slice(), *version)).collect();
    assert_eq!(named, [(&b"ada"[..], 1), (b"bob", 1)]);
    let proofs: Vec<_> = unproven.iter().zip([1, 3]).map(|((id, ..), n)| (*id, pair(n))).collect();
    storage.keep_proofs(&proofs).unwrap();
    let view = storage.view().unwrap();
    assert_eq!(view.newest(b"bob", 2).unwrap().unwrap().vrf, Some(pair(3)));
    assert_eq!(view.versions(b"ada", 1, 2).unwrap(), [Version { vrf: Some(pair(1)), ..version(1, 1) }, version(2, 2)]);
    let unproven = view.unproven(9).unwrap();
    assert_eq!(
        unproven.iter().map(|(_, label, version)| (label.as_slice(), *version)).collect::<Vec<_>>(),
        [(&b"ada"[..], 2)]
    );
    drop(view);

    // Of each witness the newest line.
    assert_eq!(storage.keep_cosignature("w1", 2, "two"), Ok(true));
    assert_eq!(storage.keep_cosignature("w1", 3, "three"), Ok(true));
    assert_eq!(storage.keep_cosignature("w1", 2, "two again"), Ok(false));
    assert_eq!(storage.keep_cosignature("w0", 1, "one"), Ok(true));
    let lines = storage.view().unwrap().cosignatures();
    assert_eq!(lines, Ok(vec![(1, "one".into()), (3, "three".into()), (3, "later".into())]));

    // Views are taken while there are others, from several threads, and while something is committed.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let view = storage.view().unwrap();
                    let head = view.head().unwrap().unwrap();
                    std::thread::yield_now();
                    assert_eq!(view.head().unwrap().unwrap(), head);
                    assert_eq!(view.node(&[0, 9]).unwrap().unwrap()[0], head.root[0]);
                }
            });
        }
        for number in 3..20 {
            storage.begin_reading().unwrap();
            assert_eq!(storage.own_view().unwrap().head().unwrap().unwrap().size, number);
            storage.commit(&batch(number, Some(epoch(number, number as u8, &[])))).unwrap();
        }
    });
}
