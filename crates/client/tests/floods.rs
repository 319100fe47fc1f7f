//! Floods (rule DOS-1): connections that are begun and never finished, and noise. Who is honest does not notice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};
use undertone_client::Event;
use undertone_client::native::{Client, ClientError, Entrance, KeyChoice, Login, Online, Sound, Unlock};
use undertone_keys::secret::SecretBytes;
use undertone_testkit::flood::{self, Hellos, Reply, crowd};
use undertone_testkit::{TestServer, process};

const PATIENCE: Duration = Duration::from_secs(30);
/// Connections of each kind.
const MANY: usize = 10_000;
/// Addresses they come from: no single one may have so many.
const ADDRESSES: u8 = 50;
/// Somebody else on the same network as everybody here.
const LOUD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn wait_for(online: &mut Online, wanted: impl Fn(&Event) -> bool) {
    let search = async { while !wanted(&online.next_event().await.unwrap()) {} };
    timeout(PATIENCE, search).await.expect("the event did not come");
}

/// Two who talk for as long as both are kept.
async fn talking(server: &TestServer) -> (Online, Online) {
    let (mut ada, mut bob) = (server.online("ada").await.unwrap(), server.online("bob").await.unwrap());
    ada.call("bob", Sound::silent()).await.unwrap();
    wait_for(&mut bob, |event| matches!(event, Event::Incoming { .. })).await;
    bob.accept(Sound::silent()).await.unwrap();
    for online in [&mut ada, &mut bob] {
        wait_for(online, |event| matches!(event, Event::Connected { .. })).await;
    }
    (ada, bob)
}

/// One more device of an account that was registered here.
async fn log_in(server: &TestServer, name: &str, number: usize) -> Result<(), ClientError> {
    let device = Client::open(&server.join(&format!("{name}-{number}")))?;
    let passphrase = SecretBytes::new(format!("passphrase of {name}").into_bytes());
    let (address, label) = (server.address(), "one more");
    let (unlock, key) = (Unlock::Passphrase(&passphrase), KeyChoice::P256);
    // Nobody is there to let it in: what is measured is the way there.
    let entrance = Entrance::Alone(&|_| true);
    let login = Login { server: &address, name, unlock, label, key, entrance, keep: false };
    device.login(login).await.map(|_| ())
}

fn relay_connections(server: &TestServer) -> u64 {
    server.server().unwrap().relay_stats().connections
}

/// Whether this comes true while a person would still wait for it.
async fn comes_true(is_so: impl Fn() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !is_so() && Instant::now() < end {
        sleep(Duration::from_millis(100)).await;
    }
    is_so()
}

/// What Bob has heard of what Ada has said since `before`, which is said frames and heard ones.
fn share(ada: &Online, bob: &Online, before: (u64, u64)) -> (u64, u64) {
    (ada.status().sealed - before.0, bob.status().opened - before.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dos_1_ten_thousand_half_open_connections_keep_nobody_out() {
    let server = TestServer::start("half-open").await.unwrap();
    let address: SocketAddr = server.address().parse().unwrap();
    drop(server.register("carol").await.unwrap());
    let (ada, bob) = talking(&server).await;
    let calm = relay_connections(&server);
    assert_eq!(calm, 2);
    // The server's ends are files of this process as well; those that give way are closed at once.
    let files = process::raise_file_limit().unwrap();
    let many = MANY.min(files.saturating_sub(1_000) * 2 / 3);
    println!("{many} half-open TCP connections ({files} files may be open) and {MANY} QUIC hellos");

    let before = (ada.status().sealed, bob.status().opened);
    let from = crowd(ADDRESSES);
    let hellos = tokio::task::spawn_blocking({
        let from = from.clone();
        move || flood::hellos(address, &from, MANY)
    });
    let silent = flood::half_open(address, &from, many).await.unwrap();
    // All of them stand, or have given way to each other: somebody honest comes in.
    let (_, half_open) = server.server().unwrap().tcp_connections();
    log_in(&server, "carol", 1).await.expect("an honest login");
    let held = relay_connections(&server);
    hellos.await.unwrap().unwrap();
    log_in(&server, "carol", 2).await.expect("another");
    let (said, heard) = share(&ada, &bob, before);
    println!("held: {half_open} half-open TCP and {held} QUIC connections; {heard} of {said} frames heard");
    assert!(said > 50 && heard * 100 >= said * 90, "the call suffers: {heard} of {said} frames were heard");
    // Eight without a proof of its address for each, and five hundred and twelve in all.
    assert!(held <= calm + 512, "{held}");

    // Who says nothing is let go, and nothing of them is kept.
    for mut stream in silent {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server lets go");
    }
    assert!(comes_true(|| server.server().unwrap().tcp_connections().1 == 0).await);
    assert!(comes_true(|| relay_connections(&server) == calm).await, "{}", relay_connections(&server));
    // The same addresses may come again, as many times as any.
    let again = flood::half_open(address, &from[..1], 256).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(again.iter().all(flood::is_open), "256 from one address may be open");
    let hello = Hellos::new(address).unwrap();
    assert_eq!(flood::knock(&hello, from[0]).await.unwrap(), Reply::HandshakeBegins);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dos_1_a_flood_from_one_address_hurts_nobody_elsewhere() {
    let server = TestServer::start("flood").await.unwrap();
    let address: SocketAddr = server.address().parse().unwrap();
    drop(server.register("carol").await.unwrap());
    let (ada, bob) = talking(&server).await;
    let calm = relay_connections(&server);
    let before = (ada.status().sealed, bob.status().opened);
    let flood = tokio::spawn(flood::noise(address, LOUD, 600));
    let (mut logins, mut held) = (0, 0);
    while !flood.is_finished() {
        logins += 1;
        log_in(&server, "carol", logins).await.unwrap_or_else(|error| panic!("login {logins}: {error}"));
        held = held.max(relay_connections(&server));
        sleep(Duration::from_millis(300)).await;
    }
    let made = flood.await.unwrap().unwrap();
    let (said, heard) = share(&ada, &bob, before);
    println!("{made:?}; {logins} logins meanwhile, {held} QUIC connections held, {heard} of {said} frames heard");
    assert!(made.datagrams > 30_000 && made.connections > 500, "it was a flood: {made:?}");
    assert!(logins >= 2 && said > 100 && heard * 100 >= said * 90, "{heard} of {said} frames were heard");
    // An address that does not prove itself holds eight.
    assert!(held <= calm + 8, "{held}");
    assert!(comes_true(|| relay_connections(&server) == calm).await, "{}", relay_connections(&server));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dos_1_a_crowded_address_has_to_prove_itself_and_others_have_not() {
    let server = TestServer::start("crowded").await.unwrap();
    let address: SocketAddr = server.address().parse().unwrap();
    let (hellos, crowded, other) = (Hellos::new(address).unwrap(), LOUD, Ipv4Addr::new(127, 0, 0, 3));
    for number in 0..8 {
        assert_eq!(flood::knock(&hellos, crowded).await.unwrap(), Reply::HandshakeBegins, "{number}");
    }
    for _ in 0..20 {
        assert_eq!(flood::knock(&hellos, crowded).await.unwrap(), Reply::Retry);
    }
    assert_eq!(flood::knock(&hellos, other).await.unwrap(), Reply::HandshakeBegins);
    assert_eq!(relay_connections(&server), 9);
    // What never became a connection is forgotten, and the address is as good as any.
    assert!(comes_true(|| relay_connections(&server) == 0).await, "{}", relay_connections(&server));
    assert_eq!(flood::knock(&hellos, crowded).await.unwrap(), Reply::HandshakeBegins);
}
