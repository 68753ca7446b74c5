//! A statement whose conditions apply only when the caller filters by them.
//!
//! Every text is a constant and every value is bound at a fixed place, whether its condition is there or not, so PostgreSQL sees a
//! plain condition that an index can answer instead of `$2 IS NULL OR ..`.

/// A `SELECT` in its parts; made by `statement!`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement {
    /// Everything up to the last condition that always holds.
    pub(crate) head: &'static str,
    /// Each begins with ` AND`.
    pub(crate) conditions: &'static [&'static str],
    /// Grouping, order and limit.
    pub(crate) tail: &'static str,
    /// The whole with every condition, for the test that prepares each statement.
    pub(crate) whole: &'static str,
}

/// Head, conditions, tail.
macro_rules! statement {
    ($head:expr, [$($condition:expr),* $(,)?], $tail:expr $(,)?) => {
        $crate::statement::Statement {
            head: $head,
            conditions: &[$($condition),*],
            tail: $tail,
            whole: concat!($head, $($condition,)* $tail),
        }
    };
}
pub(crate) use statement;

impl Statement {
    /// The text with those conditions that apply, which are named in the order of the constants.
    pub(crate) fn with(&self, applies: impl AsRef<[bool]>) -> String {
        let applies = applies.as_ref();
        assert_eq!(applies.len(), self.conditions.len(), "each condition is said to apply or not");
        let applying =
            self.conditions.iter().zip(applies).filter(|(_, applies)| **applies).map(|(condition, _)| *condition);
        std::iter::once(self.head).chain(applying).chain([self.tail]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: Statement = statement!("SELECT 1 WHERE true", [" AND a = $1", " AND b = $2"], " LIMIT $3");

    #[test]
    fn only_the_conditions_that_apply_are_in_the_text() {
        assert_eq!(STATEMENT.with([false, true]), "SELECT 1 WHERE true AND b = $2 LIMIT $3");
        assert_eq!(STATEMENT.with([true, true]), STATEMENT.whole);
    }
}
