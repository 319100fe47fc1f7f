//! Who may use whom: ARCHITECTURE.md's table, checked against what cargo would really link.
//!
//! That nothing on the server's side can link `call`, `text` or `groups` is the end-to-end claim. This reads `cargo
//! metadata` and `cargo tree`, so features and optional dependencies count as they are built here, and follows every
//! edge that is not for tests alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

/// Our crates, and which of ours each may depend on. Whoever is not listed may use all of ours.
const MAY_USE: &[(&str, &[&str])] = &[
    ("keys", &[]),
    ("transparency", &["keys"]),
    ("media", &["keys"]),
    ("protocol", &["keys"]),
    ("text", &["keys", "transparency"]),
    ("groups", &["keys", "transparency"]),
    ("call", &["keys", "transparency", "media", "protocol", "groups"]),
    ("relay", &["keys", "media", "protocol"]),
    ("sfu", &["keys", "media", "protocol", "relay"]),
    ("raida", &["keys"]),
    ("server", &["keys", "transparency", "protocol", "relay", "sfu", "raida"]),
    ("client", &["keys", "transparency", "media", "protocol", "text", "groups", "call", "raida"]),
    ("cli", &["client"]),
];

/// What must not be reachable from a crate, however many steps away: names of packages, ours without their prefix.
const MUST_NOT_REACH: &[(&str, &[&str])] = &[
    ("keys", PURE),
    ("transparency", PURE),
    ("media", PURE),
    ("protocol", PURE),
    ("call", PURE),
    ("text", PURE),
    ("groups", PURE),
    ("relay", &["undertone-call", "undertone-text", "undertone-groups", "undertone-client", "sqlx"]),
    ("server", &["undertone-call", "undertone-text", "undertone-groups", "undertone-client", "opus", "cpal"]),
    ("client", &["undertone-server", "undertone-relay", "undertone-sfu"]),
    ("cli", &["undertone-server", "undertone-relay", "undertone-sfu"]),
];

/// What a pure crate never sees.
const PURE: &[&str] =
    &["tokio", "quinn", "quinn-proto", "sqlx", "sqlx-core", "hyper", "axum", "socket2", "mio", "str0m"];

/// What nobody links, anywhere.
const BANNED: &[&str] = &["ring", "openssl-sys", "openssl", "native-tls", "sharks", "ecvrf", "davey", "rsa"];

/// Features that nothing but tests may ask for.
const TESTING: &[&str] = &["testing", "planted-faults"];

/// Features that only our tools may ask for besides: what measures, fuzzes and tests. Nothing that talks to people asks for them.
const TOOLS: &[&str] = &["legacy"];

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Prints what is forbidden and returns whether nothing is.
pub(crate) fn check() -> anyhow::Result<bool> {
    let (graph, ours) = graph()?;
    let mut faults = Vec::new();
    for name in &ours {
        let short = name.strip_prefix("undertone-").unwrap_or(name);
        let uses = graph.get(name).cloned().unwrap_or_default();
        if let Some((_, may)) = MAY_USE.iter().find(|(crate_name, _)| *crate_name == short) {
            for used in uses.iter().filter(|used| ours.contains(*used)) {
                let used_short = used.strip_prefix("undertone-").unwrap_or(used);
                if !may.contains(&used_short) {
                    faults.push(format!("{short} uses {used_short}, which it may not"));
                }
            }
        }
        let reached = reach(&graph, name);
        for (_, forbidden) in MUST_NOT_REACH.iter().filter(|(crate_name, _)| *crate_name == short) {
            for package in forbidden.iter().filter(|package| reached.contains_key(**package)) {
                faults.push(format!("{short} reaches {package}: {}", path(&reached, package)));
            }
        }
        for package in BANNED.iter().filter(|package| reached.contains_key(**package)) {
            faults.push(format!("{short} reaches {package}, which is banned: {}", path(&reached, package)));
        }
    }
    faults.extend(testing_outside_of_tests()?);
    for fault in &faults {
        eprintln!("layers: {fault}");
    }
    println!("layers: {} crates checked, {} faults", ours.len(), faults.len());
    Ok(faults.is_empty())
}

/// Every package's dependencies that are linked outside of tests, and which packages are ours.
///
/// Asked of `cargo tree`, crate by crate: `cargo metadata` counts features that only another platform's dependencies
/// turn on, and would accuse us of linking what we do not.
fn graph() -> anyhow::Result<(Graph, BTreeSet<String>)> {
    let ours = members()?;
    let mut graph = Graph::new();
    for name in &ours {
        let tree = cargo(&["tree", "--package", name, "--edges", "normal", "--prefix", "depth", "--no-dedupe"])?;
        let mut path: Vec<&str> = Vec::new();
        for line in tree.lines() {
            let digits = line.bytes().take_while(u8::is_ascii_digit).count();
            let (depth, package) = line.split_at(digits);
            let (Ok(depth), Some(package)) = (depth.parse::<usize>(), package.split_whitespace().next()) else {
                continue;
            };
            path.truncate(depth);
            if let Some(user) = path.last() {
                graph.entry((*user).to_owned()).or_default().insert(package.to_owned());
            }
            path.push(package);
        }
    }
    Ok((graph, ours))
}

fn cargo(arguments: &[&str]) -> anyhow::Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        bail!("cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whoever is built with what only tests may have: a feature named `testing` makes believe what nobody has proven, one named `legacy` seals
/// what anybody may change on the way.
fn testing_outside_of_tests() -> anyhow::Result<Vec<String>> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])?)?;
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata names no packages")? {
        let folder = package["manifest_path"].as_str().zip(metadata["workspace_root"].as_str());
        let tool = folder.is_some_and(|(path, root)| Path::new(path).starts_with(Path::new(root).join("dev")));
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let banned = || TESTING.iter().chain(TOOLS.iter().filter(|_| !tool));
            let asks = dependency["features"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|feature| banned().any(|banned| *feature == banned));
            if let Some(feature) = asks.filter(|_| dependency["kind"] != "dev") {
                faults.push(format!("{} asks for {}'s feature {feature}", package["name"], dependency["name"]));
            }
        }
    }
    Ok(faults)
}

/// The workspace's own packages.
fn members() -> anyhow::Result<BTreeSet<String>> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    Ok(packages.iter().filter_map(|package| package["name"].as_str()).map(str::to_owned).collect())
}

/// Everything reachable from `start`, with the package through which it was reached.
fn reach(graph: &Graph, start: &str) -> BTreeMap<String, String> {
    let (mut reached, mut open) = (BTreeMap::new(), vec![start.to_owned()]);
    while let Some(name) = open.pop() {
        for used in graph.get(&name).into_iter().flatten() {
            if used != start && !reached.contains_key(used) {
                reached.insert(used.clone(), name.clone());
                open.push(used.clone());
            }
        }
    }
    reached
}

/// How a package is reached, for people.
fn path(reached: &BTreeMap<String, String>, package: &str) -> String {
    let (mut steps, mut name) = (vec![package.to_owned()], package);
    while let Some(through) = reached.get(name).filter(|_| steps.len() < 50) {
        steps.push(through.clone());
        name = through;
    }
    steps.reverse();
    steps.join(" -> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_edge_is_found_however_far_it_is() {
        let edge = |from: &str, to: &[&str]| (from.to_owned(), to.iter().map(|name| (*name).to_owned()).collect());
        let graph: Graph =
            [edge("server", &["relay"]), edge("relay", &["odd"]), edge("odd", &["undertone-call"])].into();
        let reached = reach(&graph, "server");
        assert_eq!(path(&reached, "undertone-call"), "server -> relay -> odd -> undertone-call");
        assert!(!reach(&graph, "undertone-call").contains_key("server"));
    }
}
