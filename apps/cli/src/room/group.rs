//! What a person and a program see of a room's MLS group.

use std::fmt::Write;

use serde_json::{Value, json};
use undertone_client::group::{Event, How, Lie, Member, Reason, Standpoint, Suite};
use undertone_client::room::{GroupExplained, QuorumExplained};

use crate::output::Output;

/// Tells what happened in it. A person hears of what they can do something about, or should know; a program of everything.
pub(super) fn report(event: &Event, output: Output) {
    let (object, text) = match event {
        Event::Joined { epoch, how } => {
            (json!({ "event": "group_joined", "epoch": epoch, "how": how_word(*how) }), String::new())
        }
        Event::Epoch { epoch, by, added, removed, suite } => (
            json!({
                "event": "group_epoch", "epoch": epoch, "by": by.as_ref().map(member),
                "added": added.iter().map(member).collect::<Vec<_>>(),
                "removed": removed.iter().map(member).collect::<Vec<_>>(), "suite": suite.as_str(),
            }),
            String::new(),
        ),
        Event::Forked { epoch, by } => (
            json!({
                "event": "group_forked", "epoch": epoch, "by": by.as_ref().map(|device| device.user.as_str()),
            }),
            "Others are in another group than this device: it says nothing until it is back with them.".to_owned(),
        ),
        Event::Accused { by } => (
            json!({ "event": "group_accused", "by": by.user.as_str() }),
            format!("{} says again that there are two groups; the others say that there is one.", by.user.display()),
        ),
        Event::Rejoined { epoch, after } => (
            json!({ "event": "group_rejoined", "epoch": epoch, "after_ms": after.as_millis() }),
            "This device is back in the group.".to_owned(),
        ),
        Event::Removed { by } => {
            let who = by.as_ref().map(|by| by.user.display());
            let text = match who {
                Some(who) => format!("{who} has taken this device out of the room's group."),
                None => "This device was taken out of the room's group.".to_owned(),
            };
            (json!({ "event": "group_removed", "by": by.as_ref().map(member) }), text)
        }
        Event::Withdrawn => (
            json!({ "event": "group_withdrawn" }),
            "The room's group was one that the others could not come into: it is begun anew.".to_owned(),
        ),
        Event::OldStore => (
            json!({ "event": "group_old_store" }),
            "The home folder is older than what others have seen of this device: it comes in as a new one.".to_owned(),
        ),
        Event::CannotBeServed(reason) => (
            json!({ "event": "group_waits", "reason": reason_word(reason) }),
            format!("The room's keys do not come: {}. It is tried again.", reason_words(reason)),
        ),
        Event::ServerLied(lie) => (
            json!({ "event": "group_server_lied", "lie": lie_word(lie) }),
            format!("THE SERVER SAYS WHAT IS NOT SO: {}. It is not believed.", lie_words(lie)),
        ),
        Event::CommitRefused { epoch, why } => (
            json!({ "event": "group_commit_refused", "epoch": epoch, "reason": why.to_string() }),
            format!("A change of the room's group is not taken: {why}."),
        ),
        Event::StillListening(device) => (
            json!({
                "event": "group_still_listening", "user": device.user.as_str(), "device": device.device.to_string(),
            }),
            format!("{} is gone and can still listen.", device.user.display()),
        ),
        Event::Broken(broken) => (
            json!({ "event": "group_broken", "reason": broken.to_string() }),
            format!("What this device has of the room's group is of no use ({broken}): it comes in anew."),
        ),
        // Of another version.
        _ => return,
    };
    output.event(&object, &text);
}

fn member(member: &Member) -> Value {
    json!({ "leaf": member.index, "user": member.user.as_str(), "device": member.device.to_string() })
}

const fn how_word(how: How) -> &'static str {
    match how {
        How::Created => "created",
        How::Welcomed => "welcomed",
        How::BySelf => "by_self",
        How::Stored => "stored",
    }
}

const fn reason_word(reason: &Reason) -> &'static str {
    match reason {
        Reason::NoAnswer => "no_answer",
        Reason::Withheld => "withheld",
        Reason::NotAllowed => "not_allowed",
        Reason::Malformed => "malformed",
        Reason::NoInfo => "no_info",
        Reason::Refused(_) => "refused",
        Reason::Psk => "psk",
        Reason::Junk => "junk",
        Reason::Forked => "forked",
        _ => "other",
    }
}

fn reason_words(reason: &Reason) -> String {
    match reason {
        Reason::NoAnswer => "the server does not answer".to_owned(),
        Reason::Withheld => "the server does not hand out what it has".to_owned(),
        Reason::NotAllowed => "the server does not let this device into the group".to_owned(),
        Reason::Malformed => "the server refuses what this device makes".to_owned(),
        Reason::NoInfo => "the server has nothing to come in by".to_owned(),
        Reason::Refused(why) => format!("somebody or something in the group is not right ({why})"),
        Reason::Psk => "the secret that is mixed into them is missing here so far".to_owned(),
        Reason::Junk => "somebody has broken the group for those who come later; a new call mends that".to_owned(),
        Reason::Forked => "this device is led into another group than the others, again and again".to_owned(),
        _ => "for a reason that this program does not know".to_owned(),
    }
}

const fn lie_word(lie: &Lie) -> &'static str {
    match lie {
        Lie::Swapped(_) => "swapped_key_package",
        Lie::Package(..) => "bad_key_package",
        Lie::Info => "bad_info",
        Lie::Commit { .. } => "bad_commit",
        Lie::Tree => "bad_tree",
        Lie::Back { .. } => "went_back",
        _ => "other",
    }
}

fn lie_words(lie: &Lie) -> String {
    match lie {
        Lie::Swapped(device) => format!("it hands out somebody else's key package for {}'s", device.user.display()),
        Lie::Package(device, error) => {
            format!("what it hands out for {} is no key package ({error})", device.user.display())
        }
        Lie::Info => "what it hands out to come in by is not of this group".to_owned(),
        Lie::Commit { epoch } => format!("what it says ended epoch {epoch} is of another, or nothing at all"),
        Lie::Tree => "the tree that it keeps is not the group's: whoever committed last brought it".to_owned(),
        Lie::Back { to, from } => format!("the group has gone back from epoch {from} to {to}"),
        _ => "in a way that this program does not know".to_owned(),
    }
}

const fn standpoint_word(standpoint: Standpoint) -> &'static str {
    match standpoint {
        Standpoint::Joining => "joining",
        Standpoint::Inside(_) => "inside",
        Standpoint::Rejoining => "rejoining",
        Standpoint::Out(_) => "out",
        _ => "other",
    }
}

/// The group as it stands, for programs.
pub(super) fn object(group: &GroupExplained) -> Value {
    json!({
        "standpoint": standpoint_word(group.standpoint), "suite": group.suite.as_str(), "epoch": group.epoch,
        "committed_by": group.committed_by.as_ref().map(member), "ago_ms": group.ago.map(|ago| ago.as_millis()),
        "members": group.members.iter().map(member).collect::<Vec<_>>(), "own_leaf": group.own_leaf,
        "spent": {
            "sent": group.spent.sent, "uploads": group.spent.uploads, "received": group.spent.received,
            "epochs": group.spent.epochs,
        },
        "quorum": group.quorum.as_ref().map(quorum_object),
    })
}

fn quorum_object(quorum: &QuorumExplained) -> Value {
    let by = quorum.by.as_ref().map(|by| json!({ "user": by.user.as_str(), "device": by.device.to_string() }));
    let nodes = quorum.nodes;
    json!({
        "threshold": nodes.map(|of| of.threshold), "nodes": nodes.map(|of| of.nodes), "good": nodes.map(|of| of.good),
        "by": by, "given": quorum.given, "lacks": quorum.lacks,
    })
}

/// Over how many nodes the secret in the keys came, and in which epoch it is.
fn quorum_words(quorum: &QuorumExplained, epoch: Option<u64>) -> String {
    if quorum.lacks {
        return "this device has no secret so far: it asks those who are in".to_owned();
    }
    let Some(epoch) = epoch else { return "this device is in no epoch so far".to_owned() };
    let over = match &quorum.nodes {
        Some(of) => format!("{} of {} nodes, at epoch {epoch}", of.threshold, of.nodes),
        None => format!("in this device alone so far, at epoch {epoch}"),
    };
    let from = match &quorum.by {
        Some(by) => format!("{} gave it to this device", by.user.display()),
        None => "this device drew it, or had it when it was started".to_owned(),
    };
    let given = match quorum.given {
        0 => String::new(),
        1 => "; it gave it to one other".to_owned(),
        others => format!("; it gave it to {others} others"),
    };
    format!("{over}\n             {from}{given}")
}

/// The rows about it, for people: names and words.
pub(super) fn rows(group: &GroupExplained) -> Vec<(&'static str, String)> {
    let stands = match group.standpoint {
        Standpoint::Joining => "this device is on its way in".to_owned(),
        Standpoint::Inside(epoch) => format!("this device is in, in epoch {epoch}"),
        Standpoint::Rejoining => "this device has lost its way, and is on it back: it says nothing".to_owned(),
        _ => "this device is out".to_owned(),
    };
    let suite = match group.suite {
        Suite::XWing => "x-wing: X25519 and ML-KEM-768 together, so that no quantum computer opens it one day",
        Suite::P256 => "p256: P-256, AES-128-GCM, ECDSA; no protection against a quantum computer of a later day",
        Suite::X25519 => {
            "x25519: X25519, AES-128-GCM, Ed25519; no protection against a quantum computer of a later day"
        }
    };
    let mut rows = vec![("group", stands), ("suite", suite.to_owned())];
    if let Some(ago) = group.ago {
        let who = group.committed_by.as_ref().map_or_else(
            || "this device came into this epoch".to_owned(),
            |by| format!("{}, device {}, changed it last,", by.user.display(), by.device),
        );
        rows.push(("", format!("{who} {} s ago; the next change at the latest 5 min after that", ago.as_secs())));
    }
    let mut members = String::new();
    for (place, leaf) in group.members.iter().enumerate() {
        let _ = write!(members, "{}{} at leaf {}", if place == 0 { "" } else { ", " }, leaf.user.display(), leaf.index);
    }
    if !members.is_empty() {
        rows.push(("can open", members));
    }
    if let Some(quorum) = &group.quorum {
        rows.push(("quorum:", quorum_words(quorum, group.epoch)));
    }
    let spent = &group.spent;
    rows.push((
        "cost",
        format!(
            "{} bytes sent in {} uploads, {} bytes received, for {} epochs",
            spent.sent, spent.uploads, spent.received, spent.epochs
        ),
    ));
    rows
}

#[cfg(test)]
mod tests {
    use undertone_client::swarm::QuorumNodes;

    use super::*;

    #[test]
    fn rkx_5_explain_says_over_how_many_nodes_the_secret_came() {
        let nodes = Some(QuorumNodes { threshold: 17, nodes: 25, good: 24 });
        let explained = QuorumExplained { by: None, nodes, given: 2, lacks: false };
        let said = quorum_words(&explained, Some(4));
        assert!(said.starts_with("17 of 25 nodes, at epoch 4\n") && said.ends_with("gave it to 2 others"), "{said}");
        let alone = QuorumExplained { nodes: None, given: 0, ..explained.clone() };
        assert!(quorum_words(&alone, Some(4)).starts_with("in this device alone so far, at epoch 4\n"));
        let lacks = QuorumExplained { lacks: true, ..explained };
        assert!(quorum_words(&lacks, None).contains("no secret so far"));
    }
}
