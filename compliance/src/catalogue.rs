//! The controls and the frameworks, as they were compiled in.
//!
//! The texts are our own words. An id of a requirement is the number that the framework gives it, so that a reader finds it there. A framework
//! names only what this platform can be evidence of: much of each is about people and papers, and is not here.

use std::sync::LazyLock;

use hub_domain::finding::Severity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checks::Check;

/// What everybody is told who reads evidence.
pub const NOTICE: &str = "This is evidence for whoever judges whether a framework is met. It is not a certification, and a requirement with no \
                          finding is not thereby met: the controls cover what a program can see.";

const CONTROLS: &[&str] = &[
    include_str!("../controls/access.toml"),
    include_str!("../controls/keys.toml"),
    include_str!("../controls/log.toml"),
    include_str!("../controls/operation.toml"),
];

const FRAMEWORKS: &[&str] = &[
    include_str!("../frameworks/gdpr.toml"),
    include_str!("../frameworks/hipaa.toml"),
    include_str!("../frameworks/iso27001.toml"),
    include_str!("../frameworks/pci_dss.toml"),
    include_str!("../frameworks/soc2.toml"),
];

/// So many hexadecimal digits of the SHA-256 of all files are the version.
const VERSION_DIGITS: usize = 12;

/// All of it.
#[derive(Debug)]
pub struct Catalogue {
    /// Another one whenever a word of the data is another one.
    pub version: String,
    /// In the order of their ids.
    pub controls: Vec<Control>,
    /// In the order of their ids.
    pub frameworks: Vec<Framework>,
}

/// One demand of the platform on itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Control {
    pub id: String,
    pub title: String,
    /// What must be so.
    pub demand: String,
    /// What it means when it is not.
    pub failure: String,
    pub severity: Severity,
    /// What tells whether it is so.
    pub check: Check,
    /// How much is too much, in the unit of the check; null where the check needs none.
    pub limit: Option<i64>,
}

/// What somebody else asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Framework {
    pub id: String,
    pub name: String,
    pub edition: String,
    #[serde(rename = "requirement")]
    pub requirements: Vec<Requirement>,
}

/// One thing that a framework asks for, and that this platform can be evidence of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// As the framework numbers it.
    pub id: String,
    pub title: String,
    /// In our own words.
    pub text: String,
    /// The ids of the controls that are evidence of it.
    pub controls: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlFile {
    control: Vec<Control>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let readable = "the tests read every file of the catalogue";
    let mut controls: Vec<Control> =
        CONTROLS.iter().flat_map(|text| toml::from_str::<ControlFile>(text).expect(readable).control).collect();
    controls.sort_by(|one, other| one.id.cmp(&other.id));
    let mut frameworks: Vec<Framework> = FRAMEWORKS.iter().map(|text| toml::from_str(text).expect(readable)).collect();
    frameworks.sort_by(|one, other| one.id.cmp(&other.id));
    Catalogue { version: version(), controls, frameworks }
});

/// The controls and the frameworks.
#[must_use]
pub fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

impl Catalogue {
    /// The control of this id.
    #[must_use]
    pub fn control(&self, id: &str) -> Option<&Control> {
        self.controls.iter().find(|control| control.id == id)
    }

    /// The framework of this id.
    #[must_use]
    pub fn framework(&self, id: &str) -> Option<&Framework> {
        self.frameworks.iter().find(|framework| framework.id == id)
    }
}

fn version() -> String {
    let mut hash = Sha256::new();
    for text in CONTROLS.iter().chain(FRAMEWORKS) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let mut text: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(VERSION_DIGITS);
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::VariantArray as _;

    use super::*;

    fn is_unique<'a>(ids: impl IntoIterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for id in ids {
            assert!(seen.insert(id), "{id} is there twice");
        }
    }

    #[test]
    fn every_id_is_there_once_and_shaped_as_an_id() {
        let Catalogue { controls, frameworks, .. } = catalogue();
        is_unique(controls.iter().map(|control| &*control.id));
        is_unique(frameworks.iter().map(|framework| &*framework.id));
        for framework in frameworks {
            is_unique(framework.requirements.iter().map(|requirement| &*requirement.id));
            framework.requirements.iter().for_each(|one| is_unique(one.controls.iter().map(String::as_str)));
        }
        let shaped =
            |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let ids = controls.iter().map(|control| &control.id).chain(frameworks.iter().map(|framework| &framework.id));
        ids.for_each(|id| assert!(shaped(id), "{id}"));
    }

    #[test]
    fn no_text_is_missing() {
        let Catalogue { controls, frameworks, version } = catalogue();
        for Control { id, title, demand, failure, .. } in controls {
            for text in [title, demand, failure] {
                assert!(text.len() > 10 && text.trim() == text, "{id}: `{text}`");
            }
        }
        for framework in frameworks {
            assert!(!framework.name.is_empty() && !framework.edition.is_empty(), "{}", framework.id);
            for Requirement { id, title, text, .. } in &framework.requirements {
                assert!(!title.is_empty() && text.len() > 20 && text.trim() == text, "{id}: `{text}`");
            }
        }
        assert_eq!(version.len(), VERSION_DIGITS);
    }

    #[test]
    fn every_requirement_has_controls_that_exist_and_every_control_is_evidence_of_something() {
        let catalogue = catalogue();
        let mut used = BTreeSet::new();
        for requirement in catalogue.frameworks.iter().flat_map(|framework| &framework.requirements) {
            assert!(!requirement.controls.is_empty(), "{} is evidenced by nothing", requirement.id);
            for id in &requirement.controls {
                assert!(catalogue.control(id).is_some(), "{}: there is no control {id}", requirement.id);
                used.insert(id.as_str());
            }
        }
        for control in &catalogue.controls {
            assert!(used.contains(&*control.id), "{} is evidence of nothing", control.id);
        }
    }

    #[test]
    fn every_check_is_of_one_control_and_has_a_limit_if_it_needs_one() {
        let controls = &catalogue().controls;
        for check in Check::VARIANTS {
            let of: Vec<_> = controls.iter().filter(|control| control.check == *check).collect();
            assert_eq!(of.len(), 1, "{check:?}: {of:?}");
            assert_eq!(of[0].limit.is_some(), check.unit().is_some(), "{check:?}");
            assert!(of[0].limit.is_none_or(|limit| limit >= 0), "{check:?}");
        }
    }

    #[test]
    fn all_five_frameworks_are_there() {
        let ids: Vec<_> = catalogue().frameworks.iter().map(|framework| &*framework.id).collect();
        assert_eq!(ids, ["gdpr", "hipaa", "iso27001", "pci-dss", "soc2"]);
    }
}
