//! The patterns of `LIKE`: `%` stands for any characters, `_` for one, and `\` takes that meaning from the one behind it.

use crate::effort::{Effort, Exhausted};

/// A pattern, taken apart.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Any characters, also none.
    Some,
    /// One character.
    One,
    /// This character.
    Is(char),
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::with_capacity(text.len());
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let part = match character {
                '%' => Part::Some,
                '_' => Part::One,
                '\\' => Part::Is(characters.next_if(|next| matches!(next, '%' | '_')).unwrap_or('\\')),
                other => Part::Is(other),
            };
            // Several in a row say what one says.
            if part != Part::Some || parts.last() != Some(&Part::Some) {
                parts.push(part);
            }
        }
        Self(parts)
    }

    /// What every text that fits begins with.
    pub(super) fn start(&self) -> String {
        let fixed = |part: &Part| if let Part::Is(character) = part { Some(*character) } else { None };
        self.0.iter().map_while(fixed).collect()
    }

    /// Whether the whole text fits.
    ///
    /// When something does not fit only the last `%` takes one character more: what those before it took can stay, since whatever fits behind them
    /// fits there, too. So the cost is at most the text's length times the pattern's.
    /// Each character that is compared costs a step.
    pub(super) fn matches(&self, text: &str, effort: &Effort) -> Result<bool, Exhausted> {
        let mut rest = text.chars();
        let mut next = 0;
        let mut again: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            effort.spend(1)?;
            let mut ahead = rest.clone();
            let fits = match (self.0.get(next), ahead.next()) {
                (None, None) => return Ok(true),
                (Some(Part::Some), _) => {
                    next += 1;
                    again = Some((next, rest.clone()));
                    continue;
                }
                (Some(Part::One), Some(_)) => true,
                (Some(Part::Is(wanted)), Some(found)) => *wanted == found,
                (None, Some(_)) | (Some(Part::One | Part::Is(_)), None) => false,
            };
            if fits {
                next += 1;
                rest = ahead;
                continue;
            }
            let Some((behind, from)) = again.as_mut() else { return Ok(false) };
            if from.next().is_none() {
                return Ok(false);
            }
            next = *behind;
            rest = from.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Effort, Exhausted, Pattern};

    fn like(text: &str, pattern: &str) -> bool {
        Pattern::new(pattern).matches(text, &Effort::new()).unwrap()
    }

    #[test]
    fn patterns_fit_the_whole_text() {
        for (text, pattern, fits) in [
            ("", "", true),
            ("", "%", true),
            ("", "_", false),
            ("a", "", false),
            ("tenant", "tenant", true),
            ("tenant", "Tenant", false),
            ("tenant", "ten", false),
            ("tenant", "ten%", true),
            ("tenant", "%ant", true),
            ("tenant", "%ten", false),
            ("tenant", "t%n%t", true),
            ("tenant", "t%%%t", true),
            ("tenant", "t_n_n_", true),
            ("tenant", "t_n_n", false),
            ("tenant", "%_____t", true),
            ("tenant", "_%_%_%_%_%_%_", false),
            ("grüße", "gr__e", true),
            ("grüße", "%ß_", true),
            ("aXbXc", "a%X%c", true),
            ("abab", "%ab", true),
            ("aab", "%ab", true),
        ] {
            assert_eq!(like(text, pattern), fits, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn a_backslash_makes_wildcards_characters() {
        for (text, pattern, fits) in [
            ("100%", r"100\%", true),
            ("1000", r"100\%", false),
            ("a_c", r"a\_c", true),
            ("abc", r"a\_c", false),
            (r"a\c", r"a\c", true),
            (r"a\", r"a\", true),
            (r"\%", r"\\%", true),
            (r"\x", r"\\%", false),
            ("%x", r"\%_", true),
        ] {
            assert_eq!(like(text, pattern), fits, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn the_worst_patterns_end_when_they_have_cost_enough() {
        let text = format!("{}b", "a".repeat(20_000));
        let repeated = format!("%{}c", "a".repeat(1_000));
        assert_eq!(Pattern::new(&repeated).matches(&text, &Effort::new()), Err(Exhausted));
        for pattern in ["%a".repeat(1_000) + "c", "%a_".repeat(1_000) + "%c", "%".repeat(4_000) + "c"] {
            assert!(!like(&text, &pattern), "{pattern}");
        }
        assert!(like(&text, &("%a".repeat(1_000) + "%b")));
    }
}
