//! The vault: keys that several processes make and use at once, and that stay destroyed.

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use hub_tests::kit::{Database, directory, vault_in};
use hub_vault::{DestroyedList, KeyKind, Opened, Place, RootKey, SealedText, Vault, VaultError};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(7);

fn now() -> DateTime<Utc> {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn place() -> Place<'static> {
    Place { tenant_id: TENANT, aggregate_type: "tenant", aggregate_id: TENANT, sequence: 1, field: "contact_email" }
}

async fn sealed(vault: &Vault, email: &str) -> SealedText {
    vault.key_by_email(TENANT, email, now()).await.unwrap().seal(email, &place())
}

async fn opened(vault: &Vault, text: &SealedText) -> Opened {
    vault.open(&[(place(), text)]).await.unwrap().remove(0)
}

#[tokio::test]
async fn many_at_once_get_one_key_for_one_person() {
    let database = Database::new().await;
    let vaults: Vec<Vault> = (0..3).map(|_| vault_in(&database.pool)).collect();
    let keys = join_all((0..12).map(|n| vaults[n % 3].key_by_email(TENANT, "ada@example.com", now()))).await;
    let mut ids: Vec<Uuid> = keys.into_iter().map(|key| key.unwrap().key_id()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(vaults[0].subject_by_email(TENANT, " ADA@example.com ").await.unwrap(), Some(ids[0]));
    let made: i64 = sqlx::query_scalar("SELECT count(*) FROM vault.keys").fetch_one(&database.pool).await.unwrap();
    assert_eq!(made, 1, "what lost the race is not kept");
}

#[tokio::test]
async fn a_destroyed_key_opens_nothing_and_is_known_as_destroyed() {
    let database = Database::new().await;
    let vault = vault_in(&database.pool);
    let (ada, bob) = (sealed(&vault, "ada@example.com").await, sealed(&vault, "bob@example.com").await);
    assert_eq!(opened(&vault, &ada).await, Opened::Text("ada@example.com".to_owned()));
    vault.destroy_key(TENANT, ada.key_id, now()).await.unwrap();
    vault.destroy_key(TENANT, ada.key_id, now() + TimeDelta::days(1)).await.unwrap();
    let both = vault.open(&[(place(), &ada), (place(), &bob)]).await.unwrap();
    assert_eq!(both, [Opened::Erased, Opened::Text("bob@example.com".to_owned())]);
    let state = vault.key_state(TENANT, ada.key_id).await.unwrap().unwrap();
    assert_eq!((state.kind, state.destroyed_at), (KeyKind::Subject, Some(now())));
    assert_eq!(vault.key_state(Uuid::from_u128(8), ada.key_id).await.unwrap(), None, "of another tenant");
    vault.destroy_key(Uuid::from_u128(8), bob.key_id, now()).await.unwrap();
    assert_eq!(
        opened(&vault, &bob).await,
        Opened::Text("bob@example.com".to_owned()),
        "another tenant destroys nothing here"
    );
}

#[tokio::test]
async fn the_end_of_a_tenants_key_is_the_end_of_all_its_keys() {
    let database = Database::new().await;
    let vault = vault_in(&database.pool);
    let ada = sealed(&vault, "ada@example.com").await;
    let class = vault.class_key(TENANT, "access", now()).await.unwrap().seal("192.0.2.0/24", &place());
    vault.destroy_tenant(TENANT, now()).await.unwrap();
    assert_eq!(vault.open(&[(place(), &ada), (place(), &class)]).await.unwrap(), [Opened::Erased, Opened::Erased]);
    assert_eq!(vault.subject_by_email(TENANT, "ada@example.com").await.unwrap(), None);
    let again = vault.key_by_email(TENANT, "bob@example.com", now()).await;
    assert!(matches!(again, Err(VaultError::TenantErased)), "{again:?}");
}

#[tokio::test]
async fn a_class_has_one_key_a_month_and_old_ones_are_found() {
    let database = Database::new().await;
    let vault = vault_in(&database.pool);
    let key = async |at: &str| vault.class_key(TENANT, "access", at.parse().unwrap()).await.unwrap().key_id();
    let (january, february) = (key("2026-01-01T00:00:00Z").await, key("2026-02-28T23:59:59Z").await);
    assert_eq!(january, key("2026-01-31T23:59:59Z").await);
    assert_ne!(january, february);
    let before = async |day: &str| {
        let keys = vault.class_keys_before(TENANT, "access", day.parse().unwrap(), 10).await.unwrap();
        keys.into_iter().map(|key| key.key_id).collect::<Vec<_>>()
    };
    assert_eq!(before("2026-01-01").await, Vec::<Uuid>::new());
    assert_eq!(before("2026-03-01").await, [january, february]);
    vault.destroy_key(TENANT, january, now()).await.unwrap();
    assert_eq!(before("2026-03-01").await, [february]);
}

#[tokio::test]
async fn a_restored_backup_loses_the_keys_that_are_on_the_list_before_it_is_used() {
    let database = Database::new().await;
    let folder = directory();
    let list = || Some(DestroyedList::new(folder.path().join("vault.destroyed")));
    let start = || Vault::new(database.pool.connect_options().as_ref().clone(), RootKey::new([7; 32]), list());
    let vault = start();
    vault.prepare().await.unwrap();
    let (ada, bob) = (sealed(&vault, "ada@example.com").await, sealed(&vault, "bob@example.com").await);
    for statement in ["CREATE TABLE backup AS TABLE vault.keys", "CREATE TABLE backup_lookups AS TABLE vault.lookups"] {
        sqlx::query(statement).execute(&database.pool).await.unwrap();
    }
    vault.destroy_key(TENANT, ada.key_id, now()).await.unwrap();
    for statement in [
        "DELETE FROM vault.lookups",
        "DELETE FROM vault.keys",
        "INSERT INTO vault.keys TABLE backup",
        "INSERT INTO vault.lookups TABLE backup_lookups",
    ] {
        sqlx::query(statement).execute(&database.pool).await.unwrap();
    }
    assert_eq!(opened(&vault, &ada).await, Opened::Text("ada@example.com".to_owned()), "the backup has it");
    let again = start();
    again.prepare().await.unwrap();
    assert_eq!(opened(&again, &ada).await, Opened::Erased);
    assert_eq!(again.subject_by_email(TENANT, "ada@example.com").await.unwrap(), None);
    assert_eq!(opened(&again, &bob).await, Opened::Text("bob@example.com".to_owned()));
}

#[tokio::test]
async fn another_root_key_is_refused_and_a_missing_key_is_told_from_a_destroyed_one() {
    let database = Database::new().await;
    let vault = vault_in(&database.pool);
    vault.prepare().await.unwrap();
    let ada = sealed(&vault, "ada@example.com").await;
    let other = Vault::new(database.pool.connect_options().as_ref().clone(), RootKey::new([8; 32]), None);
    assert!(matches!(other.prepare().await, Err(VaultError::AnotherRoot)));
    assert!(matches!(other.open(&[(place(), &ada)]).await, Err(VaultError::Corrupt(_))));
    let unknown = SealedText { key_id: Uuid::from_u128(9), ..ada };
    assert_eq!(opened(&vault, &unknown).await, Opened::Missing);
}
