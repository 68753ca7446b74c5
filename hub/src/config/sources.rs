//! Where the value of a setting is looked for, and how a text becomes one.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{Error, Flags, KEYS, Key, SECRET};

pub(super) fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

pub(super) fn scheme(text: &str, schemes: &[&str]) -> Option<String> {
    schemes.iter().any(|scheme| text.starts_with(scheme)).then(|| text.to_owned())
}

pub(super) fn read(path: &Path) -> Result<(PathBuf, String), Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.to_owned(), text)),
        Err(reason) => Err(Error::Unreadable { path: path.to_owned(), reason }),
    }
}

pub(super) struct File {
    path: PathBuf,
    table: toml::Table,
}

pub(super) fn parse(path: &Path, text: &str) -> Result<File, Error> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| Error::Syntax {
        path: path.to_owned(),
        line: error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1),
        message: error.message().replace('\n', ", "),
    })?;
    let unknown = table.keys().find(|name| KEYS.iter().all(|key| key.name != name.as_str()));
    match unknown {
        Some(key) => Err(Error::UnknownKey {
            path: path.to_owned(),
            key: key.clone(),
            known: KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", "),
        }),
        None => Ok(File { path: path.to_owned(), table }),
    }
}

pub(super) struct Sources<'a> {
    pub(super) flags: &'a Flags,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    pub(super) file: Option<File>,
}

impl Sources<'_> {
    /// The value that counts, with the words for where it was said. An empty variable is the same as none.
    fn find(&self, key: &Key) -> Option<(String, String)> {
        if let Some(text) = self.flags.get(key.name) {
            return Some((text.to_owned(), format!("--{}", key.name.replace('_', "-"))));
        }
        if let Some(text) = (self.environment)(key.variable).filter(|text| !text.is_empty()) {
            return Some((text, key.variable.to_owned()));
        }
        let file = self.file.as_ref()?;
        let text = match file.table.get(key.name)? {
            toml::Value::String(text) => text.clone(),
            // As it is written in flags and variables.
            toml::Value::Array(list) => {
                list.iter().map(|item| item.as_str().unwrap_or_default()).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        Some((text, file.path.display().to_string()))
    }

    pub(super) fn get<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let key = KEYS.iter().find(|key| key.name == name).expect("every setting is in the list of keys");
        let Some((text, origin)) = self.find(key) else {
            return Ok(None);
        };
        match read(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::Value { key: key.name, value: shown(key.name, &text), expected, origin }),
        }
    }
}

fn shown(key: &str, text: &dyn Display) -> String {
    if SECRET.contains(&key) { String::new() } else { format!(" `{text}`") }
}
