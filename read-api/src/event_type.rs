//! The filter `event_type`: one type such as `tenant.suspended`, or all of an aggregate such as `tenant.*`.

use hub_http::Problem;

/// Longest filter, in bytes.
const LENGTH_MAX: usize = 128;

/// What `event_type` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventTypeFilter {
    /// Exactly this type.
    Exact(String),
    /// Every type that begins with this text, which ends with a dot.
    Prefix(String),
}

impl EventTypeFilter {
    /// Reads the parameter; 400 `invalid_query` for what no event type can look like.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let (plain, filter) = match text.strip_suffix('*') {
            Some(prefix) => (prefix.strip_suffix('.').unwrap_or_default(), Self::Prefix(prefix.to_owned())),
            None => (text, Self::Exact(text.to_owned())),
        };
        let letters = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if text.len() <= LENGTH_MAX && plain.split('.').all(letters) {
            return Ok(filter);
        }
        let detail = "event_type is a type such as tenant.suspended, or all of an aggregate such as tenant.*";
        Err(Problem::invalid_query(Some("event_type"), detail))
    }

    /// Whether a type is asked for.
    pub(crate) fn fits(&self, event_type: &str) -> bool {
        match self {
            Self::Exact(exact) => event_type == exact,
            Self::Prefix(prefix) => event_type.starts_with(prefix),
        }
    }

    /// The type, when it is exactly one.
    pub(crate) fn exact(filter: Option<&Self>) -> Option<&str> {
        match filter {
            Some(Self::Exact(event_type)) => Some(event_type),
            Some(Self::Prefix(_)) | None => None,
        }
    }

    /// What the types begin with, when they are many.
    pub(crate) fn prefix(filter: Option<&Self>) -> Option<&str> {
        match filter {
            Some(Self::Prefix(prefix)) => Some(prefix),
            Some(Self::Exact(_)) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_or_all_of_an_aggregate_is_read_and_nothing_else() {
        let read = |text: &str| EventTypeFilter::parse(text).ok();
        assert_eq!(read("tenant.suspended"), Some(EventTypeFilter::Exact("tenant.suspended".to_owned())));
        assert_eq!(read("tenant.*"), Some(EventTypeFilter::Prefix("tenant.".to_owned())));
        for bad in ["", "*", ".*", "tenant*", "tenant..*", "Tenant.x", "tenant.%", "a.*.b", ".", "a.", &"a".repeat(200)]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
