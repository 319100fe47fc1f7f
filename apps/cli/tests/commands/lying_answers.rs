//! A server that changes what its key directory says, one lie after the other: real processes ask it, each of them remembers what
//! the ones before have seen, and each lie is refused by the rule that it breaks and kept for others to see.

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::{Arc, Mutex};

use undertone_testkit::process::result as json;
use undertone_testkit::terminal::PASSPHRASE;
use undertone_testkit::{ServerProcess, Terminal, TwoFaces};
use undertone_transparency::answer::{Answer, Found};
use undertone_transparency::directory::{AbsenceProof, LookupProof};

/// What is said of Bob instead of the truth.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// A checkpoint that the log's key did not sign.
    Unsigned,
    /// The leaf of the earlier answer under the newest checkpoint.
    EarlierLeaf,
    /// All of an earlier answer: the log goes back.
    Rollback,
    /// What the directory proves of Carol.
    AnotherLabel,
    /// That he was never there, by the way to somebody else's place.
    FalseAbsence,
    /// What was proven of his first version, under the newest checkpoint: those behind it are hidden.
    HiddenVersion,
    /// His second version, which is in the tree as it is shown, and not that it was superseded.
    ForgedFreshness,
    /// His newest list with another key in it.
    WrongKey,
    /// His first list in the place of his newest.
    OldList,
}

impl Lie {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Unsigned, "KT-1"),
        (Self::EarlierLeaf, "KT-3"),
        (Self::Rollback, "KT-4"),
        (Self::AnotherLabel, "KT-5"),
        (Self::FalseAbsence, "KT-6"),
        (Self::HiddenVersion, "KT-6"),
        (Self::ForgedFreshness, "KT-6"),
        (Self::WrongKey, "KT-7"),
        (Self::OldList, "KT-7"),
    ];

    /// What becomes of an honest answer about Bob, by a server that remembers what it once said.
    fn told(self, mut answer: Answer, said: &Said) -> Answer {
        let (first, carols, nobodys) = (&said["bob, first"], &said["carol"], &said["zoe"]);
        let Found::Present { proof, lists } = &mut answer.found else { panic!("Bob is there") };
        match self {
            Self::Unsigned => {
                let text = String::from_utf8(answer.head.checkpoint.clone()).unwrap();
                let at = text.rfind("— ").unwrap() + text[text.rfind("— ").unwrap()..].len() / 2 + 20;
                let byte = &mut answer.head.checkpoint[at];
                *byte = if *byte == b'A' { b'B' } else { b'A' };
            }
            Self::EarlierLeaf => answer.head.leaf.clone_from(&first.head.leaf),
            Self::Rollback => answer = first.clone(),
            Self::AnotherLabel => answer.found = carols.found.clone(),
            Self::FalseAbsence => {
                let Found::Absent(absent) = &nobodys.found else { panic!("Zoe is not there") };
                // The place of his first version, as it was proven once, and the way to another one.
                let Found::Present { proof, .. } = &first.found else { panic!("Bob was there") };
                let place = AbsenceProof { vrf: proof.existence.vrf, ..(**absent).clone() };
                answer.found = Found::Absent(Box::new(place));
            }
            Self::HiddenVersion => answer.found = first.found.clone(),
            Self::ForgedFreshness => {
                // His third version shows the way to the second, which counts as a marker there. All that is left to forge is that
                // nothing stands at the place which would say that it is superseded: the way to another place is shown for it.
                let Found::Present { proof: second, lists: older } = &said["bob, second"].found else {
                    panic!("Bob was there")
                };
                let [marker] = proof.markers.as_slice() else { panic!("the third version has one marker") };
                assert_eq!(marker.leaf.vrf, second.existence.vrf);
                let freshness = AbsenceProof { vrf: second.freshness.vrf, ..proof.freshness.clone() };
                **proof = LookupProof { existence: marker.leaf.clone(), freshness, ..(**second).clone() };
                lists.clone_from(older);
            }
            Self::WrongKey => {
                // Also to somebody who knows it, and has asked for what is behind it.
                let Found::Present { lists: newest, .. } = &said["bob"].found else { panic!("Bob was there") };
                lists.clone_from(newest);
                let list = lists.last_mut().unwrap();
                let at = list.len() / 2;
                list[at] ^= 1;
            }
            Self::OldList => {
                let Found::Present { lists: older, .. } = &first.found else { panic!("Bob was there") };
                lists.clone_from(older);
            }
        }
        answer
    }
}

/// Honest answers of earlier, by whom they are about.
type Said = BTreeMap<&'static str, Answer>;

/// Exit code 4, this rule, and a file that says the same to somebody without an account.
fn refused(server: &ServerProcess, output: &Output, lie: Lie, rule: &str) {
    let told = json(output);
    let message = told["message"].as_str().unwrap_or_default();
    assert_eq!(output.status.code(), Some(4), "{lie:?}: {told}");
    assert!(message.contains(&format!("({rule})")), "{lie:?}: {told}");
    let (_, file) = message.rsplit_once("is kept in ").unwrap_or_else(|| panic!("{lie:?}: {told}"));
    let stranger = Terminal::new(server.join("stranger"), server.address());
    let judged = stranger.run(&["audit", "evidence", file.trim_end_matches('.')]).unwrap();
    let (code, judged) = (judged.status.code(), json(&judged));
    assert_eq!((code, &judged["rule"], &judged["holds"]), (Some(4), &rule.into(), &false.into()), "{lie:?}: {judged}");
    assert_eq!(judged["user"], "bob@localhost");
}

#[test]
fn kt_9_every_lie_about_a_user_is_refused_by_its_rule_and_kept_for_others() {
    let server = ServerProcess::start("lying-answers").unwrap();
    let front = TwoFaces::new(&server.data(), server.address()).unwrap();
    let face = front.face().unwrap();
    let ada = Terminal::registered(server.join("ada"), face.address(), "ada").unwrap();
    let [bob, _] =
        ["bob", "carol"].map(|name| Terminal::registered(server.join(name), server.address(), name).unwrap());

    // Everything is honest, and remembered by whoever is going to lie.
    let said = Arc::new(Mutex::new(Said::new()));
    let keeps = said.clone();
    face.lies(move |asked, answer| {
        let mut said = keeps.lock().unwrap();
        let name = match asked.user.split('@').next().unwrap() {
            "bob" if said.contains_key("bob, second") => "bob",
            "bob" if said.contains_key("bob, first") => "bob, second",
            "bob" => "bob, first",
            "carol" => "carol",
            "zoe" => "zoe",
            _ => return answer,
        };
        said.insert(name, answer.clone());
        answer
    });
    let show = |name: &str| ada.run(&["peer", "show", name]).unwrap().status.code();
    for label in ["mine", "still mine"] {
        assert_eq!(show("bob"), Some(0));
        let renamed = bob.with_passphrase(PASSPHRASE, &["devices", "rename", label]).unwrap();
        assert!(renamed.status.success(), "{}", json(&renamed));
    }
    let dora = Terminal::registered(server.join("dora"), face.address(), "dora").unwrap();
    assert_eq!((show("bob"), show("carol"), show("zoe")), (Some(0), Some(0), Some(1)));
    let said = said.lock().unwrap().clone();
    assert_eq!(said.len(), 5);

    for (lie, rule) in Lie::ALL {
        let remembers = said.clone();
        face.lies(
            move |asked, answer| {
                if asked.user.starts_with("bob@") { lie.told(answer, &remembers) } else { answer }
            },
        );
        // Somebody who knows Bob's newest list, and somebody who never asked about him.
        for terminal in [&ada, &dora] {
            refused(&server, &terminal.run(&["peer", "show", "bob"]).unwrap(), lie, rule);
        }
        refused(&server, &ada.run(&["call", "bob", "--no-devices"]).unwrap(), lie, rule);
        // Whom it did not lie about is known as before.
        assert_eq!(show("carol"), Some(0), "{lie:?}");
    }
    face.is_honest();
    for terminal in [&ada, &dora] {
        assert_eq!(terminal.run(&["peer", "show", "bob"]).unwrap().status.code(), Some(0), "the truth is taken again");
    }
}
