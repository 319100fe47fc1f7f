//! Questions to the server's key directory: asked, checked (rules KT-1 to KT-8, KT-11), believed or kept as evidence.
//!
//! Asking and checking are apart: several questions may be under way at once, and their answers are checked one after the other,
//! each against the newest that was seen of the log.

use undertone_keys::device_list::DeviceList;
use undertone_keys::{AccessToken, UserId};
use undertone_protocol::rest::{AccountHistory, Devices};
use undertone_transparency::evidence::Evidence;
use undertone_transparency::history::{History, HistoryQuestion};
use undertone_transparency::known::KnownList;
use undertone_transparency::seen::Seen;
use undertone_transparency::verify::{Accusation, Pins, Proven, Purpose, Question, VerifiedDevices};

use super::config::ClientConfig;
use super::connector::Connector;
use super::error::ClientError;
use super::home::{Audited, Home, ServerPin};
use super::{rest, wall_time};

/// Somebody who asks a server about a user, and does not believe it.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    pub(super) home: &'a Home,
    pub(super) pin: &'a ServerPin,
    pub(super) token: &'a AccessToken,
    pub(super) connector: &'a Connector,
}

/// Whose devices are asked for, by somebody who knows a list of theirs already, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) user: &'a UserId,
    pub(super) known: Option<&'a KnownList>,
    pub(super) purpose: Purpose,
}

impl Lookup<'_> {
    /// Asks for a user's devices, as somebody who has seen this much of the log.
    pub(super) async fn ask(&self, asked: Asked<'_>, seen: Option<&Seen>) -> Result<Vec<u8>, ClientError> {
        let Asked { user, known, .. } = asked;
        if user.domain() != self.pin.domain {
            return Err(ClientError::OtherDomain { user: user.display(), domain: self.pin.domain.clone() });
        }
        let path = format!(
            "/v1/users/{}/devices?seen={}&known={}",
            escaped(user.as_str()),
            seen.map_or(0, Seen::size),
            known.map_or(0, |known| known.list.version()),
        );
        let stream = self.connector.tcp().await?;
        let devices: Devices = rest::get_proof(stream, self.connector.address(), &path, self.token).await?;
        Ok(devices.answer.0)
    }

    /// What the answer proves, and everything that the check was made of.
    ///
    /// A proof that fails is kept as evidence, and an error that nobody can override (rule KT-9).
    pub(super) fn check(
        &self,
        Asked { user, known, purpose }: Asked<'_>,
        seen: Option<&Seen>,
        answer: &[u8],
    ) -> Result<(Proven, Evidence), ClientError> {
        let pins = self.pins()?;
        let question = Question { pins: &pins, user, seen, known, now: wall_time(), purpose };
        let evidence = Evidence::new(&question, answer);
        match question.verify(answer) {
            Ok(proven) => Ok((proven, evidence)),
            Err(accusation) => Err(self.accuse(&evidence, accusation)),
        }
    }

    /// Both, for somebody who asks nothing else meanwhile. `seen` is what was seen of the log before, and is after it.
    pub(super) async fn devices(
        &self,
        asked: Asked<'_>,
        seen: &mut Option<Seen>,
    ) -> Result<VerifiedDevices, ClientError> {
        let answer = self.ask(asked, seen.as_ref()).await?;
        let (proven, _) = self.check(asked, seen.as_ref(), &answer)?;
        self.remember(seen, proven.provenance().seen())?;
        there(asked.user, proven)
    }

    /// Asks for every version of the own account's list from one on (rule KT-11).
    pub(super) async fn ask_history(&self, from: u32, seen: Option<&Seen>) -> Result<Vec<u8>, ClientError> {
        let path = format!("/v1/account/history?seen={}&from={from}", seen.map_or(0, Seen::size));
        let stream = self.connector.tcp().await?;
        let shown: AccountHistory = rest::get_proof(stream, self.connector.address(), &path, self.token).await?;
        Ok(shown.answer.0)
    }

    /// What that answer proves. The newest list that a look-up has shown, if it was another, has to be among these.
    ///
    /// A proof that fails is kept as evidence, and an error that nobody can override (rule KT-9).
    pub(super) fn check_history(
        &self,
        from: &Audited,
        known: Option<&KnownList>,
        seen: Option<&Seen>,
        answer: &[u8],
    ) -> Result<History, ClientError> {
        let pins = self.pins()?;
        let verified = |from: &DeviceList, newest_in| {
            let question = HistoryQuestion { pins: &pins, seen, from, newest_in, now: wall_time() };
            let accused = |accusation| self.accuse(&Evidence::of_history(&question, answer), accusation);
            question.verify(answer).map_err(accused)
        };
        if let Some(known) = known.filter(|known| known.list.version() > from.list.version()) {
            verified(&known.list, known.newest.map(|newest| newest.epoch))?;
        }
        verified(&from.list, from.newest_in)
    }

    /// Remembers what was seen of the log.
    pub(super) fn remember(&self, seen: &mut Option<Seen>, newer: &Seen) -> Result<(), ClientError> {
        if seen.as_ref() != Some(newer) {
            self.home.put_seen(self.pin, newer)?;
            *seen = Some(newer.clone());
        }
        Ok(())
    }

    fn pins(&self) -> Result<Pins, ClientError> {
        let ServerPin { identity, domain, vrf, address, .. } = self.pin;
        let vrf = vrf.ok_or_else(|| ClientError::DirectoryKey(address.clone()))?;
        // Read each time: what a person writes there counts from the next question on.
        let policy = ClientConfig::read(self.home.folder())?;
        Ok(Pins { domain: domain.clone(), log: *identity, vrf, witnesses: policy.witnesses })
    }

    fn accuse(&self, evidence: &Evidence, accusation: Accusation) -> ClientError {
        let kept = self.home.keep_evidence(evidence);
        if let Err(error) = &kept {
            tracing::error!(%error, "the evidence of a failed proof was not kept");
        }
        ClientError::Proof { accusation: Box::new(accusation), evidence: kept.ok() }
    }
}

/// A user who is proven not to be there has no devices.
pub(super) fn there(user: &UserId, proven: Proven) -> Result<VerifiedDevices, ClientError> {
    match proven {
        Proven::Devices(devices) => Ok(*devices),
        Proven::Absent(_) => Err(ClientError::NoSuchUser(user.display())),
    }
}

/// A path segment: whatever is not a letter, digit or one of `-._~@` is percent-encoded.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
