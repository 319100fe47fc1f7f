//! What a client pays for a proof, in time and bytes.

use std::hint::black_box;
use std::time::Instant;

use akd::ecvrf::{Proof as VrfProof, VRFPublicKey};
use akd::verify::lookup_verify;
use akd::{AkdLabel, Configuration, VersionFreshness, WhatsAppV1Configuration as Config};
use anyhow::{Context, bail};
use undertone_server::directory::{Answer, Directory, Proof, Shown};
use undertone_transparency::directory::{
    AbsenceProof, AppendOnlyProof, LookupProof, VrfKey, verify_absence, verify_append_only, verify_lookup,
};

use super::lookups::labels;
use super::ours::publish;
use super::people::changes;
use crate::table::Table;

/// Users of each kind.
const SAMPLE: usize = 100;
/// Turns; the best counts.
const TURNS: usize = 5;
/// Of one bare VRF verification, where no earlier version is due.
const AIM_VERIFY: f64 = 2.4;
/// Where one is.
const AIM_VERIFY_MARKER: f64 = 3.3;
/// Of an absence, in bytes a look-up may have, and of the time that akd takes for one.
const AIM_ABSENCE: f64 = 0.4;
/// Bytes of an audit proof for each leaf that came.
const AIM_AUDIT: f64 = 600.0;

pub(super) async fn measure(
    table: &mut Table,
    directory: &Directory,
    users: u32,
    proven: &[u32],
) -> anyhow::Result<()> {
    // From the end: those at the beginning have had second versions.
    let mut last = proven.iter().rev().copied();
    let mut some = || last.by_ref().take(SAMPLE).collect::<Vec<_>>();
    let (ones, threes, sevens) = (some(), some(), some());
    for version in 2..=7 {
        let due = if version <= 3 { [threes.as_slice(), sevens.as_slice()].concat() } else { sevens.clone() };
        publish(directory, &changes(due, version)?).await?;
    }
    let most = 700.0 + 560.0 * f64::from(users).log10();
    let client = Client::new(directory)?;
    let (labels_of_ones, proofs) = client.lookups(ones)?;
    let bare = client.bare(&labels_of_ones, &proofs)?;
    table.fact("VRF, one bare verification", format!("{bare:.1} us"), "");
    let kinds = [
        (1, (labels_of_ones, proofs), Some(AIM_VERIFY)),
        (3, client.lookups(threes)?, Some(AIM_VERIFY_MARKER)),
        (7, client.lookups(sevens)?, None),
    ];
    for (version, (labels, proofs), aim) in &kinds {
        let markers = proofs.first().map_or(0, |proof| proof.markers.len());
        let what = format!("directory: version {version}, {markers} earlier shown");
        table.ratio(
            &format!("{what}: verify"),
            client.verify(labels, proofs)?,
            bare,
            "us",
            "one bare VRF verification",
            *aim,
        );
        let bytes = mean(proofs.iter().map(|proof| proof.to_bytes().len()));
        table.ratio(&format!("{what}: size"), bytes, most, "bytes", "700 + 560 log10(n)", aim.map(|_| 1.0));
    }
    if let Some((_, (labels, proofs), _)) = kinds.first() {
        absence(table, &client, users, most, client.verify_by_akd(labels, proofs)?)?;
    }
    audit(table, directory, users).await
}

/// Of users that were never there.
fn absence(table: &mut Table, client: &Client<'_>, users: u32, most: f64, akd: f64) -> anyhow::Result<()> {
    let labels = labels(users.saturating_mul(2)..users.saturating_mul(2) + u32::try_from(SAMPLE)?)?;
    let proofs: Vec<AbsenceProof> = labels.iter().map(|label| client.absence(label)).collect::<Result<_, _>>()?;
    let bytes = mean(proofs.iter().map(|proof| proof.to_bytes().len()));
    table.ratio("directory: absence: size", bytes, most, "bytes", "700 + 560 log10(n)", Some(AIM_ABSENCE));
    let time = best(&labels, &proofs, |label, proof| {
        verify_absence(&client.key, client.shown.root(), label, proof).map_err(Into::into)
    })?;
    table.ratio("directory: absence: verify", time, akd, "us", "akd verifies a look-up", Some(AIM_ABSENCE));
    Ok(())
}

/// The proof that an epoch of [`SAMPLE`] new users only added. It is made, stored and served once and for all.
async fn audit(table: &mut Table, directory: &Directory, users: u32) -> anyhow::Result<()> {
    let (mut from, sample) = (users.saturating_mul(3), u32::try_from(SAMPLE)?);
    let (before, shown) = loop {
        let before = directory.shown();
        publish(directory, &changes(from..from + sample, 1)?).await?;
        let shown = directory.shown();
        // Now and then the server has begun before all of them came.
        if shown.epoch() == before.epoch() + 1 {
            break (*before.root(), shown);
        }
        from += sample;
    };
    let bytes = directory.audit(shown.epoch()).await?.context("no audit proof")?;
    let proof = AppendOnlyProof::from_bytes(&bytes)?;
    verify_append_only(&before, shown.root(), shown.epoch(), &proof)?;
    let leaves = proof.inserted.as_slice().len();
    let what = "directory: audit proof, for each leaf that came";
    table.limit(what, bytes.len() as f64 / leaves as f64, "bytes", &format!("{leaves} leaves, verified"), AIM_AUDIT);
    Ok(())
}

/// Who verifies.
struct Client<'a> {
    directory: &'a Directory,
    shown: std::sync::Arc<Shown>,
    key: VrfKey,
}

impl<'a> Client<'a> {
    fn new(directory: &'a Directory) -> anyhow::Result<Self> {
        Ok(Self { directory, shown: directory.shown(), key: VrfKey::from_bytes(&directory.vrf_key())? })
    }

    /// What is answered about these users, with their labels.
    fn lookups(&self, users: Vec<u32>) -> anyhow::Result<(Vec<Vec<u8>>, Vec<LookupProof>)> {
        let labels = labels(users)?;
        let look_up = |label: &Vec<u8>| match self.directory.lookup_now(label)? {
            Answer { proof: Proof::Present(proof), .. } => Ok(proof),
            Answer { .. } => bail!("a user is not there"),
        };
        let proofs = labels.iter().map(look_up).collect::<Result<_, _>>()?;
        Ok((labels, proofs))
    }

    fn absence(&self, label: &[u8]) -> anyhow::Result<AbsenceProof> {
        match self.directory.lookup_now(label)?.proof {
            Proof::Absent(proof) => Ok(*proof),
            Proof::Present(_) => bail!("somebody is there who never came"),
        }
    }

    fn verify(&self, labels: &[Vec<u8>], proofs: &[LookupProof]) -> anyhow::Result<f64> {
        let (root, epoch) = (self.shown.root(), self.shown.epoch());
        best(labels, proofs, |label, proof| {
            black_box(verify_lookup(&self.key, root, epoch, label, proof)?);
            Ok(())
        })
    }

    /// By akd's own verifier, which finds three VRF proofs where ours has two.
    fn verify_by_akd(&self, labels: &[Vec<u8>], proofs: &[LookupProof]) -> anyhow::Result<f64> {
        let akd: Vec<akd::LookupProof> = proofs.iter().map(LookupProof::to_akd).collect::<Result<_, _>>()?;
        let (key, root, epoch) = (self.key.to_bytes(), *self.shown.root(), self.shown.epoch());
        best(labels, &akd, |label, proof| {
            let label = AkdLabel(label.to_vec());
            black_box(
                lookup_verify::<Config>(&key, root, epoch, label, proof.clone())
                    .map_err(|error| anyhow::anyhow!("{error}"))?,
            );
            Ok(())
        })
    }

    /// One VRF proof, from the bytes of key and proof on.
    fn bare(&self, labels: &[Vec<u8>], proofs: &[LookupProof]) -> anyhow::Result<f64> {
        let key = self.key.to_bytes();
        let input =
            |label: &Vec<u8>| Config::get_hash_from_label_input(&AkdLabel(label.clone()), VersionFreshness::Fresh, 1);
        let inputs: Vec<Vec<u8>> = labels.iter().map(input).collect();
        best(&inputs, proofs, |input, proof| {
            let failed = |_| anyhow::anyhow!("a VRF proof does not hold");
            let key = VRFPublicKey::try_from(key.as_slice()).map_err(failed)?;
            let proof = VrfProof::try_from(proof.existence.vrf.as_slice()).map_err(failed)?;
            key.verify(&proof, input).map_err(failed)
        })
    }
}

/// Microseconds of one call, in the best turn.
fn best<P>(labels: &[Vec<u8>], proofs: &[P], call: impl Fn(&[u8], &P) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..TURNS {
        let started = Instant::now();
        for (label, proof) in labels.iter().zip(proofs) {
            call(label, proof)?;
        }
        best = best.min(started.elapsed().as_secs_f64() * 1e6 / labels.len() as f64);
    }
    Ok(best)
}

fn mean(sizes: impl ExactSizeIterator<Item = usize>) -> f64 {
    let count = sizes.len() as f64;
    sizes.sum::<usize>() as f64 / count
}
