//! Logs as files: an honest one, and one for each lie that a log can tell.

use undertone_keys::WallTime;
use undertone_keys::digest::sha256;
use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_transparency::checkpoint::{Checkpoint, SignedCheckpoint, origin};
use undertone_transparency::cosignature::Cosignature;
use undertone_transparency::directory::{AppendOnlyProof, verify_append_only};
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::{prove_inclusion, root};
use undertone_transparency::note::LogKey;

use crate::out::{Out, hex, log_key};
use crate::server::{Log, Person, START, Server, witness};

/// Twelve epochs, with a user that has seven versions, and leaves that repeat the newest up to more than a tile.
pub fn grown(leaves: u64) -> (Server, Person) {
    let (mut server, mut bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    for n in 2..7 {
        server.clock += 60;
        bob.add_device();
        let other = Person::new(&format!("other{n}"), n);
        server.publish(&[&bob, &other]);
    }
    while server.log.size() < leaves {
        server.clock += 240;
        if server.log.size() % 60 == 0 {
            server.publish(&[&Person::new(&format!("late{}", server.log.size()), server.log.size())]);
        } else {
            server.log_epoch();
        }
    }
    server.clock += 1;
    bob.add_device();
    server.publish(&[&bob]);
    (server, bob)
}

fn seen(server: &Server, log: &Log) -> Vec<u8> {
    // The form of `Seen`, whose constructor is not public: {0: 1, 1: checkpoint, 2: leaf}.
    let (checkpoint, leaf) = (server.checkpoint_of(log).to_bytes(), log.0.last().unwrap().to_bytes());
    let mut bytes = vec![0xa3, 0, 1, 1];
    for part in [checkpoint, leaf] {
        if part.len() < 256 {
            bytes.extend([0x58, part.len() as u8])
        } else {
            bytes.extend([0x59, (part.len() >> 8) as u8, part.len() as u8])
        }
        bytes.extend(part);
        bytes.push(2);
    }
    bytes.pop();
    bytes
}

fn cosign(server: &Server, signed: &mut SignedCheckpoint, n: u8, at: u64) {
    let key = LogKey::new(origin("example.org").unwrap(), *server.key.public());
    let verified = signed.clone().verify(&key).unwrap();
    let (witness, public) = witness(n);
    signed.push(Cosignature::sign(&verified, &witness, WallTime::from_unix(at)).unwrap().line(&public)).unwrap();
}

pub fn make(out: &mut Out) {
    let (server, _) = grown(600);
    let (key, log) = (log_key(&server), &server.log);
    let vrf = hex(&server.world.key_bytes);
    let now = server.clock.to_string();
    out.write("keys.txt", format!("{key}\n{vrf}\n{now}\n"));
    let honest = server.checkpoint_of(log);
    out.log("honest", log, &honest);
    out.audits("honest", &server);
    let base = |folder: &str| {
        vec!["folder".to_owned(), format!("@{folder}"), "--log-key".into(), key.clone(), "--at".into(), now.clone()]
    };
    macro_rules! case {
        ($name:expr, $verdict:expr, $folder:expr $(, $more:expr)*) => {{
            #[allow(unused_mut)]
            let mut arguments = base($folder);
            $(arguments.push($more.to_string());)*
            out.case($name, $verdict, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        }};
    }
    case!("honest log", "ok", "honest");
    case!("honest log with its VRF key", "ok", "honest", "--vrf-key", vrf);
    for size in [1, 2, 5, 7, 255, 256, 257, 300, 512, log.size() - 1, log.size()] {
        let older = Log(log.0[..size as usize].to_vec());
        out.write(&format!("seen/{size}"), seen(&server, &older));
        case!(&format!("honest log after {size} leaves"), "ok", "honest", "--state", format!("@seen/{size}"));
    }
    // Small logs, whose tiles are all partial, and one that is exactly a tile.
    for size in [1, 2, 3, 8, 255, 256, 257, 512] {
        let small = Log(log.0[..size].to_vec());
        let folder = format!("small{size}");
        out.log(&folder, &small, &server.checkpoint_of(&small));
        out.audits(&folder, &server);
        case!(&format!("honest log of {size} leaves"), "ok", &folder);
    }

    // KT-1
    let copy = |out: &Out, folder: &str, log: &Log, checkpoint: &SignedCheckpoint| {
        out.log(folder, log, checkpoint);
        out.audits(folder, &server);
    };
    let stranger = SigningKey::generate(&mut SeededRng::new(7));
    let Ok(top) = root(log.size(), log);
    let text = |origin_of: &str| Checkpoint { origin: origin(origin_of).unwrap(), size: log.size(), root: top };
    copy(out, "other-key", log, &text("example.org").sign(&stranger));
    case!("checkpoint signed by another key", "KT-1", "other-key");
    copy(out, "other-origin", log, &text("example.net").sign(&server.key));
    case!("checkpoint of another log", "KT-1", "other-origin");
    // Another origin in the text, under a signature of this log's key in its own name.
    let foreign = text("example.net").to_string();
    let own = LogKey::new(origin("example.org").unwrap(), *server.key.public());
    let line = own.line(server.key.sign_note(foreign.as_bytes()).as_bytes());
    copy(out, "foreign-origin", log, &honest);
    out.write("foreign-origin/checkpoint", format!("{foreign}\n{line}"));
    case!("checkpoint that names another log", "KT-1", "foreign-origin");
    let note = String::from_utf8(honest.to_bytes()).unwrap();
    for (name, bad) in [
        ("bad-signature", note.replacen(&format!("\n{}\n", log.size()), &format!("\n{}\n", log.size() - 1), 1)),
        ("extension", note.replacen("\n\n", "\nmore\n\n", 1)),
        ("leading-zero", note.replacen(&format!("\n{}\n", log.size()), &format!("\n0{}\n", log.size()), 1)),
        ("unsigned", note.split("\n\n").next().unwrap().to_owned() + "\n\n"),
    ] {
        copy(out, name, log, &honest);
        out.write(&format!("{name}/checkpoint"), bad);
        case!(name, "KT-1", name);
    }

    // KT-2
    let keys: Vec<String> = (1..=3).map(|n| witness(n).1.to_string()).collect();
    for (name, by, verdict) in [
        ("witnessed by two", &[(1, 0), (3, 0)][..], "ok"),
        ("witnessed by one", &[(2, 0)], "KT-2"),
        ("one witness twice", &[(2, 0), (2, 5)], "KT-2"),
        ("an unknown witness", &[(2, 0), (9, 0)], "KT-2"),
        ("a cosignature from the future", &[(2, 0), (3, 400)], "KT-2"),
    ] {
        let mut signed = honest.clone();
        for (n, ahead) in by {
            cosign(&server, &mut signed, *n, server.clock + ahead);
        }
        let folder = name.replace(' ', "-");
        copy(out, &folder, log, &signed);
        case!(
            name,
            verdict,
            &folder,
            "--witness",
            keys[0],
            "--witness",
            keys[1],
            "--witness",
            keys[2],
            "--threshold",
            2
        );
    }
    let mut old = server.checkpoint_of(&Log(log.0[..9].to_vec()));
    cosign(&server, &mut old, 1, server.clock);
    let line = String::from_utf8(old.to_bytes()).unwrap().lines().last().unwrap().to_owned();
    copy(out, "moved-cosignature", log, &honest);
    out.write("moved-cosignature/checkpoint", format!("{note}{line}\n"));
    case!("a cosignature of another checkpoint", "KT-2", "moved-cosignature", "--witness", keys[0]);

    // KT-4
    let older = Log(log.0[..300].to_vec());
    copy(out, "rollback", &older, &server.checkpoint_of(&older));
    case!("rollback", "KT-4", "rollback", "--state", format!("@seen/{}", log.size()));
    let mut fork = log.clone();
    fork.0[200].root = [9; 32];
    copy(out, "fork", &fork, &server.checkpoint_of(&fork));
    case!("forked log", "KT-4", "fork", "--state", "@seen/300");
    case!("same size other root", "KT-4", "fork", "--state", format!("@seen/{}", log.size()));

    // Tiles and entries
    let entries = |folder: &str| format!("{folder}/tile/entries/001");
    let mut spoil = |name: &str, file: &str, verdict: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let folder = name.replace(' ', "-");
        copy(out, &folder, log, &honest);
        let mut bytes = out.read(&format!("{folder}/{file}"));
        change(&mut bytes);
        out.write(&format!("{folder}/{file}"), bytes);
        case!(name, verdict, &folder);
    };
    let partial = format!("tile/0/002.p/{}", log.size() - 512);
    spoil("truncated tile", "tile/0/001", "KT-4", &|bytes| bytes.truncate(255 * 32));
    spoil("truncated partial tile", &partial, "KT-4", &|bytes| bytes.truncate(33));
    spoil("longer tile", "tile/0/001", "KT-4", &|bytes| bytes.extend([0; 32]));
    spoil("altered tile", "tile/0/000", "KT-4", &|bytes| bytes[700] ^= 1);
    spoil("reordered tile", "tile/0/000", "KT-4", &|bytes| bytes.rotate_left(32));
    spoil("altered upper tile", "tile/1/000.p/2", "KT-4", &|bytes| bytes[40] ^= 1);
    spoil("altered entry", "tile/entries/001", "KT-3", &|bytes| bytes[60] ^= 1);
    spoil("truncated entries", "tile/entries/001", "KT-3", &|bytes| bytes.truncate(105 * 255));
    spoil("cut entry", "tile/entries/001", "KT-3", &|bytes| bytes.truncate(105 * 255 + 50));
    spoil("swapped entries", "tile/entries/001", "KT-3", &|bytes| bytes.rotate_left(105));
    // KT-12
    spoil("altered append-only proof", "audit/4", "KT-12", &|bytes| bytes[60] ^= 1);
    spoil("malformed append-only proof", "audit/4", "KT-12", &|bytes| bytes.truncate(bytes.len() - 1));
    let other = AppendOnlyProof::from_akd(&server.world.audit(5)).unwrap().to_bytes();
    spoil("append-only proof of another epoch", "audit/4", "KT-12", &|bytes| *bytes = other.clone());
    let mut less = server.world.audit(4);
    less.inserted.pop();
    let less = AppendOnlyProof::from_akd(&less).unwrap().to_bytes();
    spoil("append-only proof with a leaf left out", "audit/4", "KT-12", &|bytes| *bytes = less.clone());
    let _ = entries;

    // Leaf order: signed by the log, with tiles that hold.
    let last = *log.0.last().unwrap();
    let behind = |leaf: Leaf| {
        let mut log = log.clone();
        log.0.push(leaf);
        log
    };
    let later = |seconds: u64| WallTime::from_unix(server.clock + seconds);
    let mut first = log.clone();
    first.0.remove(0);
    let mut swapped = log.clone();
    swapped.0.swap(100, 101);
    for (name, verdict, lying) in [
        ("epoch that went back", "KT-3", behind(Leaf { epoch: last.epoch - 1, time: later(1), ..last })),
        ("epoch left out", "KT-3", behind(Leaf { epoch: last.epoch + 2, time: later(1), ..last })),
        ("two roots for an epoch", "KT-3", behind(Leaf { root: [7; 32], time: later(1), ..last })),
        ("time that went back", "KT-8", behind(Leaf { time: WallTime::from_unix(START), ..last })),
        ("time that stood still", "KT-8", behind(last)),
        ("VRF key that changed", "KT-14", behind(Leaf { vrf_key: [7; 32], time: later(1), ..last })),
        ("swapped leaves", "KT-8", swapped),
        ("log without its first leaf", "KT-3", first),
    ] {
        let folder = name.replace(' ', "-");
        copy(out, &folder, &lying, &server.checkpoint_of(&lying));
        case!(name, verdict, &folder);
    }
    case!("another VRF key", "KT-14", "honest", "--vrf-key", hex(&other_vrf()));

    // A directory that changed a leaf: the next epoch has the root of another directory of the same people.
    let mut rewritten = Server::new();
    rewritten.world.publish_values(&[("somebody else", [3; 32])]);
    rewritten.world.publish_values(&[("and another", [4; 32])]);
    let mut lying = Log(log.0[..2].to_vec());
    let next = Leaf { epoch: 3, root: *rewritten.world.root(), time: later(9), ..last };
    lying.0.push(next);
    copy(out, "rewritten", &lying, &server.checkpoint_of(&lying));
    out.audits("rewritten-other", &rewritten);
    for (name, proof) in [("the honest proof", server.world.audit(3)), ("its own proof", rewritten.world.audit(3))] {
        let proof = AppendOnlyProof::from_akd(&proof).unwrap();
        assert!(verify_append_only(&server.world.roots[2], rewritten.world.root(), 3, &proof).is_err());
        let folder = format!("rewritten-{}", name.replace(' ', "-"));
        copy(out, &folder, &lying, &server.checkpoint_of(&lying));
        out.write(&format!("{folder}/audit/3"), proof.to_bytes());
        case!(&format!("rewritten directory with {name}"), "KT-12", &folder);
    }
    overlap(out, &key, &now, &server);
    // For a check of inclusion from the other side.
    let Ok(proof) = prove_inclusion(200, log.size(), log);
    out.write("inclusion.txt", format!("200 {} {} {}\n", log.size(), hex(&top), hex(proof.as_flattened())));
    out.write("leaf200", log.0[200].to_bytes());
}

/// The key that another seed would make. Any point does.
fn other_vrf() -> [u8; 32] {
    *SigningKey::<undertone_keys::sign::Server>::generate(&mut SeededRng::new(77)).public().as_bytes()
}

/// What facebook/akd#495 was about: a subtree stays, and a leaf is inserted below it that replaces what is in it.
fn overlap(out: &mut Out, key: &str, now: &str, server: &Server) {
    use akd::{
        AzksElement, AzksValue, Configuration, NodeLabel, SingleAppendOnlyProof, WhatsAppV1Configuration as Config,
    };
    let empty = Config::empty_label().value::<Config>();
    let above = |label: NodeLabel, value: AzksValue| {
        Config::compute_parent_hash_from_children(&value, &label.value::<Config>(), &Config::empty_node_hash(), &empty)
    };
    let committed = |value, epoch| AzksValue(Config::hash_leaf_with_commitment(value, epoch).0);
    let (stayed, leaf) = (NodeLabel::new([0; 32], 1), NodeLabel::new([0; 32], 256));
    let (old, new) = (AzksValue(Config::hash(b"old")), AzksValue(Config::hash(b"new")));
    let wire = |unchanged: Vec<AzksElement>, inserted: Vec<AzksElement>| {
        AppendOnlyProof::from_akd(&SingleAppendOnlyProof { unchanged_nodes: unchanged, inserted }).unwrap()
    };
    let element = |label, value| AzksElement { label, value };
    let vrf_key = sha256(&[&server.world.key_bytes]);
    let at = |epoch, root, time| Leaf { epoch, root, vrf_key, time: WallTime::from_unix(time) };
    // Epoch 1 is an honest one with a single leaf; epoch 2 puts another in its place.
    let single = Config::compute_root_hash_from_val(&above(leaf, committed(old, 1)));
    let replaced = Config::compute_root_hash_from_val(&above(leaf, committed(new, 2)));
    let log = Log(vec![at(1, single, START), at(2, replaced, START + 1)]);
    let first = wire(vec![], vec![element(leaf, old)]);
    for (name, second) in [
        ("a leaf in the place of another", wire(vec![element(leaf, committed(old, 1))], vec![element(leaf, new)])),
        ("a leaf below what stayed", wire(vec![element(stayed, committed(old, 1))], vec![element(leaf, new)])),
        (
            "an inner node inserted",
            wire(
                vec![element(leaf, committed(old, 1))],
                vec![element(NodeLabel::new([0xff; 32], 8).get_prefix(8), new)],
            ),
        ),
        ("a leaf taken away", wire(vec![], vec![element(leaf, new)])),
    ] {
        let folder = name.replace(' ', "-");
        out.log(&folder, &log, &server.checkpoint_of(&log));
        out.write(&format!("{folder}/audit/1"), first.to_bytes());
        out.write(&format!("{folder}/audit/2"), second.to_bytes());
        out.case(name, "KT-12", &["folder", &format!("@{folder}"), "--log-key", key, "--at", now]);
    }
}
