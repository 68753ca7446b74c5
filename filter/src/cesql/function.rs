//! The functions that CESQL has from the start.

use std::borrow::Cow;

use super::evaluate::{EvaluationError, boolean, integer, text};
use crate::attribute::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Bool,
    Concat,
    ConcatWs,
    Int,
    IsBool,
    IsInt,
    Left,
    Length,
    Lower,
    Right,
    String,
    Substring,
    Trim,
    Upper,
}

/// Each function's name, and with how few and how many arguments it exists.
const FUNCTIONS: &[(&str, Function, usize, usize)] = &[
    ("ABS", Function::Abs, 1, 1),
    ("BOOL", Function::Bool, 1, 1),
    ("CONCAT", Function::Concat, 0, usize::MAX),
    ("CONCAT_WS", Function::ConcatWs, 1, usize::MAX),
    ("INT", Function::Int, 1, 1),
    ("IS_BOOL", Function::IsBool, 1, 1),
    ("IS_INT", Function::IsInt, 1, 1),
    ("LEFT", Function::Left, 2, 2),
    ("LENGTH", Function::Length, 1, 1),
    ("LOWER", Function::Lower, 1, 1),
    ("RIGHT", Function::Right, 2, 2),
    ("STRING", Function::String, 1, 1),
    ("SUBSTRING", Function::Substring, 2, 3),
    ("TRIM", Function::Trim, 1, 1),
    ("UPPER", Function::Upper, 1, 1),
];

/// The longest text of a number or a boolean, in bytes.
const NUMBER_LENGTH_MAX: usize = 11;

impl Function {
    /// The function of that name, in whichever case, that takes so many arguments.
    pub(super) fn find(name: &str, arguments: usize) -> Option<Self> {
        let (_, function, min, max) = FUNCTIONS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
        (*min..=*max).contains(&arguments).then_some(*function)
    }

    pub(super) fn gives_boolean(self) -> bool {
        matches!(self, Self::Bool | Self::IsBool | Self::IsInt)
    }

    /// The bytes that it takes, and joins to them; what comes out of it is hardly longer.
    pub(super) fn cost(self, arguments: &[Value<'_>]) -> usize {
        let length = |value: &Value<'_>| if let Value::Text(text) = value { text.len() } else { NUMBER_LENGTH_MAX };
        let taken: usize = arguments.iter().map(length).sum();
        match (self, arguments) {
            (Self::ConcatWs, [delimiter, ..]) => taken + length(delimiter) * arguments.len(),
            _ => taken,
        }
    }

    /// The result for as many arguments as the function takes.
    pub(super) fn call<'a>(self, arguments: Vec<Value<'a>>) -> Result<Value<'a>, EvaluationError> {
        let mut arguments = arguments.into_iter();
        match self {
            Self::Concat => Ok(arguments.map(Value::into_text).collect::<String>().into()),
            Self::ConcatWs => {
                let delimiter = next(&mut arguments).into_text();
                Ok(arguments.map(Value::into_text).collect::<Vec<_>>().join(&*delimiter).into())
            }
            Self::Abs => integer(&next(&mut arguments))?.checked_abs().map(Value::Integer).ok_or(EvaluationError::Math),
            Self::Bool => boolean(&next(&mut arguments)).map(Value::Boolean),
            Self::Int => integer(&next(&mut arguments)).map(Value::Integer),
            Self::IsBool => Ok(boolean(&next(&mut arguments)).is_ok().into()),
            Self::IsInt => Ok(integer(&next(&mut arguments)).is_ok().into()),
            Self::String => Ok(text(next(&mut arguments))),
            Self::Length => {
                let length = next(&mut arguments).into_text().chars().count();
                i32::try_from(length).map(Value::Integer).map_err(|_| EvaluationError::Function)
            }
            Self::Lower => Ok(next(&mut arguments).into_text().to_lowercase().into()),
            Self::Upper => Ok(next(&mut arguments).into_text().to_uppercase().into()),
            Self::Trim => Ok(part(next(&mut arguments).into_text(), |whole| Ok(whole.trim()))?),
            Self::Left | Self::Right => {
                let whole = next(&mut arguments).into_text();
                let count = usize::try_from(integer(&next(&mut arguments))?).map_err(|_| EvaluationError::Function)?;
                part(whole, |whole| if self == Self::Left { Ok(first(whole, count)) } else { Ok(last(whole, count)) })
            }
            Self::Substring => {
                let whole = next(&mut arguments).into_text();
                let position = integer(&next(&mut arguments))?;
                let length = arguments.next().map(|length| integer(&length)).transpose()?;
                part(whole, |whole| substring(whole, position, length))
            }
        }
    }
}

fn next<'a>(arguments: &mut impl Iterator<Item = Value<'a>>) -> Value<'a> {
    arguments.next().expect("the parser has counted the arguments")
}

/// A part of the text, borrowed where the text is.
fn part<'a>(
    whole: Cow<'a, str>,
    cut: impl for<'b> Fn(&'b str) -> Result<&'b str, EvaluationError>,
) -> Result<Value<'a>, EvaluationError> {
    match whole {
        Cow::Borrowed(whole) => cut(whole).map(Value::from),
        Cow::Owned(whole) => cut(&whole).map(|part| part.to_owned().into()),
    }
}

fn first(whole: &str, count: usize) -> &str {
    whole.char_indices().nth(count).map_or(whole, |(end, _)| &whole[..end])
}

fn last(whole: &str, count: usize) -> &str {
    match count.checked_sub(1) {
        None => "",
        Some(before) => whole.char_indices().nth_back(before).map_or(whole, |(start, _)| &whole[start..]),
    }
}

/// Characters from `position` on, which counts from 1, or from the end when it is negative; nothing when it is 0.
fn substring(whole: &str, position: i32, length: Option<i32>) -> Result<&str, EvaluationError> {
    let count = whole.chars().count();
    let place = usize::try_from(position.unsigned_abs()).map_err(|_| EvaluationError::Function)?;
    let length = length.map(usize::try_from).transpose().map_err(|_| EvaluationError::Function)?;
    if place > count {
        return Err(EvaluationError::Function);
    }
    let rest = match position {
        0 => return Ok(""),
        1.. => last(whole, count + 1 - place),
        ..0 => last(whole, place),
    };
    Ok(length.map_or(rest, |length| first(rest, length)))
}
