//! Rule KT-2 over a real server: a device that insists on witnesses begins nothing without them.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use undertone_testkit::process::result as json;
use undertone_testkit::{ServerProcess, Terminal, TwoFaces, Witness};
use undertone_transparency::answer::{Answer, Hashes, Older};
use undertone_transparency::checkpoint::SignedCheckpoint;
use undertone_transparency::note::{NoteSignature, WitnessKey};

const PATIENCE: Duration = Duration::from_secs(30);
/// A minute more, and less, than a cosignature may be old where something begins.
const TOO_OLD: Duration = Duration::from_secs(11 * 60);
const NOT_TOO_OLD: Duration = Duration::from_secs(9 * 60);

/// Has the device in `home` insist on these witnesses, as its owner would by hand.
fn insist(home: &Path, need: usize, keys: &[&String]) {
    // Rust writes a list of such texts as TOML does.
    let settings = format!("[witnesses]\nneed = {need}\nrequired = true\nkeys = {keys:?}\n");
    fs::write(home.join("config.toml"), settings).unwrap();
}

/// Refused by rule KT-2 for this reason, and what is kept says the same to somebody else, who knows no witness. What is said.
fn refused(server: &ServerProcess, output: &Output, why: &str) -> String {
    let told = json(output);
    let message = told["message"].as_str().unwrap_or_default();
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(message.contains("KT-2") && message.contains(why), "{told}");
    let (_, kept) = message.rsplit_once("is kept in ").unwrap();
    let stranger = Terminal::new(server.join("stranger"), server.address());
    let judged = stranger.run(&["audit", "evidence", kept.trim_end_matches('.')]).unwrap();
    let (code, judged) = (judged.status.code(), json(&judged));
    assert_eq!((code, &judged["rule"], &judged["convicts"]), (Some(4), &"KT-2".into(), &false.into()), "{judged}");
    assert!(judged["fault"].as_str().is_some_and(|fault| message.contains(fault)), "{judged} is not {message}");
    message.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_2_a_device_that_insists_on_witnesses_begins_nothing_without_them() {
    let mut server = ServerProcess::start("insisting").unwrap();
    let witness = |name: &str| Witness::new(server.join(name), &server.address(), &server.data()).unwrap();
    let [up, down, never] = ["up", "down", "never"].map(witness);
    let [up_key, down_key, never_key] = [&up, &down, &never].map(|witness| witness.look().unwrap().key().unwrap());
    server.end().unwrap();
    for key in [&up_key, &down_key, &never_key] {
        server.allow_witness(key.clone());
    }
    server.start_again().unwrap();
    let [ada, bob] =
        ["ada", "bob"].map(|name| Terminal::registered(server.join(name), server.address(), name).unwrap());
    let home = server.join("ada");
    let show = || ada.run(&["peer", "show", "bob"]).unwrap();

    // One that is up: look-ups and calls go on.
    insist(&home, 1, &[&up_key]);
    refused(&server, &show(), "0 of the witnesses");
    assert!(up.look().unwrap().cosigned);
    let shown = show();
    assert_eq!(shown.status.code(), Some(0), "{}", String::from_utf8_lossy(&shown.stderr));
    assert_eq!(json(&shown)["directory"]["witnessed"], true);
    let mut answer = bob.start(&["answer", "--no-devices"]).unwrap();
    answer.wait_for("waiting", PATIENCE).unwrap();
    let mut call = ada.start(&["call", "bob", "--no-devices", "--seconds", "1"]).unwrap();
    call.wait_for("established", PATIENCE).unwrap();
    call.exit_code().unwrap();
    answer.exit_code().unwrap();

    // One that never came, whatever others say: nothing begins, and a call rings nowhere.
    insist(&home, 1, &[&never_key]);
    refused(&server, &show(), "0 of the witnesses");
    let called = ada.run(&["call", "bob", "--no-devices"]).unwrap();
    refused(&server, &called, "0 of the witnesses");
    insist(&home, 2, &[&up_key, &never_key]);
    refused(&server, &show(), "1 of the witnesses");

    // One that went down: what it said is good for ten minutes.
    insist(&home, 1, &[&down_key]);
    down.leave_line_of(&down_key, TOO_OLD).await.unwrap();
    refused(&server, &show(), "0 of the witnesses");
    down.leave_line_of(&down_key, NOT_TOO_OLD).await.unwrap();
    let shown = show();
    assert_eq!((shown.status.code(), &json(&shown)["directory"]["witnessed"]), (Some(0), &Value::Bool(true)));

    insist(&home, 2, &[&up_key, &down_key]);
    let both = show();
    assert_eq!(both.status.code(), Some(0), "{}", json(&both));
}

/// How a server makes one witness's word look like more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    /// The same line twice.
    Twice,
    /// A second line of the same witness, of another second.
    Again,
    /// Its key and cosignature under a name of the server's own.
    OtherName,
    /// Its cosignature in the name of the witness who is missing.
    MissingName,
    /// The same checkpoint once more, among those that witnesses saw earlier.
    Earlier,
    /// A cosignature that holds, of somebody whom the device does not know.
    Stranger,
}

impl Padding {
    const ALL: [Self; 6] =
        [Self::Twice, Self::Again, Self::OtherName, Self::MissingName, Self::Earlier, Self::Stranger];

    /// What a person is told of the line that was added; nothing of one that is nobody's fault.
    const fn told(self) -> Option<&'static str> {
        match self {
            Self::Twice | Self::Again => Some("a witness that was counted already"),
            Self::OtherName | Self::Stranger => Some("an unknown witness"),
            Self::MissingName => Some("the cosignature does not verify"),
            Self::Earlier => None,
        }
    }
}

/// The server's answers with what makes one cosignature look like two.
struct Pads {
    witness: (Witness, WitnessKey),
    missing: WitnessKey,
    stranger: (Witness, WitnessKey),
}

impl Pads {
    fn pad(&self, padding: Padding, mut answer: Answer) -> Answer {
        let mut shown = SignedCheckpoint::from_bytes(&answer.head.checkpoint).unwrap();
        let key = &self.witness.1;
        let its: Vec<NoteSignature> =
            shown.note().signatures().iter().filter(|line| key.is_named(line)).cloned().collect();
        let [its] = its.as_slice() else { panic!("the witness has not cosigned this one") };
        let made =
            |(witness, key): &(Witness, WitnessKey), age| witness.line(key, &answer.head.checkpoint, age).unwrap().0;
        let added = match padding {
            Padding::Twice => its.clone(),
            Padding::Again => made(&self.witness, Duration::from_secs(1)),
            Padding::OtherName => WitnessKey::new("somebody.example".parse().unwrap(), *key.key()).line(&its.bytes),
            Padding::MissingName => self.missing.line(&its.bytes),
            Padding::Stranger => made(&self.stranger, Duration::ZERO),
            Padding::Earlier => {
                let checkpoint = answer.head.checkpoint.clone();
                answer.head.witnessed = Some(vec![Older { checkpoint, consistency: Hashes::default() }]);
                return answer;
            }
        };
        shown.push(added).unwrap();
        answer.head.checkpoint = shown.to_bytes();
        answer
    }
}

/// A server that shows one witness's word as two, in every way that comes to mind: a device that wants two has one.
#[test]
fn kt_2_cosignatures_by_a_repeated_and_by_an_unknown_witness_do_not_make_two_of_one() {
    let mut server = ServerProcess::start("repeated-witness").unwrap();
    let made = |name: &str| {
        let witness = Witness::new(server.join(name), &server.address(), &server.data()).unwrap();
        let key = witness.look().unwrap().key().unwrap();
        (witness, key)
    };
    let [(up, up_key), (missing, missing_key), (stranger, stranger_key)] = ["up", "missing", "stranger"].map(made);
    server.end().unwrap();
    for key in [&up_key, &missing_key] {
        server.allow_witness(key.clone());
    }
    server.start_again().unwrap();
    let lies = TwoFaces::new(&server.data(), server.address()).unwrap();
    let face = lies.face().unwrap();
    let ada = Terminal::registered(server.join("ada"), face.address(), "ada").unwrap();
    Terminal::registered(server.join("bob"), server.address(), "bob").unwrap();
    let home = server.join("ada");
    let show = || ada.run(&["peer", "show", "bob"]).unwrap();
    insist(&home, 2, &[&up_key, &missing_key]);
    assert!(up.look().unwrap().cosigned);
    let honest = refused(&server, &show(), "1 of the witnesses cosigned the checkpoint, 2 have to");
    assert!(!honest.contains("not counted"), "{honest}");

    for padding in Padding::ALL {
        let pads = Pads {
            witness: (up.clone(), up_key.parse().unwrap()),
            missing: missing_key.parse().unwrap(),
            stranger: (stranger.clone(), stranger_key.parse().unwrap()),
        };
        face.lies(move |_, answer| pads.pad(padding, answer));
        let told = refused(&server, &show(), "1 of the witnesses cosigned the checkpoint, 2 have to");
        match padding.told() {
            Some(why) => assert!(told.contains("not counted: ") && told.contains(why), "{padding:?}: {told}"),
            None => assert!(!told.contains("not counted"), "{padding:?}: {told}"),
        }
        let called = ada.run(&["call", "bob", "--no-devices"]).unwrap();
        refused(&server, &called, "1 of the witnesses cosigned the checkpoint, 2 have to");
        // Who does not insist goes on, and is not told that it is witnessed.
        let settings = fs::read_to_string(home.join("config.toml")).unwrap();
        fs::write(home.join("config.toml"), settings.replace("required = true", "required = false")).unwrap();
        let shown = show();
        let shown = (shown.status.code(), json(&shown));
        assert_eq!((shown.0, &shown.1["directory"]["witnessed"]), (Some(0), &Value::Bool(false)), "{padding:?}");
        fs::write(home.join("config.toml"), settings).unwrap();
    }
    // Nor does a home count one key as two: its owner is told.
    let up_parsed: WitnessKey = up_key.parse().unwrap();
    let renamed = WitnessKey::new("somebody.example".parse().unwrap(), *up_parsed.key()).to_string();
    insist(&home, 2, &[&up_key, &renamed]);
    let twice = show();
    assert_ne!(twice.status.code(), Some(0));
    assert!(json(&twice)["message"].as_str().unwrap().contains("names a witness twice"), "{}", json(&twice));

    // The second witness comes, and what is added spoils nothing.
    insist(&home, 2, &[&up_key, &missing_key]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(missing.leave_line_of(&missing_key, Duration::ZERO)).unwrap();
    let shown = show();
    assert_eq!((shown.status.code(), &json(&shown)["directory"]["witnessed"]), (Some(0), &Value::Bool(true)));
}
