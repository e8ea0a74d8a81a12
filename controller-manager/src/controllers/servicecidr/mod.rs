//! ServiceCIDRs: ranges of Service addresses, which stay as long as addresses of theirs are in use.
//!
//! Watches ServiceCIDRs, and the metadata of IPAddresses for their end; the addresses themselves are listed when a range is
//! to go.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use component_base::client::known::{IP_ADDRESSES, SERVICE_CIDRS};
use component_base::client::{ListOptions, Patch};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use ipnet::IpNet;
use proto::meta::Key;
use proto::time::Time;
use serde_json::{Value, json};

use crate::api::Condition;
use crate::api::core::Metadata;
use crate::api::discovery::ServiceCidr;
use crate::common::events::Event;
use crate::common::seconds_between;
use crate::context::{Controller, Subject};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by=ipallocator.k8s.io";
/// Allocators need a moment to see that a range is going.
const GRACE_SECONDS: i64 = 10;

#[derive(Debug, PartialEq)]
enum Plan {
    /// Protects the range and says that it is ready.
    Ready,
    /// Says why the range stays.
    Blocked,
    Wait(Duration),
    Release,
}

/// Decides about a range among `all`, the addresses in use being `addresses`.
fn plan(range: &ServiceCidr, all: &[Arc<ServiceCidr>], addresses: &[IpAddr], now: Time) -> Plan {
    let Some(deleted) = range.metadata.deletion_timestamp else { return Plan::Ready };
    let others = |test: &dyn Fn(&IpNet) -> bool| {
        let other = |cidr: &&Arc<ServiceCidr>| cidr.metadata.name != range.metadata.name;
        all.iter().filter(other).any(|cidr| cidr.prefixes().any(|prefix| test(&prefix)))
    };
    let has_parent = range.prefixes().all(|own| others(&|prefix| prefix.contains(&own)));
    let orphan = |address: &IpAddr| {
        range.prefixes().any(|own| own.contains(address)) && !others(&|prefix| prefix.contains(address))
    };
    if !has_parent && addresses.iter().any(orphan) {
        return Plan::Blocked;
    }
    let left = GRACE_SECONDS - seconds_between(deleted, now);
    match u64::try_from(left) {
        Ok(left) if left > 0 => Plan::Wait(Duration::from_secs(left)),
        _ => Plan::Release,
    }
}

struct Ranges {
    controller: Arc<Controller>,
    ranges: Store<ServiceCidr>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("servicecidrs");
    let this = Arc::new(Ranges { ranges: controller.store(&SERVICE_CIDRS), controller: controller.clone() });
    let (keys, own) = (queue.clone(), this.clone());
    this.ranges.subscribe(move |change: &Change<ServiceCidr>| {
        keys.add(change.key());
        let changed: Vec<IpNet> = change.latest().prefixes().collect();
        own.ranges.for_each(|other| {
            let overlaps = |p: &IpNet| changed.iter().any(|c| c.contains(p) || p.contains(c));
            if other.prefixes().any(|p| overlaps(&p)) {
                keys.add(other.metadata.key());
            }
        });
    });
    let (keys, own) = (queue.clone(), this.clone());
    controller.kinds().subscribe(move |kind, change| {
        if kind.resource != IP_ADDRESSES || change.new.is_some() {
            return;
        }
        if let Ok(address) = change.latest().metadata.name.parse::<IpAddr>() {
            own.ranges.for_each(|range| {
                if range.prefixes().any(|prefix| prefix.contains(&address)) {
                    keys.add(range.metadata.key());
                }
            });
        }
    });
    let own = this.clone();
    let ready = async move { own.ranges.synced().await };
    controller.run(&queue, 5, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Ranges {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(range) = self.ranges.get_key(key) else { return Ok(Next::Done) };
        let addresses = if range.metadata.is_being_deleted() { self.addresses().await? } else { Vec::new() };
        match plan(&range, &self.ranges.list(), &addresses, Time::now()) {
            Plan::Ready => {
                if !range.metadata.finalizers.iter().any(|f| f == FINALIZER) {
                    self.patch(key, &json!({"metadata": {"finalizers": [FINALIZER]}})).await?;
                }
                if let Err(error) = self.say(&range, "True", "", "Kubernetes Service CIDR is ready").await {
                    let text = "The ServiceCIDR Status can not be set to Ready=True";
                    let subject = Subject::new("networking.k8s.io/v1", "ServiceCIDR", &range.metadata);
                    self.controller.record(&subject, &Event::warning("KubernetesServiceCIDRError", text));
                    return Err(error);
                }
            }
            Plan::Blocked => {
                let text = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
                self.say(&range, "False", "Terminating", text).await?;
            }
            Plan::Wait(wait) => return Ok(Next::After(wait)),
            Plan::Release => {
                if range.metadata.finalizers.iter().any(|f| f == FINALIZER) {
                    self.patch(
                        key,
                        &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}}),
                    )
                    .await?;
                }
            }
        }
        Ok(Next::Done)
    }

    /// The addresses that Services have.
    async fn addresses(&self) -> anyhow::Result<Vec<IpAddr>> {
        let options = ListOptions { labels: MANAGED_BY.into(), ..Default::default() };
        let list = self.controller.client.list::<Metadata>(&IP_ADDRESSES, "", &options).await?;
        Ok(list.items.iter().filter_map(|address| address.metadata.name.parse().ok()).collect())
    }

    async fn patch(&self, key: &Key, patch: &Value) -> anyhow::Result<()> {
        match self
            .controller
            .client
            .patch::<Value>(&SERVICE_CIDRS, "", &key.name, Patch::Strategic, patch)
            .await
        {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn say(
        &self,
        range: &ServiceCidr,
        status: &str,
        reason: &str,
        message: &str,
    ) -> anyhow::Result<()> {
        let same = |c: &Condition| c.status == status && c.reason == reason && c.message == message;
        let current = crate::api::find_condition(&range.status.conditions, "Ready");
        if current.is_some_and(same) {
            return Ok(());
        }
        let kept = current.filter(|c| c.status == status).and_then(|c| c.last_transition_time);
        let patch = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": range.metadata.name},
            "status": {"conditions": [{
                "type": "Ready",
                "status": status,
                "reason": reason,
                "message": message,
                "lastTransitionTime": kept.unwrap_or_else(Time::now),
            }]},
        });
        let manager = Patch::Apply { manager: "service-cidr-controller", force: true };
        let resource = SERVICE_CIDRS.sub("status");
        self.controller.client.patch::<Value>(&resource, "", &range.metadata.name, manager, &patch).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, cidrs: &[&str], deleted: bool) -> Arc<ServiceCidr> {
        let time = deleted.then_some("2026-01-01T00:00:00Z");
        let value = json!({"metadata": {"name": name, "deletionTimestamp": time}, "spec": {"cidrs": cidrs}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    /// After upstream's TestControllerSync and TestController_canDeleteCIDR.
    #[test]
    fn ranges_stay_while_addresses_need_them() {
        let address = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
        let (soon, later) = ("2026-01-01T00:00:04Z", "2026-01-01T00:01:00Z");
        let wait = Plan::Wait(Duration::from_secs(6));
        for (what, deleted, others, addresses, now, wanted) in [
            ("alive", false, vec![], vec![], soon, Plan::Ready),
            ("unused", true, vec![], vec![], later, Plan::Release),
            ("unused, just deleted", true, vec![], vec![], soon, wait),
            ("used", true, vec![], address("192.168.0.5"), later, Plan::Blocked),
            ("another address", true, vec![], address("10.0.0.5"), later, Plan::Release),
            (
                "in a parent",
                true,
                vec![range("p", &["192.168.0.0/16"], false)],
                address("192.168.0.5"),
                later,
                Plan::Release,
            ),
            (
                "the same twice",
                true,
                vec![range("p", &["192.168.0.0/24"], false)],
                address("192.168.0.5"),
                later,
                Plan::Release,
            ),
            (
                "a child that has it",
                true,
                vec![range("c", &["192.168.0.0/28"], false)],
                address("192.168.0.5"),
                later,
                Plan::Release,
            ),
            (
                "a child that hasn't",
                true,
                vec![range("c", &["192.168.0.0/30"], false)],
                address("192.168.0.5"),
                later,
                Plan::Blocked,
            ),
        ] {
            let own = range("r", &["192.168.0.0/24"], deleted);
            let mut all = others;
            all.push(own.clone());
            assert_eq!(plan(&own, &all, &addresses, now.parse().unwrap()), wanted, "{what}");
        }
    }
}
