//! What a filter looks at: the attributes of an event.

use std::borrow::Cow;

/// An attribute's value, in the three types that CESQL knows. URIs and times are texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Any other value.
    Text(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// The value as text: numbers in base 10, booleans as `true` and `false`.
    #[must_use]
    pub fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Text(text) => text,
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i32> for Value<'_> {
    fn from(number: i32) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

/// An event as a filter sees it: its `CloudEvents` context attributes by name.
pub trait Attributes {
    /// The attribute of that name (lowercase letters and digits, such as `type` or `correlationid`); `None` when the event has none.
    ///
    /// The same name must give the same value each time.
    fn attribute(&self, name: &str) -> Option<Value<'_>>;
}

#[cfg(test)]
impl<const N: usize> Attributes for [(&str, Value<'_>); N] {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }
}
