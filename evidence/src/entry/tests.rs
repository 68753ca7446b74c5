use std::borrow::Cow;

use sha2::{Digest, Sha256};
use uuid::uuid;

use super::{Entry, EntryError, Timestamp};

/// An event with everything in it that is easily lost: white space, an escape that means no character, letters that are two bytes.
fn known() -> Entry<'static> {
    Entry {
        tenant_position: 1,
        event_id: uuid!("01936b2e-7c4d-7f10-9a3b-5d2e8c1f0a47"),
        tenant_id: uuid!("0192d4a1-0b6c-7e52-8f11-3c9a7b5e2d10"),
        aggregate_type: "subscription".into(),
        aggregate_id: uuid!("01936b2e-7c4d-7f10-8d44-6b1f0e9a3c58"),
        sequence: 3,
        event_type: "subscription.upgraded".into(),
        event_version: 1,
        occurred_at: Timestamp::from_micros(1_732_700_000_123_456),
        payload: " {\"plan\": \"größer\",\n\t\"seats\":12.50,\"note\":\"a\\\"b\\\\c\\u0000\\ud800\"} ".into(),
        metadata: r#"{"actor":"key:administrator","command_id":"01936b2e-7c4d-7f10-9a3b-5d2e8c1f0a48"}"#.into(),
    }
}

/// The bytes of its leaf, and the leaf's hash, as a script made them from the description alone.
const KNOWN_LEAF: &str = "6875622e6576656e742e763101936b2e7c4d7f109a3b5d2e8c1f0a470192d4a10b6c7e528f113c9a7b5e2d100000000c\
    737562736372697074696f6e01936b2e7c4d7f108d446b1f0e9a3c58000000000000000300000015737562736372697074696f6e2e7570677261646564\
    00000001000627e1a8027a4000000043207b22706c616e223a20226772c3b6c39f6572222c0a09227365617473223a31322e35302c226e6f7465223a22\
    615c22625c5c635c75303030305c7564383030227d20000000517b226163746f72223a226b65793a61646d696e6973747261746f72222c22636f6d6d61\
    6e645f6964223a2230313933366232652d376334642d376631302d396133622d356432653863316630613438227d";
const KNOWN_HASH: &str = "17f6a5ef2b964dd820c0ec23f2d196ad62b0d93d785cc64ccf51f1809b1cbeb6";
const KNOWN_LINE: &str = r#"{"tenant_position":1,"event_id":"01936b2e-7c4d-7f10-9a3b-5d2e8c1f0a47","tenant_id":"0192d4a1-0b6c-7e52-8f11-3c9a7b5e2d10","aggregate_type":"subscription","aggregate_id":"01936b2e-7c4d-7f10-8d44-6b1f0e9a3c58","sequence":3,"event_type":"subscription.upgraded","event_version":1,"occurred_at":"2024-11-27T09:33:20.123456Z","payload":" {\"plan\": \"größer\",\n\t\"seats\":12.50,\"note\":\"a\\\"b\\\\c\\u0000\\ud800\"} ","metadata":"{\"actor\":\"key:administrator\",\"command_id\":\"01936b2e-7c4d-7f10-9a3b-5d2e8c1f0a48\"}"}"#;

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_leaf_of_a_known_event_has_the_known_bytes_and_hash() {
    assert_eq!(hexadecimal(&known().leaf_bytes()), KNOWN_LEAF);
    assert_eq!(known().leaf_hash().to_string(), KNOWN_HASH);
    let other = Sha256::new().chain_update([0]).chain_update(known().leaf_bytes()).finalize();
    assert_eq!(hexadecimal(&other), KNOWN_HASH);
}

#[test]
fn the_line_of_a_known_event_is_the_known_one() {
    assert_eq!(known().to_line().unwrap(), format!("{KNOWN_LINE}\n"));
    let mut written = Vec::new();
    known().write(&mut written).unwrap();
    assert_eq!(written, format!("{KNOWN_LINE}\n").as_bytes());
}

#[test]
fn a_line_gives_the_leaf_back_byte_for_byte() {
    let texts = [
        "{}",
        "",
        " ",
        "\"",
        "\\",
        "\r\n",
        "\u{0}\u{1f}\u{7f}",
        "\u{2028}\u{fffd}\u{10ffff}",
        r#"{"a":1e999,"a":-0}"#,
        "[\"\\u00e9é\"]",
    ];
    for payload in texts {
        for metadata in texts {
            let entry = Entry { payload: payload.into(), metadata: metadata.into(), ..known() };
            let line = entry.to_line().unwrap();
            assert_eq!(line.matches('\n').count(), 1);
            let read = Entry::parse(&line).unwrap();
            assert_eq!(read, entry);
            assert_eq!(read.leaf_bytes(), entry.leaf_bytes());
        }
    }
    for (sequence, event_version, micros) in [(i64::MAX, i32::MAX, i64::MAX), (i64::MIN, i32::MIN, i64::MIN), (0, 0, 0)]
    {
        let entry = Entry { sequence, event_version, occurred_at: Timestamp::from_micros(micros), ..known() };
        assert_eq!(Entry::parse(&entry.to_line().unwrap()).unwrap(), entry);
    }
}

#[test]
fn what_needs_no_escape_is_not_copied() {
    let line = Entry { payload: "{}".into(), ..known() }.to_line().unwrap();
    let read = Entry::parse(&line).unwrap();
    for text in [&read.aggregate_type, &read.event_type, &read.payload] {
        assert!(matches!(text, Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn the_leaf_covers_every_member_but_the_position() {
    let hash = known().leaf_hash();
    let other = uuid!("00000000-0000-0000-0000-000000000000");
    for changed in [
        Entry { event_id: other, ..known() },
        Entry { tenant_id: other, ..known() },
        Entry { aggregate_type: "subscriptio".into(), ..known() },
        Entry { aggregate_id: other, ..known() },
        Entry { sequence: 4, ..known() },
        Entry { event_type: "subscription.downgraded".into(), ..known() },
        Entry { event_version: 2, ..known() },
        Entry { occurred_at: Timestamp::from_micros(1_732_700_000_123_457), ..known() },
        Entry { payload: known().payload.trim().to_owned().into(), ..known() },
        Entry { metadata: "{}".into(), ..known() },
        // The same bytes, divided elsewhere.
        Entry {
            payload: format!("{}{{", known().payload).into(),
            metadata: known().metadata[1..].to_owned().into(),
            ..known()
        },
    ] {
        assert_ne!(changed.leaf_hash(), hash, "{changed:?}");
    }
    let elsewhere = Entry { tenant_position: 2, ..known() };
    assert_eq!(elsewhere.leaf_hash(), hash);
    assert_eq!(elsewhere.leaf_index(), Some(1));
}

#[test]
fn a_line_of_another_form_is_refused() {
    for line in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        KNOWN_LINE.replace("\"sequence\":3,", ""),
        KNOWN_LINE.replace("\"sequence\":3,", "\"sequence\":3,\"sequence\":3,"),
        KNOWN_LINE.replace("\"sequence\":3,", "\"sequence\":3,\"position\":3,"),
        KNOWN_LINE.replace("\"sequence\":3,", "\"sequence\":\"3\","),
        KNOWN_LINE.replace("\"sequence\":3,", "\"sequence\":3.0,"),
        KNOWN_LINE.replace("\"sequence\":3,", "\"sequence\":9223372036854775808,"),
        KNOWN_LINE.replace("\"tenant_position\":1", "\"tenant_position\":0"),
        KNOWN_LINE.replace("\"tenant_position\":1", "\"tenant_position\":-1"),
        KNOWN_LINE.replace("09:33:20.123456Z", "09:33:20.123Z"),
        KNOWN_LINE.replace("\"payload\":\"", "\"payload\":{}, \"x\":\""),
        KNOWN_LINE.replace(r"\n\t", "\n\t"),
        KNOWN_LINE[..KNOWN_LINE.len() - 1].to_owned(),
        format!("{KNOWN_LINE}{KNOWN_LINE}"),
        format!("{KNOWN_LINE}\n{KNOWN_LINE}"),
    ] {
        assert!(Entry::parse(&line).is_err(), "{line}");
    }
    assert!(matches!(Entry { tenant_position: 0, ..known() }.to_line(), Err(EntryError::Position)));
    assert_eq!(Entry { tenant_position: 0, ..known() }.leaf_index(), None);
}

#[test]
fn a_longer_line_than_can_be_read_is_not_written() {
    let length = known().to_line().unwrap().len();
    assert!(known().to_line_within(length).is_ok());
    assert!(matches!(known().to_line_within(length - 1), Err(EntryError::TooLong)));
    let line = " ".repeat(super::LINE_BYTES_MAX + 1);
    assert!(matches!(Entry::parse(&line), Err(EntryError::TooLong)));
}
