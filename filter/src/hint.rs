//! Which event types a filter can want at all, so that whoever reads a log needs not read the others.

use crate::{expression::Expression, filter::Filter};

/// Event types that may be wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TypeHint {
    /// This type.
    Exact(String),
    /// Every type that begins so.
    Prefix(String),
}

impl Filter {
    /// The event types outside which nothing is wanted; `None` when any type may be. What is within may still be unwanted.
    #[must_use]
    pub fn types_hint(&self) -> Option<Vec<TypeHint>> {
        let patterns = self.types.as_ref().and_then(|types| {
            types
                .iter()
                .map(|pattern| match pattern.as_str().strip_suffix('*') {
                    Some("") => None,
                    Some(start) => Some(TypeHint::Prefix(start.to_owned())),
                    None => Some(TypeHint::Exact(pattern.as_str().to_owned())),
                })
                .collect::<Option<Vec<_>>>()
        });
        narrowest(patterns.into_iter().chain(self.filters.iter().filter_map(hint)))
    }
}

/// Each of the hints holds, so the one with the fewest types does.
pub(crate) fn narrowest(hints: impl Iterator<Item = Vec<TypeHint>>) -> Option<Vec<TypeHint>> {
    // One prefix stands for many types.
    let weight =
        |hint: &Vec<TypeHint>| (hint.iter().filter(|one| matches!(one, TypeHint::Prefix(_))).count(), hint.len());
    let mut narrowest = hints.min_by_key(weight)?;
    narrowest.sort();
    narrowest.dedup();
    Some(narrowest)
}

fn hint(expression: &Expression) -> Option<Vec<TypeHint>> {
    match expression {
        Expression::Exact(texts) => texts.get("type").map(|text| vec![TypeHint::Exact(text.to_owned())]),
        Expression::Prefix(texts) => texts.get("type").map(|text| vec![TypeHint::Prefix(text.to_owned())]),
        Expression::All(inner) => narrowest(inner.iter().filter_map(hint)),
        Expression::Any(inner) => inner.iter().map(hint).collect::<Option<Vec<_>>>().map(|hints| hints.concat()),
        Expression::Sql(sql) => sql.types_hint(),
        Expression::Suffix(_) | Expression::Not(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::TypeHint;
    use crate::Filter;

    fn hint(filter: Json) -> Option<Vec<TypeHint>> {
        serde_json::from_value::<Filter>(filter).unwrap().types_hint()
    }

    fn exact(text: &str) -> TypeHint {
        TypeHint::Exact(text.to_owned())
    }

    fn prefix(text: &str) -> TypeHint {
        TypeHint::Prefix(text.to_owned())
    }

    #[test]
    fn patterns_say_which_types_are_wanted() {
        assert_eq!(
            hint(json!({ "types": ["tenant.*", "role.created"] })),
            Some(vec![exact("role.created"), prefix("tenant.")])
        );
        assert_eq!(hint(json!({ "types": ["tenant.*", "*"] })), None);
        assert_eq!(hint(json!({})), None);
        assert_eq!(hint(json!({ "subjects": ["tenant/*"] })), None);
    }

    #[test]
    fn expressions_say_it_where_they_compare_the_type() {
        assert_eq!(hint(json!({ "filters": [{ "exact": { "type": "a.b" } }] })), Some(vec![exact("a.b")]));
        assert_eq!(hint(json!({ "filters": [{ "prefix": { "type": "a." } }] })), Some(vec![prefix("a.")]));
        assert_eq!(
            hint(json!({ "filters": [{ "any": [{ "exact": { "type": "a.c" } }, { "exact": { "type": "a.b" } }] }] })),
            Some(vec![exact("a.b"), exact("a.c")]),
        );
        for open in [
            json!({ "any": [{ "exact": { "type": "a.b" } }, { "exact": { "subject": "a/b" } }] }),
            json!({ "not": { "exact": { "type": "a.b" } } }),
            json!({ "suffix": { "type": ".b" } }),
            json!({ "sql": "type != 'a.b'" }),
            json!({ "sql": "type = 'a.b' OR subject = 'a/b'" }),
            json!({ "sql": "type NOT IN ('a.b') AND type NOT LIKE 'a.%' AND type LIKE '%.b'" }),
            json!({ "sql": "type IN ('a.b', subject)" }),
        ] {
            assert_eq!(hint(json!({ "filters": [open] })), None);
        }
    }

    #[test]
    fn so_does_sql() {
        for (sql, hints) in [
            ("type = 'a.b'", vec![exact("a.b")]),
            ("EXISTS actor AND 'a.b' = TYPE", vec![exact("a.b")]),
            ("type IN ('a.c', 'a.b')", vec![exact("a.b"), exact("a.c")]),
            ("type LIKE 'a.%' AND subject LIKE 'b/%'", vec![prefix("a.")]),
            ("type LIKE 'a\\_b._'", vec![prefix("a_b.")]),
            ("type LIKE 'a.%' OR type = 'b.c'", vec![exact("b.c"), prefix("a.")]),
            ("type LIKE 'a.%' AND type IN ('a.b')", vec![exact("a.b")]),
        ] {
            assert_eq!(hint(json!({ "filters": [{ "sql": sql }] })), Some(hints), "{sql}");
        }
    }

    #[test]
    fn the_narrowest_of_several_hints_is_taken() {
        assert_eq!(
            hint(
                json!({ "types": ["a.*"], "filters": [{ "all": [{ "sql": "TRUE" }, { "exact": { "type": "a.b" } }] }] })
            ),
            Some(vec![exact("a.b")]),
        );
    }
}
