//! One look-up in the server's key directory: asked, checked (rules KT-1 to KT-8), remembered or kept as evidence.

use undertone_keys::device_list::DeviceList;
use undertone_keys::{AccessToken, UserId};
use undertone_protocol::rest::{AccountHistory, Devices};
use undertone_transparency::evidence::Evidence;
use undertone_transparency::history::{History, HistoryQuestion};
use undertone_transparency::seen::Seen;
use undertone_transparency::verify::{Accusation, Pins, Proven, Purpose, Question, VerifiedDevices};

use super::config::ClientConfig;
use super::connector::Connector;
use super::error::ClientError;
use super::home::{Home, ServerPin};
use super::{rest, wall_time};

/// Somebody who asks a server about a user, and does not believe it.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    pub(super) home: &'a Home,
    pub(super) pin: &'a ServerPin,
    pub(super) token: &'a AccessToken,
    pub(super) connector: &'a Connector,
}

impl Lookup<'_> {
    /// What the directory proves of a user's devices. `seen` is what was seen of its log before, and is after it.
    ///
    /// A proof that fails is kept as evidence, and an error that nobody can override (rule KT-9).
    pub(super) async fn devices(
        &self,
        user: &UserId,
        purpose: Purpose,
        known: Option<&DeviceList>,
        seen: &mut Option<Seen>,
    ) -> Result<VerifiedDevices, ClientError> {
        Ok(self.devices_and(user, purpose, known, seen, |_, _| ()).await?.0)
    }

    /// The same, with what `keep` makes of the question and the answer to it that holds.
    pub(super) async fn devices_and<T>(
        &self,
        user: &UserId,
        purpose: Purpose,
        known: Option<&DeviceList>,
        seen: &mut Option<Seen>,
        keep: impl FnOnce(&Question<'_>, &[u8]) -> T + Send,
    ) -> Result<(VerifiedDevices, T), ClientError> {
        if user.domain() != self.pin.domain {
            return Err(ClientError::OtherDomain { user: user.display(), domain: self.pin.domain.clone() });
        }
        let pins = self.pins()?;
        let path = format!(
            "/v1/users/{}/devices?seen={}&known={}",
            escaped(user.as_str()),
            seen.as_ref().map_or(0, Seen::size),
            known.map_or(0, DeviceList::version),
        );
        let stream = self.connector.tcp().await?;
        let devices: Devices = rest::get_proof(stream, self.connector.address(), &path, self.token).await?;
        let question = Question { pins: &pins, user, seen: seen.as_ref(), known, now: wall_time(), purpose };
        match question.verify(&devices.answer.0) {
            Ok(Proven::Devices(proven)) => {
                let kept = keep(&question, &devices.answer.0);
                self.remember(seen, proven.provenance().seen())?;
                Ok((*proven, kept))
            }
            Ok(Proven::Absent(provenance)) => {
                self.remember(seen, provenance.seen())?;
                Err(ClientError::NoSuchUser(user.display()))
            }
            Err(accusation) => Err(self.accuse(&Evidence::new(&question, &devices.answer.0), accusation)),
        }
    }

    /// Every version of the own account's list from one on (rule KT-11). The newest that a look-up has shown, if it was another,
    /// has to be among them.
    ///
    /// A proof that fails is kept as evidence, and an error that nobody can override (rule KT-9).
    pub(super) async fn history(
        &self,
        from: &DeviceList,
        known: Option<&DeviceList>,
        seen: &mut Option<Seen>,
    ) -> Result<History, ClientError> {
        let pins = self.pins()?;
        let path = format!("/v1/account/history?seen={}&from={}", seen.as_ref().map_or(0, Seen::size), from.version());
        let stream = self.connector.tcp().await?;
        let shown: AccountHistory = rest::get_proof(stream, self.connector.address(), &path, self.token).await?;
        let answer = &shown.answer.0;
        let question = |from| HistoryQuestion { pins: &pins, seen: seen.as_ref(), from, now: wall_time() };
        let verified = |from| {
            let question = question(from);
            question
                .verify(answer)
                .map_err(|accusation| Box::new((Evidence::of_history(&question, answer), accusation)))
        };
        let later = known.filter(|known| known.version() > from.version());
        let checked = later.map_or(Ok(()), |known| verified(known).map(drop)).and_then(|()| verified(from));
        let accused = |accused: Box<(Evidence, Accusation)>| self.accuse(&accused.0, accused.1);
        let history = checked.map_err(accused)?;
        self.remember(seen, history.provenance().seen())?;
        Ok(history)
    }

    fn pins(&self) -> Result<Pins, ClientError> {
        let ServerPin { identity, domain, vrf, address, .. } = self.pin;
        let vrf = vrf.ok_or_else(|| ClientError::DirectoryKey(address.clone()))?;
        // Read each time: what a person writes there counts from the next question on.
        let policy = ClientConfig::read(self.home.folder())?;
        Ok(Pins { domain: domain.clone(), log: *identity, vrf, witnesses: policy.witnesses })
    }

    fn remember(&self, seen: &mut Option<Seen>, newer: &Seen) -> Result<(), ClientError> {
        if seen.as_ref() != Some(newer) {
            self.home.put_seen(self.pin, newer)?;
            *seen = Some(newer.clone());
        }
        Ok(())
    }

    fn accuse(&self, evidence: &Evidence, accusation: Accusation) -> ClientError {
        let kept = self.home.keep_evidence(evidence);
        if let Err(error) = &kept {
            tracing::error!(%error, "the evidence of a failed proof was not kept");
        }
        ClientError::Proof { accusation: Box::new(accusation), evidence: kept.ok() }
    }
}

/// A path segment: whatever is not a letter, digit or one of `-._~@` is percent-encoded.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
