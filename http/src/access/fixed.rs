//! A gate with a fixed list of tokens, each of which may do everything in its scope; for tests of what is behind the gate.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::{
    access::{Allowed, Asked, BoxFuture, Gate, Granting, Permission, Presented, Resources},
    caller::Caller,
    problem::Problem,
};

/// The tokens, and what none of them may do.
#[derive(Clone, Debug, Default)]
pub struct FixedTokens {
    callers: HashMap<String, Caller>,
    denied: HashSet<Permission>,
}

impl FixedTokens {
    /// Lets these pass.
    pub fn new(callers: impl IntoIterator<Item = (String, Caller)>) -> Self {
        Self { callers: callers.into_iter().collect(), denied: HashSet::new() }
    }

    /// The same, but nobody has `permission`.
    #[must_use]
    pub fn denying(mut self, permission: Permission) -> Self {
        self.denied.insert(permission);
        self
    }
}

impl Gate for FixedTokens {
    fn authenticate<'a>(&'a self, presented: Presented<'a>) -> BoxFuture<'a, Result<Caller, Problem>> {
        Box::pin(std::future::ready(self.recognise(presented).ok_or_else(Problem::unauthenticated)))
    }

    fn recognise(&self, presented: Presented<'_>) -> Option<Caller> {
        self.callers.get(presented.token).cloned()
    }

    fn authorize<'a>(
        &'a self,
        _: &'a Caller,
        asked: Asked,
        _: &'a dyn Resources,
    ) -> BoxFuture<'a, Result<Allowed, Problem>> {
        let denied = self.denied.contains(&asked.permission);
        let answer = if denied { Err(Problem::not_permitted(asked.permission)) } else { Ok(Allowed::default()) };
        Box::pin(std::future::ready(answer))
    }

    fn may_grant<'a>(&'a self, _: &'a Caller, _: Uuid, _: &'a Granting) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn decided_up_to(&self) -> i64 {
        i64::MAX
    }
}
