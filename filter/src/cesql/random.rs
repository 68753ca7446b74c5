//! Expressions by chance: neither parsing nor evaluating panics, and what parses can be said again.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::Sql;
use crate::{attribute::Value, effort::Effort, hint::TypeHint};

/// The same expressions in every run.
const SEED: u64 = 20_261_121;
const ROUNDS: usize = 20_000;

const PIECES: &[&str] = &[
    "AND",
    "OR",
    "XOR",
    "NOT",
    "LIKE",
    "IN",
    "EXISTS",
    "TRUE",
    "FALSE",
    "=",
    "!=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "(",
    ")",
    ",",
    "'%a_'",
    "'\\%'",
    "''",
    "'12'",
    "\"ü\\\"\"",
    "'true'",
    "0",
    "1",
    "-1",
    "2147483647",
    "-2147483648",
    "9999999999",
    "id",
    "n",
    "b",
    "gone",
    "LENGTH(",
    "CONCAT(",
    "CONCAT_WS(",
    "LOWER(",
    "UPPER(",
    "TRIM(",
    "LEFT(",
    "RIGHT(",
    "SUBSTRING(",
    "ABS(",
    "INT(",
    "BOOL(",
    "STRING(",
    "IS_INT(",
    "IS_BOOL(",
    "\\",
    "'",
    "\"",
    "§",
    "_",
    ".",
    "\u{0}",
];

fn event() -> [(&'static str, Value<'static>); 4] {
    [
        ("type", Value::from("a.b")),
        ("id", Value::from("grüße 12")),
        ("n", Value::from(i32::MIN)),
        ("b", Value::from(true)),
    ]
}

#[test]
fn random_pieces_never_panic() {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut parsed = 0;
    for _ in 0..ROUNDS {
        let count = random.random_range(1..20);
        let text = (0..count).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect::<Vec<_>>().join(" ");
        if let Ok(sql) = text.parse::<Sql>() {
            parsed += 1;
            assert_eq!(
                sql.matches(&event(), &Effort::new()),
                text.parse::<Sql>().unwrap().matches(&event(), &Effort::new()),
                "{text}"
            );
        }
    }
    assert!(parsed > 100, "only {parsed} parsed");
}

#[test]
fn random_expressions_never_panic() {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut matched = 0;
    for _ in 0..ROUNDS {
        let text = format!("{} = {}", expression(&mut random, 3), expression(&mut random, 2));
        let sql = text.parse::<Sql>().unwrap_or_else(|error| panic!("{text}: {error}"));
        matched += usize::from(sql.matches(&event(), &Effort::new()));
    }
    assert!(matched > 100, "only {matched} matched");
}

#[test]
fn hints_never_leave_out_what_is_wanted() {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut hinted = 0;
    for _ in 0..ROUNDS {
        let mut text = condition(&mut random).to_owned();
        for _ in 0..random.random_range(0..4) {
            let (operator, more) = (["AND", "OR"][random.random_range(0..2)], condition(&mut random));
            let left = random.random_bool(0.5);
            text = if left { format!("({text}) {operator} {more}") } else { format!("{more} {operator} ({text})") };
        }
        let sql = text.parse::<Sql>().unwrap_or_else(|error| panic!("{text}: {error}"));
        let (matches, Some(hints)) = (sql.matches(&event(), &Effort::new()), sql.types_hint()) else { continue };
        let admitted = hints.iter().any(|hint| match hint {
            TypeHint::Exact(text) => text == "a.b",
            TypeHint::Prefix(text) => "a.b".starts_with(text.as_str()),
        });
        assert!(admitted || !matches, "{text}: {hints:?}");
        hinted += usize::from(matches);
    }
    assert!(hinted > 100, "only {hinted} were wanted and had a hint");
}

/// A condition on the type, or on something else.
fn condition(random: &mut StdRng) -> &'static str {
    const CONDITIONS: &[&str] = &[
        "type = 'a.b'",
        "type = 'a.c'",
        "'a.b' = type",
        "type != 'a.b'",
        "type != 'a.c'",
        "NOT (type = 'a.c')",
        "type LIKE 'a.%'",
        "type LIKE 'b.%'",
        "type NOT LIKE 'b.%'",
        "type LIKE '_.b'",
        "type IN ('a.b', 'a.c')",
        "type IN ('b', id)",
        "type NOT IN ('a.c')",
        "TRUE",
        "b",
        "EXISTS gone",
        "gone = 'x'",
        "(type = 'a.b') = TRUE",
        "(type = 'a.b') XOR (type LIKE 'b.%')",
    ];
    CONDITIONS[random.random_range(0..CONDITIONS.len())]
}

/// A whole expression of at most that depth.
fn expression(random: &mut StdRng, depth: usize) -> String {
    const ATOMS: &[&str] =
        &["id", "n", "b", "gone", "TRUE", "false", "0", "3", "-2147483648", "2147483647", "'12'", "'ü'", "''"];
    const BINARY: &[&str] = &["AND", "OR", "XOR", "=", "!=", "<", ">=", "+", "-", "*", "/", "%"];
    const UNARY: &[&str] = &["LENGTH", "LOWER", "UPPER", "TRIM", "ABS", "INT", "BOOL", "STRING", "IS_INT", "IS_BOOL"];
    if depth == 0 {
        return ATOMS[random.random_range(0..ATOMS.len())].to_owned();
    }
    let mut inner = || expression(random, depth - 1);
    let (one, two) = (inner(), inner());
    match random.random_range(0..9) {
        0 | 1 => format!("({one} {} {two})", BINARY[random.random_range(0..BINARY.len())]),
        2 => format!("{}({one})", UNARY[random.random_range(0..UNARY.len())]),
        3 => format!("SUBSTRING({one}, {two}, {})", random.random_range(-3..3)),
        4 => format!(
            "{}({one}, {two})",
            ["LEFT", "RIGHT", "SUBSTRING", "CONCAT", "CONCAT_WS"][random.random_range(0..5)]
        ),
        5 => format!("({one} NOT LIKE '%_\\%')"),
        6 => format!("({one} IN ({two}, 1, 'x'))"),
        7 => format!("(NOT {one})"),
        _ => format!("(-{one})"),
    }
}
