//! Every domain string of this crate (rule ID-8). A signature covers `label || 0x00 || message`; an HKDF info
//! begins the same way. No label contains a zero byte, so no two uses can meet.

/// A domain string. Only this module makes them, so none is invented at a call site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(&'static str);

impl Label {
    /// Declares a label; for the `labels` modules of Undertone's crates.
    #[must_use]
    pub const fn declare(text: &'static str) -> Self {
        Self(text)
    }

    /// The label as it stands in signed bytes and derivations, without the separator.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        self.0.as_bytes()
    }

    /// The label as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// A device's own signature over its record.
pub const DEVICE_RECORD: Label = Label::declare("undertone/ID-2/record/v1");
/// Proof of possession of a device's P-256 agreement key: the key of the MAC.
pub const AGREEMENT_POSSESSION: Label = Label::declare("undertone/ID-2/possession/v1");
/// Proof of possession of a device's RSA key: the key of the MAC, and the label of the challenge.
pub const LEGACY_POSSESSION: Label = Label::declare("undertone/ID-2/legacy-possession/v1");
/// What goes before a quorum secret where it is mixed into a call's key.
pub const CALL_QUORUM: Label = Label::declare("undertone/RKX-5/call/v1");
/// The account key's signature over a device list.
pub const DEVICE_LIST: Label = Label::declare("undertone/ID-2/list/v1");
/// The sender's signature over an envelope.
pub const ENVELOPE: Label = Label::declare("undertone/ID-4/v1");
/// The key of an envelope to an RSA key, from what is wrapped to it.
pub const ENVELOPE_LEGACY: Label = Label::declare("undertone/ID-4/legacy/v1");
/// The key that seals an account key under the OPAQUE export key.
pub const ACCOUNT_BY_PASSPHRASE: Label = Label::declare("undertone/ID-6/passphrase/v1");
/// The key that seals an account key under the recovery key.
pub const ACCOUNT_BY_RECOVERY: Label = Label::declare("undertone/ID-6/recovery/v1");
/// What a recovery key signs in with: the key's derivation.
pub const RECOVERY_SIGNER: Label = Label::declare("undertone/ID-6/recovery-signer/v1");
/// The answer to a server's challenge to a recovery key.
pub const RECOVERY_SIGN_IN: Label = Label::declare("undertone/ID-6/recovery-sign-in/v1");
/// A device's word that another may join its account.
pub const CONSENT: Label = Label::declare("undertone/ID-6/consent/v1");
/// The transcript of a one-to-one call.
pub const CALL_TRANSCRIPT: Label = Label::declare("undertone/CALL-1/transcript/v1");
/// What stands before both halves of a call's key where one side has RSA alone.
pub const CALL_LEGACY: Label = Label::declare("undertone/CALL-2/halves/v1");
/// The caller's confirmation MAC.
pub const CALL_CONFIRM_CALLER: Label = Label::declare("undertone/CALL-1/confirm-caller/v1");
/// The callee's confirmation MAC.
pub const CALL_CONFIRM_CALLEE: Label = Label::declare("undertone/CALL-1/confirm-callee/v1");
/// The media key of a call's first epoch.
pub const CALL_MEDIA: Label = Label::declare("undertone/CALL-1/media/v1");
/// The commitment of a caller to its half of the short authentication string.
pub const SAS_COMMITMENT: Label = Label::declare("undertone/CALL-4/commitment/v1");
/// The key of the short authentication string.
pub const SAS_KEY: Label = Label::declare("undertone/CALL-4/sas-key/v1");
/// The short authentication string itself.
pub const SAS_TEXT: Label = Label::declare("undertone/CALL-4/sas-text/v1");

/// What a host's statement says of an epoch's secret.
pub const EPOCH_COMMITMENT: Label = Label::declare("undertone/GRP-3/commitment/v1");
/// The key by which a member shows that it has an epoch's secret.
pub const EPOCH_READY: Label = Label::declare("undertone/GRP-3/ready/v1");
/// The media key of a group call's epoch.
pub const EPOCH_MEDIA: Label = Label::declare("undertone/GRP-3/media/v1");

/// A device's signature over the statement about its key in an MLS group.
pub const LEAF: Label = Label::declare("undertone/MLS-1/leaf/v1");

/// All of them, for the test that none is used twice and for the documentation.
pub const ALL: &[Label] = &[
    DEVICE_RECORD,
    AGREEMENT_POSSESSION,
    LEGACY_POSSESSION,
    DEVICE_LIST,
    ENVELOPE,
    ENVELOPE_LEGACY,
    ACCOUNT_BY_PASSPHRASE,
    ACCOUNT_BY_RECOVERY,
    RECOVERY_SIGNER,
    RECOVERY_SIGN_IN,
    CONSENT,
    CALL_TRANSCRIPT,
    CALL_LEGACY,
    CALL_CONFIRM_CALLER,
    CALL_CONFIRM_CALLEE,
    CALL_MEDIA,
    SAS_COMMITMENT,
    SAS_KEY,
    SAS_TEXT,
    EPOCH_COMMITMENT,
    EPOCH_READY,
    EPOCH_MEDIA,
    LEAF,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_8_labels_are_distinct_and_well_formed() {
        for (i, label) in ALL.iter().enumerate() {
            assert!(label.as_str().starts_with("undertone/") && label.as_str().ends_with("/v1"));
            assert!(!label.as_bytes().contains(&0));
            assert!(!ALL[..i].contains(label), "{} stands twice", label.as_str());
        }
    }
}
