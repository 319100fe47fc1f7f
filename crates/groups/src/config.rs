//! How every group of ours is set up.

use openmls::group::{MlsGroupCreateConfig, MlsGroupJoinConfig, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY};
use openmls::key_packages::Lifetime;
use openmls::prelude::{Capabilities, CredentialType, SenderRatchetConfiguration};

use crate::limits;
use crate::suite::Suite;
use crate::terms::{Terms, extension_type};

/// What every leaf says it can: one suite, our extension, a basic credential. The library's default would name what we have not.
pub(crate) fn capabilities(suite: Suite) -> Capabilities {
    let (suites, extensions) = ([suite.ciphersuite()], [extension_type()]);
    Capabilities::new(None, Some(&suites), Some(&extensions), None, Some(&[CredentialType::Basic]))
}

/// Always valid. The library would compare it with a clock of its own, and a core has none: how old a key package is stands in
/// the statement that its device signed, and is compared with the caller's time.
pub(crate) fn lifetime() -> Lifetime {
    Lifetime::init(0, u64::MAX >> 1)
}

const fn ratchet() -> (u32, u32) {
    (limits::OUT_OF_ORDER, limits::LOST_IN_A_ROW)
}

pub(crate) fn joining() -> MlsGroupJoinConfig {
    let (out_of_order, lost) = ratchet();
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .padding_size(limits::PADDING)
        .max_past_epochs(limits::PAST_EPOCHS)
        .number_of_resumption_psks(0)
        .use_ratchet_tree_extension(false)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(out_of_order, lost))
        .build()
}

pub(crate) fn creating(terms: &Terms) -> Option<MlsGroupCreateConfig> {
    let (out_of_order, lost) = ratchet();
    let extensions = openmls::extensions::Extensions::single(terms.extension()).ok()?;
    let config = MlsGroupCreateConfig::builder()
        .ciphersuite(terms.suite.ciphersuite())
        .capabilities(capabilities(terms.suite))
        .lifetime(lifetime())
        .with_group_context_extensions(extensions)
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .padding_size(limits::PADDING)
        .max_past_epochs(limits::PAST_EPOCHS)
        .number_of_resumption_psks(0)
        .use_ratchet_tree_extension(false)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(out_of_order, lost))
        .build();
    Some(config)
}
