//! Commands on one resource of a tenant, which its aggregate decides alone: `POST .../<resources>/{resource_id}/<verb>`.

use axum::extract::State;
use cqrs_es::Aggregate;
use futures::future::BoxFuture;
use hub_domain::aggregate::Decide;
use hub_http::{CommandHeaders, Fingerprint, NoBody, Path, Problem, Receipt, TenantCaller};
use uuid::Uuid;

use crate::{
    dispatch::{Changed, Dispatch},
    room::{Commands, Context},
};

/// The path of a resource, and the context that it belongs to.
pub(crate) trait ResourcePath: Send + 'static {
    /// The aggregate behind it.
    type Resource: Decide<Command: Clone + Send + Sync> + Clone + 'static;

    /// Which one it is.
    fn id(&self) -> Uuid;

    /// The context of its aggregate.
    fn context(commands: &Commands) -> &Context<Self::Resource>;
}

type Answer = BoxFuture<'static, Result<Receipt<Changed>, Problem>>;

type CommandOn<P> = <<P as ResourcePath>::Resource as Aggregate>::Command;

/// Executes a command on the resource.
///
/// # Errors
/// The refusal as a problem.
pub(crate) async fn order<P: ResourcePath>(
    commands: &Commands,
    caller: &TenantCaller,
    path: P,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: CommandOn<P>,
) -> Result<Receipt<Changed>, Problem> {
    let dispatch = Dispatch::begin(commands, &caller.caller, caller.tenant.id(), headers, fingerprint)?;
    Ok(dispatch.execute_in_tenant(commands, P::context(commands), path.id(), command, &[]).await?.receipt())
}

/// The handler of a command that has no body.
pub(crate) fn bare<P: ResourcePath>(
    command: CommandOn<P>,
) -> impl Fn(TenantCaller, Path<P>, CommandHeaders, State<Commands>, NoBody) -> Answer + Clone + Send + Sync + 'static {
    move |caller, Path(path), headers, State(commands), body| {
        let command = command.clone();
        Box::pin(async move { order(&commands, &caller, path, headers, body.fingerprint, command).await })
    }
}
