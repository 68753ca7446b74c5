//! What the log has about each data subject: one row a field that is sealed with the subject's key, so that a person can be told everything.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use hub_domain::personal::{FIELDS, Field, Owner, Sealed};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::model::{FoldError, ReadModel};

/// The read model.
#[derive(Debug)]
pub struct SubjectRecords;

/// One field of one event; what it says stays in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SubjectRecord")]
pub struct SubjectRecordRow {
    pub tenant_id: Uuid,
    pub subject_id: Uuid,
    /// Place of the event in the whole log.
    pub position: i64,
    /// Place among the tenant's events.
    pub tenant_position: i64,
    /// The name in the event's payload.
    pub field: String,
    pub event_id: Uuid,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    /// Place in the aggregate's stream.
    pub sequence: i64,
    pub occurred_at: DateTime<Utc>,
}

/// One field of one event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubjectRecordKey {
    pub tenant_id: Uuid,
    pub subject_id: Uuid,
    pub position: i64,
    pub field: String,
}

impl ReadModel for SubjectRecords {
    type Row = SubjectRecordRow;
    type Key = SubjectRecordKey;

    const NAME: &'static str = "subject_records";
    const TABLE: &'static str = "subject_records";
    const KEY: &'static [&'static str] = &["tenant_id", "subject_id", "position", "field"];
    const APPENDS_ONLY: bool = true;

    fn concerns(event_type: &str) -> bool {
        fields_of(event_type).next().is_some()
    }

    fn key_of(row: &SubjectRecordRow) -> SubjectRecordKey {
        let SubjectRecordRow { tenant_id, subject_id, position, .. } = *row;
        SubjectRecordKey { tenant_id, subject_id, position, field: row.field.clone() }
    }

    fn keys(event: &Recorded) -> Result<Vec<SubjectRecordKey>, FoldError> {
        let payload: HashMap<&str, &RawValue> = serde_json::from_str(event.payload.get()).unwrap_or_default();
        let key = |Field { field, .. }: &Field| {
            // What is in clear text belongs to no key, and nobody can find it by one.
            let Sealed { key_id, .. } = serde_json::from_str(payload.get(field)?.get()).ok()?;
            let field = (*field).to_owned();
            Some(SubjectRecordKey { tenant_id: event.tenant_id, subject_id: key_id, position: event.position, field })
        };
        Ok(fields_of(&event.event_type).filter_map(key).collect())
    }

    fn fold(
        _row: Option<SubjectRecordRow>,
        key: &SubjectRecordKey,
        event: &Recorded,
    ) -> Result<Option<SubjectRecordRow>, FoldError> {
        Ok(Some(SubjectRecordRow {
            tenant_id: key.tenant_id,
            subject_id: key.subject_id,
            position: key.position,
            tenant_position: event.tenant_position,
            field: key.field.clone(),
            event_id: event.event_id,
            event_type: event.event_type.clone(),
            aggregate_type: event.aggregate_type.clone(),
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            occurred_at: event.occurred_at,
        }))
    }
}

/// The fields of this event type that are sealed with the keys of data subjects.
fn fields_of(event_type: &str) -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(move |field| field.event_type == event_type && field.owner == Owner::Subject)
}

#[cfg(test)]
mod tests {
    use hub_domain::{
        personal::{Pii, Sealed},
        tenant::Event,
    };
    use uuid::Uuid;

    use super::{SubjectRecordRow, SubjectRecords};
    use crate::testing::{History, rows};

    #[test]
    fn each_sealed_field_is_a_record_of_its_subject_and_clear_text_is_nobodys() {
        let sealed =
            |subject: u128| Pii::Sealed(Sealed { key_id: Uuid::from_u128(subject), sealed: "AQ==".to_owned() });
        let mut history = History::default();
        history.tenant(Event::ContactChanged { contact_email: sealed(8) });
        history.tenant(Event::ContactChanged { contact_email: Pii::Clear("old@acme.example".parse().unwrap()) });
        history.tenant(Event::Activated {});
        history.tenant(Event::ContactChanged { contact_email: sealed(7) });
        let found = |row: &SubjectRecordRow| (row.subject_id.as_u128(), row.sequence, row.field.clone());
        let mut found: Vec<_> = rows::<SubjectRecords>(&history).unwrap().iter().map(found).collect();
        found.sort();
        assert_eq!(found, [(7, 4, "contact_email".to_owned()), (8, 1, "contact_email".to_owned())]);
    }
}
