//! Access that ends by itself, or with the principal that has it.

use hub_commands::effects::effects_of;
use hub_domain::{
    access_request::{self, AccessRequest},
    aggregate::Decide,
    break_glass::{self, BreakGlass},
    id::{PLATFORM_TENANT, RoleId, TenantId},
    principal::{self, Standing},
    role::{self, AssignmentId, Role},
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
        let id = Uuid::now_v7();
        self.execute_on::<A>(TENANT, id, commands).await;
        id
    }

    async fn execute_on<A>(&self, tenant_id: Uuid, id: Uuid, commands: Vec<A::Command>)
    where
        A: Decide<Command: Clone + Send + Sync> + Clone + 'static,
    {
        let repository: Repository<A> = Repository::new(self.store.clone(), effects_of::<A>);
        for command in commands {
            let order = Order {
                metadata: metadata("user:ada", Uuid::now_v7()),
                fingerprint: [0; 32],
                repeatable: false,
                expected_sequence: None,
            };
            let prepare = |_| std::future::ready(Ok(Prepared::new(command.clone())));
            repository.execute(tenant_id, id, &order, prepare).await.unwrap();
        }
    }

    /// A principal ends where it is at home.
    async fn end(&self, home: TenantId, name: &str) {
        let principal = name.parse().unwrap();
        let id = principal::stream_id(home, &principal);
        let (by, reason) = ("user:bob".parse().unwrap(), "has left".parse().unwrap());
        let end = principal::Command::End { principal, by, reason, last_owner: false };
        self.execute_on::<Standing>(home.0, id, vec![end]).await;
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
    let open = process.execute::<AccessRequest>(vec![submit()]).await;
    let approved = process.execute::<AccessRequest>(vec![submit(), approve()]).await;
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

fn approve() -> access_request::Command {
    access_request::Command::Approve {
        by: "user:bob".parse().unwrap(),
        role_live: true,
        remark: "".parse().unwrap(),
        now: at("2026-01-10T08:00:00Z"),
    }
}

fn open(by: &str) -> break_glass::Command {
    break_glass::Command::Open {
        by: by.parse().unwrap(),
        role_id: ROLE,
        role_live: true,
        reason: "mail is down".parse().unwrap(),
        ticket: "OPS-12".parse().unwrap(),
        minutes: 30,
        now: at("2026-01-10T08:00:00Z"),
    }
}

fn support(staff: &str) -> support_access::Command {
    support_access::Command::Grant {
        by: "user:ada".parse().unwrap(),
        staff: staff.parse().unwrap(),
        role_id: ROLE,
        role_live: true,
        reason: "a slow restore".parse().unwrap(),
        until: at("2026-01-10T10:00:00Z"),
        now: at("2026-01-10T08:00:00Z"),
    }
}

fn assign(principal: &str, from: &str) -> role::Command {
    role::Command::Assign {
        assignment_id: AssignmentId(Uuid::now_v7()),
        principal: principal.parse().unwrap(),
        from: Some(at(from)),
        until: None,
        now: at("2026-01-10T08:00:00Z"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn emergency_and_support_access_end_at_their_time() {
    let platform = Platform::new("2026-01-10T08:00:00Z").await;
    let process = platform.start();
    let emergency = process.execute::<BreakGlass>(vec![open("user:ada")]).await;
    let support = process.execute::<SupportAccess>(vec![support("user:sam")]).await;
    assert_eq!((platform.grants(emergency).await, platform.grants(support).await), (1, 1));
    platform.reach("2026-01-10T08:30:00Z").await;
    assert_eq!(platform.kinds(emergency).await, ["break_glass.opened", "break_glass.ended"]);
    assert_eq!((platform.grants(emergency).await, platform.grants(support).await), (0, 1));
    platform.reach("2026-01-10T10:00:00Z").await;
    assert_eq!(platform.kinds(support).await, ["support_access.granted", "support_access.ended"]);
    assert_eq!(platform.grants(support).await, 0);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_gave_a_principal_access_ends_with_it_and_nothing_else_does() {
    let platform = Platform::new("2026-01-10T08:00:00Z").await;
    let process = platform.start();
    let create = role::Command::Create {
        key: "support".parse().unwrap(),
        name: "Support".parse().unwrap(),
        description: "".parse().unwrap(),
    };
    let (past, future) = ("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z");
    let assigned = vec![create, assign("user:ada", past), assign("user:eve", future), assign("user:bob", past)];
    let role = process.execute::<Role>(assigned).await;
    let asked = process.execute::<AccessRequest>(vec![submit()]).await;
    let approved = process.execute::<AccessRequest>(vec![submit(), approve()]).await;
    let emergency = process.execute::<BreakGlass>(vec![open("user:ada")]).await;
    let of_others = process.execute::<BreakGlass>(vec![open("user:sam")]).await;
    let staff = process.execute::<SupportAccess>(vec![support("user:sam")]).await;
    let namesake = process.execute::<SupportAccess>(vec![support("user:ada")]).await;
    platform.settles().await;
    assert_eq!(platform.grants(role).await, 4, "the role itself, and three who hold it");

    process.end(TenantId(TENANT), "user:ada").await;
    process.end(TenantId(TENANT), "user:ada").await;
    platform.settles().await;
    let unassigned = platform.events_of(role, "role.unassigned").await;
    assert_eq!(unassigned.len(), 1, "{unassigned:?}");
    assert!(unassigned[0].payload["principal"] == "user:ada" && unassigned[0].actor == "process:principal_end");
    assert_eq!(platform.kinds(asked).await, ["access_request.submitted", "access_request.withdrawn"]);
    assert_eq!(platform.kinds(approved).await[2..], ["access_request.revoked"]);
    assert_eq!(platform.kinds(emergency).await, ["break_glass.opened", "break_glass.closed"]);
    assert_eq!(platform.grants(role).await, 3);
    for stays in [of_others, staff, namesake] {
        assert_eq!(platform.grants(stays).await, 1, "somebody else's");
    }

    process.end(PLATFORM_TENANT, "user:sam").await;
    platform.settles().await;
    assert_eq!(platform.kinds(staff).await, ["support_access.granted", "support_access.revoked"]);
    for stays in [of_others, namesake] {
        assert_eq!(platform.grants(stays).await, 1, "somebody else's");
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_granted_after_the_end_is_not_taken_by_it() {
    let platform = Platform::new("2026-01-10T08:00:00Z").await;
    let process = platform.start();
    let create = role::Command::Create {
        key: "support".parse().unwrap(),
        name: "Support".parse().unwrap(),
        description: "".parse().unwrap(),
    };
    let role = process.execute::<Role>(vec![create]).await;
    process.end(TenantId(TENANT), "user:ada").await;
    process.execute_on::<Role>(TENANT, role, vec![assign("user:ada", "2026-01-01T00:00:00Z")]).await;
    platform.settles().await;
    assert_eq!(platform.kinds(role).await, ["role.created", "role.assigned"]);
    process.stop().await;
}
