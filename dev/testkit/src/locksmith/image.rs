//! Everything that a process holds at one moment: what it may write of its memory, and what lies in a folder.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use undertone_keys::JoinId;
use undertone_keys::cbor;
use undertone_keys::digest::sha256;
use undertone_protocol::grant::Grant;
use undertone_protocol::join::Join;

/// The bytes of a server, or of a member, in as many pieces as they lie in.
#[derive(Debug, Default)]
pub struct Image(Vec<Vec<u8>>);

impl Image {
    /// The writable memory of a running process: one that this process has started, or any where it is root.
    ///
    /// # Errors
    /// The file system's own: `/proc` is needed, and the right to look into that process.
    pub fn of_process(id: u32) -> std::io::Result<Self> {
        let memory = File::open(format!("/proc/{id}/mem"))?;
        let mut image = Self::default();
        for line in std::fs::read_to_string(format!("/proc/{id}/maps"))?.lines() {
            let mut words = line.split_whitespace();
            let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
            let ends =
                range.split_once('-').map(|(from, to)| (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)));
            if let Some((Ok(from), Ok(to))) = ends
                && rights.starts_with("rw")
            {
                let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
                // A piece may be gone since it was listed.
                if memory.read_exact_at(&mut bytes, from).is_ok() {
                    image.0.push(bytes);
                }
            }
        }
        Ok(image)
    }

    /// Adds every file of a folder.
    ///
    /// # Errors
    /// The file system's own.
    pub fn add_folder(&mut self, folder: &Path) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                self.add_file(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Adds a file.
    ///
    /// # Errors
    /// The file system's own.
    pub fn add_file(&mut self, path: &Path) -> std::io::Result<()> {
        self.0.push(std::fs::read(path)?);
        Ok(())
    }

    /// Bytes in all.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Every run of `N` bytes, wherever it begins, that could have been drawn: once each. One with fewer than `distinct` different bytes
    /// is left out.
    #[must_use]
    pub fn runs<const N: usize>(&self, distinct: usize) -> HashSet<[u8; N]> {
        let mut runs = HashSet::new();
        for piece in &self.0 {
            let (mut counts, mut different) = ([0_u32; 256], 0);
            for (place, byte) in piece.iter().enumerate() {
                if let Some(count) = counts.get_mut(usize::from(*byte)) {
                    different += usize::from(*count == 0);
                    *count += 1;
                }
                let left = place.checked_sub(N).and_then(|place| piece.get(place));
                if let Some(count) = left.and_then(|byte| counts.get_mut(usize::from(*byte))) {
                    *count -= 1;
                    different -= usize::from(*count == 0);
                }
                if different >= distinct
                    && let Some(run) = (place + 1).checked_sub(N).and_then(|from| piece.get(from..=place))
                    && let Ok(run) = run.try_into()
                {
                    runs.insert(run);
                }
            }
        }
        runs
    }

    /// The papers of everybody who is or was in a call, as the relay has them to show: they are no secret, and whoever wants to derive
    /// a sender's key needs them.
    #[must_use]
    pub fn papers(&self) -> Vec<(Grant, Join)> {
        // Maps of seven with a room's id first, and of five or six with a hash first.
        let grants: BTreeMap<[u8; 32], Grant> = self
            .decoded::<Grant>(&[&[0xa7, 0x00, 0x50]])
            .map(|grant| (sha256(&[&cbor::encode(&grant)]), grant))
            .collect();
        let joins = self.decoded::<Join>(&[&[0xa6, 0x00, 0x58, 0x20], &[0xa5, 0x00, 0x58, 0x20]]);
        let joins: BTreeMap<JoinId, Join> = joins.map(|join| (join.join, join)).collect();
        joins.into_values().filter_map(|join| Some((grants.get(&join.grant)?.clone(), join))).collect()
    }

    /// Whatever reads as a `T`, where it begins with one of these bytes.
    fn decoded<'a, T: for<'b> minicbor::Decode<'b, ()> + 'a>(
        &'a self,
        begins: &'a [&[u8]],
    ) -> impl Iterator<Item = T> + 'a {
        self.0.iter().flat_map(move |piece| {
            let places = (0..piece.len()).filter_map(|from| piece.get(from..));
            let right = places.filter(|rest| begins.iter().any(|begin| rest.starts_with(begin)));
            right.filter_map(|rest| minicbor::decode(rest).ok())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_wherever_they_begin_and_once() {
        let key: [u8; 32] = core::array::from_fn(|i| u8::try_from(i * 7 % 251).unwrap());
        let mut image = Image(vec![[&[0; 13], key.as_slice(), &[0; 50], &key].concat(), vec![1; 4_096]]);
        assert!(image.runs::<32>(18).contains(&key));
        // It begins with a zero, so the one that begins a byte later ends with the zero behind it.
        assert_eq!(image.runs::<32>(32).len(), 2);
        image.0.truncate(0);
        assert!(image.runs::<32>(1).is_empty());
    }

    #[test]
    fn a_process_sees_what_it_holds() {
        let secret: Vec<u8> = (0..32).map(|i| (i * 37 % 251) as u8 ^ 0x5a).collect();
        let image = Image::of_process(std::process::id()).unwrap();
        assert!(image.length() > 1_000_000);
        assert!(image.runs::<32>(18).contains(secret.as_slice()));
    }
}
