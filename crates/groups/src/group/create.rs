//! A new group with one member.

use openmls::group::MlsGroup;
use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRng;
use undertone_keys::quorum::QuorumSecret;

use super::{Group, GroupId, enter, own_key};
use crate::config;
use crate::failure::{Blame, Broken};
use crate::leaf::{Joiner, LeafKey};
use crate::provider::Provider;
use crate::quorum::{self, QuorumId};
use crate::step::Step;
use crate::store::{Store, WriteSet};
use crate::terms::{Quorum, Terms};

/// Why no group is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// This device has, or had, a group with this id.
    #[error("there is such a group already")]
    Exists,
    /// The store or the library failed.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl CreateError {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Exists => Blame::ApiMisuse,
            Self::Broken(_) => Blame::Broken,
        }
    }
}

impl Group<'_> {
    /// Makes a group of one: this device, at leaf 0 in epoch 0. Where the terms say that a quorum secret is mixed in, it is drawn here.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create(
        store: &Store,
        mut rng: &mut dyn CryptoRng,
        id: GroupId,
        terms: &Terms,
        joiner: &Joiner<'_>,
    ) -> Result<Step, CreateError> {
        if store.read(&own_key(id)).is_some() {
            return Err(CreateError::Exists);
        }
        let (mut terms, mut writes) = (*terms, None);
        if terms.quorum != Quorum::None {
            let secret = QuorumSecret::generate(&mut rng);
            terms.quorum = Quorum::Known(QuorumId::of(id, &secret));
            writes = Some(quorum::keep(store, rng, id, &secret)?);
        }
        let provider = Provider::new(store, rng);
        let config = config::creating(&terms).ok_or(Broken::Library)?;
        let key =
            LeafKey::draw(terms.suite, joiner, provider.crypto(), provider.rand()).map_err(|_| Broken::Library)?;
        MlsGroup::new_with_group_id(&provider, &key, &config, id.mls(), key.credential())
            .map_err(|_| Broken::Library)?;
        enter(provider.overlay(), id, &key, 0);
        let created = provider.into_writes();
        let store = writes.into_iter().fold(created, WriteSet::then);
        Ok(Step { store, send: Vec::new() })
    }
}
