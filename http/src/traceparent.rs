//! `traceparent` of W3C Trace Context, version 00: read strictly, ignored when it is not valid, as the standard has it.

use axum::http::HeaderMap;

use crate::headers::TRACEPARENT;

/// A valid `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent {
    text: String,
}

impl TraceParent {
    /// Reads `<version>-<trace id>-<parent id>-<flags>` in lower-case hex; ids of zeros are not valid.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |part: &str, digits: usize| {
            part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let id = |part: &str, digits: usize| hex(part, digits) && part.bytes().any(|byte| byte != b'0');
        let mut parts = text.split('-');
        let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // A later version may append parts; version 00 has four, and ff is forbidden.
        let shape = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        let valid = shape && text.len() <= 256 && id(trace_id, 32) && id(parent_id, 16) && hex(flags, 2);
        valid.then(|| Self { text: text.to_owned() })
    }

    /// The one valid `traceparent` of a request.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.to_str().ok()?.trim()),
            _ => None,
        }
    }

    /// The header value as it was sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The 32 hex digits of the trace.
    pub fn trace_id(&self) -> &str {
        &self.text[3..35]
    }

    /// The 16 hex digits of the caller's span.
    pub fn parent_id(&self) -> &str {
        &self.text[36..52]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_read_and_damaged_ones_are_not() {
        let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(example).unwrap();
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.parent_id(), "00f067aa0ba902b7");
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
