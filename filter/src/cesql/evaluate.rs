//! What an expression comes to for one event.

use std::cmp::Ordering;

use super::node::{Calculation, Comparison, Node};
use crate::{
    attribute::{Attributes, Value},
    effort::{Effort, Exhausted},
};

/// Why an evaluation ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvaluationError {
    /// The event has no such attribute.
    MissingAttribute,
    /// A value is not what an operator or function needs, and cannot be made that.
    Cast,
    /// A division by zero, or a result beyond 32 bits.
    Math,
    /// An argument that the function does not know what to do with.
    Function,
    /// It would cost more than one event is worth.
    Effort,
}

impl From<Exhausted> for EvaluationError {
    fn from(_: Exhausted) -> Self {
        Self::Effort
    }
}

/// The value of the tree; its depth is bounded by the parser.
pub(super) fn evaluate<'a>(
    node: &'a Node,
    event: &'a impl Attributes,
    effort: &Effort,
) -> Result<Value<'a>, EvaluationError> {
    effort.spend(1)?;
    match node {
        Node::Boolean(value) => Ok(Value::Boolean(*value)),
        Node::Integer(value) => Ok(Value::Integer(*value)),
        Node::Text(value) => Ok(Value::from(value.as_str())),
        Node::Attribute(name) => event.attribute(name).ok_or(EvaluationError::MissingAttribute),
        Node::Exists(name) => Ok(event.attribute(name).is_some().into()),
        Node::Not(inner) => Ok((!boolean(&evaluate(inner, event, effort)?)?).into()),
        Node::Negate(inner) => {
            integer(&evaluate(inner, event, effort)?)?.checked_neg().map(Value::Integer).ok_or(EvaluationError::Math)
        }
        Node::All(inner) => joined(inner, event, effort, false),
        Node::Any(inner) => joined(inner, event, effort, true),
        Node::Xor(sides) => {
            let [left, right] = &**sides;
            Ok((boolean(&evaluate(left, event, effort)?)? ^ boolean(&evaluate(right, event, effort)?)?).into())
        }
        Node::Compare(comparison, sides) => {
            let [left, right] = &**sides;
            compared(*comparison, evaluate(left, event, effort)?, evaluate(right, event, effort)?).map(Value::Boolean)
        }
        Node::Calculate(calculation, sides) => {
            let [left, right] = &**sides;
            let (left, right) = (evaluate(left, event, effort)?, evaluate(right, event, effort)?);
            calculated(*calculation, integer(&left)?, integer(&right)?).map(Value::Integer)
        }
        Node::Like { value, pattern, negated } => {
            let text = evaluate(value, event, effort)?.into_text();
            Ok((pattern.matches(&text, effort)? != *negated).into())
        }
        Node::In { value, set, negated } => {
            let value = evaluate(value, event, effort)?;
            Ok((contains(set, &value, event, effort)? != *negated).into())
        }
        Node::Call(function, arguments) => {
            let arguments: Vec<_> =
                arguments.iter().map(|argument| evaluate(argument, event, effort)).collect::<Result<_, _>>()?;
            effort.spend(function.cost(&arguments))?;
            function.call(arguments)
        }
    }
}

/// `AND` and `OR`: the first operand that decides is the last that is looked at.
fn joined<'a>(
    inner: &'a [Node],
    event: &'a impl Attributes,
    effort: &Effort,
    decisive: bool,
) -> Result<Value<'a>, EvaluationError> {
    for node in inner {
        if boolean(&evaluate(node, event, effort)?)? == decisive {
            return Ok(decisive.into());
        }
    }
    Ok((!decisive).into())
}

/// Whether the value is in the set, whose elements become what the value is.
fn contains<'a>(
    set: &'a [Node],
    value: &Value<'_>,
    event: &'a impl Attributes,
    effort: &Effort,
) -> Result<bool, EvaluationError> {
    for element in set {
        let element = evaluate(element, event, effort)?;
        let equal = match value {
            Value::Boolean(value) => *value == boolean(&element)?,
            Value::Integer(value) => *value == integer(&element)?,
            Value::Text(value) => *value == element.into_text(),
        };
        if equal {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Equality makes the left side what the right one is; order is that of numbers.
fn compared(comparison: Comparison, left: Value<'_>, right: Value<'_>) -> Result<bool, EvaluationError> {
    if let Comparison::Equal | Comparison::NotEqual = comparison {
        let equal = match right {
            Value::Boolean(right) => boolean(&left)? == right,
            Value::Integer(right) => integer(&left)? == right,
            Value::Text(right) => left.into_text() == right,
        };
        return Ok(equal == (comparison == Comparison::Equal));
    }
    let order = integer(&left)?.cmp(&integer(&right)?);
    Ok(match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    })
}

fn calculated(calculation: Calculation, left: i32, right: i32) -> Result<i32, EvaluationError> {
    let result = match calculation {
        Calculation::Add => left.checked_add(right),
        Calculation::Subtract => left.checked_sub(right),
        Calculation::Multiply => left.checked_mul(right),
        Calculation::Divide => left.checked_div(right),
        // The smallest number by -1 is the only overflow here, and its remainder is 0 all the same.
        Calculation::Remainder => (right != 0).then(|| left.wrapping_rem(right)),
    };
    result.ok_or(EvaluationError::Math)
}

/// The value as a boolean: numbers other than 0 are true, and so is the text `true` in whichever case.
pub(super) fn boolean(value: &Value<'_>) -> Result<bool, EvaluationError> {
    match value {
        Value::Boolean(value) => Ok(*value),
        Value::Integer(value) => Ok(*value != 0),
        Value::Text(value) if value.eq_ignore_ascii_case("true") => Ok(true),
        Value::Text(value) if value.eq_ignore_ascii_case("false") => Ok(false),
        Value::Text(_) => Err(EvaluationError::Cast),
    }
}

/// The value as a number: texts in base 10 with or without a sign, and 1 for true.
pub(super) fn integer(value: &Value<'_>) -> Result<i32, EvaluationError> {
    match value {
        Value::Boolean(value) => Ok(i32::from(*value)),
        Value::Integer(value) => Ok(*value),
        Value::Text(value) => value.parse().map_err(|_| EvaluationError::Cast),
    }
}

/// The value as a text value.
pub(super) fn text(value: Value<'_>) -> Value<'_> {
    Value::Text(value.into_text())
}
