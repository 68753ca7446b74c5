use cqrs_es::{Aggregate, test::TestFramework};
use strum::VariantNames;

use super::{
    CheckpointRef, Command, Disclosure, Error, Event, OPERATOR, Range, Recipient, ReportFormat, ReportKind, ReportScope,
};
use crate::{fact::Home, golden};

fn report_run() -> Event {
    Event::ReportRun {
        recipient: Recipient::Principal { principal: "user:ada".parse().unwrap(), home: Home::Tenant },
        report: ReportKind::Activity,
        scope: ReportScope { principal: Some("user:bob".to_owned()), ..ReportScope::default() },
        range: Range { from: 1, to: 40 },
        format: ReportFormat::Csv,
        row_count: 12,
        complete: true,
        checkpoint: Some(CheckpointRef { size: 40, root: "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=".to_owned() }),
    }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(Disclosure::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    let mut recorded = Disclosure::default();
    recorded.apply(report_run());
    golden::check_state(&[("absent", Disclosure::default()), ("recorded", recorded)]);
}

#[test]
fn a_disclosure_is_recorded_once() {
    let record = || Command::Record(Box::new(report_run()));
    TestFramework::<Disclosure>::with(()).given(vec![]).when(record()).then_expect_events(vec![report_run()]);
    TestFramework::<Disclosure>::with(()).given(vec![report_run()]).when(record()).then_expect_error(Error::Recorded);
}

#[test]
fn the_actor_is_the_caller_or_whoever_runs_the_program() {
    let Event::ReportRun { recipient, .. } = report_run() else { unreachable!() };
    assert_eq!(recipient.actor(), "user:ada");
    assert_eq!(Recipient::Operator { database_login: "hub".to_owned() }.actor(), OPERATOR);
}
