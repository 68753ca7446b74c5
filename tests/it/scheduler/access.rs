//! Access that ends by itself.

use hub_commands::effects::effects_of;
use hub_domain::{
    access_request::{self, AccessRequest},
    aggregate::Decide,
    break_glass::{self, BreakGlass},
    id::RoleId,
    support_access::{self, SupportAccess},
};
use hub_event_store::repository::{Order, Prepared, Repository};
use uuid::Uuid;

use super::{Platform, Process, at, metadata};

const TENANT: Uuid = Uuid::from_u128(0x7e);
const ROLE: RoleId = RoleId(Uuid::from_u128(7));

impl Process {
    /// Makes one by its own commands, one after the other.
    async fn execute<A>(&self, commands: Vec<A::Command>) -> Uuid
    where
        A: Decide<Command: Clone + Send + Sync> + Clone + 'static,
    {
        let repository: Repository<A> = Repository::new(self.store.clone(), effects_of::<A>);
        let id = Uuid::now_v7();
        for command in commands {
            let order = Order {
                metadata: metadata("user:ada", Uuid::now_v7()),
                fingerprint: [0; 32],
                repeatable: false,
                expected_sequence: None,
            };
            let prepare = |_| std::future::ready(Ok(Prepared::new(command.clone())));
            repository.execute(TENANT, id, &order, prepare).await.unwrap();
        }
        id
    }
}

impl Platform {
    async fn kinds(&self, id: Uuid) -> Vec<String> {
        self.events(id).await.into_iter().map(|event| event.kind).collect()
    }

    /// How many grants decisions read of the stream.
    async fn grants(&self, id: Uuid) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM facts WHERE aggregate_id = $1")
            .bind(id)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }
}

fn submit() -> access_request::Command {
    access_request::Command::Submit {
        by: "user:ada".parse().unwrap(),
        role_id: ROLE,
        role_live: true,
        reason: "a restore".parse().unwrap(),
        duration_seconds: 3600,
        now: at("2026-01-10T08:00:00Z"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_request_expires_and_an_approved_one_finishes() {
    let platform = Platform::new("2026-01-10T08:00:00Z").await;
    let process = platform.start();
    let approve = access_request::Command::Approve {
        by: "user:bob".parse().unwrap(),
        role_live: true,
        remark: "".parse().unwrap(),
        now: at("2026-01-10T08:00:00Z"),
    };
    let open = process.execute::<AccessRequest>(vec![submit()]).await;
    let approved = process.execute::<AccessRequest>(vec![submit(), approve]).await;
    assert_eq!((platform.grants(open).await, platform.grants(approved).await), (0, 1));
    platform.reach("2026-01-10T08:59:59Z").await;
    assert_eq!(platform.kinds(approved).await, ["access_request.submitted", "access_request.approved"]);
    platform.reach("2026-01-10T09:00:00Z").await;
    assert_eq!(platform.kinds(approved).await[2..], ["access_request.finished"]);
    assert_eq!(platform.grants(approved).await, 0);
    platform.reach("2026-01-17T07:59:59Z").await;
    assert_eq!(platform.kinds(open).await, ["access_request.submitted"]);
    platform.reach("2026-01-17T08:00:00Z").await;
    assert_eq!(platform.kinds(open).await, ["access_request.submitted", "access_request.expired"]);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn emergency_and_support_access_end_at_their_time() {
    let platform = Platform::new("2026-01-10T08:00:00Z").await;
    let process = platform.start();
    let now = at("2026-01-10T08:00:00Z");
    let open = break_glass::Command::Open {
        by: "user:ada".parse().unwrap(),
        role_id: ROLE,
        role_live: true,
        reason: "mail is down".parse().unwrap(),
        ticket: "OPS-12".parse().unwrap(),
        minutes: 30,
        now,
    };
    let grant = support_access::Command::Grant {
        by: "user:ada".parse().unwrap(),
        staff: "user:sam".parse().unwrap(),
        role_id: ROLE,
        role_live: true,
        reason: "a slow restore".parse().unwrap(),
        until: at("2026-01-10T10:00:00Z"),
        now,
    };
    let emergency = process.execute::<BreakGlass>(vec![open]).await;
    let support = process.execute::<SupportAccess>(vec![grant]).await;
    assert_eq!((platform.grants(emergency).await, platform.grants(support).await), (1, 1));
    platform.reach("2026-01-10T08:30:00Z").await;
    assert_eq!(platform.kinds(emergency).await, ["break_glass.opened", "break_glass.ended"]);
    assert_eq!((platform.grants(emergency).await, platform.grants(support).await), (0, 1));
    platform.reach("2026-01-10T10:00:00Z").await;
    assert_eq!(platform.kinds(support).await, ["support_access.granted", "support_access.ended"]);
    assert_eq!(platform.grants(support).await, 0);
    process.stop().await;
}
