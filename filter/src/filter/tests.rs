use serde_json::{Value as Json, json};

use super::{Filter, TEXT_LENGTH_MAX};
use crate::{
    ATTRIBUTE_COUNT_MAX, Attributes, DEPTH_MAX, EXPRESSION_COUNT_MAX, Expression, OPERAND_LENGTH_MAX, TYPE_COUNT_MAX,
    Value, effort::Effort,
};

const SUBJECT: &str = "subscription/0198a5c8-6f0e-7b63-9d8a-3c1f5e2b7a90";

fn event() -> impl Attributes {
    [
        ("type", Value::from("subscription.paused")),
        ("subject", Value::from(SUBJECT)),
        ("source", Value::from("urn:service-hub:tenant:7")),
        ("streamsequence", Value::from(12)),
        ("test", Value::from(true)),
    ]
}

fn read(filter: Json) -> Filter {
    serde_json::from_value(filter).unwrap()
}

fn wants(expression: Json) -> bool {
    read(json!({ "filters": [expression] })).matches(&event())
}

fn error(filter: &Json) -> String {
    Filter::from_json(filter).unwrap_err().to_string()
}

#[test]
fn a_filter_without_parts_wants_everything() {
    for filter in [json!({}), json!({ "types": null, "filters": [] })] {
        let filter = read(filter);
        assert_eq!(filter, Filter::everything());
        assert!(filter.wants_everything());
        assert!(filter.matches(&event()));
        assert_eq!(serde_json::to_string(&filter).unwrap(), "{}");
    }
}

#[test]
fn every_part_that_is_there_must_want_the_event() {
    let wanted = json!({ "types": ["role.*", "subscription.*"], "subjects": [SUBJECT], "filters": [{ "exact": { "test": "true" } }] });
    assert!(read(wanted.clone()).matches(&event()));
    for (part, unwanted) in [
        ("types", json!(["subscription.resumed"])),
        ("subjects", json!(["tenant/*"])),
        ("filters", json!([{ "exact": { "test": "true" } }, { "exact": { "test": "false" } }])),
    ] {
        let mut filter = wanted.clone();
        filter[part] = unwanted;
        assert!(!read(filter).matches(&event()), "{part}");
    }
}

#[test]
fn an_event_without_type_or_subject_fits_no_pattern() {
    let bare: [(&str, Value<'_>); 0] = [];
    assert!(!read(json!({ "types": ["*"] })).matches(&bare));
    assert!(!read(json!({ "subjects": ["*"] })).matches(&bare));
    assert!(Filter::everything().matches(&bare));
}

#[test]
fn exact_prefix_and_suffix_compare_all_attributes() {
    assert!(wants(json!({ "exact": { "type": "subscription.paused" } })));
    assert!(!wants(json!({ "exact": { "type": "Subscription.paused" } })));
    assert!(!wants(json!({ "exact": { "type": "subscription.paused", "subject": "x" } })));
    assert!(wants(json!({ "exact": { "streamsequence": "12", "test": "true" } })));
    assert!(wants(json!({ "prefix": { "type": "subscription.", "source": "urn:" } })));
    assert!(!wants(json!({ "prefix": { "type": "paused" } })));
    assert!(wants(json!({ "suffix": { "type": ".paused" } })));
    assert!(!wants(json!({ "suffix": { "type": "subscription." } })));
}

#[test]
fn what_an_event_does_not_have_equals_nothing() {
    for dialect in ["exact", "prefix", "suffix"] {
        assert!(!wants(json!({ dialect: { "traceparent": "x" } })), "{dialect}");
    }
    assert!(wants(json!({ "not": { "exact": { "traceparent": "x" } } })));
}

#[test]
fn all_any_and_not_join_expressions() {
    let yes = json!({ "prefix": { "type": "subscription." } });
    let no = json!({ "exact": { "type": "role.created" } });
    assert!(wants(json!({ "all": [yes, yes] })));
    assert!(!wants(json!({ "all": [yes, no] })));
    assert!(wants(json!({ "any": [no, yes] })));
    assert!(!wants(json!({ "any": [no, no] })));
    assert!(wants(json!({ "not": no })));
    assert!(!wants(json!({ "not": { "not": no } })));
    assert!(wants(json!({ "any": [no, { "all": [yes, { "not": no }] }] })));
}

#[test]
fn sql_is_a_dialect_like_the_others() {
    assert!(wants(json!({ "sql": "type LIKE '%.paused' AND streamsequence > 10" })));
    assert!(!wants(json!({ "sql": "streamsequence > 12" })));
    assert!(!wants(json!({ "sql": "traceparent = 'x'" })));
    assert!(wants(json!({ "not": { "sql": "traceparent = 'x'" } })), "what fails is not true");
}

#[test]
fn a_filter_survives_being_written() {
    let json = json!({
        "types": ["role.created", "tenant.*"],
        "subjects": ["*"],
        "filters": [
            { "exact": { "id": "1" } }, { "prefix": { "id": "1" } }, { "suffix": { "id": "1" } }, { "sql": "id  = '1'" },
            { "all": [{ "any": [{ "not": { "exact": { "id": "1" } } }] }] },
        ],
    });
    let filter = read(json.clone());
    assert_eq!(serde_json::to_value(&filter).unwrap(), json);
    assert_eq!(read(json), filter.clone());
    assert_ne!(filter, Filter::everything());
}

#[test]
fn what_is_wrong_is_named_by_its_pointer() {
    for (filter, at) in [
        (json!([]), "a filter is"),
        (json!({ "typs": [] }), "/typs: "),
        (json!({ "a/b~": [] }), "/a~1b~0: "),
        (json!({ "types": [] }), "/types: "),
        (json!({ "types": "*" }), "/types: "),
        (json!({ "types": ["*", 1] }), "/types/1: "),
        (json!({ "types": ["*", "tenant"] }), "/types/1: "),
        (json!({ "subjects": ["tenant"] }), "/subjects/0: "),
        (json!({ "filters": {} }), "/filters: "),
        (json!({ "filters": [1] }), "/filters/0: "),
        (json!({ "filters": [{}] }), "/filters/0: "),
        (json!({ "filters": [{ "exact": { "id": "1" }, "prefix": { "id": "1" } }] }), "/filters/0: "),
        (json!({ "filters": [{ "like": {} }] }), "/filters/0/like: "),
        (json!({ "filters": [{ "exact": {} }] }), "/filters/0/exact: "),
        (json!({ "filters": [{ "exact": [] }] }), "/filters/0/exact: "),
        (json!({ "filters": [{ "exact": { "id": "" } }] }), "/filters/0/exact/id: "),
        (json!({ "filters": [{ "exact": { "id": 1 } }] }), "/filters/0/exact/id: "),
        (json!({ "filters": [{ "exact": { "": "1" } }] }), "/filters/0/exact/: "),
        (json!({ "filters": [{ "exact": { "tenant_id": "1" } }] }), "/filters/0/exact/tenant_id: "),
        (json!({ "filters": [{ "all": [] }] }), "/filters/0/all: "),
        (json!({ "filters": [{ "any": [{ "all": [{ "exact": { "id": "1" } }, 1] }] }] }), "/filters/0/any/0/all/1: "),
        (json!({ "filters": [{ "not": [] }] }), "/filters/0/not: "),
        (json!({ "filters": [{ "sql": 1 }] }), "/filters/0/sql: "),
        (json!({ "filters": [{ "sql": "id =" }] }), "/filters/0/sql: "),
    ] {
        let message = error(&filter);
        assert!(message.starts_with(at), "{filter}: {message}");
    }
    let message = serde_json::from_value::<Filter>(json!({ "filters": [{ "sql": "id = " }] })).unwrap_err().to_string();
    assert_eq!(message, "/filters/0/sql: the expression ends where an attribute or a value should follow");
}

#[test]
fn all_bounds_hold() {
    let exact = json!({ "exact": { "id": "1" } });
    let nested = |depth: usize| (1..depth).fold(exact.clone(), |inner, _| json!({ "not": inner }));
    let texts =
        |count: usize| (0..count).map(|index| (format!("a{index}"), json!("1"))).collect::<serde_json::Map<_, _>>();
    let long = |length: usize| json!({ "exact": { "id": "1".repeat(length) } });
    let cases = [
        (json!({ "types": vec!["*"; TYPE_COUNT_MAX] }), json!({ "types": vec!["*"; TYPE_COUNT_MAX + 1] })),
        (
            json!({ "filters": vec![&exact; EXPRESSION_COUNT_MAX] }),
            json!({ "filters": vec![&exact; EXPRESSION_COUNT_MAX + 1] }),
        ),
        (
            json!({ "filters": [{ "any": vec![&exact; EXPRESSION_COUNT_MAX - 1] }] }),
            json!({ "filters": [{ "any": vec![&exact; EXPRESSION_COUNT_MAX] }] }),
        ),
        (json!({ "filters": [nested(DEPTH_MAX)] }), json!({ "filters": [nested(DEPTH_MAX + 1)] })),
        (
            json!({ "filters": [{ "suffix": texts(ATTRIBUTE_COUNT_MAX) }] }),
            json!({ "filters": [{ "suffix": texts(ATTRIBUTE_COUNT_MAX + 1) }] }),
        ),
        (json!({ "filters": [long(OPERAND_LENGTH_MAX)] }), json!({ "filters": [long(OPERAND_LENGTH_MAX + 1)] })),
        (
            json!({ "filters": vec![long(1_000); TEXT_LENGTH_MAX / 1_002] }),
            json!({ "filters": vec![long(1_000); TEXT_LENGTH_MAX / 1_002 + 1] }),
        ),
    ];
    for (within, beyond) in cases {
        Filter::from_json(&within).unwrap();
        error(&beyond);
    }
}

#[test]
fn query_parameters_make_the_same_filter() {
    let sql = "id = '1'";
    let filter = Filter::from_query(
        Some("tenant.*, role.created"),
        Some("tenant/*"),
        Some(sql),
        Some(r#"[{ "exact": { "source": "s" } }]"#),
    );
    let same = json!({
        "types": ["role.created", "tenant.*"],
        "subjects": ["tenant/*"],
        "filters": [{ "exact": { "source": "s" } }, { "sql": sql }],
    });
    assert_eq!(filter.unwrap(), read(same));
    assert_eq!(Filter::from_query(None, None, None, None).unwrap(), Filter::everything());
}

#[test]
fn what_is_wrong_in_a_query_is_named_by_its_parameter() {
    let error = |types, subjects, sql, filters| Filter::from_query(types, subjects, sql, filters).unwrap_err().at;
    assert_eq!(error(Some("*,tenant"), None, None, None), "types/1");
    assert_eq!(error(Some(""), None, None, None), "types/0");
    assert_eq!(error(None, Some("tenant/1"), None, None), "subjects/0");
    assert_eq!(error(None, None, Some("("), None), "sql");
    assert_eq!(error(None, None, None, Some("{")), "filters");
    assert_eq!(error(None, None, None, Some(r#"[{"sql":"("}]"#)), "filters/0/sql");
}

#[test]
fn an_expression_can_be_read_alone() {
    let expression: Expression = serde_json::from_value(json!({ "not": { "exact": { "type": "a.b" } } })).unwrap();
    assert!(expression.matches(&event(), &Effort::new()));
    assert!(serde_json::from_value::<Expression>(json!({ "not": 1 })).is_err());
}

#[test]
fn a_nul_is_refused_since_nothing_could_keep_it() {
    for json in [
        json!({ "exact": { "type": "a\0" } }),
        json!({ "not": { "suffix": { "subject": "\0" } } }),
        json!({ "sql": "type = 'a\0'" }),
    ] {
        let error = serde_json::from_value::<Expression>(json).unwrap_err().to_string();
        assert!(error.contains("no NUL"), "{error}");
    }
}

#[test]
fn the_schema_describes_every_dialect() {
    let schema = schemars::schema_for!(Filter).to_value();
    let dialects: Vec<_> = schema["$defs"]["FilterExpression"]["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["required"][0].as_str().unwrap())
        .collect();
    assert_eq!(dialects, ["exact", "prefix", "suffix", "all", "any", "not", "sql"]);
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema.get("required").is_none(), "{schema}");
}

#[test]
fn the_examples_of_the_guide_are_filters() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guides/event-types.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let blocks = |language: &str| -> Vec<String> {
        let begin = format!("```{language}\n");
        guide.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    };
    for block in blocks("json") {
        serde_json::from_str::<Filter>(&block).unwrap_or_else(|error| panic!("{block}: {error}"));
    }
    for line in blocks("sql").iter().flat_map(|block| block.lines()) {
        line.parse::<crate::Sql>().unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let rows: Vec<&str> =
        guide.lines().filter_map(|line| Some(line.split_once("| `{")?.1.strip_suffix("` |").unwrap())).collect();
    assert_eq!(rows.len(), 7, "each dialect has an example: {rows:?}");
    for row in rows {
        serde_json::from_str::<Expression>(&format!("{{{row}")).unwrap_or_else(|error| panic!("{row}: {error}"));
    }
}

#[test]
fn the_expressions_of_a_filter_share_what_one_event_is_worth() {
    let sql = format!("CONCAT({}subject) LIKE '%_z' OR TRUE", "subject, ".repeat(99));
    let of = |count: usize| read(json!({ "filters": vec![json!({ "sql": sql }); count] })).matches(&event());
    assert!(of(1));
    assert!(!of(10));
}
