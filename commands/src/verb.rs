//! Commands on one thing of a tenant's that decides them alone: `POST .../<things>/{thing_id}/<verb>`.

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

/// The path of a thing, and where the things of its kind are.
pub(crate) trait ThingPath: Send + 'static {
    /// What it is.
    type Thing: Decide<Command: Clone + Send + Sync> + Clone + 'static;

    /// Which one it is.
    fn id(&self) -> Uuid;

    /// All of its kind.
    fn context(commands: &Commands) -> &Context<Self::Thing>;
}

type CommandOn<P> = <<P as ThingPath>::Thing as Aggregate>::Command;

/// Gives the thing an order.
///
/// # Errors
/// The refusal as a problem.
pub(crate) async fn order<P: ThingPath>(
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

/// The handler of an order whose request says nothing but its name.
pub(crate) fn bare<P: ThingPath>(
    command: CommandOn<P>,
) -> impl Fn(
    TenantCaller,
    Path<P>,
    CommandHeaders,
    State<Commands>,
    NoBody,
) -> BoxFuture<'static, Result<Receipt<Changed>, Problem>>
+ Clone
+ Send
+ Sync
+ 'static {
    move |caller, Path(path), headers, State(commands), body| {
        let command = command.clone();
        Box::pin(async move { order(&commands, &caller, path, headers, body.fingerprint, command).await })
    }
}
