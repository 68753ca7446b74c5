//! What self-checks and the witness come to, as the platform writes it down.

use hub_commands::self_check::SelfChecks;
use hub_domain::{
    id::TenantId,
    self_check::{Command, Finding, Scope},
};
use hub_seal::{PLATFORM_LOG, check, witness::Contradiction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a check came to.
#[must_use]
pub fn completed(report: check::Report) -> Command {
    let check::Report { scope, log_count, event_count, finding_count, findings, .. } = report;
    let findings = findings.into_iter().map(|check::Finding { tenant_id, position, what }| Finding {
        tenant_id: TenantId(tenant_id),
        position: u64::try_from(position).unwrap_or_default(),
        what: what.to_owned(),
    });
    Command::Complete {
        scope: match scope.kind {
            check::Kind::Sample => Scope::Sample,
            check::Kind::Full => Scope::Full,
        },
        tenant_id: scope.tenant_id.map(TenantId),
        log_count,
        event_count,
        finding_count,
        findings: findings.collect(),
    }
}

/// That the database is not the one that was sealed here.
fn contradicted(contradiction: &Contradiction) -> Command {
    let finding = Finding {
        tenant_id: TenantId(PLATFORM_LOG),
        position: contradiction.kept_size(),
        what: contradiction.what().to_owned(),
    };
    Command::Complete {
        scope: Scope::Witness,
        tenant_id: None,
        log_count: 0,
        event_count: 0,
        finding_count: 1,
        findings: vec![finding],
    }
}

/// Writes down whatever contradicts the witness, each once, until `end`.
pub async fn tell(
    checks: SelfChecks,
    mut contradiction: watch::Receiver<Option<Contradiction>>,
    end: CancellationToken,
) {
    loop {
        let known = contradiction.borrow_and_update().clone();
        if let Some(known) = known {
            checks.write(contradicted(&known)).await;
        }
        let changed = tokio::select! {
            () = end.cancelled() => return,
            changed = contradiction.changed() => changed,
        };
        if changed.is_err() {
            // The sealer is gone, and only the end of everything remains.
            return end.cancelled().await;
        }
    }
}
