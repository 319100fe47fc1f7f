//! A network that dies at the worst moment: the server has done what was asked, and its answer is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use undertone_client::native::{Client, ClientError, Entrance, KeyChoice, Login, Registered, Registration, Unlock};
use undertone_client::secret::SecretBytes;
use undertone_testkit::TestServer;

/// A way to the server on which the answer to the request on connection number `cut` never arrives.
struct Way {
    address: String,
    cut: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

/// No connection has this number.
const NEVER: usize = usize::MAX;

impl Way {
    async fn to(server: &TestServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (cut, connections) = (Arc::new(AtomicUsize::new(NEVER)), Arc::new(AtomicUsize::new(0)));
        let (to, cuts, count) = (server.address(), cut.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let server = TcpStream::connect(&to).await.unwrap();
                tokio::spawn(carry(client, server, cuts.load(Ordering::SeqCst) == number));
            }
        });
        Self { address, cut, connections }
    }

    /// From now on, the answer on connection `number` is lost.
    fn lose(&self, number: usize) {
        self.connections.store(0, Ordering::SeqCst);
        self.cut.store(number, Ordering::SeqCst);
    }
}

/// Carries bytes both ways. With `cut`, what the server says after the client's request is lost, once it was said.
async fn carry(client: TcpStream, server: TcpStream, cut: bool) {
    let ((mut client_in, mut client_out), (mut server_in, mut server_out)) = (client.into_split(), server.into_split());
    let greeted = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    let (greeted_too, asked_too) = (greeted.clone(), asked.clone());
    let up = async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = client_in.read(&mut buffer).await {
            // The handshake is over when the client answers the server's first words: its request comes with it.
            asked_too.store(greeted_too.load(Ordering::SeqCst), Ordering::SeqCst);
            if server_out.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
        let _ = server_out.shutdown().await;
        std::future::pending::<()>().await;
    };
    let down = async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = server_in.read(&mut buffer).await {
            greeted.store(true, Ordering::SeqCst);
            if cut && asked.load(Ordering::SeqCst) {
                return;
            }
            if client_out.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn register(client: &Client, way: &Way) -> Result<Registered, ClientError> {
    register_as(client, way, "ada").await
}

async fn register_as(client: &Client, way: &Way, name: &str) -> Result<Registered, ClientError> {
    let passphrase = SecretBytes::new(b"a long passphrase".to_vec());
    let (server, label, key) = (way.address.as_str(), "laptop", KeyChoice::P256);
    client.register(Registration { server, name, passphrase: &passphrase, label, invite: None, anew: None, key }).await
}

/// A login whose device is let in by whoever hears its code.
async fn login(
    client: &Client,
    way: &Way,
    name: &str,
    door: &mpsc::UnboundedSender<String>,
) -> Result<Registered, ClientError> {
    let passphrase = SecretBytes::new(passphrase_of(name).into_bytes());
    let (server, label, unlock) = (way.address.as_str(), "phone", Unlock::Passphrase(&passphrase));
    let show = |code: &str| door.send(code.to_owned()).unwrap();
    let entrance = Entrance::LetIn(&show);
    client.login(Login { server, name, unlock, label, key: KeyChoice::P256, entrance, keep: false }).await
}

/// Bea's are the testkit's.
fn passphrase_of(name: &str) -> String {
    if name == "bea" { "passphrase of bea".into() } else { "a long passphrase".into() }
}

/// Lets in whoever shows a code.
fn doorkeeper(client: Client) -> mpsc::UnboundedSender<String> {
    let (door, mut codes) = mpsc::unbounded_channel::<String>();
    tokio::spawn(async move {
        while let Some(code) = codes.recv().await {
            client.let_in(&code).await.unwrap();
        }
    });
    door
}

/// Rule STO-2: keys are on the disk before the server may have taken them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sto_2_a_lost_answer_loses_neither_account_nor_recovery_key_nor_device() {
    let server = TestServer::start("lost-answers").await.unwrap();
    let way = Way::to(&server).await;

    // Who the server is, the start of a registration, its end: the third answer is lost.
    way.lose(3);
    let ada = Client::open(&server.join("ada")).unwrap();
    assert!(matches!(register(&ada, &way).await, Err(ClientError::Unreachable { .. })));
    assert!(ada.whoami().is_err());
    // The process ends here and another begins; the name is taken, by this very home.
    drop(ada);
    way.lose(NEVER);
    let ada = Client::open(&server.join("ada")).unwrap();
    let registered = register(&ada, &way).await.expect("the same home goes on where it stopped");
    assert!(registered.recovery.is_some(), "nobody has seen the recovery key yet");
    assert_eq!(ada.devices().await.unwrap().records().len(), 1);
    ada.connect().await.unwrap().stop().await;
    // Who logs in instead of registering again does not lose the recovery key either, and no other name takes its place.
    way.lose(3);
    let cid = Client::open(&server.join("cid")).unwrap();
    assert!(register_as(&cid, &way, "cid").await.is_err());
    way.lose(NEVER);
    assert!(matches!(register_as(&cid, &way, "dora").await, Err(ClientError::Unfinished(_))));
    let (nobody, _codes) = mpsc::unbounded_channel();
    assert!(login(&cid, &way, "cid", &nobody).await.unwrap().recovery.is_some());
    // Somebody else's home cannot do that.
    let eve = Client::open(&server.join("eve")).unwrap();
    assert!(register(&eve, &way).await.unwrap_err().to_string().contains("taken"));

    // The same with a second device: the list holds it once. Bea's first is on another way, so that the connections counted
    // are the second's alone: who the server is, the login's start and end, the consent, the enrolment.
    let bea = server.register("bea").await.unwrap();
    let door = doorkeeper(bea.clone());
    let phone = Client::open(&server.join("phone")).unwrap();
    way.lose(5);
    assert!(matches!(login(&phone, &way, "bea", &door).await, Err(ClientError::Unreachable { .. })));
    drop(phone);
    way.lose(NEVER);
    let phone = Client::open(&server.join("phone")).unwrap();
    let (nobody, mut codes) = mpsc::unbounded_channel();
    let joined = login(&phone, &way, "bea", &nobody).await.unwrap();
    assert!(joined.recovery.is_none(), "a login makes no recovery key");
    assert!(codes.try_recv().is_err(), "it was let in already");
    assert_eq!(bea.devices().await.unwrap().records().len(), 2);
    tokio::time::timeout(Duration::from_secs(10), phone.connect()).await.unwrap().unwrap().stop().await;
    // An attempt that never reached the server is simply made again.
    let tablet = Client::open(&server.join("tablet")).unwrap();
    way.lose(1);
    assert!(login(&tablet, &way, "bea", &door).await.is_err());
    way.lose(NEVER);
    login(&tablet, &way, "bea", &door).await.unwrap();
    assert_eq!(bea.devices().await.unwrap().records().len(), 3);
}
