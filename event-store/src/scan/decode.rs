//! The binary format of `COPY` for the columns of `events`: a header, then for each row a count of fields and each field with its length.

use chrono::{DateTime, Utc};
use sqlx::Error;
use uuid::Uuid;

use crate::event::{Recorded, stored_json};

/// What the format begins with.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Signature, flags, and the length of an extension that there is none of.
const HEADER_LENGTH: usize = SIGNATURE.len() + 8;

/// The columns of [`super::RANGE`].
const FIELD_COUNT: usize = 13;

/// Microseconds from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH_OFFSET_MICROS: i64 = 946_684_800_000_000;

/// Cuts a stream of bytes, which may be broken anywhere, into rows.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// What has come of a row that is not whole yet.
    rest: Vec<u8>,
    header_seen: bool,
    end_seen: bool,
}

/// The fields of one row as they came.
#[derive(Debug)]
pub(super) struct Row<'a> {
    fields: [&'a [u8]; FIELD_COUNT],
}

impl Decoder {
    /// Hands each whole row to `take`.
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        mut take: impl FnMut(&Row<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.rest.is_empty() {
            let used = self.rows(chunk, &mut take)?;
            self.rest.extend_from_slice(&chunk[used..]);
        } else {
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(chunk);
            let used = self.rows(&bytes, &mut take)?;
            bytes.drain(..used);
            self.rest = bytes;
        }
        Ok(())
    }

    /// To be called after the last chunk.
    pub(super) fn finish(self) -> Result<(), Error> {
        if self.end_seen && self.rest.is_empty() { Ok(()) } else { Err(broken("it ends in the middle")) }
    }

    /// Takes the whole rows and answers how many bytes they were.
    fn rows(&mut self, bytes: &[u8], take: &mut impl FnMut(&Row<'_>) -> Result<(), Error>) -> Result<usize, Error> {
        let mut used = 0;
        if !self.header_seen {
            if bytes.len() < HEADER_LENGTH {
                return Ok(0);
            }
            if !bytes.starts_with(SIGNATURE) || bytes[SIGNATURE.len()..HEADER_LENGTH].iter().any(|byte| *byte != 0) {
                return Err(broken("the header is another one"));
            }
            self.header_seen = true;
            used = HEADER_LENGTH;
        }
        while let Some(count) = bytes[used..].first_chunk::<2>() {
            match i16::from_be_bytes(*count) {
                -1 => {
                    self.end_seen = true;
                    return Ok(used + 2);
                }
                count if usize::try_from(count) == Ok(FIELD_COUNT) => {}
                count => return Err(broken(&format!("a row has {count} fields"))),
            }
            let Some((row, length)) = row(&bytes[used + 2..])? else { break };
            take(&row)?;
            used += 2 + length;
        }
        Ok(used)
    }
}

/// The row that begins here and its length; `None` when it is not whole.
fn row(bytes: &[u8]) -> Result<Option<(Row<'_>, usize)>, Error> {
    let mut fields: [&[u8]; FIELD_COUNT] = [&[]; FIELD_COUNT];
    let mut rest = bytes;
    for field in &mut fields {
        let Some((length, behind)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        // All columns are NOT NULL, which would be -1.
        let length = usize::try_from(length).map_err(|_| broken("a field is null"))?;
        let Some((value, behind)) = behind.split_at_checked(length) else { return Ok(None) };
        *field = value;
        rest = behind;
    }
    Ok(Some((Row { fields }, bytes.len() - rest.len())))
}

impl Row<'_> {
    pub(super) fn event_type(&self) -> Result<&str, Error> {
        self.text(7)
    }

    pub(super) fn recorded(&self) -> Result<Recorded, Error> {
        let micros = self.number(9)?.checked_add(EPOCH_OFFSET_MICROS);
        let occurred_at: Option<DateTime<Utc>> = micros.and_then(DateTime::from_timestamp_micros);
        Ok(Recorded {
            position: self.number(0)?,
            tenant_position: self.number(1)?,
            event_id: Uuid::from_bytes(self.array(2)?),
            tenant_id: Uuid::from_bytes(self.array(3)?),
            aggregate_type: self.text(4)?.to_owned(),
            aggregate_id: Uuid::from_bytes(self.array(5)?),
            sequence: self.number(6)?,
            event_type: self.event_type()?.to_owned(),
            event_version: i32::from_be_bytes(self.array(8)?),
            occurred_at: occurred_at.ok_or_else(|| broken("a time is out of range"))?,
            payload: stored_json(self.text(10)?)?,
            metadata: stored_json(self.text(11)?)?,
            leaf_hash: self.fields[12].to_vec(),
        })
    }

    fn array<const LENGTH: usize>(&self, field: usize) -> Result<[u8; LENGTH], Error> {
        self.fields[field].try_into().map_err(|_| broken("a field has another length"))
    }

    fn number(&self, field: usize) -> Result<i64, Error> {
        Ok(i64::from_be_bytes(self.array(field)?))
    }

    fn text(&self, field: usize) -> Result<&str, Error> {
        str::from_utf8(self.fields[field]).map_err(|_| broken("a text is not UTF-8"))
    }
}

fn broken(what: &str) -> Error {
    Error::Protocol(format!("the copy of the log cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::{Decoder, EPOCH_OFFSET_MICROS, SIGNATURE};
    use crate::event::Recorded;

    fn copy(count: u8) -> Vec<u8> {
        let mut bytes = [SIGNATURE, &[0; 8]].concat();
        for number in 1..=count {
            bytes.extend(13_i16.to_be_bytes());
            let long = i64::from(number).to_be_bytes();
            let time = (1_000_001 - EPOCH_OFFSET_MICROS).to_be_bytes();
            for field in [
                &long[..],
                &long,
                &[1; 16],
                &[2; 16],
                b"letter",
                &[3; 16],
                &long,
                b"letter.sent",
                &7_i32.to_be_bytes(),
                &time,
                b"{ \"to\": \"\xc3\x84da\"}",
                b"{}",
                &[9; 32],
            ] {
                bytes.extend(i32::try_from(field.len()).unwrap().to_be_bytes());
                bytes.extend(field);
            }
        }
        bytes.extend((-1_i16).to_be_bytes());
        bytes
    }

    fn decoded<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Recorded>, sqlx::Error> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.feed(chunk, |row| {
                events.push(row.recorded()?);
                Ok(())
            })?;
        }
        decoder.finish()?;
        Ok(events)
    }

    #[test]
    fn rows_come_out_however_the_stream_is_broken() {
        let bytes = copy(3);
        for size in [1, 2, 7, 100, bytes.len()] {
            let events = decoded(bytes.chunks(size)).unwrap();
            assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 2, 3]);
            let last = &events[2];
            assert_eq!((last.event_type.as_str(), last.event_version, last.sequence), ("letter.sent", 7, 3));
            assert_eq!(last.payload.get(), "{ \"to\": \"Äda\"}");
            assert_eq!(last.occurred_at.timestamp_micros(), 1_000_001);
            assert_eq!((last.leaf_hash.len(), last.aggregate_id.as_bytes()), (32, &[3; 16]));
        }
    }

    #[test]
    fn a_stream_that_ends_early_or_is_another_is_an_error() {
        let bytes = copy(2);
        assert!(decoded([&bytes[..bytes.len() - 2]].into_iter()).is_err());
        assert!(decoded([&bytes[..bytes.len() - 60]].into_iter()).is_err());
        assert!(decoded([&b"PGDUMP............................"[..]].into_iter()).is_err());
        let mut narrow = bytes.clone();
        narrow[20] = 12;
        assert!(decoded([&narrow[..]].into_iter()).is_err());
    }
}
