//! Every version of every event that was ever published stays readable: one golden file each, kept for ever.
//!
//! A file `golden/<context>/<event>.v<version>.json` holds a payload as stored. Files of the current version must also come out
//! again exactly as they went in. `golden/<context>/state.v<version>.json` holds the aggregate's state at some stages of its life as a
//! snapshot has it.

use std::{collections::BTreeSet, fs, path::Path};

use cqrs_es::DomainEvent;
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

use crate::{aggregate::Decide, personal};

/// Parts of a field's name that tell of personal data.
const PERSONAL_WORDS: &[&str] = &[
    "address",
    "birth",
    "birthday",
    "birthdate",
    "email",
    "fax",
    "forename",
    "gender",
    "iban",
    "ip",
    "latitude",
    "longitude",
    "mail",
    "mobile",
    "network",
    "passport",
    "phone",
    "postal",
    "postcode",
    "salutation",
    "ssn",
    "street",
    "surname",
    "telephone",
    "zip",
];
/// Whole names that do.
const PERSONAL_NAMES: &[&str] =
    &["first_name", "last_name", "full_name", "family_name", "given_name", "user_agent", "user_name"];

/// Fields that are named so and are not about a person: the networks that a key may be used from.
const IMPERSONAL: &[(&str, &str)] = &[("api_key.issued", "networks")];

/// Checks the golden files of one context against its event type, and that no field that is named like personal data is plain.
pub(crate) fn check<E: DomainEvent + JsonSchema>(context: &str, variants: &[&str]) {
    check_personal::<E>(context);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(context);
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(&folder).expect("the context has golden files") {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        if file.starts_with("state.") {
            continue;
        }
        let (tag, version) = file.strip_suffix(".json").unwrap().rsplit_once(".v").unwrap();
        let data: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let event: E =
            serde_json::from_value(json!({ "type": tag, "data": data })).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(event.event_type(), format!("{context}.{tag}"), "{file}");
        if event.event_version() == version {
            assert_eq!(serde_json::to_value(&event).unwrap()["data"], data, "{file} comes out differently");
            seen.insert(tag.to_owned());
        }
    }
    for variant in variants {
        assert!(seen.contains(*variant), "{context}.{variant} has no golden file of its current version");
    }
}

/// Checks that the fields that hold personal data are those of [`personal::FIELDS`], and that each is sealed.
fn check_personal<E: JsonSchema>(context: &str) {
    let schema = schema_for!(E).to_value();
    for variant in schema["oneOf"].as_array().expect("an event is one of its variants") {
        let event_type = format!("{context}.{}", variant["properties"]["type"]["const"].as_str().unwrap());
        let known = |name: &str| personal::FIELDS.iter().any(|f| f.event_type == event_type && f.field == name);
        let no_fields = serde_json::Map::new();
        let fields = variant["properties"]["data"]["properties"].as_object().unwrap_or(&no_fields);
        for (name, field) in fields {
            let sealed = field.to_string().contains("#/$defs/Personal");
            let personal = |word: &str| {
                PERSONAL_WORDS.contains(&word)
                    || word.strip_suffix('s').is_some_and(|one| PERSONAL_WORDS.contains(&one))
            };
            let named = PERSONAL_NAMES.contains(&name.as_str()) || name.split('_').any(personal);
            let named = named && !IMPERSONAL.contains(&(event_type.as_str(), name));
            assert!(
                sealed || !named,
                "`{name}` of {event_type} is named like personal data and is plain: make it a `Pii`"
            );
            assert_eq!(sealed, known(name), "`{name}` of {event_type} and `personal::FIELDS` do not agree");
        }
        for field in personal::FIELDS.iter().filter(|field| field.event_type == event_type) {
            assert!(fields.contains_key(field.field), "{event_type} has no field `{}`", field.field);
        }
    }
}

/// Checks that the aggregate's state is serialised as the golden file of its version says, at each of these named stages.
pub(crate) fn check_state<A: Decide>(stages: &[(&str, A)]) {
    let version = A::STATE_VERSION;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{}/state.v{version}.json", A::TYPE));
    let found: Value = stages.iter().map(|(stage, state)| ((*stage).to_owned(), json!(state))).collect();
    let golden = fs::read(&path).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    assert_eq!(
        golden,
        found,
        "the state of {} is not as in version {version}: raise its STATE_VERSION and add the golden file of the new one\n{found:#}",
        A::TYPE
    );
    for (stage, state) in stages {
        let back: A = serde_json::from_value(golden[stage].clone()).unwrap();
        assert_eq!(json!(back), json!(state), "{stage} comes back differently");
    }
}
