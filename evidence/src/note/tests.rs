use super::{NOTE_BYTES_MAX, Note, NoteError, SIGNATURES_MAX, Signature};
use crate::key::{KeyId, SigningKey, VerifierKeys};

const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_PRIVATE: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const PETER_LINE: &str =
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH_LINE: &str =
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

fn keys(keys: &[&str]) -> VerifierKeys {
    keys.join("\n").parse().unwrap()
}

fn note(lines: &str) -> String {
    format!("{TEXT}\n{lines}")
}

fn signers(note: &str, trusted: &[&str]) -> Result<Vec<String>, NoteError> {
    let keys = keys(trusted);
    let note = Note::parse(note.as_bytes())?;
    Ok(note.verify(&keys)?.into_iter().map(ToString::to_string).collect())
}

#[test]
fn the_published_note_is_written_and_verified() {
    let mut written = Note::new(TEXT).unwrap();
    written.sign(&SigningKey::from_text(PETER_PRIVATE).unwrap());
    assert_eq!(written.to_string(), note(PETER_LINE));
    assert_eq!(signers(&note(PETER_LINE), &[PETER]), Ok(vec![PETER.to_owned()]));
}

#[test]
fn the_example_of_the_specification_is_verified() {
    let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let note = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    assert_eq!(signers(note, &[key]), Ok(vec![key.to_owned()]));
}

#[test]
fn any_of_several_trusted_keys_is_enough() {
    let both = note(&format!("{PETER_LINE}{ENOCH_LINE}"));
    assert_eq!(signers(&both, &[PETER]), Ok(vec![PETER.to_owned()]));
    assert_eq!(signers(&both, &[ENOCH]), Ok(vec![ENOCH.to_owned()]));
    assert_eq!(signers(&both, &[ENOCH, PETER]), Ok(vec![PETER.to_owned(), ENOCH.to_owned()]));
    let twice = note(&format!("{PETER_LINE}{PETER_LINE}"));
    assert_eq!(signers(&twice, &[PETER]), Ok(vec![PETER.to_owned()]));
}

#[test]
fn nobody_is_trusted_without_being_named() {
    let both = note(&format!("{PETER_LINE}{ENOCH_LINE}"));
    assert_eq!(signers(&both, &[]), Err(NoteError::Untrusted));
    assert_eq!(signers(&note(ENOCH_LINE), &[PETER]), Err(NoteError::Untrusted));
    // The signature of a trusted key under another name, and under another id.
    let misnamed = PETER_LINE.replace("PeterNeumann", "CarmenSandiego");
    assert_eq!(signers(&note(&misnamed), &[PETER]), Err(NoteError::Untrusted));
    let other_id = PETER_LINE.replace("x08go", "xxxxo");
    assert_eq!(signers(&note(&other_id), &[PETER]), Err(NoteError::Untrusted));
}

#[test]
fn signatures_of_other_keys_are_not_looked_at() {
    let unknown = "— witness.example/1 AAAAAP8=\n";
    let signed = note(&format!("{unknown}{PETER_LINE}{unknown}"));
    assert_eq!(signers(&signed, &[PETER]), Ok(vec![PETER.to_owned()]));
    assert_eq!(Note::parse(signed.as_bytes()).unwrap().to_string(), signed);
}

#[test]
fn a_wrong_signature_of_a_trusted_key_refuses_the_note() {
    let wrong = NoteError::WrongSignature { name: "PeterNeumann".to_owned(), id: KeyId(0xc74f_20a3) };
    let longer = format!("{}ABCD{}", &PETER_LINE[..60], &PETER_LINE[60..]);
    for lines in [
        longer.clone(),
        format!("{ENOCH_LINE}{longer}"),
        format!("{PETER_LINE}{longer}"),
        "— PeterNeumann x08gowA=\n".to_owned(),
        PETER_LINE.replace("x08go/ZJ", "x08go/ZK"),
    ] {
        assert_eq!(signers(&note(&lines), &[PETER, ENOCH]), Err(wrong.clone()), "{lines}");
    }
    for at in 0..TEXT.len() {
        let mut other = note(PETER_LINE).into_bytes();
        other[at] ^= 1;
        let refused = signers(&String::from_utf8(other).unwrap(), &[PETER]).unwrap_err();
        assert!(refused == wrong || refused == NoteError::Text || refused == NoteError::Signatures, "{at}: {refused}");
    }
    for text in [TEXT.trim_end(), &format!("{TEXT}\n"), &format!("\n{TEXT}"), &TEXT.replace('\n', "\r\n")] {
        assert!(signers(&format!("{text}\n{PETER_LINE}"), &[PETER]).is_err(), "{text:?}");
    }
}

#[test]
fn what_is_no_note_is_refused() {
    let without_end = PETER_LINE.trim_end();
    for malformed in [
        String::new(),
        "\n".to_owned(),
        TEXT.to_owned(),
        format!("{TEXT}\n"),
        format!("{TEXT}{PETER_LINE}"),
        note(without_end),
        note(&format!("{PETER_LINE}\n")),
        note(&format!("{PETER_LINE}Unexpected line.\n")),
        note(&PETER_LINE.replace("— ", "- ")),
        note(&PETER_LINE.replace("— ", "—")),
        note(&PETER_LINE.replace("PeterNeumann", "Bad Name")),
        note(&PETER_LINE.replace("PeterNeumann", "Bad+Name")),
        note(&PETER_LINE.replace("PeterNeumann", "")),
        note(&PETER_LINE.replace("nAM=", "nAM")),
        note(&PETER_LINE.replace("nAM=", "nAN=")),
        note(&PETER_LINE.replace("nAM=", "nAM= ")),
        note("— PeterNeumann x08gow==\n"),
        note("— PeterNeumann \n"),
        format!("\u{1}{TEXT}\n{PETER_LINE}"),
        note(PETER_LINE).replace('\n', "\r\n"),
        note(&PETER_LINE.replace('\n', "\t\n")),
    ] {
        assert!(Note::parse(malformed.as_bytes()).is_err(), "{malformed:?}");
    }
    let not_utf8 = [b"\xff", note(PETER_LINE).as_bytes()].concat();
    assert_eq!(Note::parse(&not_utf8), Err(NoteError::Text));
}

#[test]
fn notes_are_bounded() {
    let most = note(&PETER_LINE.repeat(SIGNATURES_MAX));
    assert!(Note::parse(most.as_bytes()).is_ok());
    let more = note(&PETER_LINE.repeat(SIGNATURES_MAX + 1));
    assert_eq!(Note::parse(more.as_bytes()), Err(NoteError::TooLarge));
    let long = format!("{}\n\n{PETER_LINE}", "a".repeat(NOTE_BYTES_MAX));
    assert_eq!(Note::parse(long.as_bytes()), Err(NoteError::TooLarge));
    assert_eq!(Note::new(format!("{}\n", "a".repeat(NOTE_BYTES_MAX))), Err(NoteError::TooLarge));
    for text in ["", "a", "a\n\tb\n", "a\r\n", "a\0\n"] {
        assert_eq!(Note::new(text), Err(NoteError::Text), "{text:?}");
    }
}

#[test]
fn a_text_may_have_empty_lines_and_look_like_signatures() {
    let key = SigningKey::generate("hub.example.com").unwrap();
    let trusted = VerifierKeys::new([key.verifier_key().clone()]).unwrap();
    for text in ["\n", "\n\n", "a\n\nb\n", "a\n\n— PeterNeumann AAAAAAA=\n", "größe\u{2028}\n"] {
        let mut signed = Note::new(text).unwrap();
        signed.sign(&key);
        let read = Note::parse(signed.to_string().as_bytes()).unwrap();
        assert_eq!(read, signed);
        assert_eq!(read.text(), text);
        assert!(read.verify(&trusted).is_ok());
    }
}

#[test]
fn a_key_signs_once() {
    let key = SigningKey::from_text(PETER_PRIVATE).unwrap();
    let mut signed = Note::new(TEXT).unwrap();
    signed.add(Signature::new(key.verifier_key(), [0; 64]));
    signed.sign(&key);
    signed.sign(&key);
    assert_eq!(signed.to_string(), note(PETER_LINE));
    let elsewhere = Signature::new(key.verifier_key(), key.sign(TEXT.as_bytes()));
    assert_eq!(signed.signatures(), [elsewhere]);
}
