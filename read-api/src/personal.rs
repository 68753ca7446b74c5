//! Personal data of rows, opened for an answer: the one place where a sealed text becomes a readable one.

use hub_http::Problem;
use hub_projections::{
    model::ReadModel,
    personal::{PersonalField, PersonalText},
};
use hub_vault::{OPENED_COUNT_MAX, Opened, Place, SealedText, Vault};

use crate::{failure::unreachable_keys, state::Queries};

/// What is answered for a text whose key is destroyed.
pub const ERASED: &str = "[erased]";

/// What is answered for a text whose key is not at hand.
pub const SEALED: &str = "[sealed]";

/// Whether an answer lacks something that an earlier one may have had, although nothing happened to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Erased(pub(crate) bool);

impl Queries {
    /// Opens the personal texts of these rows, with one question to the vault for all.
    ///
    /// # Errors
    /// 503 when the vault does not answer, 500 when a text is not what was sealed for its place.
    pub(crate) async fn open<M: ReadModel>(&self, rows: &mut [M::Row]) -> Result<Erased, Problem> {
        let mut fields: Vec<PersonalField<'_>> = rows.iter_mut().flat_map(M::personal).collect();
        let mut erased = Erased(false);
        for fields in fields.chunks_mut(OPENED_COUNT_MAX) {
            erased.0 |= self.open_fields(fields).await?.0;
        }
        Ok(erased)
    }

    /// The vault of this process.
    ///
    /// # Errors
    /// 500 when it has none, which is a fault of how it was put together.
    pub(crate) fn vault(&self) -> Result<&Vault, Problem> {
        self.vault.as_ref().ok_or_else(|| {
            tracing::error!("this process has no keys of personal data");
            Problem::internal()
        })
    }

    /// Opens these texts, at most [`OPENED_COUNT_MAX`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) async fn open_fields(&self, fields: &mut [PersonalField<'_>]) -> Result<Erased, Problem> {
        let mut open = Vec::with_capacity(fields.len());
        for field in fields {
            let PersonalField { tenant_id, aggregate_type, aggregate_id, field, text } = field;
            if let PersonalText::Sealed { key_id, sealed, sequence } = &**text {
                let place = Place {
                    tenant_id: *tenant_id,
                    aggregate_type,
                    aggregate_id: *aggregate_id,
                    sequence: *sequence,
                    field,
                };
                open.push((place, SealedText { key_id: *key_id, sealed: sealed.clone() }, text));
            }
        }
        let texts: Vec<_> = open.iter().map(|(place, text, _)| (*place, text)).collect();
        let opened = match &self.vault {
            Some(vault) => vault.open(&texts).await.map_err(unreachable_keys)?,
            None => vec![Opened::Missing; texts.len()],
        };
        let mut erased = Erased(false);
        for ((_, _, text), opened) in open.into_iter().zip(opened) {
            **text = PersonalText::Text(match opened {
                Opened::Text(text) => text,
                Opened::Erased => {
                    erased.0 = true;
                    ERASED.to_owned()
                }
                Opened::Missing => SEALED.to_owned(),
            });
        }
        Ok(erased)
    }
}
