//! What a report shows of a value: the only place where secrets are hidden. Personal data stays sealed, as it stands in the log.

use hub_event_store::event::Recorded;
use serde_json::Value;

/// Members whose names hold one of these words are not shown, as they are not searchable.
const HIDDEN_NAMES: &[&str] = &["secret", "token", "password", "sha256"];

/// What stands in the place of a secret.
const HIDDEN: &str = "[hidden]";

/// The payload of an event, as it is shown.
pub(crate) fn payload(event: &Recorded) -> Result<Value, String> {
    let payload: Value = serde_json::from_str(event.payload.get()).map_err(|error| error.to_string())?;
    Ok(shown(&payload))
}

/// A value without what is secret.
pub(crate) fn shown(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(shown).collect(),
        Value::Object(members) => {
            let shown = |(name, member): (&String, &Value)| {
                let hidden = HIDDEN_NAMES.iter().any(|word| name.contains(word)) && !member.is_null();
                (name.clone(), if hidden { Value::from(HIDDEN) } else { shown(member) })
            };
            Value::Object(members.iter().map(shown).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let value = json!({"name": "a", "sealed_secret": {"nonce": "b"}, "list": [{"token": "c"}], "sha256": null});
        let shown = shown(&value);
        assert_eq!(
            shown,
            json!({"name": "a", "sealed_secret": "[hidden]", "list": [{"token": "[hidden]"}], "sha256": null})
        );
    }

    #[test]
    fn personal_data_is_shown_as_it_is_sealed() {
        let value = json!({"contact_email": {"key_id": "1", "sealed": "x"}});
        assert_eq!(shown(&value), value);
    }
}
