//! One device's WebSocket.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::ws::{Message, WebSocket};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, VerifyingKey};
use undertone_keys::{RoomId, WallTime};
use undertone_protocol::signal::{Reason, ToDevice, ToServer};
use undertone_protocol::{VERSION, limits};

use crate::budget::Spending;
use crate::delivery::GroupDesk;
use crate::rooms::RoomDesk;
use crate::store::{Accounts, Groups, Rooms};
use crate::switchboard::{KEEP_ALIVE, Switchboard};

/// A connection that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// The wall clock.
#[must_use]
pub fn wall_time() -> WallTime {
    WallTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// What a connection needs of the server.
#[derive(Debug)]
pub struct Session<S> {
    /// The accounts, to know whom one can call.
    pub store: S,
    /// Where messages go.
    pub board: Arc<Switchboard>,
    /// The rooms, to know who may spread letters among whom.
    pub rooms: Arc<RoomDesk<S>>,
    /// The groups of their calls.
    pub groups: Arc<GroupDesk<S>>,
    /// The hash of the token that opened this connection.
    pub bearer: [u8; 32],
    /// True when the server goes down.
    pub stop: CancellationToken,
}

/// Serves one device until either side ends it.
pub async fn serve<S: Accounts + Rooms + Groups>(
    session: Session<S>,
    mut socket: WebSocket,
    you: Address,
    identity: VerifyingKey<Device>,
) {
    match timeout(Duration::from_secs(5), receive(&mut socket)).await {
        Ok(Some(Ok(ToServer::Hello { version: VERSION }))) => {}
        Ok(Some(Ok(ToServer::Hello { .. }))) => return close(socket, Reason::Version).await,
        Ok(None) => return,
        Ok(Some(_)) | Err(_) => return close(socket, Reason::Malformed).await,
    }
    let (number, mut messages) = session.board.connect(you.clone(), identity);
    // The token may have been revoked since the upgrade, when there was no line yet that could be closed.
    let gone = match session.store.token(&session.bearer).await {
        Ok(Some(_)) => None,
        Ok(None) => Some(Reason::Revoked),
        Err(_) => Some(Reason::Unavailable),
    };
    if let Some(reason) = gone {
        session.board.disconnect(you.device, number);
        return close(socket, reason).await;
    }
    let welcome = ToDevice::Welcome { version: VERSION, now: wall_time(), you: you.clone() };
    let mut heard = Instant::now();
    // One clock for the whole connection: what is received does not put off the next look at it.
    let mut ticks = tokio::time::interval(KEEP_ALIVE);
    ticks.reset();
    let mut alive = send(&mut socket, &welcome).await;
    let (mut reason, stop) = (None, session.stop.clone());
    while alive && reason.is_none() {
        // A line that was taken away is at its end, however much waits on it.
        if messages.is_closed() {
            let waiting = core::iter::from_fn(|| messages.try_recv().ok());
            let why = waiting.filter_map(|message| match message {
                ToDevice::Closing { reason, .. } => Some(reason),
                _ => None,
            });
            reason = Some(why.last().unwrap_or(Reason::TooMany));
            break;
        }
        tokio::select! {
            () = stop.cancelled() => reason = Some(Reason::ShuttingDown),
            message = messages.recv() => match message {
                Some(ToDevice::Closing { reason: why, .. }) => reason = Some(why),
                Some(message) => alive = send(&mut socket, &message).await,
                None => reason = Some(Reason::TooMany),
            },
            message = receive(&mut socket) => match message {
                None => alive = false,
                Some(Err(why)) => reason = Some(why),
                Some(Ok(_)) if !session.board.allow(&you.user, Spending::Signal) => reason = Some(Reason::TooMany),
                Some(Ok(ToServer::OpenCall { number, .. })) if !session.board.allow(&you.user, Spending::Call) => {
                    alive = send(&mut socket, &ToDevice::Refused { number, reason: Reason::TooMany }).await;
                }
                Some(Ok(message)) => {
                    heard = Instant::now();
                    match answer(&session, &you, number, message).await {
                        // Before whatever waits in the queue: it has come about since.
                        Ok(answers) => for answer in answers {
                            alive = alive && send(&mut socket, &answer).await;
                        },
                        Err(why) => reason = Some(why),
                    }
                }
            },
            _ = ticks.tick() => {
                alive = heard.elapsed() < SILENCE && send(&mut socket, &ToDevice::KeepAlive).await;
            }
        }
    }
    session.board.disconnect(you.device, number);
    if let Some(reason) = reason {
        close(socket, reason).await;
    }
}

/// What a message on the connection of this number gets for an answer; `Err` ends the connection.
async fn answer<S: Accounts + Rooms + Groups>(
    session: &Session<S>,
    you: &Address,
    line: u64,
    message: ToServer,
) -> Result<Vec<ToDevice>, Reason> {
    let answer = match message {
        ToServer::Hello { .. } => Err(Reason::Malformed),
        ToServer::KeepAlive => Ok(Some(ToDevice::KeepAlive)),
        ToServer::OpenCall { number, call, callee, protection } => {
            let known = session.store.list(&callee).await;
            let result = match known {
                Ok(Some(_)) => {
                    let room = RoomId::random(&mut UnwrapErr(SysRng));
                    session.board.open_call(you, call, &callee, protection, room, wall_time())
                }
                Ok(None) => Err(Reason::UnknownUser),
                Err(_) => Err(Reason::Unavailable),
            };
            Ok(Some(match result {
                Ok(grant) => ToDevice::CallOpened { number, grant },
                Err(reason) => ToDevice::Refused { number, reason },
            }))
        }
        ToServer::Send { envelope, .. } if envelope.len() > limits::MAX_ENVELOPE => Err(Reason::Malformed),
        ToServer::Send { to, call, envelope } => {
            let delivered = session.board.deliver(you, &to, call, envelope, wall_time());
            Ok(delivered.is_err().then_some(ToDevice::Undelivered { to: to.device, call }))
        }
        ToServer::Spread { call, room, letters } => {
            session.rooms.spread(&session.board, you, (room, call), letters).await
        }
        ToServer::Group { room, call, number, request } => {
            return Ok(session.groups.request(you, line, (room, call), number, request).await);
        }
    };
    Ok(answer?.into_iter().collect())
}

async fn receive(socket: &mut WebSocket) -> Option<Result<ToServer, Reason>> {
    loop {
        match socket.recv().await? {
            Ok(Message::Binary(bytes)) => return Some(ToServer::decode(&bytes).map_err(|_| Reason::Malformed)),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Text(_)) => return Some(Err(Reason::Malformed)),
            Ok(Message::Close(_)) | Err(_) => return None,
        }
    }
}

async fn send(socket: &mut WebSocket, message: &ToDevice) -> bool {
    let sent = timeout(Duration::from_secs(10), socket.send(Message::Binary(message.encode().into()))).await;
    matches!(sent, Ok(Ok(())))
}

async fn close(mut socket: WebSocket, reason: Reason) {
    if send(&mut socket, &ToDevice::Closing { reason, version: VERSION }).await {
        let _ = timeout(Duration::from_secs(1), socket.send(Message::Close(None))).await;
    }
}
