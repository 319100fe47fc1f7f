use proptest::prelude::*;
use undertone_keys::Secret;
use undertone_keys::sign::{SigningKey, VerifyingKey};

use super::*;

/// The example of C2SP signed-note.
const EXAMPLE: &str = "This is an example message.\n\n\
    — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

fn example_with(lines: &str) -> Result<Note, BadNote> {
    Note::from_bytes(format!("text\n\n{lines}").as_bytes())
}

#[test]
fn kt_1_the_example_of_the_specification_verifies() {
    let note = Note::from_bytes(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.to_string(), EXAMPLE);
    let key: LogKey = EXAMPLE_KEY.parse().unwrap();
    assert_eq!(key.signed(&note), Ok(()));
    assert_eq!(key.to_string(), EXAMPLE_KEY);
    assert_eq!(key.id().to_string(), "530d903a");
}

#[test]
fn kt_1_a_text_with_empty_lines_ends_at_the_last_of_them() {
    let note = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\
        — quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9o\
        JKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
    let parsed = Note::from_bytes(note.as_bytes()).unwrap();
    assert!(parsed.text().ends_with("sole:\n\ned è subito sera.\n"));
    assert_eq!(parsed.to_string(), note);
}

#[test]
fn kt_1_a_false_signature_is_refused_and_a_strangers_is_not() {
    let key: LogKey = EXAMPLE_KEY.parse().unwrap();
    let (text, line) = EXAMPLE.split_once("\n\n").unwrap();
    let changed = Note::from_bytes(EXAMPLE.replace("example message", "Example message").as_bytes()).unwrap();
    assert_eq!(key.signed(&changed), Err(BadNoteSignature::Signature));

    // The same name with another id, and the same id with another name, are other keys.
    for stranger in ["— example.com/foo AAAAAAECAw==\n", "— example.com/fop Uw2QOgECAw==\n"] {
        let alone = Note::from_bytes(format!("{text}\n\n{stranger}").as_bytes()).unwrap();
        assert_eq!(key.signed(&alone), Err(BadNoteSignature::Missing));
        let beside = Note::from_bytes(format!("{text}\n\n{stranger}{line}").as_bytes()).unwrap();
        assert_eq!(key.signed(&beside), Ok(()));
    }
    // A second line of the known key must hold like the first.
    for bad in ["— example.com/foo Uw2QOgECAw==\n", &line.replace("Uw2QOk", "Uw2QOl")] {
        for lines in [format!("{bad}{line}"), format!("{line}{bad}")] {
            let note = Note::from_bytes(format!("{text}\n\n{lines}").as_bytes()).unwrap();
            assert_eq!(key.signed(&note), Err(BadNoteSignature::Signature));
        }
    }
    let twice = Note::from_bytes(format!("{text}\n\n{line}{line}").as_bytes()).unwrap();
    assert_eq!(key.signed(&twice), Ok(()));
}

#[test]
fn kt_1_malformed_notes_are_refused() {
    let refused = |bytes: &[u8]| Note::from_bytes(bytes).unwrap_err();
    for unsigned in ["", "\n", "text", "text\n", "text\n\n", "text\n— a AAAAAAE=\n"] {
        assert_eq!(refused(unsigned.as_bytes()), BadNote::Unsigned, "{unsigned:?}");
    }
    for control in ["a\0b", "a\rb", "a\tb", "a\x1bb"] {
        assert_eq!(refused(format!("{control}\n\n— a AAAAAAE=\n").as_bytes()), BadNote::Text, "{control:?}");
    }
    assert_eq!(refused(b"\xff\n\n\xe2\x80\x94 a AAAAAAE=\n"), BadNote::Text);
    assert_eq!(example_with("— a AAAAAAE=\n").unwrap().signatures().len(), 1);
    for line in [
        "— a AAAAAAE=",
        "- a AAAAAAE=\n",
        "—  a AAAAAAE=\n",
        "— a  AAAAAAE=\n",
        "— a AAAAAAE= \n",
        " — a AAAAAAE=\n",
        "— AAAAAAE=\n",
        "— a+b AAAAAAE=\n",
        "— a\u{a0}b AAAAAAE=\n",
        "— a AAAAAAE\n",
        "— a AAAAAAF=\n",
        "— a AAAAAA==\n",
        "— a AAA=\n",
        "— a \n",
        "— a AAAA-AE=\n",
        "— a AAAAAAE=\n— b\n",
        "— a AAAAAAE=\nmore text\n",
    ] {
        assert_eq!(example_with(line), Err(BadNote::Line), "{line:?}");
    }
}

#[test]
fn kt_1_notes_are_bounded() {
    let line = "— a AAAAAAE=\n";
    let mut full = example_with(&line.repeat(MAX_SIGNATURES)).unwrap();
    assert_eq!(example_with(&line.repeat(MAX_SIGNATURES + 1)), Err(BadNote::TooManySignatures));
    let one = full.signatures()[0].clone();
    assert_eq!(full.push(one.clone()), Err(BadNote::TooManySignatures));
    assert_eq!(full.signatures().len(), MAX_SIGNATURES);

    let behind = format!("\n\n{line}");
    let text = |length: usize| "a".repeat(length - behind.len()) + &behind;
    let mut longest = Note::from_bytes(text(MAX_NOTE).as_bytes()).unwrap();
    assert_eq!(Note::from_bytes(text(MAX_NOTE + 1).as_bytes()), Err(BadNote::TooLong));
    assert_eq!(longest.push(one), Err(BadNote::TooLong));
    assert_eq!(longest.to_string().len(), MAX_NOTE);
    assert_eq!(NoteSignature::parse_lines(&line.repeat(2)).unwrap().len(), 2);
    assert_eq!(NoteSignature::parse_lines(""), Err(BadNote::Line));
    assert_eq!(NoteSignature::parse_lines(&"a".repeat(MAX_NOTE + 1)), Err(BadNote::TooLong));
}

#[test]
fn kt_14_verifier_keys_have_one_form() {
    let type_of_the_other = EXAMPLE_KEY.parse::<WitnessKey>();
    assert_eq!(type_of_the_other, Err(BadVerifierKey::Type));
    // The key of the public checksum database of Go.
    let go = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    assert_eq!(go.parse::<LogKey>().unwrap().to_string(), go);
    for (text, why) in [
        ("", BadVerifierKey::Malformed),
        ("example.com/foo", BadVerifierKey::Malformed),
        ("example.com/foo+530d903a", BadVerifierKey::Malformed),
        ("+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", BadVerifierKey::Malformed),
        ("a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", BadVerifierKey::Malformed),
        ("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2", BadVerifierKey::Malformed),
        ("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q==", BadVerifierKey::Malformed),
        ("example.com/foo+530d903a+", BadVerifierKey::Malformed),
        ("example.com/foo+530d903a+AQ==", BadVerifierKey::Malformed),
        ("example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", BadVerifierKey::Id),
        ("example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", BadVerifierKey::Id),
        ("example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", BadVerifierKey::Id),
        ("example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", BadVerifierKey::Type),
    ] {
        assert_eq!(text.parse::<LogKey>(), Err(why), "{text}");
    }
}

#[test]
fn kt_2_one_key_has_another_id_in_each_role() {
    let name: KeyName = "example.com/foo".parse().unwrap();
    let log = LogKey::new(name.clone(), VerifyingKey::from_bytes([7; 32]));
    let witness = WitnessKey::new(name, VerifyingKey::from_bytes([7; 32]));
    assert_ne!(log.id(), witness.id());
    assert_eq!(witness.to_string().parse(), Ok(witness));
}

#[test]
fn kt_14_names_are_bounded_and_plain() {
    assert!("n".repeat(MAX_NAME).parse::<KeyName>().is_ok());
    let too_long = "n".repeat(MAX_NAME + 1);
    for bad in ["", " ", "a b", "a+b", "a\u{2003}b", "a\nb", "a\u{7f}b", "a\u{85}b", too_long.as_str()] {
        assert_eq!(bad.parse::<KeyName>(), Err(BadName), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn kt_1_a_note_is_read_as_it_was_written(text in "[a-zé\n ]{0,40}\n", seed: [u8; 32], count in 1_usize..5) {
        let key = SigningKey::from_seed(Secret::from_slice(&seed).unwrap());
        let log = LogKey::new("log.example".parse().unwrap(), *key.public());
        let line = log.line(key.sign_note(text.as_bytes()).as_bytes());
        let mut note = Note::new(text, line.clone());
        for _ in 1..count {
            note.push(line.clone()).unwrap();
        }
        let parsed = Note::from_bytes(note.to_string().as_bytes());
        prop_assert_eq!(parsed.as_ref(), Ok(&note));
        prop_assert_eq!(log.signed(&note), Ok(()));
        prop_assert_eq!(log.to_string().parse(), Ok(log));
    }

    #[test]
    fn kt_1_whatever_is_taken_has_one_form(bytes in "[a\n]{0,3}\n\n(— [ab] [A-D]{7}[A-Z=]\n?){0,3}") {
        if let Ok(note) = Note::from_bytes(bytes.as_bytes()) {
            prop_assert_eq!(note.to_string(), bytes);
        }
    }

    #[test]
    fn kt_1_any_bytes_get_an_answer(bytes: Vec<u8>) {
        let _ = Note::from_bytes(&bytes);
    }
}
