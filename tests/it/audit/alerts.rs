//! The alert rules that come with the platform: they can be read, and ask for metrics that there are.

use std::fs;

use hub_tests::kit::workspace;

/// One rule, by the keys that every one must have.
#[derive(Debug, Default)]
struct Rule {
    alert: String,
    expr: String,
    severity: String,
    summary: String,
    action: String,
}

/// Reads the rules: of YAML only what the file uses, which is a key and a plain or quoted value a line, indented with its parents.
fn rules(text: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    for line in lines {
        assert!(!line.contains('\t'), "YAML has no tabs: {line}");
        let (key, value) = line.trim_start().split_once(':').unwrap_or_else(|| panic!("no key: {line}"));
        let value = value.trim();
        let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
        let plain = !value.contains(": ")
            && !value.contains(" #")
            && !value.starts_with(['{', '[', '*', '&', '!', '%', '@', '`', '"']);
        assert!(quoted || plain, "this value has to be quoted: {line}");
        let indent = line.len() - line.trim_start().len();
        match (indent, key) {
            (0, "groups") | (2, "- name") | (4, "rules") | (8, "for" | "labels" | "annotations") => {}
            (6, "- alert") => rules.push(Rule { alert: value.to_owned(), ..Rule::default() }),
            (8 | 10, _) => {
                let rule = rules.last_mut().expect("a rule begins with its name");
                let field = match (indent, key) {
                    (8, "expr") => &mut rule.expr,
                    (10, "severity") => &mut rule.severity,
                    (10, "summary") => &mut rule.summary,
                    (10, "action") => &mut rule.action,
                    _ => panic!("nobody knows this key here: {line}"),
                };
                value.clone_into(field);
            }
            _ => panic!("nobody knows this key here: {line}"),
        }
    }
    rules
}

fn sources() -> String {
    let mut text = String::new();
    let mut open: Vec<_> =
        ["event-store", "hub", "projections", "seal"].map(|room| workspace().join(room).join("src")).into();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

#[test]
fn every_alert_says_what_to_do_and_asks_for_metrics_that_there_are() {
    let rules = rules(&fs::read_to_string(workspace().join("docs/alerts/hub.rules.yml")).unwrap());
    let sources = sources();
    assert!(rules.len() >= 4, "{rules:?}");
    for rule in &rules {
        let names =
            rule.expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("hub_"));
        let names: Vec<_> = names.collect();
        assert!(!names.is_empty(), "{rule:?}");
        for name in names {
            assert!(sources.contains(&format!("\"{name}\"")), "nobody sets {name}");
        }
        assert!(
            ["critical", "warning"].contains(&&*rule.severity) && !rule.summary.is_empty() && !rule.action.is_empty(),
            "{rule:?}"
        );
        assert!(rule.alert.starts_with("Hub"), "{rule:?}");
    }
    for needed in
        ["hub_seal_lag_seconds", "hub_seal_refused", "hub_seal_check_findings", "hub_seal_witness_contradicted"]
    {
        assert!(rules.iter().any(|rule| rule.expr.contains(needed)), "nobody is told of {needed}");
    }
}
