//! 25 nodes in one process, over real sockets: started, killed in part, started again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use undertone_keys::Time;
use undertone_keys::quorum::QuorumSecret;
use undertone_keys::testing::SeededRng;
use undertone_raida::client::{Asker, Carrier, Input, Machine, Output, Patience, Said, give, take};
use undertone_raida::wallet::Wallet;
use undertone_server::raida::{RaidaConfig, SwarmConfig, SwarmServing};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("undertone-raida-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(data: &Path) -> SwarmConfig {
    SwarmConfig {
        nodes: 25,
        threshold: None,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        public: None,
        wallets: 2,
        node: RaidaConfig { data: data.to_owned(), ..RaidaConfig::default() },
    }
}

/// Runs a machine over sockets of the system's.
fn run<M: Machine>(mut machine: M, begun: Instant, nodes: &BTreeMap<SocketAddr, u8>) -> M::Done {
    let now = || Time::from_micros(u64::try_from(begun.elapsed().as_micros()).unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 2_048];
    loop {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Done(done) => return done,
                Output::Send { address, bytes, carrier: Carrier::Datagram, .. } => {
                    socket.send_to(&bytes, address).unwrap();
                }
                Output::Send { raida, address, bytes, carrier: Carrier::Connection } => {
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    stream.write_all(&bytes).unwrap();
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer).unwrap();
                    machine.handle_input(now(), Input::Received { raida, bytes: &answer });
                }
            }
        }
        let wait = machine.poll_timeout().map_or(Duration::ZERO, |at| at.since(now()));
        socket.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let raida = nodes[&from];
                machine.handle_input(now(), Input::Received { raida, bytes: &buffer[..length] });
            }
            Err(_) => machine.handle_input(now(), Input::Tick),
        }
    }
}

#[test]
fn rkx_5_swarm_survives_eight_nodes_that_are_killed_over_real_sockets() {
    let folder = Folder::new("swarm");
    let mut swarm = SwarmServing::start(&config(&folder.0), |_| ()).unwrap();
    let wallet = |path: &Path| Wallet::read(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (ada, bob) = (wallet(&swarm.wallets[0]), wallet(&swarm.wallets[1]));
    let described = swarm.swarm.clone();
    let nodes = described.nodes().iter().map(|node| (node.address, node.raida)).collect();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let asker = |wallet| Asker { swarm: &described, wallet, wall, patience: Patience::default() };
    let (mut rng, begun) = (SeededRng::new(wall), Instant::now());
    let now = || Time::from_micros(u64::try_from(begun.elapsed().as_micros()).unwrap());
    let secret = QuorumSecret::generate(&mut rng);
    let coins = (bob.coins()[0], ada.coins()[0]);
    let (set, posting) = give(now(), &asker(&bob), coins, &secret, &mut rng).unwrap();
    let posted = run(posting, begun, &nodes);
    assert_eq!(posted.good(), 25);
    for dead in [0, 3, 4, 9, 13, 18, 22, 24] {
        swarm.kill(dead);
    }
    let fetching = take(now(), &asker(&ada), coins.1, &set, &mut rng).unwrap();
    let fetched = run(fetching, begun, &nodes);
    assert_eq!(fetched.gathered.secret().unwrap().expose(), secret.expose());
    assert_eq!((fetched.report.good(), fetched.report.nodes[3].said), (17, Said::Slow));
    // One more, and it is said that there are too few.
    swarm.kill(1);
    let fetching = take(now(), &asker(&ada), coins.1, &set, &mut rng).unwrap();
    let fetched = run(fetching, begun, &nodes);
    assert!(fetched.gathered.secret().is_err());
    assert_eq!((fetched.report.good(), fetched.report.nodes[1].said), (16, Said::Silent));
    swarm.stop().unwrap();
}

#[test]
fn rkx_5_a_swarm_that_is_started_again_is_the_same_and_issues_no_coin_twice() {
    let folder = Folder::new("again");
    let swarm = SwarmServing::start(&config(&folder.0), |_| ()).unwrap();
    let (id, wallets) = (swarm.swarm.id(), swarm.wallets.clone());
    let text = std::fs::read_to_string(&wallets[1]).unwrap();
    swarm.stop().unwrap();
    // The first wallet was handed out, and its file removed; the second was not; a third is wanted.
    std::fs::remove_file(&wallets[0]).unwrap();
    let swarm = SwarmServing::start(&SwarmConfig { wallets: 3, ..config(&folder.0) }, |_| ()).unwrap();
    assert_eq!(swarm.swarm.id(), id);
    assert_eq!(swarm.wallets.len(), 2, "{:?}", swarm.wallets);
    assert_eq!(std::fs::read_to_string(&wallets[1]).unwrap(), text);
    let third = Wallet::read(&std::fs::read_to_string(folder.0.join("wallets/3.keys")).unwrap()).unwrap();
    assert_eq!(third.coins(), ["00.30".parse().unwrap(), "00.31".parse().unwrap()]);
    swarm.stop().unwrap();
    // Rights: what is secret is its owner's alone.
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &str| std::fs::metadata(folder.0.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("wallets"), mode("wallets/3.keys"), mode("nodes/3/coins/00.4.bin")), (0o700, 0o600, 0o600));
    // What would be another swarm under the same folder is refused, and nothing is changed.
    for other in [
        SwarmConfig { nodes: 24, ..config(&folder.0) },
        SwarmConfig { threshold: Some(16), ..config(&folder.0) },
        SwarmConfig { node: RaidaConfig { coin_id: 7, ..config(&folder.0).node }, ..config(&folder.0) },
    ] {
        let refused = SwarmServing::start(&other, |_| ()).unwrap_err().to_string();
        assert!(refused.contains("another size"), "{refused}");
    }
    // A wallet whose issuing was cut short is issued anew: nobody was given it.
    std::fs::rename(folder.0.join("wallets/3.keys"), folder.0.join("wallets/3.issuing")).unwrap();
    let swarm = SwarmServing::start(&SwarmConfig { wallets: 3, ..config(&folder.0) }, |_| ()).unwrap();
    let anew = Wallet::read(&std::fs::read_to_string(folder.0.join("wallets/3.keys")).unwrap()).unwrap();
    assert_ne!(*anew.write(), *third.write());
    assert!(!folder.0.join("wallets/3.issuing").exists() && swarm.swarm.id() == id);
    swarm.stop().unwrap();
}
