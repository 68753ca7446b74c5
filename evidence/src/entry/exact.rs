//! Reads a line that is spelt as `Entry::to_line` spells it, and no other: faster than JSON that may be spelt in any way, and without
//! spelling it again to compare.

use std::borrow::Cow;

use uuid::Uuid;

use super::Entry;

const UUID_CHARACTERS: usize = 36;

impl<'a> Entry<'a> {
    /// The entry of a line with its newline that `to_line` could have written; nothing for every other, which may be an entry all the same.
    #[must_use]
    pub fn parse_exact(line: &'a str) -> Option<Self> {
        let mut rest = Rest(line);
        rest.skip("{\"tenant_position\":")?;
        let tenant_position = rest.number().filter(|position| *position > 0)?.cast_unsigned();
        rest.skip(",\"event_id\":\"")?;
        let event_id = rest.uuid()?;
        rest.skip("\",\"tenant_id\":\"")?;
        let tenant_id = rest.uuid()?;
        rest.skip("\",\"aggregate_type\":\"")?;
        let aggregate_type = rest.text()?;
        rest.skip(",\"aggregate_id\":\"")?;
        let aggregate_id = rest.uuid()?;
        rest.skip("\",\"sequence\":")?;
        let sequence = rest.number()?;
        rest.skip(",\"event_type\":\"")?;
        let event_type = rest.text()?;
        rest.skip(",\"event_version\":")?;
        let event_version = rest.number()?.try_into().ok()?;
        rest.skip(",\"occurred_at\":\"")?;
        let occurred_at = rest.until_quote()?.parse().ok()?;
        rest.skip(",\"payload\":\"")?;
        let payload = rest.text()?;
        rest.skip(",\"metadata\":\"")?;
        let metadata = rest.text()?;
        (rest.0 == "}\n").then_some(Self {
            tenant_position,
            event_id,
            tenant_id,
            aggregate_type,
            aggregate_id,
            sequence,
            event_type,
            event_version,
            occurred_at,
            payload,
            metadata,
        })
    }
}

/// What is not read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Decimal, without a sign that says nothing and zeros in front. Positions above the largest `i64` are none.
    fn number(&mut self) -> Option<i64> {
        let length = self.0.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'-').count();
        let digits = self.take(length)?;
        let first = digits.strip_prefix('-').unwrap_or(digits);
        if first.starts_with('0') && digits != "0" {
            return None;
        }
        digits.parse().ok()
    }

    fn uuid(&mut self) -> Option<Uuid> {
        let text = self.take(UUID_CHARACTERS)?;
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        Uuid::try_parse(text).ok().filter(|_| lower)
    }

    /// Up to the quote, which is skipped.
    fn until_quote(&mut self) -> Option<&'a str> {
        let end = self.0.find('"')?;
        let taken = self.take(end)?;
        self.skip("\"")?;
        Some(taken)
    }

    /// The characters of a string up to its closing quote, which is skipped.
    fn text(&mut self) -> Option<Cow<'a, str>> {
        let source = self.0;
        let mut text: Option<String> = None;
        // What stands between these two stands for itself.
        let (mut begin, mut end) = (0, 0);
        loop {
            match *source.as_bytes().get(end)? {
                b'"' => break,
                b'\\' => {
                    let text = text.get_or_insert_with(|| String::with_capacity(end + 512));
                    text.push_str(&source[begin..end]);
                    let escaped = *source.as_bytes().get(end + 1)?;
                    if matches!(escaped, b'"' | b'\\') {
                        // Stands for itself behind its backslash.
                        (begin, end) = (end + 1, end + 2);
                    } else {
                        let (character, length) = control(&source.as_bytes()[end + 1..])?;
                        text.push(character);
                        (begin, end) = (end + 1 + length, end + 1 + length);
                    }
                }
                0..b' ' => return None,
                _ => end += 1,
            }
        }
        self.0 = &source[end + 1..];
        let last = &source[begin..end];
        Some(match text {
            None => Cow::Borrowed(last),
            Some(text) => Cow::Owned(text + last),
        })
    }
}

/// A control character, escaped in the way that is right, and the length of what is behind the backslash.
fn control(escaped: &[u8]) -> Option<(char, usize)> {
    let short = match escaped.first()? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return long(escaped.get(1..5)?),
        _ => return None,
    };
    Some((short, 1))
}

/// One that has no short form: four digits, of which the letters are small.
fn long(digits: &[u8]) -> Option<(char, usize)> {
    let &[b'0', b'0', high @ (b'0' | b'1'), low @ (b'0'..=b'9' | b'a'..=b'f')] = digits else { return None };
    let low = if low.is_ascii_digit() { low - b'0' } else { low - b'a' + 10 };
    let code = (high - b'0') * 16 + low;
    let short = matches!(code, 8 | 9 | 10 | 12 | 13);
    (!short).then_some((char::from(code), 5))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::entry::{Entry, Timestamp};

    fn entry(payload: &str) -> Entry<'_> {
        Entry {
            tenant_position: 1_207,
            event_id: Uuid::from_u128(0x0193_6b2e_7c4d_7f10_9a3b_5d2e_8c1f_0a47),
            tenant_id: Uuid::from_u128(0x0192_d4a1_0b6c_7e52_8f11_3c9a_7b5e_2d10),
            aggregate_type: "subscription".into(),
            aggregate_id: Uuid::max(),
            sequence: -30,
            event_type: "größer\u{7f}".into(),
            event_version: 10,
            occurred_at: Timestamp::from_micros(1_732_700_000_123_456),
            payload: payload.into(),
            metadata: "{}".into(),
        }
    }

    #[test]
    fn every_line_that_is_written_is_read() {
        let all: String = (0..0x300).filter_map(char::from_u32).chain(['\u{2028}', '\u{1f600}']).collect();
        for payload in [&*all, "", "\\", "\"", "plain", "{\"a\":\"b\\\"c\\u0000\"}"] {
            let entry = entry(payload);
            let line = entry.to_line().unwrap();
            assert_eq!(Entry::parse_exact(&line).as_ref(), Some(&entry), "{line}");
        }
    }

    #[test]
    fn no_other_line_is_read() {
        let line = entry("{\"a\":\"\\u0001\u{1}\u{1f}\nä\"}").to_line().unwrap();
        let mut read = 0;
        for at in 0..line.len() {
            for flip in 1..=u8::MAX {
                let mut other = line.clone().into_bytes();
                other[at] ^= flip;
                let Ok(other) = String::from_utf8(other) else { continue };
                if let Some(entry) = Entry::parse_exact(&other) {
                    assert_eq!(entry.to_line().unwrap(), other);
                    assert_eq!(Entry::parse(&other).unwrap(), entry);
                    read += 1;
                }
            }
        }
        assert!(read > 1_000, "letters in texts and digits may be others: {read}");
        for (from, to) in [
            (":1207", ":01207"),
            (":1207", ": 1207"),
            (":1207", ":0"),
            (":1207", ":18446744073709551616"),
            (":-30", ":-030"),
            (":-30", ":-0"),
            (":10", ":4294967296"),
            ("a47", "A47"),
            ("\\n", "\\u000a"),
            ("\\u001f", "\\u001F"),
            ("ä", "\\u00e4"),
            ("{}", "\\u007b}"),
            ("}\n", "} \n"),
            ("}\n", "}"),
            ("Z\"", "+00:00\""),
        ] {
            assert!(line.contains(from));
            assert!(Entry::parse_exact(&line.replace(from, to)).is_none(), "{from} {to}");
        }
    }
}
