//! The other side: a program of its own, asked for one thing at a time.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use undertone_groups::{GroupId, KeyPackage, Suite, Terms, Upload};
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::leaf::{FORMAT, LeafStatement};
use undertone_keys::sign::{Device, SigningKey};
use undertone_keys::{DeviceId, JoinId, Secret, cbor};

use crate::node;
use crate::world::{self, ID, List, NOW, Person};

/// The type of the extension that holds a group's terms (rule NEG-1).
pub(crate) const TERMS: u16 = 0xF5A7;

/// The number of RFC 9420.
pub(crate) fn number(suite: Suite) -> u16 {
    match suite {
        Suite::X25519 => 1,
        Suite::P256 => 2,
        Suite::XWing => panic!("has no number that two libraries agree on"),
    }
}

/// A member that shares no code with this one, and the device that vouches for its leaves.
pub(crate) struct Peer {
    /// Who it is said to be. Its store stays empty: what it is a member of, it keeps itself.
    pub(crate) person: Person,
    pub(crate) suite: Suite,
    /// The key of the next leaf.
    pub(crate) key: Vec<u8>,
    program: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts one, with a leaf key of its own.
    pub(crate) fn new(name: &str, seed: u64, suite: Suite) -> Self {
        let mut peer = Self::without_a_key(name, seed, suite);
        peer.draw(number(suite), false).unwrap();
        peer
    }

    /// Starts one.
    pub(crate) fn without_a_key(name: &str, seed: u64, suite: Suite) -> Self {
        static FOLDER: OnceLock<std::path::PathBuf> = OnceLock::new();
        let folder = FOLDER.get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            node::mls(&root.join("dev/interop"), &root.join("target"))
        });
        let started = Command::new("node")
            .arg("peer.mjs")
            .current_dir(folder)
            .env("NODE_NO_WARNINGS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut program = started.expect("node cannot be started: `dev/setup.sh test` installs it");
        let (asks, says) = (program.stdin.take().unwrap(), BufReader::new(program.stdout.take().unwrap()));
        Self { person: Person::new(name, seed), suite, key: Vec::new(), program, asks, says }
    }

    /// Asks for something. What is answered, or why it is not done.
    pub(crate) fn ask(&mut self, what: &str, mut asked: Value) -> Result<Value, String> {
        asked["do"] = what.into();
        writeln!(self.asks, "{asked}").unwrap();
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{what}: it said {line:?}"));
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Asks for something that it can do.
    pub(crate) fn get(&mut self, what: &str, asked: Value) -> Value {
        self.ask(what, asked).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Draws the key of a leaf: by `theirs` as the library does.
    pub(crate) fn draw(&mut self, suite: u16, theirs: bool) -> Result<(), String> {
        let drawn = self.ask("key", json!({"suite": suite, "theirs": theirs, "extensions": [TERMS]}))?;
        self.key = bytes(&drawn["key"]);
        Ok(())
    }

    /// What the device says about the key: a credential as the wall wants it (rule MLS-1).
    pub(crate) fn credential(&mut self) -> Vec<u8> {
        let join = JoinId::random(&mut self.person.rng);
        voucher(&self.person, &self.person.identity, self.suite, &self.key, join)
    }

    /// A key package, as our parser takes it.
    pub(crate) fn package(&mut self) -> KeyPackage {
        KeyPackage::parse(&envelope(self.suite, &self.package_message()), self.suite, NOW).unwrap()
    }

    /// A key package, as MLS writes it.
    pub(crate) fn package_message(&mut self) -> Vec<u8> {
        let credential = self.credential();
        bytes(&self.get("package", json!({"credential": hex(&credential)}))["message"])
    }

    /// A group of one, with these terms.
    pub(crate) fn create(&mut self, terms: &Terms) {
        let (credential, terms) = (self.credential(), hex(&cbor::encode(terms)));
        let extensions = json!([{"type": TERMS, "bytes": terms}]);
        let asked = json!({"group": hex(ID.as_bytes()), "credential": hex(&credential), "extensions": extensions});
        self.get("create", asked);
    }

    /// Joins by a Welcome.
    pub(crate) fn join(&mut self, upload: &Upload) {
        self.try_join(upload).unwrap();
    }

    pub(crate) fn try_join(&mut self, upload: &Upload) -> Result<Value, String> {
        let welcome = hex(upload.welcome.as_deref().unwrap());
        self.ask("join", json!({"welcome": welcome, "tree": hex(&upload.tree)}))
    }

    /// Makes a commit, as it would be handed to the delivery service.
    pub(crate) fn commit(&mut self, change: Value) -> Upload {
        let made = self.get("commit", change);
        let welcome = made["welcome"].is_string().then(|| bytes(&made["welcome"]));
        let (commit, tree) = (bytes(&made["commit"]), bytes(&made["tree"]));
        let epoch = self.epoch()["epoch"].as_u64().unwrap();
        Upload { group: ID, epoch, commit, welcome, group_info: Vec::new(), tree }
    }

    pub(crate) fn accepted(&mut self) {
        self.get("accepted", json!({}));
    }

    /// Joins by itself, with its own key: `again` over its own leaf.
    pub(crate) fn start_external(
        &mut self,
        (info, tree): &(Vec<u8>, Vec<u8>),
        credential: &[u8],
        again: bool,
    ) -> Vec<u8> {
        let credential = hex(credential);
        let asked = json!({"info": hex(info), "tree": hex(tree), "credential": credential, "again": again});
        bytes(&self.get("external", asked)["commit"])
    }

    /// What the delivery service would hand out for its epoch.
    pub(crate) fn public(&mut self) -> (Vec<u8>, Vec<u8>) {
        let public = self.get("public", json!({}));
        (bytes(&public["info"]), bytes(&public["tree"]))
    }

    /// Follows a commit. Whether it is still a member.
    pub(crate) fn follow(&mut self, commit: &[u8]) -> bool {
        self.get("receive", json!({"message": hex(commit)}))["active"].as_bool().unwrap()
    }

    pub(crate) fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        bytes(&self.get("seal", json!({"message": hex(message)}))["message"])
    }

    pub(crate) fn open(&mut self, sealed: &[u8]) -> Vec<u8> {
        bytes(&self.get("receive", json!({"message": hex(sealed)}))["said"])
    }

    /// What its epoch is.
    pub(crate) fn epoch(&mut self) -> Value {
        self.get("epoch", json!({}))
    }

    pub(crate) fn index(&mut self) -> u32 {
        self.epoch()["index"].as_u64().unwrap().try_into().unwrap()
    }

    /// MLS-Exporter(label, context, 32).
    pub(crate) fn export(&mut self, label: &str, context: &[u8]) -> Vec<u8> {
        let asked = json!({"text": label, "context": hex(context), "length": 32});
        bytes(&self.get("export", asked)["secret"])
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// What a device of `whose` says about a leaf's key, when `signer` signs it.
pub(crate) fn voucher(whose: &Person, signer: &SigningKey<Device>, suite: Suite, key: &[u8], join: JoinId) -> Vec<u8> {
    let said = LeafStatement {
        format: FORMAT,
        user: whose.user.clone(),
        device: DeviceId::of(whose.identity.public()),
        join,
        scheme: suite.leaf_scheme(),
        key: key.to_vec(),
        made: NOW,
    };
    cbor::encode(&said.sign(signer))
}

/// `{0: 1, 1: suite, 2: MLSMessage}`: what a key package of ours travels in.
pub(crate) fn envelope(suite: Suite, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    assert!(length > 255, "CBOR writes shorter lengths in another way");
    let head = [0xA3, 0, 1, 1, u8::try_from(suite.id()).unwrap(), 2, 0x59];
    [&head, length.to_be_bytes().as_slice(), message].concat()
}

/// The list of all of them.
pub(crate) fn list(ours: &[&Person], theirs: &[&Peer]) -> List {
    let theirs = theirs.iter().map(|peer| &peer.person);
    List::of(&ours.iter().copied().chain(theirs).collect::<Vec<_>>())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no byte string"));
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// All of them are in one epoch: same context, tree, confirmation, authenticator, and the same keys out of the exporter.
pub(crate) fn agree(ours: &[&Person], theirs: &mut [&mut Peer]) {
    world::agree(ours);
    let (group, other) = (ours[0].group(), GroupId::from_bytes([0xCB; 16]));
    let (attest, (id, migration)) = (group.attest().unwrap(), group.migration(other).unwrap());
    for peer in theirs {
        let (epoch, who) = (peer.epoch(), peer.person.user.clone());
        assert_eq!(epoch["epoch"], group.epoch(), "{who}");
        assert_eq!(bytes(&epoch["authenticator"]), group.authenticator().unwrap().as_bytes(), "{who}");
        assert_eq!(bytes(&epoch["context"]), attest.context, "{who}");
        assert_eq!(bytes(&epoch["tree"]), group.tree().unwrap(), "{who}");
        assert_eq!(bytes(&epoch["confirmation"]), attest.confirmation_tag, "{who}");
        let index = u32::try_from(epoch["index"].as_u64().unwrap()).unwrap();
        assert_eq!(group.member(index).unwrap().user, who);
        // Two labels, one of them with a context. The first is the one of media keys.
        let media = MediaKey::new(Secret::from_slice(&peer.export("SFrame 1.0 Base Key", b"")).unwrap());
        assert_eq!(world::shown(&media), world::key_of(ours[0]), "{who}");
        assert_eq!(peer.export("undertone/MLS-1/migration/v1", id.as_bytes()), migration.expose(), "{who}");
    }
}
