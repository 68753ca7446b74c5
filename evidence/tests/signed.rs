//! Signed JSON documents.

use hub_evidence::{
    key::{SigningKey, VerifierKeys},
    note::NoteError,
    signed::{SignedDocument, SignedError},
};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

const KIND: &str = "service-hub test v1";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed("hub.test", Zeroizing::new([seed; 32])).expect("the name is one of a key")
}

fn trusted(seed: u8) -> VerifierKeys {
    VerifierKeys::new([key(seed).verifier_key().clone()]).expect("one key is no key twice")
}

fn signed() -> String {
    let document = RawValue::from_string("{ \"b\": 1,\n \"a\": \"\u{e9}\" }".to_owned()).expect("this is JSON");
    let signed = SignedDocument::sign(KIND, document, &[key(1)]).expect("the kind is one line");
    serde_json::to_string(&signed).expect("texts can be written")
}

#[test]
fn a_document_is_verified_with_its_exact_bytes() {
    let file = signed();
    let trusted = trusted(1);
    let (document, signers) = SignedDocument::verify(file.as_bytes(), KIND, &trusted).unwrap();
    assert_eq!((document.get(), signers.len()), ("{ \"b\": 1,\n \"a\": \"\u{e9}\" }", 1));
}

#[test]
fn what_was_changed_or_signed_by_somebody_else_or_as_something_else_is_not_trusted() {
    let file = signed();
    let verify = |file: &str, kind: &str, seed: u8| {
        SignedDocument::verify(file.as_bytes(), kind, &trusted(seed)).map(|_| ()).unwrap_err()
    };
    assert_eq!(verify(&file.replace("\"b\": 1", "\"b\": 2"), KIND, 1), SignedError::Changed);
    assert_eq!(verify(&file.replace("\"b\": 1", "\"b\":1"), KIND, 1), SignedError::Changed, "formatted anew");
    assert_eq!(verify(&file, "another kind", 1), SignedError::Kind(KIND.to_owned()));
    assert_eq!(verify(&file, KIND, 2), SignedError::Note(NoteError::Untrusted));
    assert!(matches!(verify("{}", KIND, 1), SignedError::Malformed(_)));
}
