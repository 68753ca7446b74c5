use cqrs_es::{Aggregate, test::TestFramework};
use strum::VariantNames;
use uuid::Uuid;

use super::{CODES, Command, DOMAIN_COUNT_MAX, Error, Event, Resource, Standing, SuspensionReason, Tenant, Tier};
use crate::{
    aggregate::Decide,
    effect::Effect,
    golden,
    personal::{Pii, Sealed},
    refusal::Refusal,
    text::{DomainName, Email},
};

fn given(events: Vec<Event>) -> cqrs_es::test::AggregateTestExecutor<Tenant> {
    TestFramework::with(()).given(events)
}

fn contact() -> Pii<Email> {
    Pii::Sealed(Sealed { key_id: Uuid::from_u128(7), sealed: "AQ==".to_owned() })
}

fn registered() -> Event {
    Event::Registered {
        slug: "acme".parse().unwrap(),
        name: "Acme".parse().unwrap(),
        contact_email: contact(),
        tier: Tier::Starter,
        region: "eu-central".parse().unwrap(),
        currency: "EUR".parse().unwrap(),
    }
}

fn register() -> Command {
    Command::Register {
        slug: "acme".parse().unwrap(),
        name: "Acme".parse().unwrap(),
        contact_email: contact(),
        tier: Tier::Starter,
        region: "eu-central".parse().unwrap(),
        currency: "EUR".parse().unwrap(),
    }
}

fn active() -> Vec<Event> {
    vec![registered(), Event::Activated {}]
}

fn suspended(reasons: &[SuspensionReason]) -> Vec<Event> {
    let mut events = active();
    events.extend(reasons.iter().map(|reason| Event::Suspended { reason: *reason, note: "".parse().unwrap() }));
    events
}

fn suspend(reason: SuspensionReason) -> Command {
    Command::Suspend { reason, note: "".parse().unwrap() }
}

fn domain(name: &str) -> DomainName {
    name.parse().unwrap()
}

fn with_domain(verified: bool) -> Vec<Event> {
    let mut events = active();
    events.push(Event::DomainAdded { domain: domain("acme.example"), token: "t0ken".into() });
    if verified {
        events.push(Event::DomainVerified { domain: domain("acme.example") });
    }
    events
}

fn state(events: Vec<Event>) -> Tenant {
    let mut tenant = Tenant::default();
    for event in events {
        tenant.apply(event);
    }
    tenant
}

fn every_other_command() -> Vec<Command> {
    vec![
        Command::Activate,
        suspend(SuspensionReason::Manual),
        Command::Resume { reason: SuspensionReason::Manual },
        Command::Rename { name: "Other".parse().unwrap() },
        Command::ChangeTier { tier: Tier::Enterprise },
        Command::SetQuota { resource: Resource::Seats, limit: 3 },
        Command::AddDomain { domain: domain("acme.example"), token: "t".into() },
        Command::VerifyDomain { domain: domain("acme.example"), token: "t".into() },
        Command::RemoveDomain { domain: domain("acme.example") },
        Command::SetPrimaryDomain { domain: domain("acme.example") },
        Command::Archive,
    ]
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(Tenant::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("pending", state(vec![registered()])),
        ("active", state(with_domain(true))),
        ("suspended", state(suspended(&[SuspensionReason::Payment]))),
        ("archived", state([active(), vec![Event::Archived {}]].concat())),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code() {
    let listed: Vec<_> = CODES.iter().map(|code| code.code).collect();
    for error in [
        Error::NotFound,
        Error::AlreadyRegistered,
        Error::Archived,
        Error::NotActivated,
        Error::NotSuspendedFor(SuspensionReason::Manual),
        Error::DomainAlreadyAdded(domain("a.example")),
        Error::DomainUnknown(domain("a.example")),
        Error::DomainNotVerified(domain("a.example")),
        Error::DomainTokenMismatch(domain("a.example")),
        Error::TooManyDomains,
    ] {
        assert!(listed.contains(&error.code()), "{}", error.code());
    }
}

#[test]
fn a_tenant_registers() {
    given(vec![]).when(register()).then_expect_events(vec![registered()]);
}

#[test]
fn registering_again_is_refused() {
    given(vec![registered()]).when(register()).then_expect_error(Error::AlreadyRegistered);
}

#[test]
fn an_absent_tenant_knows_no_other_command() {
    for command in every_other_command() {
        given(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn an_archived_tenant_accepts_nothing() {
    for command in every_other_command().into_iter().chain([register()]) {
        given(vec![registered(), Event::Archived {}]).when(command).then_expect_error(Error::Archived);
    }
}

#[test]
fn a_pending_tenant_is_activated() {
    given(vec![registered()]).when(Command::Activate).then_expect_events(vec![Event::Activated {}]);
}

#[test]
fn activating_twice_changes_nothing() {
    given(active()).when(Command::Activate).then_expect_events(vec![]);
}

#[test]
fn activating_a_suspended_tenant_does_not_clear_its_reasons() {
    given(suspended(&[SuspensionReason::Payment])).when(Command::Activate).then_expect_events(vec![]);
}

#[test]
fn a_pending_tenant_cannot_be_suspended_or_resumed() {
    given(vec![registered()]).when(suspend(SuspensionReason::Payment)).then_expect_error(Error::NotActivated);
    given(vec![registered()])
        .when(Command::Resume { reason: SuspensionReason::Payment })
        .then_expect_error(Error::NotActivated);
}

#[test]
fn suspending_twice_for_one_reason_changes_nothing() {
    given(suspended(&[SuspensionReason::Payment])).when(suspend(SuspensionReason::Payment)).then_expect_events(vec![]);
}

#[test]
fn a_second_reason_is_added_to_a_suspension() {
    given(suspended(&[SuspensionReason::Payment]))
        .when(suspend(SuspensionReason::Security))
        .then_expect_events(vec![Event::Suspended { reason: SuspensionReason::Security, note: "".parse().unwrap() }]);
}

#[test]
fn clearing_one_of_two_reasons_keeps_the_tenant_suspended() {
    let history = suspended(&[SuspensionReason::Payment, SuspensionReason::Security]);
    given(history.clone())
        .when(Command::Resume { reason: SuspensionReason::Payment })
        .then_expect_events(vec![Event::Resumed { reason: SuspensionReason::Payment, active: false }]);
    let mut tenant = state(history);
    tenant.apply(Event::Resumed { reason: SuspensionReason::Payment, active: false });
    assert_eq!(tenant.standing(), Standing::Suspended);
}

#[test]
fn clearing_the_last_reason_makes_the_tenant_active() {
    given(suspended(&[SuspensionReason::Payment]))
        .when(Command::Resume { reason: SuspensionReason::Payment })
        .then_expect_events(vec![Event::Resumed { reason: SuspensionReason::Payment, active: true }]);
}

#[test]
fn resuming_for_a_reason_that_is_not_there_is_refused() {
    for history in [active(), suspended(&[SuspensionReason::Payment])] {
        given(history)
            .when(Command::Resume { reason: SuspensionReason::Manual })
            .then_expect_error(Error::NotSuspendedFor(SuspensionReason::Manual));
    }
}

#[test]
fn a_tenant_is_renamed_once() {
    let rename = || Command::Rename { name: "Acme SE".parse().unwrap() };
    let renamed = || Event::Renamed { name: "Acme SE".parse().unwrap() };
    given(active()).when(rename()).then_expect_events(vec![renamed()]);
    given(active()).and(vec![renamed()]).when(rename()).then_expect_events(vec![]);
}

#[test]
fn a_change_of_tier_says_from_and_to() {
    given(active())
        .when(Command::ChangeTier { tier: Tier::Enterprise })
        .then_expect_events(vec![Event::TierChanged { from: Tier::Starter, to: Tier::Enterprise }]);
    given(active()).when(Command::ChangeTier { tier: Tier::Starter }).then_expect_events(vec![]);
}

#[test]
fn a_quota_is_set_once() {
    let set = || Command::SetQuota { resource: Resource::Instances, limit: 2 };
    let quota = Event::QuotaSet { resource: Resource::Instances, limit: 2 };
    given(active()).when(set()).then_expect_events(vec![quota.clone()]);
    given(active()).and(vec![quota]).when(set()).then_expect_events(vec![]);
}

#[test]
fn a_domain_is_added_once() {
    let add = || Command::AddDomain { domain: domain("acme.example"), token: "t0ken".into() };
    given(active())
        .when(add())
        .then_expect_events(vec![Event::DomainAdded { domain: domain("acme.example"), token: "t0ken".into() }]);
    given(with_domain(false)).when(add()).then_expect_error(Error::DomainAlreadyAdded(domain("acme.example")));
}

#[test]
fn one_domain_too_many_is_refused() {
    let history = (0..DOMAIN_COUNT_MAX)
        .map(|n| Event::DomainAdded { domain: domain(&format!("d{n}.example")), token: "t".into() })
        .collect();
    given(active())
        .and(history)
        .when(Command::AddDomain { domain: domain("acme.example"), token: "t".into() })
        .then_expect_error(Error::TooManyDomains);
}

#[test]
fn a_domain_is_verified_by_its_token_only() {
    let verify = |token: &str| Command::VerifyDomain { domain: domain("acme.example"), token: token.into() };
    given(with_domain(false))
        .when(verify("t0ken"))
        .then_expect_events(vec![Event::DomainVerified { domain: domain("acme.example") }]);
    given(with_domain(false))
        .when(verify("other"))
        .then_expect_error(Error::DomainTokenMismatch(domain("acme.example")));
    given(with_domain(true)).when(verify("t0ken")).then_expect_events(vec![]);
    given(active()).when(verify("t0ken")).then_expect_error(Error::DomainUnknown(domain("acme.example")));
}

#[test]
fn only_a_verified_domain_becomes_primary() {
    let set = || Command::SetPrimaryDomain { domain: domain("acme.example") };
    let primary = Event::PrimaryDomainSet { domain: domain("acme.example") };
    given(with_domain(true)).when(set()).then_expect_events(vec![primary.clone()]);
    given(with_domain(true)).and(vec![primary]).when(set()).then_expect_events(vec![]);
    given(with_domain(false)).when(set()).then_expect_error(Error::DomainNotVerified(domain("acme.example")));
    given(active()).when(set()).then_expect_error(Error::DomainUnknown(domain("acme.example")));
}

#[test]
fn removing_the_primary_domain_says_so() {
    let remove = || Command::RemoveDomain { domain: domain("acme.example") };
    given(with_domain(true))
        .and(vec![Event::PrimaryDomainSet { domain: domain("acme.example") }])
        .when(remove())
        .then_expect_events(vec![Event::DomainRemoved { domain: domain("acme.example"), primary: true }]);
    given(with_domain(false))
        .when(remove())
        .then_expect_events(vec![Event::DomainRemoved { domain: domain("acme.example"), primary: false }]);
    given(active()).when(remove()).then_expect_error(Error::DomainUnknown(domain("acme.example")));
}

#[test]
fn archiving_gives_verified_domains_back_and_keeps_the_slug() {
    given(with_domain(true)).when(Command::Archive).then_expect_events(vec![Event::Archived {}]);
    let effects = state(with_domain(true)).effects(Uuid::nil(), &Event::Archived {});
    assert!(matches!(&effects[..], [Effect::Release { scope: "tenant_domain", key, .. }] if key == "acme.example"));
    assert!(state(with_domain(false)).effects(Uuid::nil(), &Event::Archived {}).is_empty());
}

#[test]
fn somebody_else_is_written_to_while_the_tenant_lives() {
    let change = || Command::ChangeContact { contact_email: contact() };
    let changed = || vec![Event::ContactChanged { contact_email: contact() }];
    given(active()).when(change()).then_expect_events(changed());
    given(suspended(&[SuspensionReason::Payment])).when(change()).then_expect_events(changed());
    given(vec![]).when(change()).then_expect_error(Error::NotFound);
    given(vec![registered(), Event::Archived {}]).when(change()).then_expect_error(Error::Archived);
}
