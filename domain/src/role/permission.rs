//! What a role allows or denies: actions on a kind of resource, perhaps under a condition.

use std::{collections::BTreeSet, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use strum::AsRefStr;
use uuid::Uuid;

use crate::text::{InvalidText, Key};

use super::condition::Condition;

/// At most so many permissions a role.
pub const PERMISSION_COUNT_MAX: usize = 200;
/// At most so many actions a permission.
pub const ACTION_COUNT_MAX: usize = 20;

/// Identifies one permission within its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PermissionId(pub Uuid);

impl fmt::Display for PermissionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a permission opens or closes; where both match, a denial wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, AsRefStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PermissionEffect {
    Allow,
    Deny,
}

/// One permission of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Permission {
    /// Unique within the role.
    pub id: PermissionId,
    /// A kind of resource such as `subscription`, or `*` for every kind.
    pub resource: KeyPattern,
    pub actions: Actions,
    pub effect: PermissionEffect,
    /// Absent: it always holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

impl Permission {
    /// Whether both say the same, whatever their ids are.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let Self { id: _, resource, actions, effect, condition } = self;
        *resource == other.resource
            && *actions == other.actions
            && *effect == other.effect
            && *condition == other.condition
    }
}

/// The name of a resource or an action as a key, or `*` for all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct KeyPattern(#[schemars(regex(pattern = "^([a-z][a-z0-9_-]{0,62}|\\*)$"))] String);

impl KeyPattern {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyPattern {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" || text.parse::<Key>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidText(
            "a resource or action is `*` or 1 to 63 lower-case letters, digits, `_` and `-`, and begins with a letter"
                .into(),
        ))
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The actions of one permission: 1 to 20, each once.
///
/// [`Actions::new`] is the gate; `Deserialize` trusts what is stored. Request bodies use [`parsed_actions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Actions(#[schemars(length(min = 1, max = 20))] BTreeSet<KeyPattern>);

impl Actions {
    /// Takes the actions as a set.
    ///
    /// # Errors
    /// When there is none, or more than [`ACTION_COUNT_MAX`].
    pub fn new(actions: impl IntoIterator<Item = KeyPattern>) -> Result<Self, InvalidText> {
        let actions: BTreeSet<_> = actions.into_iter().collect();
        if !(1..=ACTION_COUNT_MAX).contains(&actions.len()) {
            return Err(InvalidText(format!("a permission has 1 to {ACTION_COUNT_MAX} actions")));
        }
        Ok(Self(actions))
    }

    /// Each action, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &KeyPattern> {
        self.0.iter()
    }
}

/// Reads a list of actions through its gate; for request bodies.
///
/// # Errors
/// What [`KeyPattern`] and [`Actions::new`] say.
pub fn parsed_actions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Actions, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let actions: Vec<KeyPattern> =
        texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(D::Error::custom)?;
    Actions::new(actions).map_err(D::Error::custom)
}
