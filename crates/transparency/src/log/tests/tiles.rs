use proptest::prelude::*;

use super::*;

/// Everything a mirror holds of a tree, by path.
fn mirror(tree: &Memory) -> HashMap<String, Vec<u8>> {
    let tiles = Tile::added(0, tree.size);
    tiles
        .map(|tile| {
            let Ok(bytes) = tile.read(tree);
            (TilePath::Tile(tile).to_string(), bytes)
        })
        .collect()
}

fn fetch(mirror: &HashMap<String, Vec<u8>>, tile: Tile) -> &[u8] {
    &mirror[&TilePath::Tile(tile).to_string()]
}

fn open(tree: &Memory, mirror: &HashMap<String, Vec<u8>>) -> VerifiedTiles {
    let edge: Vec<_> = Tile::edge(tree.size).into_iter().map(|tile| fetch(mirror, tile)).collect();
    VerifiedTiles::open(tree.size, &tree.root(tree.size), &edge).unwrap()
}

/// Does what a caller does: asks, fetches what is missing, and asks again.
fn with_tiles<T>(
    tiles: &mut VerifiedTiles,
    mirror: &HashMap<String, Vec<u8>>,
    ask: impl Fn(&VerifiedTiles) -> Result<T, MissingTile>,
) -> T {
    loop {
        match ask(tiles) {
            Ok(answer) => return answer,
            Err(MissingTile::Fetch(missing)) => {
                assert!(!missing.is_empty());
                missing.into_iter().for_each(|tile| tiles.add(tile, fetch(mirror, tile)).unwrap());
            }
            Err(MissingTile::NotInTree) => panic!("not in the tree"),
        }
    }
}

#[test]
fn kt_3_paths_have_one_form() {
    let tile = |level, index, width| TilePath::Tile(Tile::new(level, index, width).unwrap());
    let entries = |index, width| TilePath::Entries(Bundle::new(index, width).unwrap());
    for (path, text) in [
        (tile(0, 1_234_067, 5), "tile/0/x001/x234/067.p/5"),
        (tile(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (tile(0, 0, 1), "tile/0/000.p/1"),
        (tile(7, 0, 255), "tile/7/000.p/255"),
        (tile(1, 999, 256), "tile/1/999"),
        (tile(1, 1_000, 256), "tile/1/x001/000"),
        (tile(0, u64::MAX >> 8, 255), "tile/0/x072/x057/x594/x037/x927/935.p/255"),
        (entries(0, 256), "tile/entries/000"),
        (entries(1_234_067, 5), "tile/entries/x001/x234/067.p/5"),
    ] {
        assert_eq!(path.to_string(), text);
        assert_eq!(text.parse(), Ok(path));
    }
    for text in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/000/",
        "/tile/0/000",
        "tile//000",
        "tile/00/000",
        "tile/+0/000",
        "tile/8/000.p/1",
        "tile/64/000",
        "tile/256/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/05",
        "tile/0/000.p/+5",
        "tile/0/000.p/",
        "tile/0/000.p/1.p/1",
        "tile/0/x000/001",
        "tile/0/xx01/001",
        "tile/0/x001",
        "tile/0/001/001",
        "tile/0/x1/001",
        "tile/0/x001/x1",
        "tile/0/ 01",
        "tile/0/000\n",
        "tile/0/000.P/5",
        "tile/entries/0",
        "tile/entries/000.p/300",
        "tile/7/001.p/1",
        "tile/7/000",
        "tile/0/x072/x057/x594/x037/x927/935",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert_eq!(text.parse::<TilePath>(), Err(BadPath), "{text:?}");
    }
}

#[test]
fn kt_3_a_tree_has_the_tiles_of_the_specification() {
    let tiles: Vec<Tile> = Tile::added(0, 70_000).collect();
    let count = |level, full| tiles.iter().filter(|tile| tile.level() == level && tile.is_full() == full).count();
    assert_eq!((count(0, true), count(1, true), count(2, true)), (273, 1, 0));
    let edge = [Tile::new(2, 0, 1).unwrap(), Tile::new(1, 1, 17).unwrap(), Tile::new(0, 273, 112).unwrap()];
    assert_eq!(Tile::edge(70_000), edge);
    assert_eq!(tiles.len(), 273 + 1 + 3);
    assert_eq!(Tile::edge(256), [Tile::new(1, 0, 1).unwrap()]);
    assert_eq!(Tile::added(0, 256).count(), 2);
    assert_eq!(Tile::edge(0), []);
    assert_eq!(Tile::added(256, 256).count(), 0);
    assert_eq!(Tile::added(300, 200).count(), 0);
    let grown: Vec<Tile> = Tile::added(255, 257).collect();
    let expected =
        [(0, 0, 256), (0, 1, 1), (1, 0, 1)].map(|(level, index, width)| Tile::new(level, index, width).unwrap());
    assert_eq!(grown, expected);
    let held: Vec<(u8, u64)> = Tile::new(1, 1, 2).unwrap().holds().collect();
    assert_eq!(held, [(8, 256), (8, 257)]);
    assert_eq!(Tile::new(1, 1, 2).unwrap().leaves(), 258 * 256);
    for (level, index, width) in [(8, 0, 1), (255, 0, 1), (0, 0, 0), (0, 0, 257), (0, u64::MAX, 1), (7, 0, 256)] {
        assert_eq!(Tile::new(level, index, width), None);
    }
}

#[test]
fn kt_4_every_proof_can_be_made_from_verified_tiles() {
    let tree = Memory::of(66_000);
    let mirror = mirror(&tree);
    let mut tiles = open(&tree, &mirror);
    for old in [1, 255, 256, 257, 511, 40_000, 65_535, 65_536, 65_537, 65_999, 66_000] {
        let proof = with_tiles(&mut tiles, &mirror, |tiles| prove_consistency(old, 66_000, tiles));
        assert_eq!(Ok(proof), prove_consistency(old, 66_000, &tree));
        // One who has the tiles needs no proof: they give the old root too.
        assert_eq!(with_tiles(&mut tiles, &mirror, |tiles| root(old, tiles)), tree.root(old));
    }
    for index in [0, 255, 256, 12_345, 65_535, 65_536, 65_999] {
        let mut tiles = open(&tree, &mirror);
        let proof = with_tiles(&mut tiles, &mirror, |tiles| prove_inclusion(index, 66_000, tiles));
        assert_eq!(Ok(proof), prove_inclusion(index, 66_000, &tree));
        assert_eq!(with_tiles(&mut tiles, &mirror, |tiles| tiles.subtree(0, index)), tree.leaf(index));
    }
    for (level, index) in [(0, 66_000), (1, 33_000), (17, 0), (63, 0), (64, 0), (255, 0), (0, u64::MAX)] {
        assert_eq!(tiles.subtree(level, index), Err(MissingTile::NotInTree));
    }
}

#[test]
fn kt_3_truncated_or_reordered_tiles_are_refused() {
    let tree = Memory::of(1_000);
    let mirror = mirror(&tree);
    let root = tree.root(1_000);
    let edge: Vec<Vec<u8>> = Tile::edge(1_000).into_iter().map(|tile| fetch(&mirror, tile).to_vec()).collect();
    assert_eq!(edge.len(), 2);
    let refused = |edge: &[Vec<u8>]| VerifiedTiles::open(1_000, &root, edge).unwrap_err();
    for (tile, hash) in [(0, 0), (0, 2), (1, 0), (1, 100), (1, 231)] {
        let mut bad = edge.clone();
        bad[tile][hash * 32] ^= 1;
        assert_eq!(refused(&bad), BadTile::Hash);
    }
    let mut swapped = edge.clone();
    swapped[1].rotate_left(32);
    assert_eq!(refused(&swapped), BadTile::Hash);
    let mut short = edge.clone();
    short[1].truncate(231 * 32);
    assert_eq!(refused(&short), BadTile::Length);
    let mut ragged = edge.clone();
    ragged[1].push(0);
    assert_eq!(refused(&ragged), BadTile::Length);
    assert_eq!(refused(&edge[..1]), BadTile::Length);
    assert_eq!(refused(&[edge[1].clone(), edge[0].clone()]), BadTile::Length);
    assert_eq!(refused(&[]), BadTile::Length);
    assert_eq!(VerifiedTiles::open(1_000, &tree.root(999), &edge).unwrap_err(), BadTile::Hash);
    assert_eq!(VerifiedTiles::open(1_001, &root, &edge).unwrap_err(), BadTile::Length);

    let mut tiles = VerifiedTiles::open(1_000, &root, &edge).unwrap();
    let tile = |index| Tile::new(0, index, 256).unwrap();
    let bytes = |index| fetch(&mirror, tile(index)).to_vec();
    assert_eq!(tiles.add(tile(0), &bytes(1)), Err(BadTile::Hash), "two tiles in each other's place");
    for hash in [0, 128, 255] {
        let mut bad = bytes(0);
        bad[hash * 32 + 31] ^= 1;
        assert_eq!(tiles.add(tile(0), &bad), Err(BadTile::Hash));
    }
    assert_eq!(tiles.add(tile(0), &bytes(0)[..8_160]), Err(BadTile::Length));
    assert_eq!(tiles.add(tile(3), &bytes(0)), Err(BadTile::NotInTree), "partial in this tree");
    assert_eq!(tiles.add(tile(4), &bytes(0)), Err(BadTile::NotInTree));
    assert_eq!(tiles.add(Tile::new(0, 0, 5).unwrap(), &bytes(0)[..160]), Err(BadTile::NotInTree));
    assert_eq!(tiles.missing(tile(0)), [tile(0)]);
    assert_eq!(tiles.add(tile(0), &bytes(0)), Ok(()));
    assert_eq!(tiles.missing(tile(0)), []);
    assert_eq!(tiles.add(tile(0), &bytes(0)), Ok(()));
    assert_eq!(tiles.add(tile(0), &bytes(1)), Err(BadTile::Hash));
    assert_eq!(tiles.missing(tile(9)), []);
}

#[test]
fn kt_3_a_tile_waits_for_the_one_above_it() {
    let tree = Memory::of(65_536 + 5);
    let mirror = mirror(&tree);
    let mut tiles = open(&tree, &mirror);
    let (above, below) = (Tile::new(1, 0, 256).unwrap(), Tile::new(0, 7, 256).unwrap());
    assert_eq!(tiles.missing(below), [above, below]);
    assert_eq!(tiles.subtree(0, 7 * 256), Err(MissingTile::Fetch(vec![above, below])));
    assert_eq!(tiles.add(below, fetch(&mirror, below)), Err(BadTile::Order));
    assert_eq!(tiles.add(above, fetch(&mirror, above)), Ok(()));
    assert_eq!(tiles.add(below, fetch(&mirror, below)), Ok(()));
}

#[test]
fn kt_3_entries_are_those_of_the_tree() {
    let tree = Memory::of(300);
    let mirror = mirror(&tree);
    let tiles = open(&tree, &mirror);
    let bundle = Bundle::at(1, 300).unwrap();
    assert_eq!((bundle.first(), bundle.tile().width()), (256, 44));
    let entries: Vec<[u8; 8]> = (256..300_u64).map(u64::to_be_bytes).collect();
    let bytes = bundle.encode(&entries).unwrap();
    assert_eq!(bytes.len(), 44 * 10);
    assert_eq!(bytes[..10], [0, 8, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(tiles.entries(&bundle, &bytes).unwrap(), entries);
    assert_eq!(Bundle::hashes(&entries), fetch(&mirror, bundle.tile()));

    let refused = |bytes: &[u8]| tiles.entries(&bundle, bytes).unwrap_err();
    let mut bad = bytes.clone();
    bad[9] ^= 1;
    assert_eq!(refused(&bad), BadEntries::Hash);
    bad = bytes.clone();
    bad.rotate_left(10);
    assert_eq!(refused(&bad), BadEntries::Hash);
    assert_eq!(refused(&bytes[..430]), BadEntries::Count);
    assert_eq!(refused(&[bytes.as_slice(), &[0, 0]].concat()), BadEntries::Count);
    for cut in 431..440 {
        assert_eq!(refused(&bytes[..cut]), BadEntries::Malformed, "{cut}");
    }
    assert_eq!(refused(&[bytes.as_slice(), &[0]].concat()), BadEntries::Malformed);
    assert_eq!(refused(&[]), BadEntries::Count);
    // A bundle of this width is not the tree's, and one whose tile was not added is not known.
    let narrow = Bundle::new(1, 43).unwrap();
    assert_eq!(tiles.entries(&narrow, &bytes[..430]), Err(BadEntries::Hash));
    let first = Bundle::at(0, 300).unwrap();
    let entries: Vec<[u8; 8]> = (0..256_u64).map(u64::to_be_bytes).collect();
    assert_eq!(tiles.entries(&first, &first.encode(&entries).unwrap()), Err(BadEntries::Hash));

    assert_eq!(bundle.encode(&[[0; 8]; 43]), Err(BadEntries::Count));
    let one = Bundle::new(0, 1).unwrap();
    assert_eq!(one.encode(&[vec![0; 65_536]]), Err(BadEntries::TooLong));
    let longest = one.encode(&[vec![7; 65_535]]).unwrap();
    assert_eq!(one.decode(&longest).unwrap(), [vec![7; 65_535]]);
}

#[test]
fn kt_4_the_largest_tree_is_opened_from_its_edge() {
    let Ok(whole) = root(u64::MAX, &Alike);
    let edge = Tile::edge(u64::MAX);
    assert_eq!(edge.len(), 8);
    let bytes: Vec<Vec<u8>> = edge.iter().map(|tile| tile.read(&Alike).unwrap()).collect();
    let tiles = VerifiedTiles::open(u64::MAX, &whole, &bytes).unwrap();
    let Ok(top) = Alike.subtree(63, 0);
    assert_eq!(tiles.subtree(63, 0), Ok(top));
    let Err(MissingTile::Fetch(missing)) = tiles.subtree(0, 0) else { panic!("the first leaf is in no edge tile") };
    assert_eq!(missing.len(), 7);
    let empty = VerifiedTiles::open::<Vec<u8>>(0, &EMPTY_ROOT, &[]).unwrap();
    assert_eq!(root(0, &empty), Ok(EMPTY_ROOT));
    assert_eq!(VerifiedTiles::open::<Vec<u8>>(0, &whole, &[]).unwrap_err(), BadTile::Hash);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn kt_3_tiles_are_those_of_tlog_tiles(old in 0_u64..3_000, more in 0_u64..3_000) {
        let size = old + more;
        let tree = Memory::of(size);
        let ours: Vec<Tile> = Tile::added(old, size).collect();
        let theirs = tlog_tiles::Tile::new_tiles(8, old, size);
        prop_assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            // Theirs names the height, 8, too.
            let path = theirs.path().replacen("tile/8/", "tile/", 1);
            prop_assert_eq!(TilePath::Tile(*ours).to_string(), path.clone());
            prop_assert_eq!(path.parse(), Ok(TilePath::Tile(*ours)));
            let Ok(bytes) = ours.read(&tree);
            prop_assert_eq!(bytes.len(), ours.byte_len());
            prop_assert!(ours.leaves() <= size);
        }
    }

    #[test]
    fn kt_3_a_path_is_read_as_it_was_written(level in 0_u8..9, index in any::<u64>(), shift in 0_u32..64, width: u8) {
        if let Some(tile) = Tile::new(level, index >> shift, u16::from(width) + 1) {
            let path = TilePath::Tile(tile);
            prop_assert_eq!(path.to_string().parse(), Ok(path));
            prop_assert_eq!(Tile::at(level, tile.index(), tile.leaves()), Some(tile));
        }
    }

    #[test]
    fn kt_3_any_tree_opens_from_its_tiles(size in 0_u64..2_000, index: u64, level in 0_u8..12) {
        let tree = Memory::of(size);
        let mirror = mirror(&tree);
        let mut tiles = open(&tree, &mirror);
        let complete = size >> level;
        if complete > 0 {
            let index = index % complete;
            let hash = with_tiles(&mut tiles, &mirror, |tiles| tiles.subtree(level, index));
            prop_assert_eq!(Ok(hash), tree.subtree(level, index));
        }
        prop_assert_eq!(tiles.subtree(level, complete), Err(MissingTile::NotInTree));
    }

    #[test]
    fn kt_3_entries_are_read_as_they_were_written(
        entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..256),
        noise: Vec<u8>,
    ) {
        let bundle = Bundle::new(0, entries.len() as u16).unwrap();
        let bytes = bundle.encode(&entries).unwrap();
        prop_assert_eq!(bundle.decode(&bytes).unwrap(), entries);
        if let Ok(entries) = bundle.decode(&noise) {
            prop_assert_eq!(bundle.encode(&entries), Ok(noise.clone()));
        }
    }
}
