//! Sizes and times, beside one bare VRF verification. `cargo test --release -- --ignored --nocapture cost`.

use std::hint::black_box;
use std::time::Instant;

use akd::ecvrf::{Proof, VRFPublicKey};
use akd::verify::lookup_verify;
use akd::{AkdLabel, Configuration, HistoryParams, WhatsAppV1Configuration as Config};
use undertone_transparency::directory::{
    AppendOnlyProof, verify_absence, verify_append_only, verify_history, verify_lookup,
};

use crate::world::{Fresh, World, user};

/// Microseconds a call: the best of five rounds over `n` cases.
fn micros(n: usize, mut call: impl FnMut(usize)) -> f64 {
    let mut round = || {
        let start = Instant::now();
        (0..n).for_each(&mut call);
        start.elapsed().as_secs_f64() * 1e6 / n as f64
    };
    (0..5).map(|_| round()).fold(f64::MAX, f64::min)
}

fn mean(sizes: impl Iterator<Item = usize>) -> f64 {
    let sizes: Vec<usize> = sizes.collect();
    sizes.iter().sum::<usize>() as f64 / sizes.len() as f64
}

#[test]
#[ignore = "measures"]
fn cost_of_proofs() {
    for users in [1_000, 10_000, 100_000] {
        let mut world = World::new(users);
        let n = 200;
        for version in 2..=8 {
            let names: Vec<String> = (n..2 * n).map(user).collect();
            world.publish(&names.iter().map(|name| (name.as_str(), version)).collect::<Vec<_>>());
        }
        let epoch = world.epoch();
        let names: Vec<String> = (0..2 * n).map(user).collect();
        let inputs: Vec<([u8; 80], Vec<u8>)> = names
            .iter()
            .map(|name| (world.vrf(name, Fresh, 1), Config::get_hash_from_label_input(&AkdLabel::from(name), Fresh, 1)))
            .collect();
        let bare = micros(n as usize, |at| {
            let (proof, input) = &inputs[at];
            let key = VRFPublicKey::try_from(world.key_bytes.as_slice()).unwrap();
            key.verify(&Proof::try_from(proof.as_slice()).unwrap(), input).unwrap();
        });
        let limit = 700.0 + 560.0 * f64::from(users).log10();
        println!("{users} users: bare VRF verify {bare:.0} us, size limit {limit:.0}");
        for (what, from) in [("version 1", 0), ("version 8", n)] {
            let proofs: Vec<_> = (from..from + n).map(|at| world.lookup(&names[at as usize])).collect();
            let akd: Vec<_> = (from..from + n).map(|at| world.akd_lookup(&names[at as usize]).0).collect();
            let name = |at: usize| &names[from as usize + at];
            let ours = micros(n as usize, |at| {
                black_box(verify_lookup(&world.key, world.root(), epoch, name(at).as_bytes(), &proofs[at]).unwrap());
            });
            let theirs = micros(n as usize, |at| {
                let proof = akd[at].clone();
                lookup_verify::<Config>(&world.key_bytes, *world.root(), epoch, name(at).into(), proof).unwrap();
            });
            let bytes: Vec<_> = proofs.iter().map(|proof| proof.to_bytes()).collect();
            let decode = micros(n as usize, |at| {
                black_box(undertone_transparency::directory::LookupProof::from_bytes(&bytes[at]).unwrap());
            });
            println!(
                "  lookup {what}: {:.0} bytes, verify {ours:.0} us = {:.2}x (akd_core {:.2}x), decode {decode:.1} us",
                mean(bytes.iter().map(Vec::len)),
                ours / bare,
                theirs / bare
            );
        }
        let absent: Vec<String> = (0..n).map(|n| format!("nobody {n}")).collect();
        let proofs: Vec<_> = absent.iter().map(|name| world.absence(name)).collect();
        let ours = micros(n as usize, |at| {
            verify_absence(&world.key, world.root(), absent[at].as_bytes(), &proofs[at]).unwrap();
        });
        let size = mean(proofs.iter().map(|proof| proof.to_bytes().len()));
        println!("  absence: {size:.0} bytes = {:.2} of the limit, verify {:.2}x", size / limit, ours / bare);
        for (what, at) in [("1 version", 0), ("8 versions", n)] {
            let name = &names[at as usize];
            let proof = world.history(name, HistoryParams::Complete);
            let ours = micros(20, |_| {
                black_box(verify_history(&world.key, world.root(), epoch, name.as_bytes(), 1, &proof).unwrap());
            });
            println!("  history {what}: {} bytes, verify {:.2}x", proof.to_bytes().len(), ours / bare);
        }
        let proof = AppendOnlyProof::from_akd(&world.audit(epoch)).unwrap();
        let [start, end] = [&world.roots[epoch as usize - 1], &world.roots[epoch as usize]];
        let ours = micros(5, |_| verify_append_only(start, end, epoch, &proof).unwrap());
        let akd = world.audit(epoch);
        let theirs = micros(3, |_| {
            let proof = akd::AppendOnlyProof { proofs: vec![akd.clone()], epochs: vec![epoch - 1] };
            world.wait(akd::auditor::audit_verify::<Config>(vec![*start, *end], proof)).unwrap();
        });
        let leaves = proof.inserted.as_slice().len();
        println!(
            "  append-only: {leaves} leaves, {:.0} bytes a leaf, verify {:.1} ms (akd {:.1} ms)",
            proof.to_bytes().len() as f64 / leaves as f64,
            ours / 1000.0,
            theirs / 1000.0
        );
    }
}
