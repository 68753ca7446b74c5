//! The tenant itself: registration, quotas, domains, suspensions, and its end.

use serde_json::{Value, json};

use crate::demo::catalogue::pick;

use super::service_instance::Installed;
use super::{Draft, Life};

const GIB: u64 = 1 << 30;

impl Draft {
    /// From the registration to a tenant that can use services; a waiting one stays before that.
    pub(super) fn register(&mut self, life: Life) {
        let tier = match life {
            Life::Settled => pick(&mut self.rng, &["starter", "professional", "professional", "enterprise"]),
            Life::Growing | Life::LatePaying | Life::Troubled | Life::Leaving => "professional",
            Life::Trying | Life::Waiting => "starter",
        };
        let body = json!({
            "slug": "{slug}",
            "name": self.company.name,
            "contact_email": "office@{slug}.example",
            "tier": tier,
            "region": self.region.key,
            "currency": self.region.currency,
        });
        self.order("tenant: register".to_owned(), "/v1/tenants".to_owned(), body.clone()).keep("tenant");
        if self.chance(15) {
            // Somebody presses the button again, without the key that would make it the same order.
            self.order("tenant: register again".to_owned(), "/v1/tenants".to_owned(), body)
                .refused("tenant_slug_taken");
        }
        self.quotas(tier);
        self.add_domain("{slug}.example");
        if life == Life::Waiting {
            return;
        }
        self.tenant("activate", Value::Null);
        self.domains();
    }

    fn quotas(&mut self, tier: &str) {
        let (seats, instances, storage) = match tier {
            "starter" => (50, 10, 100 * GIB),
            "professional" => (500, 25, 2_048 * GIB),
            _ => (5_000, 100, 20_480 * GIB),
        };
        for (resource, limit) in [("seats", seats), ("instances", instances), ("storage_bytes", storage)] {
            self.set_quota(resource, limit);
        }
    }

    fn set_quota(&mut self, resource: &str, limit: u64) {
        self.tenant("set-quota", json!({ "resource": resource, "limit": limit }));
    }

    fn add_domain(&mut self, domain: &str) {
        self.tenant("add-domain", json!({ "domain": domain })).keep("domain");
    }

    fn domains(&mut self) {
        self.next_work();
        let main = "{slug}.example";
        if self.chance(10) {
            self.tenant("verify-domain", json!({ "domain": main, "token": "not-the-token" }))
                .refused("tenant_domain_token_mismatch");
        }
        self.tenant("verify-domain", json!({ "domain": main, "token": "{domain.token}" }));
        self.tenant("set-primary-domain", json!({ "domain": main }));
        if self.chance(30) {
            let second = pick(&mut self.rng, &["{slug}-shop.example", "{slug}-group.example"]);
            self.add_domain(second);
            match self.between(0, 2) {
                0 => {
                    self.tenant("set-primary-domain", json!({ "domain": second }))
                        .refused("tenant_domain_not_verified");
                }
                1 => {
                    self.tenant("verify-domain", json!({ "domain": second, "token": "{domain.token}" }));
                }
                _ => {
                    self.tenant("remove-domain", json!({ "domain": second }));
                }
            }
        }
    }

    pub(super) fn rename(&mut self) {
        self.next_work();
        let ending = pick(&mut self.rng, &["Group", "International", "& Partners"]);
        self.tenant("rename", json!({ "name": format!("{} {ending}", self.company.name) }));
    }

    pub(super) fn change_tier(&mut self, tier: &str) {
        self.next_work();
        self.tenant("change-tier", json!({ "tier": tier }));
        self.quotas(tier);
    }

    /// The quota of instances is reached, one more is refused, and the quota is raised.
    pub(super) fn reach_quota(&mut self) {
        self.next_work();
        let limit = u64::from(self.counted);
        self.set_quota("instances", limit);
        self.refused_instance("service_instance_quota_reached");
        self.set_quota("instances", limit * 2 + 10);
    }

    pub(super) fn ask_too_early(&mut self) {
        self.next_work();
        self.tenant("suspend", json!({ "reason": "manual" })).refused("tenant_not_activated");
        self.refused_instance("service_instance_tenant_not_active");
    }

    /// The tenant has not paid: it and one of its services stop.
    pub(super) fn suspend_for_payment(&mut self, instance: &Installed) {
        self.tenant("suspend", json!({ "reason": "payment", "note": "third reminder without payment" }));
        self.suspend_instance(instance);
        self.refused_instance("service_instance_tenant_not_active");
    }

    /// The payment arrives.
    pub(super) fn resume_after_payment(&mut self, instance: &Installed) {
        self.tenant("resume", json!({ "reason": "payment" }));
        self.resume_instance(instance);
    }

    /// Stolen credentials: two reasons keep the tenant suspended, and each must be cleared.
    pub(super) fn break_in(&mut self, instance: &Installed) {
        self.next_work();
        self.tenant("suspend", json!({ "reason": "security", "note": "sign-ins from an unknown network" }));
        self.tenant("suspend", json!({ "reason": "manual", "note": "held until the contact has called back" }));
        self.suspend_instance(instance);
        self.tenant("resume", json!({ "reason": "security" }));
        self.tenant("resume", json!({ "reason": "request" })).refused("tenant_not_suspended_for_reason");
        self.tenant("resume", json!({ "reason": "manual" }));
        self.resume_instance(instance);
    }

    /// The end, after which nothing is accepted.
    pub(super) fn archive(&mut self) {
        self.next_work();
        self.tenant("archive", Value::Null);
        let name = json!({ "name": self.company.name });
        self.tenant("rename", name).refused("tenant_archived");
    }
}
