//! Relays of others: what is not measured is said.

use crate::table::Table;

/// What it is called, and its programs.
const PEERS: &[(&str, &[&str])] = &[
    ("Mumble", &["mumble-server", "murmurd"]),
    ("LiveKit", &["livekit-server"]),
    ("Janus", &["janus"]),
    ("coturn", &["turnserver"]),
];

pub(crate) fn measure(table: &mut Table) {
    for (peer, programs) in PEERS {
        let installed = programs.iter().any(|program| is_installed(program));
        let reason = if installed { "installed, but there is no driver for it yet" } else { "not installed" };
        table.left_out(&format!("relay, {peer}"), reason);
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
