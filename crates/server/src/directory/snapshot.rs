//! The tree of one epoch in memory: from it proofs are made without a look at the storage.
//!
//! Nodes lie one behind the other in pages, and pages in shelves, which snapshots share: an epoch copies the pages and
//! shelves it touches, and whoever works on an older snapshot keeps what it had. 76 bytes a node; a user has two nodes for the first version and four
//! for each further one.

use std::sync::Arc;

use akd::NodeLabel;
use akd::tree_node::TreeNode;
use rustc_hash::FxHashMap;
use undertone_transparency::directory::Node;

use super::codec;
use super::storage::{Head, StorageError, View};
use super::tree::{Below, Tree, bit, root_hash, shown};

/// Nodes of a page. An update changes about forty nodes, nearly all on pages of their own.
const PAGE: usize = 32;
/// Pages of a shelf. Each epoch counts up once for every shelf there is and for every page of those it touches.
const SHELF: usize = 16;
/// Stands for a child that is not there.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    node: Node,
    children: [u32; 2],
}

type Page = Arc<Vec<Entry>>;

/// A tree in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    shelves: Vec<Arc<Vec<Page>>>,
    count: u32,
    top: [u32; 2],
}

impl Snapshot {
    /// Bytes that a tree of so many nodes takes.
    pub(super) const fn bytes(nodes: u64) -> u64 {
        nodes.saturating_mul(size_of::<Entry>() as u64 + 2)
    }

    /// Reads the whole tree of a view whose newest state is `head`.
    pub(super) fn load<V: View>(view: &V, head: &Head) -> Result<Self, StorageError> {
        let mut loading = Loading { snapshot: Self { top: [NONE; 2], ..Self::default() }, ..Loading::default() };
        view.nodes(&mut |label, packed| {
            let label = codec::read_label(label)?;
            loading.add(&codec::read(&label, packed)?)
        })?;
        if loading.awaited.is_empty() && loading.root == Some(head.root) {
            Ok(loading.snapshot)
        } else {
            Err(StorageError::Damaged)
        }
    }

    /// The snapshot of the next epoch, from the nodes that changed with it.
    pub(super) fn next(&self, changed: &FxHashMap<NodeLabel, TreeNode>) -> Result<Self, StorageError> {
        let mut next = self.clone();
        let Some(root) = changed.get(&NodeLabel::root()) else { return Err(StorageError::Damaged) };
        let [left, right] = self.top;
        next.top = [next.place(root.left_child, left, changed)?, next.place(root.right_child, right, changed)?];
        Ok(next)
    }

    /// Brings the child with this label up to date, and all below it. `before` is the node that was there, which may
    /// now be further down.
    fn place(
        &mut self,
        label: Option<NodeLabel>,
        before: u32,
        changed: &FxHashMap<NodeLabel, TreeNode>,
    ) -> Result<u32, StorageError> {
        let Some(label) = label else { return Ok(NONE) };
        let old = if before == NONE { None } else { Some(*self.entry(before)?) };
        let same = old.is_some_and(|old| *old.node.label() == label);
        let Some(node) = changed.get(&label) else {
            return if same { Ok(before) } else { Err(StorageError::Damaged) };
        };
        let below = match old {
            Some(old) if same => old.children,
            // It was pushed down to one of the two sides.
            Some(old) if bit(old.node.label(), label.label_len) => [NONE, before],
            Some(_) => [before, NONE],
            None => [NONE; 2],
        };
        let [left, right] = below;
        let children = [self.place(node.left_child, left, changed)?, self.place(node.right_child, right, changed)?];
        let entry = Entry { node: shown(node)?, children };
        if same {
            self.put(before, entry)?;
            Ok(before)
        } else {
            self.push(entry)
        }
    }

    fn entry(&self, at: u32) -> Result<&Entry, StorageError> {
        let (shelf, page, at) = spot(at);
        let page = self.shelves.get(shelf).and_then(|shelf| shelf.get(page));
        page.and_then(|page| page.get(at)).ok_or(StorageError::Damaged)
    }

    fn put(&mut self, at: u32, entry: Entry) -> Result<(), StorageError> {
        let (shelf, page, at) = spot(at);
        let shelf = self.shelves.get_mut(shelf).map(Arc::make_mut).ok_or(StorageError::Damaged)?;
        let page = shelf.get_mut(page).map(Arc::make_mut).ok_or(StorageError::Damaged)?;
        *page.get_mut(at).ok_or(StorageError::Damaged)? = entry;
        Ok(())
    }

    fn push(&mut self, entry: Entry) -> Result<u32, StorageError> {
        let at = self.count;
        let (_, page, place) = spot(at);
        if (page, place) == (0, 0) {
            self.shelves.push(Arc::new(Vec::with_capacity(SHELF)));
        }
        let shelf = self.shelves.last_mut().map(Arc::make_mut).ok_or(StorageError::Damaged)?;
        if place == 0 {
            shelf.push(Arc::new(Vec::with_capacity(PAGE)));
        }
        shelf.last_mut().map(Arc::make_mut).ok_or(StorageError::Damaged)?.push(entry);
        self.count = at.checked_add(1).filter(|count| *count != NONE).ok_or(StorageError::Full)?;
        Ok(at)
    }
}

/// Shelf, page on it and place in that of a node.
const fn spot(at: u32) -> (usize, usize, usize) {
    let at = at as usize;
    (at / (PAGE * SHELF), at / PAGE % SHELF, at % PAGE)
}

impl Tree for Snapshot {
    type Name = u32;

    fn top(&self) -> Result<[Option<u32>; 2], StorageError> {
        Ok(self.top.map(named))
    }

    fn node(&self, at: u32) -> Result<Below<u32>, StorageError> {
        let entry = self.entry(at)?;
        Ok((entry.node, entry.children.map(named)))
    }
}

fn named(at: u32) -> Option<u32> {
    (at != NONE).then_some(at)
}

/// A snapshot that is being read, parents before children.
#[derive(Debug, Default)]
struct Loading {
    snapshot: Snapshot,
    root: Option<[u8; 32]>,
    /// Children that were named and did not come yet: whose they are, and on which side.
    awaited: FxHashMap<([u8; 32], u32), (u32, usize)>,
}

impl Loading {
    fn add(&mut self, node: &TreeNode) -> Result<(), StorageError> {
        let name = |label: &NodeLabel| (label.label_val, label.label_len);
        let at = if node.label.label_len == 0 {
            self.root = Some(root_hash(node.hash));
            NONE
        } else {
            let (parent, side) = self.awaited.remove(&name(&node.label)).ok_or(StorageError::Damaged)?;
            let at = self.snapshot.push(Entry { node: shown(node)?, children: [NONE; 2] })?;
            let link =
                |children: &mut [u32; 2]| children.get_mut(side).map(|child| *child = at).ok_or(StorageError::Damaged);
            if parent == NONE {
                link(&mut self.snapshot.top)?;
            } else {
                let mut entry = *self.snapshot.entry(parent)?;
                link(&mut entry.children)?;
                self.snapshot.put(parent, entry)?;
            }
            at
        };
        for (side, child) in [node.left_child, node.right_child].iter().enumerate() {
            if let Some(child) = child {
                self.awaited.insert(name(child), (at, side));
            }
        }
        Ok(())
    }
}
