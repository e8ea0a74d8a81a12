//! Finds what a dead server left behind: allocations without a service, and services without their allocations.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use proto::content::{canonical_ip, parse_ip_sloppy};
use proto::labels::Selector;
use proto::status::Status;
use proto::view::{at, strs, text_at};
use serde_json::Value;

use super::{addresses, ports, service};
use crate::registry::core::service::needs_cluster_ip;
use crate::registry::{Local, Settings};

/// How often to look.
pub const PERIOD: Duration = Duration::from_secs(180);

/// An allocation may be that of a write under way, so the young ones are left alone.
const GRACE_SECONDS: i64 = 60;

/// What the services have.
#[derive(Debug, Default, PartialEq)]
struct Taken {
    /// By address: the services that have it, as (namespace, name).
    addresses: BTreeMap<String, Vec<(String, String)>>,
    ports: BTreeSet<i64>,
}

fn taken<'a>(services: impl IntoIterator<Item = &'a Value>) -> Taken {
    let mut taken = Taken::default();
    for object in services {
        let spec = at(object, &["spec"]);
        let name = |field| text_at(object, &["metadata", field]).to_owned();
        let list = strs(at(spec, &["clusterIPs"]));
        for address in list.into_iter().filter(|_| needs_cluster_ip(spec)).filter_map(parse_ip_sloppy) {
            let owners = taken.addresses.entry(canonical_ip(address)).or_default();
            owners.push((name("namespace"), name("name")));
        }
        taken.ports.extend(service::taken_ports(object));
    }
    taken
}

/// Makes the allocations agree with the services. `leaked` are the ports that had no service the last time: only what
/// is found twice is released.
pub async fn repair(
    local: &dyn Local,
    settings: &Settings,
    leaked: &mut BTreeSet<i64>,
) -> Result<(), Status> {
    let services = local.list("", "services", "", &Selector::everything(), true).await?;
    let taken = taken(services.iter().map(AsRef::as_ref));
    repair_addresses(local, &taken).await?;
    repair_ports(local, settings, &taken, leaked).await
}

async fn repair_addresses(local: &dyn Local, taken: &Taken) -> Result<(), Status> {
    let now = Timestamp::now();
    let objects = addresses::managed(local).await?;
    let mut known = BTreeSet::new();
    for object in &objects {
        let address = text_at(object, &["metadata", "name"]);
        known.insert(address.to_owned());
        let owners = taken.addresses.get(address).map(Vec::as_slice).unwrap_or_default();
        if !owners.contains(&addresses::owner(object)) && is_old(object, now) {
            tracing::warn!(address, "releasing a cluster IP that no service has");
            addresses::release(local, address).await;
        }
    }
    for (address, owners) in taken.addresses.iter().filter(|(address, _)| !known.contains(*address)) {
        if let (Some((namespace, name)), Some(ip)) = (owners.first(), parse_ip_sloppy(address)) {
            tracing::warn!(address, namespace, name, "the cluster IP of a service was not allocated");
            addresses::restore(local, ip, namespace, name).await;
        }
    }
    Ok(())
}

fn is_old(object: &Value, now: Timestamp) -> bool {
    let created = text_at(object, &["metadata", "creationTimestamp"]).parse::<Timestamp>();
    created.is_ok_and(|created| now.as_second() - created.as_second() > GRACE_SECONDS)
}

async fn repair_ports(
    local: &dyn Local,
    settings: &Settings,
    taken: &Taken,
    leaked: &mut BTreeSet<i64>,
) -> Result<(), Status> {
    let bitmap = ports::current(local, settings).await?;
    let allocated: BTreeSet<i64> = bitmap.ports().collect();
    let without_service: BTreeSet<i64> = allocated.difference(&taken.ports).copied().collect();
    let release: Vec<i64> = without_service.intersection(leaked).copied().collect();
    let (first, last) = settings.node_ports;
    let in_range = |port: &&i64| (i64::from(first)..=i64::from(last)).contains(*port);
    let missing: Vec<i64> = taken.ports.difference(&allocated).filter(in_range).copied().collect();
    *leaked = without_service;
    if release.is_empty() && missing.is_empty() {
        return Ok(());
    }
    tracing::warn!(?release, ?missing, "repairing node ports");
    let mut fix = |bitmap: &mut ports::Bitmap| {
        release.iter().for_each(|port| bitmap.release(*port));
        for port in &missing {
            // Another server may have been quicker.
            let _ = bitmap.take(*port);
        }
        Ok(())
    };
    ports::change(local, settings, &mut fix).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_tell_what_is_taken() {
        let services = [
            json!({"metadata": {"namespace": "n", "name": "a"}, "spec": {
                "type": "NodePort", "clusterIPs": ["10.0.0.1"], "ports": [{"nodePort": 30001}]}}),
            json!({"metadata": {"namespace": "n", "name": "b"}, "spec": {"type": "ClusterIP", "clusterIPs": ["None"]}}),
            json!({"metadata": {"namespace": "n", "name": "c"}, "spec": {"type": "ExternalName"}}),
        ];
        let taken = taken(&services);
        assert_eq!(taken.addresses.keys().collect::<Vec<_>>(), ["10.0.0.1"]);
        assert_eq!(taken.ports.into_iter().collect::<Vec<_>>(), [30001]);
    }
}
