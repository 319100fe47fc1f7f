//! The audit of a whole log, for everybody who wants to see for themselves: every leaf in order, and every epoch shown to have only
//! added to the one before (rules KT-3, KT-4, KT-8, KT-12, KT-14).

use undertone_keys::WallTime;
use undertone_keys::digest::sha256;
use undertone_transparency::checkpoint::{VerifiedCheckpoint, origin};
use undertone_transparency::follow::{Accused, Check, Progress, Step};
use undertone_transparency::note::LogKey;

use super::connector::Connector;
use super::error::ClientError;
use super::home::{Home, ServerPin};
use super::log_client::LogClient;
use super::wall_time;

/// What an audit of a log came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogAudit {
    /// The domain of the directory.
    pub domain: String,
    /// The key that signs its log.
    pub log_key: String,
    /// Whether this home had pinned that key, and the directory's, before. Otherwise both are what the server said they are.
    pub pinned: bool,
    /// Leaves that were audited before, on this home, and not read again.
    pub before: u64,
    /// The epoch of the last of them; 0 where there was none.
    pub epoch_before: u64,
    /// Leaves of the log, all audited now.
    pub size: u64,
    /// The directory's newest epoch.
    pub epoch: u64,
    /// When its last leaf was made, by the server's clock.
    pub time: WallTime,
    /// Seconds between that and this machine's clock, if it is in the past.
    pub age: u64,
    /// Whether the log was shown to begin with what this device had been shown of it in look-ups.
    pub begins_with_seen: bool,
}

/// Somebody who looks at a log.
struct Auditor<'a> {
    home: &'a Home,
    client: LogClient,
    progress: &'a mut (dyn FnMut(u64, u64) + Send),
}

/// Reads the log of the pinned server, or of one at an address, from where this home has audited it to; or from its first leaf.
pub(super) async fn audit(
    home: &Home,
    server: Option<&str>,
    from_start: bool,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<LogAudit, ClientError> {
    let (pin, connector, pinned) = meet(home, server).await?;
    let vrf = pin.vrf.ok_or_else(|| ClientError::DirectoryKey(pin.address.clone()))?;
    let bad = || ClientError::BadAnswer(pin.address.clone());
    let key = LogKey::new(origin(&pin.domain).map_err(|_| bad())?, pin.identity);
    let known = home.progress(&key)?;
    let seen = home.seen(&pin)?;
    // Also one that is read from its start must be the log that was read before.
    let met = known.seen().into_iter().chain(seen.as_ref().map(|seen| seen.checkpoint()));
    let met: Vec<VerifiedCheckpoint> = met.cloned().collect();
    let start = if from_start { Progress::new(key) } else { known };

    let mut auditor = Auditor { home, client: LogClient::new(connector), progress };
    let done = auditor.follow(&start, &met).await?;
    let Some(end) = done.end() else { return Err(ClientError::EmptyLog(pin.domain)) };
    // Every leaf names the same key as the one before it.
    if end.leaf().vrf_key != sha256(&[&vrf]) {
        return Err(ClientError::DirectoryKey(pin.address));
    }
    if pinned && seen.as_ref().is_none_or(|seen| seen.size() < end.size()) {
        home.put_seen(&pin, &end)?;
    }
    let now = wall_time();
    Ok(LogAudit {
        log_key: pin.identity.fingerprint(),
        domain: pin.domain,
        pinned,
        before: start.checked(),
        epoch_before: start.leaf().map_or(0, |leaf| leaf.epoch),
        size: end.size(),
        epoch: end.leaf().epoch,
        time: end.time(),
        age: if end.time() < now { now.distance(end.time()) } else { 0 },
        begins_with_seen: seen.is_some(),
    })
}

/// The pinned server, or one that says who it is.
async fn meet(home: &Home, server: Option<&str>) -> Result<(ServerPin, Connector, bool), ClientError> {
    let known = home.server()?;
    let is_it = |pin: &ServerPin| server.is_none_or(|server| pin.address.eq_ignore_ascii_case(server));
    if let Some(pin) = known.as_ref().filter(|pin| is_it(pin)) {
        let (_, connector) = Connector::to_pinned(pin).await?;
        return Ok((pin.clone(), connector, true));
    }
    let address = server.ok_or(ClientError::NotLoggedIn)?;
    let (statement, _, connector) = Connector::introduce(address).await?;
    let pin = ServerPin::new(address.to_owned(), &statement);
    // The same server by another spelling is pinned all the same; the same domain with another key is another server.
    match known.filter(|known| known.domain == pin.domain || known.identity == pin.identity) {
        Some(known) if known.identity != pin.identity => Err(ClientError::ServerChanged {
            server: address.to_owned(),
            shown: pin.identity.fingerprint(),
            pinned: known.identity.fingerprint(),
        }),
        Some(known) if known.has_other_directory(&statement) => Err(ClientError::DirectoryKey(address.to_owned())),
        Some(known) if known.is_replaced(&statement) => Err(ClientError::ReplacedKey(address.to_owned())),
        Some(_) => Ok((pin, connector, true)),
        None => Ok((pin, connector, false)),
    }
}

impl Auditor<'_> {
    /// From `start` to the end of the newest checkpoint, which begins with all that were `met`.
    async fn follow(&mut self, start: &Progress, met: &[VerifiedCheckpoint]) -> Result<Progress, ClientError> {
        let note = self.client.checkpoint().await?;
        let mut check = Check::begin(start, None, &note, wall_time()).map_err(|accused| self.accuse(&accused))?;
        for known in met {
            check = check.begins_with(known).map_err(|accused| self.accuse(&accused))?;
        }
        let size = check.shown().size();
        loop {
            check = match check.step().map_err(|accused| self.accuse(&accused))? {
                Step::Fetch(asking) => {
                    let bytes = self.client.fetch(&asking.resource()).await?;
                    asking.answer(&bytes).map_err(|accused| self.accuse(&accused))?
                }
                Step::Keep(check) => {
                    self.home.put_progress(check.progress())?;
                    (self.progress)(check.progress().checked(), size);
                    check
                }
                Step::Done(progress) => return Ok(progress),
            };
        }
    }

    fn accuse(&self, accused: &Accused) -> ClientError {
        let kept = self.home.keep_log_evidence(&accused.evidence);
        if let Err(error) = &kept {
            tracing::error!(%error, "the evidence of what the log did was not kept");
        }
        ClientError::Log { fault: Box::new(accused.fault), evidence: kept.ok() }
    }
}
