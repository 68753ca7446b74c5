//! The parser: recursive descent, with one function for all binary operators that goes by how closely they bind.

use super::{
    SQL_DEPTH_MAX, SQL_LENGTH_MAX, SQL_NODE_COUNT_MAX,
    function::Function,
    like::Pattern,
    node::{Calculation, Comparison, Node},
    token::{Token, tokens},
};

/// A tree, and how deep it is.
type Tree = (Node, usize);

/// The expression as a tree; the error says what is wrong and at which character.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    if text.chars().count() > SQL_LENGTH_MAX {
        return Err(format!("an expression has at most {SQL_LENGTH_MAX} characters"));
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err("the expression is empty".to_owned());
    }
    let mut parser = Parser { tokens, next: 0, nesting: 0, nodes: 0 };
    let (root, _) = parser.expression(Binding::Logic)?;
    match parser.peek() {
        None => Ok(root),
        Some(_) => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    nesting: usize,
    nodes: usize,
}

/// How closely a binary operator binds, the loosest first. `LIKE` and `IN` bind closer than all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Logic,
    Comparison,
    Sum,
    Product,
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    And,
    Or,
    Xor,
    Compare(Comparison),
    Calculate(Calculation),
}

/// The words that are no attributes.
const KEYWORDS: &[&str] = &["AND", "OR", "XOR", "NOT", "LIKE", "IN", "EXISTS", "TRUE", "FALSE"];

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn peek_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(found)) if *found == sign)
    }

    fn peek_keyword(&self, ahead: usize, keyword: &str) -> bool {
        matches!(self.tokens.get(self.next + ahead), Some((_, Token::Word(word))) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.peek_sign(sign);
        self.next += usize::from(found);
        found
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.peek_keyword(0, keyword);
        self.next += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), String> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    /// What is wrong with the next token, when `wanted` would have been right.
    fn unexpected(&self, wanted: &str) -> String {
        match self.tokens.get(self.next) {
            None => format!("the expression ends where {wanted} should follow"),
            Some((at, Token::Word(word))) => format!("character {at} begins `{word}` where {wanted} should stand"),
            Some((at, Token::Text(_))) => format!("character {at} begins a text where {wanted} should stand"),
            Some((at, Token::Sign(sign))) => format!("character {at} is `{sign}` where {wanted} should stand"),
        }
    }

    /// Counts a node that stands on others, of which the deepest is so deep.
    fn node(&mut self, node: Node, below: usize) -> Result<Tree, String> {
        self.nodes += 1;
        if self.nodes > SQL_NODE_COUNT_MAX {
            return Err(format!(
                "an expression has at most {SQL_NODE_COUNT_MAX} operators, calls, attributes and literals"
            ));
        }
        if below >= SQL_DEPTH_MAX {
            return Err(too_deep());
        }
        Ok((node, below + 1))
    }

    /// An expression whose operators bind at least so closely; those that bind equally are taken from left to right.
    fn expression(&mut self, loosest: Binding) -> Result<Tree, String> {
        let mut tree = self.tested()?;
        while let Some((operator, binding)) = self.operator().filter(|(_, binding)| *binding >= loosest) {
            self.next += 1;
            // What binds closer than this operator belongs to its right side.
            let right = match binding {
                Binding::Logic => self.expression(Binding::Comparison)?,
                Binding::Comparison => self.expression(Binding::Sum)?,
                Binding::Sum => self.expression(Binding::Product)?,
                Binding::Product => self.tested()?,
            };
            tree = self.binary(operator, tree, right)?;
        }
        Ok(tree)
    }

    /// An expression within parentheses.
    fn inner(&mut self) -> Result<Tree, String> {
        self.nesting += 1;
        if self.nesting > SQL_DEPTH_MAX {
            return Err(too_deep());
        }
        let tree = self.expression(Binding::Logic)?;
        self.nesting -= 1;
        Ok(tree)
    }

    fn operator(&self) -> Option<(Operator, Binding)> {
        let operator = match self.peek()? {
            Token::Word(word) if word.eq_ignore_ascii_case("AND") => Operator::And,
            Token::Word(word) if word.eq_ignore_ascii_case("OR") => Operator::Or,
            Token::Word(word) if word.eq_ignore_ascii_case("XOR") => Operator::Xor,
            Token::Sign("=") => Operator::Compare(Comparison::Equal),
            Token::Sign("!=" | "<>") => Operator::Compare(Comparison::NotEqual),
            Token::Sign("<") => Operator::Compare(Comparison::Less),
            Token::Sign("<=") => Operator::Compare(Comparison::LessOrEqual),
            Token::Sign(">") => Operator::Compare(Comparison::Greater),
            Token::Sign(">=") => Operator::Compare(Comparison::GreaterOrEqual),
            Token::Sign("+") => Operator::Calculate(Calculation::Add),
            Token::Sign("-") => Operator::Calculate(Calculation::Subtract),
            Token::Sign("*") => Operator::Calculate(Calculation::Multiply),
            Token::Sign("/") => Operator::Calculate(Calculation::Divide),
            Token::Sign("%") => Operator::Calculate(Calculation::Remainder),
            Token::Word(_) | Token::Text(_) | Token::Sign(_) => return None,
        };
        let binding = match operator {
            Operator::And | Operator::Or | Operator::Xor => Binding::Logic,
            Operator::Compare(_) => Binding::Comparison,
            Operator::Calculate(Calculation::Add | Calculation::Subtract) => Binding::Sum,
            Operator::Calculate(_) => Binding::Product,
        };
        Some((operator, binding))
    }

    /// One node for a chain of `AND`, and one for a chain of `OR`, so that a long list of alternatives is not deep.
    fn binary(&mut self, operator: Operator, left: Tree, right: Tree) -> Result<Tree, String> {
        let below = left.1.max(right.1);
        match (operator, left, right.0) {
            (Operator::And, (Node::All(mut inner), depth), right_node) => {
                inner.push(right_node);
                self.node(Node::All(inner), (depth - 1).max(right.1))
            }
            (Operator::Or, (Node::Any(mut inner), depth), right_node) => {
                inner.push(right_node);
                self.node(Node::Any(inner), (depth - 1).max(right.1))
            }
            (Operator::And, (left, _), right) => self.node(Node::All(vec![left, right]), below),
            (Operator::Or, (left, _), right) => self.node(Node::Any(vec![left, right]), below),
            (Operator::Xor, (left, _), right) => self.node(Node::Xor(Box::new([left, right])), below),
            (Operator::Compare(comparison), (left, _), right) => {
                self.node(Node::Compare(comparison, Box::new([left, right])), below)
            }
            (Operator::Calculate(calculation), (left, _), right) => {
                self.node(Node::Calculate(calculation, Box::new([left, right])), below)
            }
        }
    }

    /// An operand with the tests by `LIKE` and `IN` that follow it.
    fn tested(&mut self) -> Result<Tree, String> {
        let mut tree = self.unary()?;
        loop {
            let negated = self.peek_keyword(0, "NOT");
            let ahead = usize::from(negated);
            if self.peek_keyword(ahead, "LIKE") {
                self.next += ahead + 1;
                let Some(Token::Text(pattern)) = self.peek() else {
                    return Err(self.unexpected("a pattern in quotes"));
                };
                let pattern = Pattern::new(pattern);
                self.next += 1;
                tree = self.node(Node::Like { value: Box::new(tree.0), pattern, negated }, tree.1)?;
            } else if self.peek_keyword(ahead, "IN") {
                self.next += ahead + 1;
                self.expect_sign("(")?;
                let (set, depth) = self.list(1)?;
                tree = self.node(Node::In { value: Box::new(tree.0), set, negated }, tree.1.max(depth))?;
            } else {
                return Ok(tree);
            }
        }
    }

    /// Expressions with commas between them up to the closing parenthesis, at least so many, and the depth of the deepest.
    fn list(&mut self, count_min: usize) -> Result<(Vec<Node>, usize), String> {
        let mut list = Vec::new();
        let mut depth = 0;
        if count_min == 0 && self.take_sign(")") {
            return Ok((list, depth));
        }
        loop {
            let (node, below) = self.inner()?;
            list.push(node);
            depth = depth.max(below);
            if self.take_sign(")") {
                return Ok((list, depth));
            }
            if !self.take_sign(",") {
                return Err(self.unexpected("`,` or `)`"));
            }
        }
    }

    /// An operand with what stands before it, from the outside to the inside.
    fn unary(&mut self) -> Result<Tree, String> {
        let mut before = Vec::new();
        loop {
            if self.take_keyword("NOT") {
                before.push("NOT");
            } else if (self.peek_sign("-") || self.peek_sign("+")) && self.digits(self.next + 1).is_some() {
                break; // The sign of a number, which reaches one further below zero than above.
            } else if self.take_sign("-") {
                before.push("-");
            } else {
                break;
            }
        }
        let mut tree = self.primary()?;
        for operator in before.into_iter().rev() {
            let inner = Box::new(tree.0);
            tree = self.node(if operator == "NOT" { Node::Not(inner) } else { Node::Negate(inner) }, tree.1)?;
        }
        Ok(tree)
    }

    /// The digits at that place of the tokens, when a number is there.
    fn digits(&self, place: usize) -> Option<&str> {
        match self.tokens.get(place) {
            Some((_, Token::Word(word))) if word.bytes().all(|byte| byte.is_ascii_digit()) => Some(word),
            _ => None,
        }
    }

    fn number(&mut self) -> Result<Option<Node>, String> {
        let sign = if self.peek_sign("-") { "-" } else { "" };
        let signed = usize::from(self.peek_sign("-") || self.peek_sign("+"));
        let Some(digits) = self.digits(self.next + signed) else { return Ok(None) };
        let at = self.tokens[self.next].0;
        let number = format!("{sign}{digits}")
            .parse()
            .map_err(|_| format!("the number at character {at} has more than 32 bits"))?;
        self.next += signed + 1;
        Ok(Some(Node::Integer(number)))
    }

    fn primary(&mut self) -> Result<Tree, String> {
        if let Some(number) = self.number()? {
            return self.node(number, 0);
        }
        if self.take_sign("(") {
            let tree = self.inner()?;
            self.expect_sign(")")?;
            return Ok(tree);
        }
        if self.take_keyword("EXISTS") {
            let name = self.name()?;
            return self.node(Node::Exists(name), 0);
        }
        for (keyword, value) in [("TRUE", true), ("FALSE", false)] {
            if self.take_keyword(keyword) {
                return self.node(Node::Boolean(value), 0);
            }
        }
        if let Some(Token::Text(text)) = self.peek() {
            let text = text.clone();
            self.next += 1;
            return self.node(Node::Text(text), 0);
        }
        if matches!(self.tokens.get(self.next + 1), Some((_, Token::Sign("(")))) {
            return self.call();
        }
        let name = self.name()?;
        self.node(Node::Attribute(name), 0)
    }

    /// The name of an attribute; cases are not told apart, since attributes are in lowercase.
    fn name(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Token::Word(word)) if !word.contains('_') && !keyword(word) => {
                let name = word.to_ascii_lowercase();
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("an attribute or a value")),
        }
    }

    fn call(&mut self) -> Result<Tree, String> {
        let at = self.tokens[self.next].0;
        let name = match self.peek() {
            Some(Token::Word(word)) if !keyword(word) => word.clone(),
            _ => return Err(self.unexpected("an attribute or a value")),
        };
        self.next += 2; // The name and the parenthesis behind it.
        let (arguments, depth) = self.list(0)?;
        let function = Function::find(&name, arguments.len()).ok_or_else(|| {
            format!(
                "there is no function `{}` of {} arguments, as at character {at}",
                name.to_ascii_uppercase(),
                arguments.len()
            )
        })?;
        self.node(Node::Call(function, arguments), depth)
    }
}

fn keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}

fn too_deep() -> String {
    format!("an expression is at most {SQL_DEPTH_MAX} deep")
}
