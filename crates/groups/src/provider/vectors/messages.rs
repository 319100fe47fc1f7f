//! Messages, and parts of them: what is parsed is encoded to the same bytes, and neither a byte more nor one less is taken.
//!
//! `messages.json` was made by openmls itself, three years before the version that is run here; `message-protection.json` by others.

use openmls::framing::{MlsMessageIn, WireFormat};
use openmls::messages::proposals::{ExternalInitProposal, PreSharedKeyProposal, ReInitProposal, RemoveProposal};
use openmls::messages::proposals_in::{AddProposalIn, GroupContextExtensionProposalIn, ProposalIn, UpdateProposalIn};
use openmls::treesync::RatchetTreeIn;
use serde_json::Value;
use tls_codec::{Deserialize, Serialize};

use super::{bytes, cases};

/// Asserts that these bytes are one `T`, and the only bytes of it.
fn same<T: Deserialize + Serialize>(encoded: &[u8]) {
    let parsed = T::tls_deserialize_exact(encoded).unwrap();
    assert_eq!(parsed.tls_serialize_detached().unwrap(), encoded);
    assert!(T::tls_deserialize_exact(&encoded[..encoded.len() - 1]).is_err());
    assert!(T::tls_deserialize_exact([encoded, &[0]].concat()).is_err());
}

fn same_message(encoded: &[u8], format: WireFormat) {
    same::<MlsMessageIn>(encoded);
    assert_eq!(MlsMessageIn::tls_deserialize_exact(encoded).unwrap().wire_format(), format);
}

/// A commit in a public message of member 0, with an empty signature and empty tags.
fn framed(commit: &[u8]) -> Vec<u8> {
    // Version and wire format; group, epoch, sender, authenticated data and type of the content.
    let head: [&[u8]; 6] = [&[0, 1, 0, 1], &[0], &[0; 8], &[1, 0, 0, 0, 0], &[0], &[3]];
    [&head.concat()[..], commit, &[0, 0, 0]].concat()
}

#[test]
fn rfc_9420_6_every_message_is_encoded_to_the_bytes_it_was_parsed_from() {
    let all: Vec<Value> = serde_json::from_str(include_str!("../../../vectors/working-group/messages.json")).unwrap();
    assert_eq!(all.len(), 3);
    for case in &all {
        let of = |name: &str| bytes(&case[name]);
        same_message(&of("mls_welcome"), WireFormat::Welcome);
        same_message(&of("mls_group_info"), WireFormat::GroupInfo);
        same_message(&of("mls_key_package"), WireFormat::KeyPackage);
        for public in ["public_message_application", "public_message_proposal", "public_message_commit"] {
            same_message(&of(public), WireFormat::PublicMessage);
        }
        same_message(&of("private_message"), WireFormat::PrivateMessage);
        same_message(&framed(&of("commit")), WireFormat::PublicMessage);

        same::<RatchetTreeIn>(&of("ratchet_tree"));
        same::<AddProposalIn>(&of("add_proposal"));
        same::<UpdateProposalIn>(&of("update_proposal"));
        same::<RemoveProposal>(&of("remove_proposal"));
        same::<PreSharedKeyProposal>(&of("pre_shared_key_proposal"));
        same::<ExternalInitProposal>(&of("external_init_proposal"));
        same::<GroupContextExtensionProposalIn>(&of("group_context_extensions_proposal"));
        // Not parsed by anybody out here.
        assert!(!of("group_secrets").is_empty());
    }
}

/// RFC 9420, 17.3: the tree is no extension of a group context. All ReInit proposals of the file have it as one; openmls used to take that.
#[test]
fn rfc_9420_17_3_a_group_context_with_a_tree_for_an_extension_is_refused() {
    let all: Vec<Value> = serde_json::from_str(include_str!("../../../vectors/working-group/messages.json")).unwrap();
    let mut refused = 0;
    for case in &all {
        let proposal = bytes(&case["re_init_proposal"]);
        refused += usize::from(ReInitProposal::tls_deserialize_exact(&proposal).is_err());
        // Group, version and suite are as good as any.
        let before_extensions = 1 + usize::from(proposal[0]) + 2 + 2;
        same::<ReInitProposal>(&[&proposal[..before_extensions], &[0]].concat());
    }
    assert_eq!(refused, 3);
}

#[test]
fn rfc_9420_6_protected_messages_are_encoded_to_the_bytes_they_were_parsed_from() {
    let all = cases(include_str!("../../../vectors/working-group/message-protection.json"));
    assert_eq!(all.len(), 2);
    for (_, case) in &all {
        let of = |name: &str| bytes(&case[name]);
        same::<ProposalIn>(&of("proposal"));
        same_message(&framed(&of("commit")), WireFormat::PublicMessage);
        for public in ["proposal_pub", "commit_pub"] {
            same_message(&of(public), WireFormat::PublicMessage);
        }
        for private in ["proposal_priv", "commit_priv", "application_priv"] {
            same_message(&of(private), WireFormat::PrivateMessage);
        }
    }
}

#[test]
fn rfc_9420_2_1_2_the_length_of_a_vector_is_read() {
    let all: Vec<Value> =
        serde_json::from_str(include_str!("../../../vectors/working-group/deserialization.json")).unwrap();
    assert_eq!(all.len(), 14);
    for case in &all {
        let head = bytes(&case["vlbytes_header"]);
        let (length, read) = tls_codec::vlen::read_length(&mut head.as_slice()).unwrap();
        assert_eq!((u64::try_from(length).ok(), read), (case["length"].as_u64(), head.len()));
    }
}
