//! Given/when/then of service instances: the histories and commands that the tests share.

mod basics;
mod health_reports;
mod orders;
mod quota;
mod reports;

use cqrs_es::{Aggregate, test::TestFramework};
use serde_json::json;
use strum::VariantNames;
use uuid::Uuid;

use super::{
    CODES, Command, Endpoint, Error, Event, Health, Parameters, QUOTA_REACHED, ServiceInstance, Status,
    SubscriptionFact, TenantFact,
};
use crate::{
    aggregate::Decide,
    effect::Effect,
    golden,
    id::{OperationId, SubscriptionId},
    refusal::{Kind, Refusal},
    text::Remark,
};

fn given(events: Vec<Event>) -> cqrs_es::test::AggregateTestExecutor<ServiceInstance> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> ServiceInstance {
    let mut instance = ServiceInstance::default();
    for event in events {
        instance.apply(event);
    }
    instance
}

/// Histories end with one or more further events.
fn then(mut history: Vec<Event>, events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    history.extend(events);
    history
}

fn op(n: u128) -> OperationId {
    OperationId(Uuid::from_u128(n))
}

fn subscription() -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(77))
}

fn parameters(mailboxes: u32) -> Parameters {
    json!({ "mailboxes": mailboxes }).try_into().unwrap()
}

fn outputs(port: u32) -> Parameters {
    json!({ "imap_port": port }).try_into().unwrap()
}

fn endpoint(text: &str) -> Option<Endpoint> {
    Some(text.parse().unwrap())
}

fn reason() -> Remark {
    "no capacity".parse().unwrap()
}

fn provision(subscription: SubscriptionFact, tenant_active: TenantFact) -> Command {
    Command::Provision {
        service: "mail".parse().unwrap(),
        plan: "mail-pro".parse().unwrap(),
        parameters: parameters(25),
        subscription,
        operation_id: op(1),
        tenant_active,
    }
}

fn provision_requested(subscription_id: Option<SubscriptionId>) -> Event {
    Event::ProvisionRequested {
        operation_id: op(1),
        service: "mail".parse().unwrap(),
        plan: "mail-pro".parse().unwrap(),
        parameters: parameters(25),
        subscription_id,
    }
}

fn provisioned(n: u128) -> Event {
    Event::Provisioned { operation_id: op(n), endpoint: endpoint("mail.example"), outputs: outputs(993) }
}

fn provision_failed(n: u128, retryable: bool) -> Event {
    Event::ProvisionFailed { operation_id: op(n), reason: reason(), retryable }
}

fn retry(n: u128) -> Command {
    Command::RetryProvision { operation_id: op(n), tenant_active: TenantFact::Active }
}

fn configure(n: u128, mailboxes: u32) -> Command {
    Command::Configure { parameters: parameters(mailboxes), operation_id: op(n) }
}

fn suspend(n: u128) -> Command {
    Command::Suspend { operation_id: op(n) }
}

fn resume(n: u128) -> Command {
    Command::Resume { operation_id: op(n), tenant_active: TenantFact::Active }
}

fn deprovision(n: u128) -> Command {
    Command::Deprovision { operation_id: op(n) }
}

fn success(n: u128) -> Command {
    Command::ReportSuccess { operation_id: op(n), endpoint: None, outputs: None }
}

fn failure(n: u128) -> Command {
    Command::ReportFailure { operation_id: op(n), reason: reason(), retryable: true }
}

fn health(health: Health, detail: &str) -> Command {
    Command::ReportHealth { health, detail: detail.parse().unwrap() }
}

fn health_changed(from: Option<Health>, to: Health, detail: &str) -> Event {
    Event::HealthChanged { from, to, detail: detail.parse().unwrap() }
}

fn provisioning() -> Vec<Event> {
    vec![provision_requested(None)]
}

fn failed(retryable: bool) -> Vec<Event> {
    then(provisioning(), [provision_failed(1, retryable)])
}

fn ready() -> Vec<Event> {
    then(provisioning(), [provisioned(1)])
}

fn configuring() -> Vec<Event> {
    then(ready(), [Event::ConfigurationRequested { operation_id: op(2), parameters: parameters(50) }])
}

fn suspending() -> Vec<Event> {
    then(ready(), [Event::SuspensionRequested { operation_id: op(2) }])
}

fn suspended() -> Vec<Event> {
    then(suspending(), [Event::Suspended { operation_id: op(2) }])
}

fn resuming() -> Vec<Event> {
    then(suspended(), [Event::ResumptionRequested { operation_id: op(3) }])
}

fn ending_ready() -> Vec<Event> {
    then(ready(), [Event::DeprovisionRequested { operation_id: op(2) }])
}

fn ending_suspended() -> Vec<Event> {
    then(suspended(), [Event::DeprovisionRequested { operation_id: op(3) }])
}

fn ended() -> Vec<Event> {
    then(ending_ready(), [Event::Deprovisioned { operation_id: op(2) }])
}

/// Every history with an operation in flight, and that operation.
fn in_flight() -> Vec<(Vec<Event>, u128)> {
    vec![
        (provisioning(), 1),
        (then(failed(true), [Event::ProvisionRetried { operation_id: op(2) }]), 2),
        (configuring(), 2),
        (suspending(), 2),
        (resuming(), 3),
        (ending_ready(), 2),
        (ending_suspended(), 3),
    ]
}

/// Every history that has nothing in flight and may go on.
fn idle() -> Vec<Vec<Event>> {
    vec![failed(true), failed(false), ready(), suspended()]
}

fn every_order(n: u128) -> Vec<Command> {
    vec![retry(n), configure(n, 99), suspend(n), resume(n), deprovision(n)]
}

fn every_other_command(n: u128) -> Vec<Command> {
    let mut commands = every_order(n);
    commands.extend([success(n), failure(n), health(Health::Healthy, "")]);
    commands
}

fn one_more() -> Effect {
    Effect::Count { counter: "service_instances", delta: 1 }
}

fn one_less() -> Effect {
    Effect::Count { counter: "service_instances", delta: -1 }
}
