//! The scopes that a key is issued with name what operations ask for: a slip of the pen would bound the key to nothing, without a word.

use hub_domain::api_key::{KeyScope, KeyScopes};
use hub_http::{Permission, Problem};

/// Of a key that is bounded by its roles alone.
pub(super) fn all() -> Vec<KeyScope> {
    KeyScopes::default().iter().cloned().collect()
}

/// The scopes in the order in which they are sent, as a key has them.
///
/// # Errors
/// 422 `invalid_body` when there is none or are too many, and at each one that covers none of these permissions.
pub(super) fn bounding(sent: Vec<KeyScope>, permissions: &[Permission]) -> Result<KeyScopes, Problem> {
    let scopes = KeyScopes::new(sent.iter().cloned());
    let scopes = scopes.map_err(|error| Problem::invalid_body("/scopes", error.to_string()))?;
    let unknown = sent.iter().enumerate().filter_map(|(place, scope)| {
        let detail = objection(scope, permissions)?;
        Some((format!("/scopes/{place}"), detail))
    });
    let problem = unknown.fold(None, |problem: Option<Problem>, (pointer, detail)| match problem {
        None => Some(Problem::invalid_body(pointer, detail)),
        Some(problem) => Some(problem.error(pointer, detail)),
    });
    problem.map_or(Ok(scopes), Err)
}

/// Why a scope covers nothing.
fn objection(scope: &KeyScope, permissions: &[Permission]) -> Option<String> {
    let (resource, action) = (scope.resource(), scope.action());
    let of_resource = |permission: &&Permission| resource == "*" || resource == permission.resource;
    let of_action = |permission: &&Permission| action == "*" || action == permission.action;
    if permissions.iter().filter(of_resource).any(|permission| of_action(&permission)) {
        return None;
    }
    let no_such = |part: &str, name: &str| Some(format!("no operation has the {part} `{name}`"));
    if !permissions.iter().any(|permission| of_resource(&permission)) {
        return no_such("resource", resource);
    }
    if !permissions.iter().any(|permission| of_action(&permission)) {
        return no_such("action", action);
    }
    Some(format!("no operation asks for `{scope}`"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bounded(texts: &[&str]) -> Result<Vec<String>, Value> {
        let permissions = ["tenant:read", "tenant:rename", "webhook:read", "webhook:register"];
        let permissions = permissions.map(|text| Permission::parse(text).unwrap());
        let sent: Vec<KeyScope> = texts.iter().map(|text| text.parse().unwrap()).collect();
        match bounding(sent, &permissions) {
            Ok(scopes) => Ok(scopes.iter().map(ToString::to_string).collect()),
            Err(problem) => Err(problem.to_json()["errors"].clone()),
        }
    }

    #[test]
    fn a_scope_covers_what_some_operation_asks_for() {
        for good in ["tenant:read", "webhook:*", "*:read", "*:register", "*:*"] {
            assert_eq!(bounded(&[good]), Ok(vec![good.to_owned()]));
        }
        assert_eq!(KeyScopes::new(all()).unwrap(), KeyScopes::default());
    }

    #[test]
    fn each_scope_that_covers_nothing_is_named_by_its_place() {
        let errors = bounded(&["webhook:read", "webhok:read", "*:reed", "tenant:*", "tenant:register", "nothing:*"]);
        let error = |place: usize, detail: &str| json!({ "pointer": format!("/scopes/{place}"), "detail": detail });
        let expected = json!([
            error(1, "no operation has the resource `webhok`"),
            error(2, "no operation has the action `reed`"),
            error(4, "no operation asks for `tenant:register`"),
            error(5, "no operation has the resource `nothing`"),
        ]);
        assert_eq!(errors, Err(expected));
    }

    #[test]
    fn a_list_of_no_scopes_is_refused_as_a_whole() {
        assert_eq!(bounded(&[]).unwrap_err()[0]["pointer"], "/scopes");
    }
}
