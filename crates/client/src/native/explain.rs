//! What a home can say about a room's keys: of the call that its owner is in, or of the list that it keeps.

use tokio::sync::{mpsc, oneshot};
use undertone_keys::RoomId;
use undertone_protocol::Access;

use super::home::Home;
use super::online::Command;
use super::rooms::RoomFault;
use super::{Client, ClientError};
use crate::engine::RoomExplained;

/// Digits of a room's id that stand for it, at least.
const MIN_ID: usize = 4;

/// What is known of a room's keys.
#[derive(Debug)]
#[non_exhaustive]
pub enum RoomKeys {
    /// This process is in the room: what its call goes by.
    On(Box<RoomExplained>),
    /// Nobody of this home is: the newest list that it keeps. Nobody was asked whether there is a newer one.
    Off(Box<Access>),
}

/// Asks the driver of a connected device, for as long as there is one.
#[derive(Clone, Debug)]
pub(super) struct Asker(mpsc::WeakSender<Command>);

impl Asker {
    pub(super) fn new(commands: &mpsc::Sender<Command>) -> Self {
        Self(commands.downgrade())
    }

    async fn explain(&self) -> Option<Box<RoomExplained>> {
        let (answer, explained) = oneshot::channel();
        self.0.upgrade()?.send(Command::Explain { answer }).await.ok()?;
        explained.await.ok()?
    }
}

/// Whether a person means this room by that.
fn means(said: &str, name: &str, room: RoomId) -> bool {
    name == said || (said.len() >= MIN_ID && room.to_string().starts_with(said))
}

/// The kept list that is meant: one by its name goes before one by its id.
fn kept(home: &Home, said: &str) -> Result<Access, ClientError> {
    let user = home.device()?.ok_or(ClientError::NotLoggedIn)?.address.user;
    let mut found = home.accesses()?;
    found.retain(|access| {
        let list = access.list();
        list.listed(&user).is_some() && means(said, &list.name, list.room)
    });
    if found.iter().any(|access| access.list().name == said) {
        found.retain(|access| access.list().name == said);
    }
    if found.len() > 1 {
        let ids: Vec<String> =
            found.iter().map(|access| access.list().room.to_string().chars().take(8).collect()).collect();
        return Err(RoomFault::Ambiguous { name: said.to_owned(), ids: ids.join(", ") }.into());
    }
    found.pop().ok_or_else(|| RoomFault::Unknown(said.to_owned()).into())
}

impl Client {
    /// The newest list that this home keeps of a room. Nobody is asked for a newer one.
    ///
    /// # Errors
    /// [`ClientError::Home`].
    pub fn known_room(&self, room: RoomId) -> Result<Option<Access>, ClientError> {
        Ok(self.home.access(room)?)
    }

    /// What is known of a room's keys, by the room's name or the beginning of its id. The server is asked nothing.
    ///
    /// # Errors
    /// [`RoomFault::Unknown`] where neither a call nor a kept list of this home is meant, and [`RoomFault::Ambiguous`].
    pub async fn explain_room(&self, said: &str) -> Result<RoomKeys, ClientError> {
        let asker = self.connected.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let explained = match asker {
            Some(asker) => asker.explain().await,
            None => None,
        };
        match explained.filter(|explained| means(said, &explained.info.name, explained.info.room)) {
            Some(explained) => Ok(RoomKeys::On(explained)),
            None => kept(&self.home, said).map(|access| RoomKeys::Off(Box::new(access))),
        }
    }
}
