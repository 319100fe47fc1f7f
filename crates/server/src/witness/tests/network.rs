//! The loop and its client, over HTTPS.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode, Uri};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_keys::{Secret, UserId, WallTime};
use undertone_transparency::checkpoint::SignedCheckpoint;
use undertone_transparency::log::TilePath;
use undertone_transparency::note::{LogKey, WitnessKey};
use undertone_transparency::policy::Witnesses;

use super::world::{Tree, World};
use crate::config::Limits;
use crate::directory::{Directory, Keys, Settings, Sqlite};
use crate::listener::{self, Places};
use crate::tls::Certificate;
use crate::witness::{
    Evidence, LogAddress, Options, Report, Resource, StartError, StateError, Watch, read_or_make_key, witness_key,
};

/// A folder that goes away with the test.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("undertone-witness-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn options(&self, at: SocketAddr, log_key: LogKey) -> Options {
        Options {
            log: format!("https://{at}").parse().unwrap(),
            log_key,
            key: self.0.join("witness.key"),
            name: None,
            state: None,
            every: Duration::from_secs(1),
            clock: || WallTime::from_unix(2_000_000_000),
        }
    }

    fn watch(&self, at: SocketAddr, log_key: LogKey) -> Watch {
        Watch::open(&self.options(at, log_key), &mut SeededRng::new(8)).unwrap()
    }

    fn evidence(&self, kind: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.0.join("witness.key.state")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(kind)).collect()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Serves over TLS until the token is cancelled.
async fn serve(router: Router, stop: &CancellationToken) -> SocketAddr {
    let certificate = Certificate::self_signed(&["localhost".into()]).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(certificate.http().unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let places = Arc::new(Places::new(&Limits::default()));
    tokio::spawn(listener::run(listener, acceptor, router, places, stop.clone()));
    at
}

async fn look(watch: &mut Watch) -> Report {
    let mut last = None;
    watch.look(&mut |report| last = Some(report.clone())).await.unwrap();
    last.unwrap()
}

/// What a log in memory serves and was sent.
#[derive(Default)]
struct Served {
    world: Option<World>,
    posted: Vec<(String, String)>,
    deaf: bool,
}

type Log = Arc<Mutex<Served>>;

fn router(log: &Log) -> Router {
    let fetch = async |State(log): State<Log>, uri: Uri| {
        let log = log.lock().unwrap();
        let world = log.world.as_ref().unwrap();
        let path = uri.path().strip_prefix("/log/").unwrap();
        if path == "checkpoint" {
            return world.note();
        }
        let resource = match path.strip_prefix("audit/") {
            Some(epoch) => Resource::Audit(epoch.parse().unwrap()),
            None => match path.parse().unwrap() {
                TilePath::Tile(tile) => Resource::Tile(tile),
                TilePath::Entries(bundle) => Resource::Entries(bundle),
            },
        };
        world.serve(resource)
    };
    let take = async |State(log): State<Log>, uri: Uri, body: String| {
        let mut log = log.lock().unwrap();
        if log.deaf {
            return StatusCode::FORBIDDEN;
        }
        log.posted.push((uri.query().unwrap().to_owned(), body));
        StatusCode::NO_CONTENT
    };
    Router::new().route("/log/cosignature", post(take)).fallback(get(fetch)).with_state(log.clone())
}

#[test]
fn kt_12_a_convicted_log_is_watched_and_not_cosigned_until_a_person_has_looked() {
    let (files, log, stop) = (Files::new("convicted"), Log::default(), CancellationToken::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut world = World::new();
    world.publish(3);
    let (key, honest) = (world.log_key(), world.tree.clone());
    log.lock().unwrap().world = Some(world);
    let at = runtime.block_on(serve(router(&log), &stop));
    let with = |change: &dyn Fn(&mut World)| change(log.lock().unwrap().world.as_mut().unwrap());

    let mut watch = files.watch(at, key.clone());
    let cosigned = runtime.block_on(look(&mut watch));
    assert_eq!(cosigned, Report::Cosigned { size: 2, epoch: 2, time: 1_000_002, known: false });
    // The log does not show the line, so it is sent again, the same.
    assert_eq!(runtime.block_on(look(&mut watch)), cosigned);
    let posted = log.lock().unwrap().posted.clone();
    assert_eq!(posted[0].0, "size=2");
    assert_eq!(posted[0], posted[1]);
    // Nor does a new process send another one; two at the same time are not to be.
    let again = Watch::open(&files.options(at, key.clone()), &mut SeededRng::new(8));
    assert!(matches!(again, Err(StartError::State(StateError::InUse(_)))));
    drop(watch);
    let mut watch = files.watch(at, key.clone());
    assert_eq!(runtime.block_on(look(&mut watch)), cosigned);
    assert_eq!(log.lock().unwrap().posted.pop().unwrap(), posted[0]);

    // It forks.
    with(&|world| {
        world.tree = Tree::of(&world.tree.entries[..1]);
        world.clock += 1;
        world.push(&world.leaf());
    });
    let Report::Accused { rule: "KT-4", ends: true, evidence: Some(file), .. } = runtime.block_on(look(&mut watch))
    else {
        panic!("not caught")
    };
    assert_eq!(files.evidence("conviction-"), std::slice::from_ref(&file));
    assert!(Evidence::from_bytes(&fs::read(&file).unwrap()).unwrap().convicts());
    runtime.block_on(look(&mut watch));
    assert_eq!(files.evidence("conviction-").len(), 1, "the same evidence once");
    // It shows the first branch again, and more of it: it is followed, and nothing is cosigned, after a start neither.
    let before = log.lock().unwrap().posted.len();
    with(&|world| {
        world.tree = honest.clone();
        world.publish(1);
    });
    drop(watch);
    let mut watch = files.watch(at, key);
    let withheld = runtime.block_on(look(&mut watch));
    assert_eq!(withheld, Report::Withheld { size: 3, evidence: file.clone() });
    assert_eq!((log.lock().unwrap().posted.len(), watch.memory().checked(), watch.memory().cosigned()), (before, 3, 2));
    fs::rename(&file, files.0.join("looked-at.cbor")).unwrap();
    assert!(runtime.block_on(look(&mut watch)).is_cosigned());
    stop.cancel();
}

#[test]
fn kt_12_suspicions_are_kept_and_end_nothing() {
    let (files, log, stop) = (Files::new("suspicion"), Log::default(), CancellationToken::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = World::new();
    let key = world.log_key();
    log.lock().unwrap().world = Some(world);
    let at = runtime.block_on(serve(router(&log), &stop));
    let mut watch = files.watch(at, key);
    let lies = |bytes: Option<Vec<u8>>| {
        let lies = bytes.map(|bytes| (Resource::Audit(1), bytes));
        log.lock().unwrap().world.as_mut().unwrap().lies = lies.into_iter().collect();
    };
    lies(Some(b"no proof".to_vec()));
    for _ in 0..3 {
        let report = runtime.block_on(look(&mut watch));
        assert!(matches!(report, Report::Accused { rule: "KT-12", ends: false, evidence: Some(_), .. }), "{report}");
    }
    assert_eq!((files.evidence("suspicion-").len(), files.evidence("conviction-").len()), (1, 0));
    // A log that does not take the line is told so, and asked again.
    lies(None);
    log.lock().unwrap().deaf = true;
    let Report::Failed { says } = runtime.block_on(look(&mut watch)) else { panic!("taken") };
    assert!(says.contains("403") && says.contains("among the witnesses"), "{says}");
    log.lock().unwrap().deaf = false;
    assert!(runtime.block_on(look(&mut watch)).is_cosigned());
    assert_eq!(log.lock().unwrap().posted.len(), 1);
    stop.cancel();
}

#[test]
fn a_log_that_is_not_there_is_no_fault_and_a_stop_is_heard_at_once() {
    let files = Files::new("absent");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut watch = files.watch(at, World::new().log_key());
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut first = |report: &Report| {
            assert!(matches!(report, Report::Failed { .. }), "{report}");
            stop.cancel();
        };
        watch.run(&stop, &mut first).await.unwrap();
        // While it tries again and again.
        let (begun, stop) = (Instant::now(), CancellationToken::new());
        let soon = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
        };
        let mut none = |report: &Report| panic!("{report}");
        let (ended, ()) = tokio::join!(watch.run(&stop, &mut none), soon);
        ended.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2));
    });
}

#[tokio::test]
async fn kt_12_the_servers_own_log_is_cosigned_and_shows_it() {
    let (files, stop) = (Files::new("server"), CancellationToken::new());
    let secret = |byte| Secret::filled_by(|seed: &mut [u8; 32]| seed.fill(byte));
    let own = read_or_make_key(&files.0.join("witness.key"), &mut SeededRng::new(4)).unwrap();
    let own: WitnessKey = witness_key(&own, None).unwrap();
    let mode = fs::metadata(files.0.join("witness.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let settings =
        Settings { epoch_interval: Duration::ZERO, witnesses: vec![own.clone()], ..Settings::new(wall_time) };
    let storage = Sqlite::open(&files.0.join("directory.db")).unwrap();
    let keys = Keys { log: SigningKey::from_seed(secret(1)), vrf: secret(2) };
    let directory = Directory::open(storage, "example.org", keys, settings).await.unwrap();
    let at = serve(crate::http::log::router(directory.clone()).with_state(()), &stop).await;

    let mut watch = files.watch(at, directory.log_key().clone());
    assert!(look(&mut watch).await.is_cosigned());
    for n in 0..20_u8 {
        let user = UserId::new(&format!("user{n}"), "example.org").unwrap();
        directory.publish(&user, 1, [n; 32]).await.unwrap();
    }
    let Report::Cosigned { size, known: false, .. } = look(&mut watch).await else { panic!("not cosigned") };
    assert_eq!(size, directory.shown().size());
    let shown = directory.checkpoint().await.unwrap().verify(directory.log_key()).unwrap();
    let witnessed = Witnesses::new(1, vec![own]).unwrap().check(&shown, WallTime::from_unix(2_000_000_000)).unwrap();
    assert!(witnessed.is_witnessed());
    assert!(matches!(look(&mut watch).await, Report::Cosigned { known: true, .. }));

    // The same again, from whomever, changes nothing. What is no line, or nobody's, is refused; what is not there is
    // not there.
    let line = shown.signed().note().signatures().last().unwrap().to_string();
    let path = format!("/log/cosignature?size={size}");
    let checks = [
        ("GET", "/log/tile/0/000", "", StatusCode::NOT_FOUND),
        ("GET", "/log/tile/0/0", "", StatusCode::NOT_FOUND),
        ("GET", "/log/tile/entries/000.p/1", "", StatusCode::OK),
        ("GET", "/log/audit/0", "", StatusCode::NOT_FOUND),
        ("GET", "/log/audit/1", "", StatusCode::OK),
        ("GET", "/log/audit/99999999999999999999", "", StatusCode::NOT_FOUND),
        ("POST", &path, &line, StatusCode::NO_CONTENT),
        ("POST", "/log/cosignature?size=1", &line, StatusCode::FORBIDDEN),
        ("POST", "/log/cosignature?size=1", "nothing", StatusCode::BAD_REQUEST),
        ("POST", "/log/cosignature?size=1", "— somebody AAAAAAAA\n", StatusCode::FORBIDDEN),
        ("POST", "/log/cosignature", "", StatusCode::BAD_REQUEST),
        ("DELETE", "/log/checkpoint", "", StatusCode::METHOD_NOT_ALLOWED),
    ];
    let router: Router = crate::http::log::router(directory.clone()).with_state(());
    for (method, path, body, expected) in checks {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), expected, "{method} {path}");
    }
    let large = "x".repeat(10_000);
    let request = Request::post("/log/cosignature?size=1").body(Body::from(large)).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let request = Request::get("/log/checkpoint").body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-cache");
    let note = to_bytes(answer.into_body(), 1 << 16).await.unwrap();
    assert_eq!(SignedCheckpoint::from_bytes(&note).unwrap().note().signatures().len(), 2);
    directory.stop().await;
    stop.cancel();
}

fn wall_time() -> WallTime {
    WallTime::from_unix(1_900_000_000)
}

#[test]
fn addresses_of_logs() {
    let good = [
        ("https://127.0.0.1:4433", "https://127.0.0.1:4433"),
        ("https://calls.example.org", "https://calls.example.org:443"),
        ("https://[::1]:9/", "https://[::1]:9"),
    ];
    for (text, shown) in good {
        assert_eq!(text.parse::<LogAddress>().unwrap().to_string(), shown);
    }
    for bad in [
        "http://a:1",
        "a:1",
        "https://",
        "https://a:1/log",
        "https://a:70000",
        "https://a:",
        "https://u@a:1",
        "https://a b",
    ] {
        assert!(bad.parse::<LogAddress>().is_err(), "{bad}");
    }
}
