//! A server among clients that are broken, old or hostile: clear answers, nothing lost, others undisturbed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use undertone_client::Event;
use undertone_client::engine::Record;
use undertone_client::native::{Client, Home, Sound};
use undertone_keys::{CallId, WallTime};
use undertone_protocol::signal::{Reason, ToDevice, ToServer};
use undertone_protocol::{Protection, Terms, VERSION};
use undertone_testkit::{TestServer, tls};

async fn connect(server: &TestServer) -> TlsStream<TcpStream> {
    tls::connect(server, &rustls::version::TLS13).await.unwrap()
}

/// Sends a request as it stands; returns status and body.
async fn request(server: &TestServer, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = connect(server).await;
    let request = format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    // A server that has seen enough may close before it has read all.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), reading).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_get_clear_answers() {
    let server = TestServer::start("bad-requests").await.unwrap();
    let post = "POST /v1/login/start HTTP/1.1\r\ncontent-type: application/json";
    let long = vec![b' '; 400 * 1024];
    let cases: [(&str, &[u8], u16); 11] = [
        (post, b"", 400),
        (post, b"{", 400),
        (post, b"{\"user\":\"ada@localhost\"}", 422),
        (post, b"{\"user\":\"a b@localhost\",\"request\":\"\"}", 422),
        (post, b"{\"user\":\"ada@localhost\",\"request\":\"%%%\"}", 422),
        (post, b"{\"user\":\"ada@localhost\",\"request\":\"AAAA\"}", 400),
        (post, &long, 413),
        ("GET /nowhere HTTP/1.1", b"", 404),
        ("GET /v1/logout HTTP/1.1", b"", 405),
        ("GET /v1/users/ada@localhost/devices HTTP/1.1", b"", 401),
        ("GET /v1/signal HTTP/1.1\r\nauthorization: Bearer nonsense", b"", 400),
    ];
    for (head, body, expected) in cases {
        let (status, answer) = request(&server, head, body).await;
        assert_eq!(status, expected, "{head} {}: {answer}", String::from_utf8_lossy(&body[..body.len().min(60)]));
        let problem: Option<serde_json::Value> = serde_json::from_str(&answer).ok();
        let says = problem.is_some_and(|problem| problem["message"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(says || head.contains("signal"), "{head}: no sentence in {answer:?}");
    }
    // A login to a name that does not exist looks like any other.
    let (status, description) = request(&server, "GET /v1/openapi.json HTTP/1.1", b"").await;
    assert!(status == 200 && description.contains("/v1/register/start"));
    assert!(server.register("ada").await.is_ok(), "others are served as before");
}

/// A room that there is not is knocked at, and its door kept shut, in the same words as one that there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grp_8_a_knock_is_answered_alike_whether_there_is_such_a_room() {
    let server = TestServer::start("knocks").await.unwrap();
    let ada = server.register("ada").await.unwrap();
    let access = ada.rooms().await.unwrap().create("team", Terms::room(Protection::Blind), &[]).await.unwrap();
    let there = access.list().room.to_string();
    let bearer = async |name: &str| {
        drop(server.register(name).await.unwrap());
        Home::open(&server.join(name)).unwrap().token().unwrap().unwrap().to_text()
    };
    let (carol, dave) = (bearer("carol").await, bearer("dave").await);
    let nowhere = "0".repeat(32);
    let ask = async |token: &str, room: &str, what: &str, body: &[u8]| {
        let head = format!(
            "POST /v1/rooms/{room}/{what} HTTP/1.1\r\ncontent-type: application/json\r\nauthorization: Bearer {token}"
        );
        request(&server, &head, body).await
    };
    let no = b"{\"user\":\"dave@localhost\"}";
    for room in [&there, &nowhere] {
        // Again and again, up to the eighth room of an account.
        assert_eq!(ask(&carol, room, "knock", b"").await, (204, String::new()));
        assert_eq!(ask(&carol, room, "knock", b"").await, (204, String::new()));
        assert_eq!(ask("nobody", room, "knock", b"").await.0, 401);
    }
    let refused = [ask(&carol, &there, "turn-away", no).await, ask(&carol, &nowhere, "turn-away", no).await];
    assert_eq!((refused[0].0, &refused[0]), (404, &refused[1]));
    for number in 2..8 {
        assert_eq!(ask(&carol, &format!("{number:032x}"), "knock", b"").await.0, 204);
        // One account's knocks use up no other's.
        assert_eq!(ask(&dave, &format!("{number:032x}"), "knock", b"").await.0, 204);
    }
    let (status, words) = ask(&carol, &format!("{:032x}", 99), "knock", b"").await;
    assert!(status == 429 && words.contains("too_many"), "{words}");
    assert_eq!(ask(&dave, &there, "knock", b"").await, (204, String::new()));
}

type Socket = tokio_tungstenite::WebSocketStream<TlsStream<TcpStream>>;

/// A device's WebSocket, before anything was said on it.
async fn socket(server: &TestServer, name: &str) -> Socket {
    drop(server.register(name).await.unwrap());
    let token = Home::open(&server.join(name)).unwrap().token().unwrap().unwrap().to_text();
    let mut request = format!("wss://{}/v1/signal", server.address()).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    tokio_tungstenite::client_async(request, connect(server).await).await.unwrap().0
}

/// What the server says last.
async fn last_word(mut socket: Socket) -> Option<ToDevice> {
    let mut last = None;
    let reading = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Binary(bytes) = message {
                last = ToDevice::decode(&bytes).ok();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("the server closes");
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn med_10_another_version_is_refused_by_name() {
    let server = TestServer::start("versions").await.unwrap();
    let mut socket = socket(&server, "ada").await;
    socket.send(Message::Binary(ToServer::Hello { version: VERSION + 1 }.encode().into())).await.unwrap();
    assert_eq!(last_word(socket).await, Some(ToDevice::Closing { reason: Reason::Version, version: VERSION }));
}

/// An envelope that nobody has verified is no reason to believe, or to write down, what a server says of its sender.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_10_a_stranger_is_pinned_when_their_invite_has_held_and_not_before() {
    let server = TestServer::start("strangers").await.unwrap();
    let bob = server.register("bob").await.unwrap();
    let mut online = bob.connect().await.unwrap();
    let eve = bob.user("eve").unwrap();
    let mut socket = socket(&server, "eve").await;
    socket.send(Message::Binary(ToServer::Hello { version: VERSION }.encode().into())).await.unwrap();
    let (to, call) = (bob.whoami().unwrap().address, CallId::from_bytes([7; 16]));
    let send = ToServer::Send { to, call, envelope: vec![0xa0; 300] };
    socket.send(Message::Binary(send.encode().into())).await.unwrap();
    let rejected = async { while !matches!(online.next_event().await, Some(Event::Rejected { .. })) {} };
    tokio::time::timeout(Duration::from_secs(10), rejected).await.expect("it arrived, and was refused");
    assert!(bob.known_peer(&eve).unwrap().is_none());
    drop(socket);

    let ada = server.online("ada").await.unwrap();
    ada.call("bob", Sound::silent()).await.unwrap();
    let rings = async { while !matches!(online.next_event().await, Some(Event::Incoming { .. })) {} };
    tokio::time::timeout(Duration::from_secs(10), rings).await.unwrap();
    let ada = bob.user("ada").unwrap();
    for _ in 0..100 {
        if bob.known_peer(&ada).unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("who rings is pinned");
}

/// A fresh process learns from its home what earlier ones have accepted: an envelope that comes again rings no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_5_a_call_that_an_earlier_run_accepted_rings_no_more() {
    let server = TestServer::start("accepted").await.unwrap();
    let mut socket = socket(&server, "bob").await;
    socket.send(Message::Binary(ToServer::Hello { version: VERSION }.encode().into())).await.unwrap();
    let ada = server.online("ada").await.unwrap();
    ada.call("bob", Sound::silent()).await.unwrap();
    let call = loop {
        let Some(Ok(Message::Binary(bytes))) = socket.next().await else { panic!("the invite comes") };
        if let Ok(ToDevice::Deliver { call, .. }) = ToDevice::decode(&bytes) {
            break call;
        }
    };
    let accepted = Record::Accepted { call, until: WallTime::from_unix(u64::MAX) };
    Home::open(&server.join("bob")).unwrap().remember(accepted).unwrap();
    // Ada's device, which has heard nothing, sends the same invite again; Bob's is a process that has just begun.
    let mut bob = Client::open(&server.join("bob")).unwrap().connect().await.unwrap();
    let rejected = async {
        loop {
            match bob.next_event().await {
                Some(Event::Rejected { reason }) if reason.contains("accepted before") => return,
                Some(Event::Incoming { .. }) | None => panic!("it rings again"),
                Some(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), rejected).await.expect("it came again, and was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_and_excessive_signals_end_their_own_connection_only() {
    let server = TestServer::start("malformed").await.unwrap();
    let mut bystander = server.online("bob").await.unwrap();
    let hello = || Message::Binary(ToServer::Hello { version: VERSION }.encode().into());

    let mut malformed = socket(&server, "ada").await;
    malformed.send(hello()).await.unwrap();
    malformed.send(Message::Binary(vec![0xff; 100].into())).await.unwrap();
    let closing = |reason| Some(ToDevice::Closing { reason, version: VERSION });
    assert_eq!(last_word(malformed).await, closing(Reason::Malformed));

    let mut text = socket(&server, "eve").await;
    text.send(Message::text("hello?")).await.unwrap();
    assert_eq!(last_word(text).await, closing(Reason::Malformed));

    let mut flood = socket(&server, "flo").await;
    flood.send(hello()).await.unwrap();
    for _ in 0..500 {
        if flood.send(Message::Binary(ToServer::KeepAlive.encode().into())).await.is_err() {
            break;
        }
    }
    // It is closed; whether the reason still gets through to somebody who is busy sending is not ours to say.
    let _ = last_word(flood).await;

    let mut large = socket(&server, "lou").await;
    large.send(hello()).await.unwrap();
    let _ = large.send(Message::Binary(vec![0; 2_000_000].into())).await;
    let _ = last_word(large).await;

    // Somebody else's connection went on through all of it.
    let quiet = tokio::time::timeout(Duration::from_millis(300), bystander.next_event()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert!(bystander.call("ada", Sound::silent()).await.is_ok());
}
