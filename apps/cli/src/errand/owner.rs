//! The process that owns a home takes errands while it calls, waits for a call or is in a room.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use undertone_client::native::Client;
use undertone_client::native::errand::{Caller, Counter, Reply};

use crate::console::Console;
use crate::output::Output;
use crate::{failure, run_code};

/// Errands that are run at the same time at most; others wait.
const AT_ONCE: usize = 4;
/// How long the owner waits, when it ends itself, for errands that are under way.
const FAREWELL: Duration = Duration::from_secs(5);
/// Before the socket is asked again after it failed: there may be no file descriptors left.
const PAUSE: Duration = Duration::from_millis(500);
/// Notices that nobody has looked at yet; what comes on top is not told.
const NOTICES: usize = 16;

/// Something that another process had changed in this home.
#[derive(Debug)]
pub(crate) struct Notice {
    words: &'static str,
    object: Value,
    text: String,
}

/// The errands of other processes, run beside what this one does.
#[derive(Debug)]
pub(crate) struct Errands {
    notices: mpsc::Receiver<Notice>,
    task: JoinHandle<()>,
    /// Dropped, it ends the task.
    stop: oneshot::Sender<()>,
}

impl Errands {
    /// Begins to take them. Where that cannot be done this process goes on without.
    pub(crate) fn open(client: &Client) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, notices) = mpsc::channel(NOTICES);
        let client = client.clone();
        let task = tokio::spawn(async move {
            match client.counter() {
                Ok(counter) => serve(&client, counter, &tell, stopped).await,
                Err(error) => tracing::warn!(%error, "this home takes no errands"),
            }
        });
        Self { notices, task, stop }
    }

    /// The next change that another process made. Never, where there is none.
    pub(crate) async fn next(&mut self) -> Notice {
        match self.notices.recv().await {
            Some(notice) => notice,
            None => std::future::pending().await,
        }
    }

    /// Takes no more, and waits a while for those that are under way.
    pub(crate) async fn close(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

async fn serve(client: &Client, counter: Counter, tell: &mpsc::Sender<Notice>, mut stop: oneshot::Receiver<()>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            _ = running.join_next(), if !running.is_empty() => {}
            caller = counter.next(), if running.len() < AT_ONCE => match caller {
                Ok(caller) => {
                    running.spawn(serve_one(client.clone(), caller, tell.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "an errand could not be taken");
                    sleep(PAUSE).await;
                }
            },
        }
    }
    drop(counter);
    let _ = timeout(FAREWELL, async { while running.join_next().await.is_some() {} }).await;
    running.shutdown().await;
}

/// One errand from its greeting to its last word.
async fn serve_one(client: Client, mut caller: Caller, tell: mpsc::Sender<Notice>) {
    let errand = match caller.errand().await {
        Ok(errand) => errand,
        Err(error) => {
            tracing::debug!(%error, "no errand");
            return;
        }
    };
    let console = Console::there(caller);
    match super::run(&client, &errand, &console).await {
        Ok(done) => {
            console.end(&Reply::Done { code: run_code(done) }).await;
            if let Some((object, text)) = console.shown().filter(|_| errand.changes()) {
                let _ = tell.try_send(Notice { words: errand.words(), object, text });
            }
        }
        Err(error) => {
            let (code, word, message) = failure(&error);
            console.end(&Reply::Failed { code, word: word.to_owned(), message }).await;
        }
    }
}

/// Tells whoever sits here what another process had changed.
pub(crate) fn report(notice: &Notice, output: Output) {
    let Notice { words, object, text } = notice;
    output.event(
        &json!({ "event": "errand", "command": words, "result": object }),
        &format!("Another command in this home, `undertone {words}`: {text}"),
    );
}
