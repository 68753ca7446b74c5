//! A text as words and signs.

use std::iter::Peekable;
use std::str::CharIndices;

/// A word or sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Letters, digits and underscores: a keyword, an attribute, a function or a number.
    Word(String),
    /// What stands between quotes.
    Text(String),
    /// Anything else that the language knows.
    Sign(&'static str),
}

/// Signs, those of two characters before those that they begin with.
const SIGNS: &[&str] = &["!=", "<>", "<=", ">=", "<", ">", "=", "(", ")", ",", "+", "-", "*", "/", "%"];

/// The tokens, each with the place (in characters, from 1) at which it begins.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut found = Vec::new();
    let mut characters = text.char_indices().peekable();
    let mut place = Place { text, byte: 0, character: 1 };
    while let Some(&(start, character)) = characters.peek() {
        let at = place.of(start);
        let token = match character {
            ' ' | '\t' | '\r' | '\n' => {
                characters.next();
                continue;
            }
            '\'' | '"' => {
                Token::Text(quoted(&mut characters).ok_or_else(|| format!("the text at character {at} does not end"))?)
            }
            _ if word(character) => {
                let mut letters = String::new();
                while let Some((_, letter)) = characters.next_if(|(_, next)| word(*next)) {
                    letters.push(letter);
                }
                Token::Word(letters)
            }
            other => {
                let sign = SIGNS.iter().find(|sign| text[start..].starts_with(**sign));
                let sign = sign
                    .ok_or_else(|| format!("character {at} is `{}`, which means nothing here", other.escape_debug()))?;
                characters.nth(sign.len() - 1); // Signs are ASCII.
                Token::Sign(sign)
            }
        };
        found.push((at, token));
    }
    Ok(found)
}

fn word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// A text in quotes; a backslash before the quote makes it part of the text, before anything else it is a backslash.
fn quoted(characters: &mut Peekable<CharIndices<'_>>) -> Option<String> {
    let (_, quote) = characters.next()?;
    let mut text = String::new();
    loop {
        match characters.next()?.1 {
            '\\' => {
                let next = characters.next()?.1;
                if next != quote {
                    text.push('\\');
                }
                text.push(next);
            }
            end if end == quote => return Some(text),
            other => text.push(other),
        }
    }
}

/// Turns places in bytes, which only ever grow, into places in characters.
struct Place<'a> {
    text: &'a str,
    byte: usize,
    character: usize,
}

impl Place<'_> {
    fn of(&mut self, byte: usize) -> usize {
        self.character += self.text[self.byte..byte].chars().count();
        self.byte = byte;
        self.character
    }
}
