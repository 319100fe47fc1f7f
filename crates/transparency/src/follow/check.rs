//! One look at a log: from its checkpoint to "every leaf of it was read", without a socket, a file or a clock.

use std::collections::VecDeque;

use undertone_keys::WallTime;

use crate::answer::Hashes;
use crate::checkpoint::{NotFollowing, SignedCheckpoint, VerifiedCheckpoint};
use crate::directory::{AppendOnlyProof, empty_root, verify_append_only};
use crate::leaf::Leaf;
use crate::log::{BadProof, Bundle, MissingTile, Tile, VerifiedTiles, prove_consistency, root};
use crate::note::WitnessKey;

use super::evidence::{Beginning, Entry, Evidence, Place};
use super::fault::{Accused, Fault};
use super::progress::Progress;
use super::resource::Resource;
use super::tiles::Tiles;

/// A checkpoint that is being checked.
///
/// [`Check::step`] says what is needed next, and each need returns the check that goes on. What fails is dropped with
/// its error. The stages:
///
/// | stage | waits for | then |
/// |---|---|---|
/// | edge | the tiles at the right edge | their root is the checkpoint's |
/// | growth | tiles on the way to every size known before | KT-4 holds; the checkpoint is kept |
/// | bundle | the tiles above the next entries, and these | they are leaves in order: KT-3, KT-8, KT-14 |
/// | leaves | the audit proof of each new epoch | KT-12 holds; what is checked is kept; the next bundle |
#[derive(Clone, Debug)]
pub struct Check {
    on: Subject,
    stage: Stage,
}

/// What a check needs next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Fetch it, and hand it to [`Asking::answer`].
    Fetch(Asking),
    /// Make [`Check::progress`] durable before going on.
    Keep(Check),
    /// Rule KT-12 holds for every leaf of the checkpoint.
    Done(Progress),
}

/// A check that waits for something.
#[derive(Clone, Debug)]
pub struct Asking {
    on: Subject,
    stage: Stage,
    resource: Resource,
}

#[derive(Clone, Debug)]
struct Subject {
    progress: Progress,
    /// Checkpoints that were known before, beside the one that the reading goes on from: the tree begins with these too.
    also: Vec<VerifiedCheckpoint>,
    by: Option<WitnessKey>,
    shown: VerifiedCheckpoint,
    now: WallTime,
}

#[derive(Clone, Debug)]
enum Stage {
    Edge(Vec<Vec<u8>>),
    Growth(Tiles),
    Bundle(Tiles),
    Leaves(Tiles, VecDeque<Leaf>),
}

impl Check {
    /// Begins with a checkpoint as it came: it has to be the log's own (rule KT-1), and not to go back (rule KT-4).
    /// `by` and `now` are for the evidence: which witness looks, if it is one, and when.
    ///
    /// # Errors
    /// [`Accused`].
    pub fn begin(progress: &Progress, by: Option<&WitnessKey>, note: &[u8], now: WallTime) -> Result<Self, Accused> {
        let shown = SignedCheckpoint::from_bytes(note).and_then(|claimed| claimed.verify(progress.log()));
        let shown = shown.map_err(|error| {
            let place = Place { log: progress.log(), by, now, shown: note };
            let known = progress.seen().map(|seen| seen.signed().to_bytes());
            let fault = Fault::from(error);
            Accused { evidence: Box::new(Evidence::new(&place, &fault, known)), fault }
        })?;
        let on = Subject { progress: progress.clone(), also: Vec::new(), by: by.cloned(), shown, now };
        if let Some(seen) = progress.seen() {
            on.does_not_go_back(seen)?;
        }
        Ok(Self { on, stage: Stage::Edge(Vec::new()) })
    }

    /// Demands that the log begins with this checkpoint too: one that was met elsewhere (rules KT-4 and KT-13).
    ///
    /// # Errors
    /// [`Accused`].
    pub fn begins_with(mut self, known: &VerifiedCheckpoint) -> Result<Self, Accused> {
        self.on.does_not_go_back(known)?;
        self.on.also.push(known.clone());
        Ok(self)
    }

    /// What is known by now.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.on.progress
    }

    /// The checkpoint that is being checked.
    #[must_use]
    pub const fn shown(&self) -> &VerifiedCheckpoint {
        &self.on.shown
    }

    /// An accusation that rests on the checkpoint alone.
    #[must_use]
    pub fn accuse(&self, fault: Fault) -> Accused {
        self.on.accuse(fault)
    }

    /// Goes on as far as it can without asking.
    ///
    /// # Errors
    /// [`Accused`].
    pub fn step(self) -> Result<Step, Accused> {
        let Self { on, stage } = self;
        match stage {
            Stage::Edge(tiles) => on.edge(tiles),
            Stage::Growth(tiles) => on.growth(tiles),
            Stage::Bundle(tiles) => Ok(on.bundle(tiles)),
            Stage::Leaves(tiles, leaves) => Ok(on.leaves(tiles, leaves)),
        }
    }
}

impl Asking {
    /// What is to be fetched.
    #[must_use]
    pub const fn resource(&self) -> Resource {
        self.resource
    }

    /// Takes what came.
    ///
    /// # Errors
    /// [`Accused`].
    pub fn answer(self, bytes: &[u8]) -> Result<Check, Accused> {
        let Self { mut on, stage, resource } = self;
        let bad_tile = |on: &Subject, why| on.accuse(Fault::Tile { resource, size: on.shown.size(), why });
        let stage = match (stage, resource) {
            (Stage::Edge(mut tiles), _) => {
                tiles.push(bytes.to_vec());
                Stage::Edge(tiles)
            }
            (Stage::Growth(mut tiles), Resource::Tile(tile)) => {
                tiles.add(tile, bytes).map_err(|why| bad_tile(&on, why))?;
                Stage::Growth(tiles)
            }
            (Stage::Bundle(mut tiles), Resource::Tile(tile)) => {
                tiles.add(tile, bytes).map_err(|why| bad_tile(&on, why))?;
                Stage::Bundle(tiles)
            }
            (Stage::Bundle(tiles), Resource::Entries(bundle)) => {
                let leaves = on.read(&tiles, &bundle, bytes)?;
                Stage::Leaves(tiles, leaves)
            }
            (Stage::Leaves(tiles, mut leaves), Resource::Audit(epoch)) => {
                if let Some(leaf) = leaves.pop_front() {
                    on.audit(&leaf, epoch, bytes)?;
                }
                Stage::Leaves(tiles, leaves)
            }
            // Nothing else is asked for.
            (stage, _) => stage,
        };
        Ok(Check { on, stage })
    }
}

impl Subject {
    fn edge(self, tiles: Vec<Vec<u8>>) -> Result<Step, Accused> {
        let size = self.shown.size();
        let all_read = self.progress.seen().is_some_and(|seen| seen.size() == size) && self.progress.checked() == size;
        if all_read && self.also.is_empty() {
            return Ok(Step::Done(self.progress));
        }
        let edge = Tile::edge(size);
        if let Some(tile) = edge.get(tiles.len()) {
            return Ok(self.ask(Stage::Edge(tiles), Resource::Tile(*tile)));
        }
        match (VerifiedTiles::open(size, self.shown.root(), &tiles), edge.last()) {
            (Ok(tiles), _) => self.growth(Tiles::new(tiles)),
            (Err(why), Some(tile)) => Err(self.accuse(Fault::Tile { resource: Resource::Tile(*tile), size, why })),
            // An empty tree has one root, which was compared when the checkpoint was read.
            (Err(_), None) => Ok(Step::Done(self.progress)),
        }
    }

    /// Rule KT-4: the tree begins with every one that was known before.
    fn growth(mut self, tiles: Tiles) -> Result<Step, Accused> {
        let size = self.shown.size();
        for known in self.progress.seen().into_iter().chain(&self.also) {
            let before = known.size();
            // The root of the old size is for the evidence: with it the proof shows that the trees differ.
            let proof =
                prove_consistency(before, size, &tiles.all).and_then(|proof| Ok((proof, root(before, &tiles.all)?)));
            let (proof, begins) = match proof {
                Ok(proof) => proof,
                Err(why) => {
                    // Sizes that grow have complete subtrees for every hash of the proof, so there is always a tile to
                    // ask for.
                    let tile = if let MissingTile::Fetch(missing) = &why { missing.first() } else { None };
                    let why = NotFollowing::NotConsistent { known: before, shown: size, proof: BadProof::Range };
                    let Some(tile) = tile.copied() else { return Err(self.accuse_of(why.into(), known, None)) };
                    return Ok(self.ask(Stage::Growth(tiles), Resource::Tile(tile)));
                }
            };
            if let Err(why) = self.shown.follows(known, &proof) {
                let beginning = Beginning { root: begins, proof: Hashes(proof) };
                return Err(self.accuse_of(why.into(), known, Some(beginning)));
            }
        }
        self.also.clear();
        self.progress.see(self.shown.clone());
        Ok(Step::Keep(Check { on: self, stage: Stage::Bundle(tiles) }))
    }

    /// Rule KT-4, as far as sizes and roots say it.
    fn does_not_go_back(&self, known: &VerifiedCheckpoint) -> Result<(), Accused> {
        if self.shown.size() > known.size() && self.shown.origin() == known.origin() {
            return Ok(());
        }
        self.shown.follows(known, &[]).map_err(|why| self.accuse_of(why.into(), known, None))
    }

    /// The entries that come next, and the tiles above them. The leaf before them is part of the evidence where they do
    /// not follow it, so its tile is asked for as well.
    fn bundle(self, tiles: Tiles) -> Step {
        let (size, checked) = (self.shown.size(), self.progress.checked());
        let Some(bundle) = Bundle::at(checked / 256, size).filter(|_| checked < size) else {
            return Step::Done(self.progress);
        };
        let before = checked.checked_sub(1).and_then(|last| Tile::at(0, last / 256, size));
        let missing = before.into_iter().chain([bundle.tile()]).flat_map(|tile| tiles.all.missing(tile)).next();
        let resource = missing.map_or(Resource::Entries(bundle), Resource::Tile);
        self.ask(Stage::Bundle(tiles), resource)
    }

    /// The leaves of a bundle behind those that are checked, all in order.
    fn read(&self, tiles: &Tiles, bundle: &Bundle, bytes: &[u8]) -> Result<VecDeque<Leaf>, Accused> {
        let (size, checked) = (self.shown.size(), self.progress.checked());
        let entries = tiles
            .all
            .entries(bundle, bytes)
            .map_err(|why| self.accuse(Fault::Entries { resource: Resource::Entries(*bundle), size, why }))?;
        let mut leaves = VecDeque::new();
        let mut before = self.progress.leaf().copied();
        for (index, bytes) in (bundle.first()..).zip(entries).filter(|(index, _)| *index >= checked) {
            let place = |index, bytes: &[u8]| tiles.place(index, bytes, size);
            let leaf = Leaf::from_bytes(bytes)
                .map_err(|_| self.accuse_entries(Fault::Leaf { index }, place(index, bytes).into_iter().collect()))?;
            match &before {
                None if leaf.epoch == 1 => {}
                None => {
                    let entries = place(index, bytes).into_iter().collect();
                    return Err(self.accuse_entries(Fault::First { epoch: leaf.epoch }, entries));
                }
                Some(before) => leaf.comes_after(before).map_err(|why| {
                    let earlier = index.checked_sub(1).and_then(|earlier| place(earlier, &before.to_bytes()));
                    let entries = earlier.into_iter().chain(place(index, bytes)).collect();
                    self.accuse_entries(Fault::Order { index, why }, entries)
                })?,
            }
            before = Some(leaf);
            leaves.push_back(leaf);
        }
        Ok(leaves)
    }

    /// Takes the leaves that repeat an epoch, up to the first that brings a new one.
    fn leaves(mut self, mut tiles: Tiles, mut leaves: VecDeque<Leaf>) -> Step {
        while let Some(leaf) = leaves.pop_front() {
            if self.progress.leaf().is_none_or(|before| before.epoch < leaf.epoch) {
                leaves.push_front(leaf);
                return self.ask(Stage::Leaves(tiles, leaves), Resource::Audit(leaf.epoch));
            }
            self.progress.check(leaf);
        }
        tiles.forget();
        Step::Keep(Check { on: self, stage: Stage::Bundle(tiles) })
    }

    /// Rule KT-12: the leaf's epoch only added to the one before.
    fn audit(&mut self, leaf: &Leaf, epoch: u64, bytes: &[u8]) -> Result<(), Accused> {
        let start = self.progress.leaf().map_or_else(empty_root, |before| before.root);
        let proof = AppendOnlyProof::from_bytes(bytes).map_err(|_| self.accuse(Fault::Proof { epoch }))?;
        verify_append_only(&start, &leaf.root, epoch, &proof)
            .map_err(|why| self.accuse(Fault::Audit { epoch, why }))?;
        self.progress.check(*leaf);
        Ok(())
    }

    const fn ask(self, stage: Stage, resource: Resource) -> Step {
        Step::Fetch(Asking { on: self, stage, resource })
    }

    fn accuse(&self, fault: Fault) -> Accused {
        let known = self.progress.seen().map(|seen| seen.signed().to_bytes());
        let shown = self.shown.signed().to_bytes();
        let place = Place { log: self.progress.log(), by: self.by.as_ref(), now: self.now, shown: &shown };
        Accused { evidence: Box::new(Evidence::new(&place, &fault, known)), fault }
    }

    /// Of the checkpoint shown, against one that was known before.
    fn accuse_of(&self, fault: Fault, known: &VerifiedCheckpoint, beginning: Option<Beginning>) -> Accused {
        let mut accused = self.accuse(fault);
        (accused.evidence.known, accused.evidence.beginning) = (Some(known.signed().to_bytes()), beginning);
        accused
    }

    /// Of what stands in the log.
    fn accuse_entries(&self, fault: Fault, entries: Vec<Entry>) -> Accused {
        let mut accused = self.accuse(fault);
        accused.evidence.entries = entries;
        accused
    }
}
