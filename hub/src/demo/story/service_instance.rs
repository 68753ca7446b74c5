//! What runs for a tenant, and what its providers report.

use serde_json::{Value, json};

use crate::demo::catalogue::{SERVICES, Service, pick};
use crate::demo::step::Order;

use super::Draft;
use super::subscription::Bought;

const NOUN: &str = "service-instances";

/// How an order of a service goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Delivery {
    /// It is ready at once.
    AtOnce,
    /// It fails, is tried again, and is ready.
    SecondTime,
}

/// A service that runs.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    name: String,
    service: &'static Service,
    number: u32,
    seats: u32,
}

impl Draft {
    /// Orders a service and has its provider report.
    pub(super) fn install(&mut self, bought: &Bought, delivery: Delivery) -> Installed {
        self.next_work();
        let instance = self.provision(bought);
        if delivery == Delivery::SecondTime {
            let reason = pick(&mut self.rng, &["no capacity in the cluster", "the image could not be pulled"]);
            self.fail(&instance, reason, true);
            self.begin(&instance, "retry-provision", Value::Null);
        }
        self.succeed(&instance, true);
        if self.chance(8) {
            // The provider's late word about work that is done.
            self.report_failure(&instance, "timed out", true).refused("service_instance_operation_finished");
        }
        instance
    }

    /// A service that cannot be made and is given up.
    pub(super) fn lose(&mut self, bought: &Bought) {
        self.next_work();
        let instance = self.provision(bought);
        self.fail(&instance, "the domain is on a block list", false);
        self.of(NOUN, &instance.name, "retry-provision", Value::Null)
            .refused("service_instance_provision_not_retryable");
        self.begin(&instance, "deprovision", Value::Null);
        self.counted -= 1;
    }

    fn provision(&mut self, bought: &Bought) -> Installed {
        self.ordered += 1;
        self.counted += 1;
        let number = self.ordered;
        let name = format!("{}-i{number}", bought.service.key);
        let parameters = bought.service.parameters(bought.seats, self.region.key, &mut self.rng);
        let body = json!({
            "service": bought.service.key,
            "plan": bought.tier(),
            "parameters": parameters,
            "subscription_id": format!("{{{}}}", bought.name),
        });
        self.make(NOUN, &name, body);
        Installed { name, service: bought.service, number, seats: bought.seats }
    }

    /// Asks for a service that the platform does not give.
    pub(super) fn refused_instance(&mut self, code: &'static str) {
        let service = pick(&mut self.rng, &[&SERVICES[0], &SERVICES[1], &SERVICES[3]]);
        let parameters = service.parameters(1, self.region.key, &mut self.rng);
        let body = json!({ "service": service.key, "plan": "basic", "parameters": parameters });
        self.order(format!("{NOUN}: make one too many"), format!("/v1/tenants/{{tenant}}/{NOUN}"), body).refused(code);
    }

    /// Orders something that takes time; its operation is kept.
    fn begin(&mut self, instance: &Installed, verb: &str, body: Value) {
        self.of(NOUN, &instance.name, verb, body).keep(&instance.name);
    }

    fn succeed(&mut self, instance: &Installed, tell: bool) {
        let mut body = json!({ "operation_id": format!("{{{}.operation_id}}", instance.name) });
        if tell {
            body["endpoint"] = instance.service.endpoint(instance.number).into();
            body["outputs"] = instance.service.outputs(self.region.key, &mut self.rng);
        }
        self.of(NOUN, &instance.name, "report-success", body);
    }

    fn fail(&mut self, instance: &Installed, reason: &str, retryable: bool) {
        self.report_failure(instance, reason, retryable);
    }

    fn report_failure(&mut self, instance: &Installed, reason: &str, retryable: bool) -> &mut Order {
        let operation = format!("{{{}.operation_id}}", instance.name);
        let body = json!({ "operation_id": operation, "reason": reason, "retryable": retryable });
        self.of(NOUN, &instance.name, "report-failure", body)
    }

    fn report_health(&mut self, instance: &Installed, health: &str, detail: &str) {
        self.of(NOUN, &instance.name, "report-health", json!({ "health": health, "detail": detail }));
    }

    /// A service that does well, mostly.
    pub(super) fn watch(&mut self, instance: &Installed) {
        self.report_health(instance, "healthy", "all checks pass");
        if self.chance(25) {
            self.report_health(instance, "degraded", "answers take more than 800 ms");
            if self.chance(80) {
                self.report_health(instance, "healthy", "all checks pass");
            }
        }
    }

    /// A service that stops, and mostly comes back.
    pub(super) fn outage(&mut self, instance: &Installed) {
        self.next_work();
        self.report_health(instance, "degraded", "one of three nodes is gone");
        self.report_health(instance, "down", "no node answers");
        if self.chance(60) {
            self.report_health(instance, "healthy", "restored from the last snapshot");
        }
    }

    /// New parameters; they hold if the provider succeeds.
    pub(super) fn configure(&mut self, instance: &Installed, success: bool) {
        self.next_work();
        let mut parameters = instance.service.parameters(instance.seats + 1, self.region.key, &mut self.rng);
        parameters["revision"] = 2.into();
        self.begin(instance, "configure", json!({ "parameters": parameters }));
        if self.chance(25) {
            self.of(NOUN, &instance.name, "suspend", Value::Null).refused("service_instance_operation_in_flight");
        }
        if success {
            self.succeed(instance, true);
        } else {
            self.fail(instance, "the node refused the new limits", true);
        }
    }

    pub(super) fn suspend_instance(&mut self, instance: &Installed) {
        self.begin(instance, "suspend", Value::Null);
        self.succeed(instance, false);
    }

    pub(super) fn resume_instance(&mut self, instance: &Installed) {
        self.begin(instance, "resume", Value::Null);
        self.succeed(instance, true);
        self.report_health(instance, "healthy", "running again");
    }

    /// Rests for a while; the first attempt to wake it fails.
    pub(super) fn rest(&mut self, instance: &Installed) {
        self.next_work();
        self.suspend_instance(instance);
        self.begin(instance, "resume", Value::Null);
        self.fail(instance, "the volume is still attached elsewhere", true);
        self.resume_instance(instance);
    }

    /// The end of a service; a failed first attempt leaves it as it was.
    pub(super) fn remove(&mut self, instance: &Installed, failing: bool) {
        self.next_work();
        self.begin(instance, "deprovision", Value::Null);
        if failing {
            self.fail(instance, "a backup is running", true);
            self.begin(instance, "deprovision", Value::Null);
        }
        self.succeed(instance, false);
        self.counted -= 1;
    }
}
