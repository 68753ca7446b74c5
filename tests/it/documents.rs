//! What is written in `docs` is what the program says. `UPDATE_DOCUMENTS=1` writes it anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use hub_access::rules;
use hub_domain::attribute;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

#[test]
fn every_problem_code_has_its_page() {
    let folder = repository().join("docs/problems");
    let pages = hub::problem_pages::pages();
    if env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (code, page) in &pages {
            fs::write(folder.join(format!("{code}.md")), page).unwrap();
        }
    }
    for (code, page) in &pages {
        let kept = fs::read_to_string(folder.join(format!("{code}.md"))).unwrap_or_default();
        assert_eq!(&kept, page, "docs/problems/{code}.md is not what the program says");
    }
    let files: BTreeSet<_> =
        fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let expected: BTreeSet<_> = pages.keys().map(|code| format!("{code}.md")).collect();
    assert_eq!(files, expected, "a page without a code, or a code without a page");
}

/// The text with what stands between the marks of `name` written anew.
fn with_part(text: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no mark {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no mark {end}"));
    format!("{before}{begin}{part}{end}{after}")
}

/// One line for each permission, with the operations that ask for it.
fn permissions() -> String {
    let mut operations: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in hub::api::catalogue() {
        let operation = format!("`{} {}`", entry.method, entry.path);
        operations.entry(entry.permission.to_string()).or_default().insert(operation);
    }
    let mut table = "| permission | operations |\n|---|---|\n".to_owned();
    for (permission, operations) in operations {
        let operations: Vec<_> = operations.into_iter().collect();
        writeln!(table, "| `{permission}` | {} |", operations.join("<br>")).unwrap();
    }
    table
}

fn above_roles() -> String {
    let names = |rules: &[(&str, &str)]| {
        let names: Vec<_> = rules.iter().map(|(resource, action)| format!("`{resource}:{action}`")).collect();
        names.join(", ")
    };
    format!(
        "| who | what |\n|---|---|\n| only principals of the platform | {} |\n| only the tenant's owners, by the role `owner` and no other | {} |\n| everybody who is let in | {} |\n",
        names(rules::OF_PLATFORM),
        names(rules::OF_OWNER),
        names(rules::OF_EVERYBODY),
    )
}

fn attributes() -> String {
    let line = |(resource, names): &(&str, &[&str])| {
        let names: Vec<_> = names.iter().map(|name| format!("`resource.{name}`")).collect();
        format!("| {} | a `{resource}` |\n", names.join(", "))
    };
    let lines: String = attribute::OF_RESOURCES.iter().map(line).collect();
    format!("| attributes | of |\n|---|---|\n{lines}")
}

#[test]
fn the_guide_on_access_has_every_permission_rule_and_attribute() {
    let file = repository().join("docs/guides/access.md");
    let kept = fs::read_to_string(&file).unwrap();
    let parts = [("permissions", permissions()), ("rules", above_roles()), ("attributes", attributes())];
    let text = parts.iter().fold(kept.clone(), |text, (name, part)| with_part(&text, name, part));
    if env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::write(&file, &text).unwrap();
    } else {
        assert!(kept == text, "docs/guides/access.md is not what the program says: UPDATE_DOCUMENTS=1 writes it anew");
    }
    for name in attribute::COMMON {
        assert!(text.contains(&format!("`{name}`")), "the guide does not explain {name}");
    }
}
