//! The paths under which tiles and entry bundles are served.

use core::fmt;
use core::str::FromStr;

use super::{Bundle, Tile};

/// What a path below a log's prefix names.
///
/// ```text
/// tile/<L>/<N>[.p/<W>]          tile of level L (0 to 7), index N, width W
/// tile/entries/<N>[.p/<W>]      the entries of the tile of level 0, index N, width W
/// ```
/// N is cut into groups of three decimal digits, all but the last behind an `x`: 1234067 is `x001/x234/067`. `.p/<W>`
/// is there exactly when the tile is partial: 1 to 255. Of C2SP tlog-tiles' levels 0 to 63 those above 7 are refused,
/// as no tree whose size fits in 64 bits has one.
///
/// ```
/// use undertone_transparency::log::{Tile, TilePath};
/// let path: TilePath = "tile/0/x001/x234/067.p/5".parse()?;
/// assert_eq!(Some(path), Tile::new(0, 1_234_067, 5).map(TilePath::Tile));
/// assert_eq!(path.to_string(), "tile/0/x001/x234/067.p/5");
/// # Ok::<(), undertone_transparency::log::BadPath>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TilePath {
    /// A tile of hashes.
    Tile(Tile),
    /// A bundle of entries.
    Entries(Bundle),
}

/// A path that names no tile and no bundle, or not in its one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile")]
pub struct BadPath;

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tile = match self {
            Self::Tile(tile) => {
                write!(f, "tile/{}/", tile.level())?;
                *tile
            }
            Self::Entries(bundle) => {
                f.write_str("tile/entries/")?;
                bundle.tile()
            }
        };
        write_index(f, tile.index() / 1_000)?;
        write!(f, "{:03}", tile.index() % 1_000)?;
        if tile.is_full() { Ok(()) } else { write!(f, ".p/{}", tile.width()) }
    }
}

/// Writes the groups of an index that stand before its last.
fn write_index(f: &mut fmt::Formatter<'_>, groups: u64) -> fmt::Result {
    if groups == 0 {
        return Ok(());
    }
    write_index(f, groups / 1_000)?;
    write!(f, "x{:03}/", groups % 1_000)
}

impl FromStr for TilePath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        let (kind, place) = text.strip_prefix("tile/").and_then(|rest| rest.split_once('/')).ok_or(BadPath)?;
        let (index, width) = match place.split_once(".p/") {
            Some((index, width)) => (index, width.parse().map_err(|_| BadPath)?),
            None => (place, 256),
        };
        let mut number = 0_u64;
        for group in index.split('/') {
            let digits: u64 = group.trim_start_matches('x').parse().map_err(|_| BadPath)?;
            number = number.checked_mul(1_000).and_then(|n| n.checked_add(digits)).ok_or(BadPath)?;
        }
        let path = match kind {
            "entries" => Bundle::new(number, width).map(Self::Entries),
            level => Tile::new(level.parse().map_err(|_| BadPath)?, number, width).map(Self::Tile),
        };
        // What was read too generously above is not what would have been written.
        path.filter(|path| path.to_string() == text).ok_or(BadPath)
    }
}
