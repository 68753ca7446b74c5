//! Every SQL text of every room: listed, and accepted by PostgreSQL against the migrated schema.

use std::{collections::BTreeSet, fs, path::Path};

use hub_tests::kit::{Database, workspace};
use sqlx::Executor as _;

/// What the SQL texts of the rooms begin with.
const VERBS: [&str; 5] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "];

/// Each room with its list.
const ROOMS: [(&str, &[&str]); 12] = [
    ("access", hub_access::QUERIES),
    ("event-store", hub_event_store::QUERIES),
    ("commands", hub_commands::process::QUERIES),
    ("delivery", hub_delivery::QUERIES),
    ("compliance", hub_compliance::QUERIES),
    ("consumers", hub_consumers::QUERIES),
    ("projections", hub_projections::QUERIES),
    ("read-api", hub_read_api::QUERIES),
    ("replay-tools", hub_replay_tools::QUERIES),
    ("report", hub_report::QUERIES),
    ("seal", hub_seal::QUERIES),
    ("hub", hub::QUERIES),
];

#[tokio::test]
async fn every_sql_text_of_every_room_fits_the_migrated_schema() {
    let database = Database::new().await;
    let mut connection = database.pool.acquire().await.unwrap();
    let listed = ROOMS.iter().flat_map(|(room, texts)| texts.iter().map(move |text| (*room, (*text).to_owned())));
    let of_tables = hub_projections::all().into_iter().flat_map(|projection| {
        let queries = projection.queries();
        assert!(!queries.is_empty(), "{} lists nothing", projection.name());
        queries.into_iter().map(move |text| (projection.name(), text))
    });
    let mut refused = Vec::new();
    for (room, text) in listed.chain(of_tables) {
        if let Err(error) = connection.prepare(&text).await {
            refused.push(format!("{room}: {error}\n  {text}"));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// Without this a text could be forgotten, and with it whatever a migration does to it.
#[test]
fn every_constant_with_sql_in_it_is_in_the_list_of_its_room() {
    let mut forgotten = Vec::new();
    for (room, texts) in ROOMS {
        let files = sources(&workspace().join(room).join("src"));
        let listed: BTreeSet<String> = files.iter().flat_map(|(_, source)| entries(source)).collect();
        let constants: Vec<_> = files
            .iter()
            .flat_map(|(module, source)| sql_constants(source).into_iter().map(move |name| (module.clone(), name)))
            .collect();
        assert_eq!(listed.len(), texts.len(), "{room}: the list cannot be read from the sources: {listed:?}");
        for (module, name) in constants {
            let path = format!("{module}::{name}");
            if !listed.contains(&name)
                && !listed.iter().any(|entry| entry == &path || entry.ends_with(&format!("::{path}")))
            {
                forgotten.push(format!("{room}: {path}"));
            }
        }
    }
    assert!(forgotten.is_empty(), "not in QUERIES: {forgotten:?}");
}

#[test]
fn sql_is_a_named_constant_and_never_written_into_a_call() {
    // The one question that needs no schema, and the questions to a server that has no schema yet.
    let free = ["hub/api", "hub/postgres"];
    for (room, _) in ROOMS {
        for (module, source) in sources(&workspace().join(room).join("src")) {
            let place = format!("{room}/{module}");
            for call in ["query(", "query_as(", "query_scalar(", "raw_sql("] {
                let written = source.split(call).skip(1).any(|rest| rest.trim_start().starts_with('"'));
                assert!(!written || free.contains(&place.as_str()), "{place} has SQL inside of {call}..)");
            }
        }
    }
}

/// Module name and text of every source file below `directory`, without its unit tests.
fn sources(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let named = if path.file_stem().unwrap() == "mod" { path.parent().unwrap() } else { &path };
            let module = named.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            found.push((module, text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()));
        }
    }
    found
}

/// The entries of the room's list, when this is the file that has it, as paths to constants.
fn entries(source: &str) -> Vec<String> {
    let Some((_, list)) = source.split_once("const QUERIES: &[&str] =") else { return Vec::new() };
    let (_, list) = list.split_once("&[").unwrap();
    let (list, _) = list.split_once("];").unwrap();
    let entries = list.split(',').map(|entry| entry.trim().trim_end_matches(".whole").to_owned());
    entries.filter(|entry| !entry.is_empty()).collect()
}

/// The names of the constants whose text is SQL.
fn sql_constants(source: &str) -> Vec<String> {
    let definitions = source.split("const ").skip(1).filter_map(|rest| rest.split_once(" ="));
    definitions
        .filter(|(head, value)| {
            let text = value.split_once('"').map_or("", |(_, text)| text.trim_start());
            let plain =
                head.split_once(':').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
            let end = value.find(';').unwrap_or(value.len());
            plain && value.find('"').is_some_and(|start| start < end) && VERBS.iter().any(|verb| text.starts_with(verb))
        })
        .map(|(head, _)| head.split_once(':').expect("checked above").0.to_owned())
        .collect()
}
