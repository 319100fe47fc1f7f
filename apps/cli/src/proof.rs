//! The proof behind `peer show`: a line for each rule for people, and all of it for programs.

use std::fmt::Write;

use serde_json::{Value, json};
use undertone_client::native::{Cosigned, Entry, Growth, Proof, calendar};
use undertone_client::{Bytes, WallTime};

/// Everything, and the whole answer in base64.
pub(crate) fn object(proof: &Proof) -> Value {
    let Proof { growth, entry, .. } = proof;
    let witnesses: Vec<Value> =
        proof.witnesses.iter().map(|w| json!({ "name": w.name, "at": w.at.as_unix(), "size": w.size })).collect();
    let (log, directory) = (hex(&growth.root), hex(&growth.directory));
    json!({
        "log_key": proof.log_key.fingerprint(), "log_verifier": proof.log_verifier,
        "vrf_key": proof.vrf_key.map(|key| hex(&key)),
        "checkpoint": proof.checkpoint, "witnesses": witnesses, "witnesses_wanted": proof.threshold,
        "witnessed_size": proof.witnessed,
        "log": {
            "size": growth.size, "root": log, "seen": growth.seen, "consistency_hashes": growth.consistency,
            "inclusion_hashes": growth.inclusion,
        },
        "leaf": { "epoch": growth.epoch, "root": directory, "at": growth.time.as_unix() },
        "entry": {
            "place": hex(&entry.place), "version": entry.version, "published": entry.published, "path_nodes": entry.path,
            "bytes": entry.bytes, "earlier": entry.earlier,
        },
        "list": {
            "hash": hex(&entry.list), "version": entry.version, "known": entry.known, "brought": entry.brought,
            "in_force": entry.in_force, "account_key": entry.account, "devices": entry.devices,
            "announced": entry.announced.as_ref().map(|(key, from)| json!({ "account_key": key, "from": from.as_unix() })),
        },
        "at": proof.at.as_unix(), "limit": proof.limit,
        "answer": Bytes(proof.answer().to_vec()), "evidence": Bytes(proof.file()),
    })
}

/// One line for each rule, in the order in which they are checked.
pub(crate) fn text(proof: &Proof) -> String {
    let Proof { growth, entry, .. } = proof;
    let mut lines = Lines(format!("What was checked, and holds ({} bytes from the server):", proof.answer().len()));
    let checkpoint = proof.checkpoint.trim_end().replace('\n', "  ");
    lines.add("KT-1", &format!("the server's pinned key {} signed the head of its log:", proof.log_key.fingerprint()));
    lines.add("", &checkpoint);
    lines.add("KT-2", &witnesses(proof));
    let Growth { size, epoch, inclusion, .. } = *growth;
    let (root, proven) = (hex(&growth.directory), hashes(inclusion));
    lines.add("KT-3", &format!("the last of its {size} leaves is of epoch {epoch}: directory {root} ({proven})"));
    lines.add("KT-14", "that leaf names the VRF key that this home pinned");
    lines.add("KT-4", &grown(growth));
    let (user, version) = (proof.user.display(), entry.version);
    lines.add("KT-5", &format!("version {version} of {user}, and nothing else, stands at {}", hex(&entry.place)));
    lines.add("KT-6", &path(entry));
    lines.add("KT-7", &list(entry));
    if let Some((account, effective)) = &entry.announced {
        let from = calendar::utc(*effective);
        lines.add(
            "ID-7",
            &format!(
                "it begins the account anew under key {account}, from {from} on; till then the list before it counts"
            ),
        );
    }
    let age = apart(growth.time, proof.at);
    lines.add("KT-8", &format!("the leaf was made {age}; {} seconds may pass", proof.limit));
    lines.0
}

/// Rules and sentences, below each other.
struct Lines(String);

impl Lines {
    fn add(&mut self, rule: &str, sentence: &str) {
        // A string takes whatever is written to it.
        let _ = write!(self.0, "\n  {rule:5}  {sentence}");
    }
}

fn witnesses(proof: &Proof) -> String {
    let Proof { threshold, growth, .. } = proof;
    let seen = |Cosigned { name, at, size }: &Cosigned| match growth.size.saturating_sub(*size) {
        0 => format!("{name} {}", apart(*at, proof.at)),
        newer => format!("{name} {} and {newer} leaves ago", apart(*at, proof.at)),
    };
    let names: Vec<String> = proof.witnesses.iter().map(seen).collect();
    match (names.len(), *threshold) {
        (_, 0) => "this home asks for no witness: the log is not witnessed".into(),
        (0, wanted) => format!("no witness cosigned, and {wanted} should have: the log is not witnessed"),
        (count, wanted) if count < wanted => {
            format!("{count} cosigned, and {wanted} should have: the log is not witnessed. {}", names.join(", "))
        }
        (count, wanted) => format!("{count} cosigned it, and {wanted} had to: {}", names.join(", ")),
    }
}

fn grown(growth: &Growth) -> String {
    let shown = hashes(growth.consistency);
    match growth.seen {
        None => "this home had not seen the log before: nothing to compare with yet".into(),
        Some(seen) if seen == growth.size => format!("it is the log of {seen} leaves that this home has seen before"),
        Some(seen) => format!("it begins with the log of {seen} leaves that this home has seen before ({shown})"),
    }
}

fn path(entry: &Entry) -> String {
    let Entry { path, bytes, version, published, earlier, .. } = entry;
    let earlier: Vec<String> = earlier.iter().map(ToString::to_string).collect();
    let earlier = match earlier.as_slice() {
        [] => String::new(),
        earlier => format!(", and of those before it is {}", earlier.join(", ")),
    };
    format!(
        "{path} nodes lead from there to the directory's root; it came in epoch {published}; version {} is not there{earlier} \
         ({bytes} bytes)",
        version.saturating_add(1)
    )
}

fn list(entry: &Entry) -> String {
    let Entry { version, in_force, account, devices, brought, .. } = entry;
    let chain = match (entry.known, *brought) {
        (Some(known), 0) => format!("this home has had it: version {known}"),
        (Some(known), brought) => format!("{brought} came, each following the one before, from version {known} on"),
        (None, _) => "the first that this home sees".into(),
    };
    let hash = hex(&entry.list);
    format!(
        "that place holds {hash}, the hash of list {version}; {chain}. List {in_force} counts, signed by account key {account}, \
         with {devices} {}",
        if *devices == 1 { "device" } else { "devices" }
    )
}

fn hashes(count: usize) -> String {
    format!("{count} {}", if count == 1 { "hash" } else { "hashes" })
}

/// How long before or after the check something was, by clocks that may differ.
fn apart(time: WallTime, check: WallTime) -> String {
    let (seconds, side) = (time.distance(check), if time > check { "after" } else { "before" });
    match seconds {
        0..=119 => format!("{seconds} seconds {side}"),
        120..=7_199 => format!("{} minutes {side}", seconds / 60),
        _ => format!("{} hours {side}", seconds / 3_600),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_the_moment_of_the_check() {
        let (check, told) =
            (WallTime::from_unix(100_000), |seconds| apart(WallTime::from_unix(seconds), WallTime::from_unix(100_000)));
        assert_eq!(apart(check, check), "0 seconds before");
        assert_eq!([told(99_950), told(100_003)], ["50 seconds before", "3 seconds after"]);
        assert_eq!([told(99_400), told(10_000)], ["10 minutes before", "25 hours before"]);
    }
}
