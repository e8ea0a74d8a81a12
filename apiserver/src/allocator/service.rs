//! The allocations of a service's writes.

use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use proto::content::{canonical_ip, parse_ip_sloppy};
use proto::field::{Error, Errors, Path};
use proto::status::Status;
use proto::view::{View, at, set_at, strs, text_at};
use serde_json::{Value, json};

use super::addresses::{self, AddressError, Wanted};
use super::families;
use super::ports::{self, Bitmap};
use crate::registry::core::service::{health_check_port, needs_cluster_ip, needs_health_check, node_ports};
use crate::registry::{Ctx, Local, Reservation, Settings};

/// What a write took, and what it lets go if it succeeds.
struct Allocations {
    local: Arc<dyn Local>,
    settings: Arc<Settings>,
    addresses: Vec<IpAddr>,
    ports: Vec<i64>,
    old_addresses: Vec<String>,
    old_ports: Vec<i64>,
}

impl Allocations {
    async fn release_ports(&self, list: &[i64]) {
        if list.is_empty() {
            return;
        }
        let mut release = |bitmap: &mut Bitmap| {
            list.iter().for_each(|port| bitmap.release(*port));
            Ok(())
        };
        if let Err(status) = ports::change(self.local.as_ref(), &self.settings, &mut release).await {
            tracing::warn!(ports = ?list, %status, "error releasing node ports");
        }
    }
}

impl Reservation for Allocations {
    fn commit(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            for address in &self.old_addresses {
                addresses::release(self.local.as_ref(), address).await;
            }
            self.release_ports(&self.old_ports).await;
        })
    }

    fn revert(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            for address in &self.addresses {
                addresses::release(self.local.as_ref(), &canonical_ip(*address)).await;
            }
            self.release_ports(&self.ports).await;
        })
    }
}

/// Allocates what a new or changed service needs.
pub(crate) fn begin<'a>(
    ctx: &'a Ctx,
    new: &'a mut Value,
    old: Option<&'a Value>,
) -> BoxFuture<'a, Result<Box<dyn Reservation>, Status>> {
    Box::pin(async move {
        let settings = Settings::of(ctx);
        let mut taken = Allocations {
            local: ctx.local.clone(),
            settings: settings.clone(),
            addresses: Vec::new(),
            ports: Vec::new(),
            old_addresses: Vec::new(),
            old_ports: Vec::new(),
        };
        let null = Value::Null;
        let old = old.unwrap_or(&null);
        families::keep_allocated(new, old);
        families::normalize_addresses(new, old);
        let done = match families::initialize(&settings, new, old) {
            Err(errors) => Err(invalid(new, errors)),
            Ok(()) => allocate(ctx, new, old, &mut taken).await,
        };
        match done {
            Ok(()) => {
                if ctx.dry_run {
                    taken.addresses.clear();
                    taken.ports.clear();
                    taken.old_addresses.clear();
                    taken.old_ports.clear();
                }
                Ok(Box::new(taken) as Box<dyn Reservation>)
            }
            Err(status) => {
                if !ctx.dry_run {
                    Box::new(taken).revert().await;
                }
                Err(status)
            }
        }
    })
}

async fn allocate(ctx: &Ctx, new: &mut Value, old: &Value, taken: &mut Allocations) -> Result<(), Status> {
    let settings = taken.settings.clone();
    cluster_ips(ctx, &settings, new, old, taken).await?;
    ports_on_nodes(ctx, &settings, new, old, taken).await
}

fn invalid(service: &Value, errors: Errors) -> Status {
    Status::invalid("", "Service", text_at(service, &["metadata", "name"]), &errors)
}

/// The addresses that a service has of its own.
fn own_addresses(service: &Value) -> Vec<String> {
    let spec = at(service, &["spec"]);
    if spec.is_null() || !needs_cluster_ip(spec) {
        return Vec::new();
    }
    let list = strs(at(spec, &["clusterIPs"])).into_iter();
    list.filter(|address| *address != "None").map(str::to_owned).collect()
}

async fn cluster_ips(
    ctx: &Ctx,
    settings: &Settings,
    new: &mut Value,
    old: &Value,
    taken: &mut Allocations,
) -> Result<(), Status> {
    let before = own_addresses(old);
    let spec = at(new, &["spec"]);
    if needs_cluster_ip(spec) && strs(at(spec, &["clusterIPs"])).first() != Some(&"None") {
        let families: Vec<String> = strs(at(spec, &["ipFamilies"])).into_iter().map(str::to_owned).collect();
        let mut list: Vec<String> = strs(at(spec, &["clusterIPs"])).into_iter().map(str::to_owned).collect();
        let ranges = addresses::ranges(ctx.local.as_ref(), settings).await?;
        let namespace = match text_at(new, &["metadata", "namespace"]) {
            "" => ctx.namespace.clone(),
            namespace => namespace.to_owned(),
        };
        let name = text_at(new, &["metadata", "name"]).to_owned();
        for (index, family) in families.iter().enumerate() {
            let wanted = list.get(index).cloned().unwrap_or_default();
            if !wanted.is_empty() && before.contains(&wanted) {
                continue;
            }
            let request = if wanted.is_empty() {
                Wanted::Next { v6: family == "IPv6" }
            } else {
                let address = parse_ip_sloppy(&wanted)
                    .ok_or_else(|| Status::internal(format!("failed to parse service IP \"{wanted}\"")))?;
                Wanted::This(address)
            };
            let address =
                addresses::take(ctx.local.as_ref(), &ranges, request, (&namespace, &name), ctx.dry_run)
                    .await
                    .map_err(|error| address_error(new, &wanted, &error))?;
            taken.addresses.push(address);
            if wanted.is_empty() {
                if index < list.len() {
                    list[index] = canonical_ip(address);
                } else {
                    list.push(canonical_ip(address));
                }
            }
        }
        if let Some(first) = list.first().cloned() {
            set_at(new, &["spec", "clusterIP"], Value::from(first));
            set_at(new, &["spec", "clusterIPs"], json!(list));
        }
    }
    let still = own_addresses(new);
    // An address of a service that just changed its type stays in the fields until they are dropped.
    taken.old_addresses = before.into_iter().filter(|address| !still.contains(address)).collect();
    Ok(())
}

fn address_error(service: &Value, wanted: &str, error: &AddressError) -> Status {
    let name = text_at(service, &["metadata", "name"]);
    if matches!(error, AddressError::Full) {
        let quoted = proto::field::quote(name);
        return Status::internal(format!("failed to allocate a serviceIP for Service {quoted}: {error}"));
    }
    let detail = if wanted.is_empty() {
        format!("failed to allocate IP: {error}")
    } else {
        format!("failed to allocate IP {wanted}: {error}")
    };
    let list = match at(service, &["spec", "clusterIPs"]) {
        Value::Null => json!([""]),
        list => list.clone(),
    };
    let path = Path::new("spec").child("clusterIPs");
    invalid(service, vec![Error::invalid(&path, list, detail)])
}

/// Whether the ports of a service are to be on nodes too.
fn wants_node_ports(spec: &Value) -> bool {
    match text_at(spec, &["type"]) {
        "NodePort" => true,
        "LoadBalancer" => at(spec, &["allocateLoadBalancerNodePorts"]).as_bool().unwrap_or(true),
        _ => false,
    }
}

fn may_have_node_ports(spec: &Value) -> bool {
    matches!(text_at(spec, &["type"]), "NodePort" | "LoadBalancer")
}

/// All ports on nodes that a service takes.
pub(super) fn taken_ports(service: &Value) -> Vec<i64> {
    let spec = at(service, &["spec"]);
    let mut list = if may_have_node_ports(spec) { node_ports(spec) } else { Vec::new() };
    let health = health_check_port(spec);
    if health != 0 {
        list.push(health);
    }
    list.sort_unstable();
    list.dedup();
    list
}

async fn ports_on_nodes(
    ctx: &Ctx,
    settings: &Settings,
    new: &mut Value,
    old: &Value,
    taken: &mut Allocations,
) -> Result<(), Status> {
    let before = taken_ports(old);
    let spec = at(new, &["spec"]);
    let needs = may_have_node_ports(spec) && (wants_node_ports(spec) || !node_ports(spec).is_empty());
    if needs || needs_health_check(spec) {
        let assigned = |bitmap: &mut Bitmap| -> Result<(Value, Vec<i64>), Status> {
            let (mut service, mut fresh) = (new.clone(), Vec::new());
            assign_ports(&mut service, &before, bitmap, &mut fresh)?;
            Ok((service, fresh))
        };
        // Where the service keeps the ports it has, nothing needs to be written.
        let mut known = ports::current(ctx.local.as_ref(), settings).await?;
        let tried = assigned(&mut known);
        let result = if ctx.dry_run {
            tried?
        } else if let Ok(tried) = tried
            && tried.1.is_empty()
        {
            tried
        } else {
            let mut result = (Value::Null, Vec::new());
            let mut assign = |bitmap: &mut Bitmap| -> Result<(), Status> {
                result = assigned(bitmap)?;
                Ok(())
            };
            ports::change(ctx.local.as_ref(), settings, &mut assign).await?;
            result
        };
        taken.ports = result.1;
        *new = result.0;
    }
    let still = taken_ports(new);
    taken.old_ports = before.into_iter().filter(|port| !still.contains(port)).collect();
    Ok(())
}

/// Gives a service the ports it lacks. `before` are those it has already; `fresh` becomes those it takes now.
fn assign_ports(
    service: &mut Value,
    before: &[i64],
    bitmap: &mut Bitmap,
    fresh: &mut Vec<i64>,
) -> Result<(), Status> {
    let spec = at(service, &["spec"]).clone();
    let ports = View::root(&spec).get("ports").items();
    let wants = wants_node_ports(&spec);
    let mut given: Vec<(i64, i64)> = Vec::new();
    let mut assigned = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let (number, wanted) = (port.int("port"), port.int("nodePort"));
        let mut have = wanted;
        if may_have_node_ports(&spec) && (wanted != 0 || wants) {
            // Ports of the same number in different protocols share theirs on nodes.
            let shared = given.iter().find(|(other, _)| *other == number).map(|(_, port)| *port);
            let requested = ports
                .iter()
                .find(|other| other.int("port") == number && other.int("nodePort") != 0)
                .map(|other| other.int("nodePort"));
            if wanted == 0 {
                have = shared.or(requested.filter(|_| before.is_empty())).unwrap_or_default();
            }
            if have == 0 {
                let failed = |error| Status::internal(format!("failed to allocate a nodePort: {error}"));
                have = bitmap.take_next().map_err(failed)?;
                fresh.push(have);
            } else if !before.contains(&have) && !fresh.contains(&have) {
                if let Err(error) = bitmap.take(have) {
                    let path = Path::new("spec").child("ports").index(index).child("nodePort");
                    return Err(invalid(service, vec![Error::invalid(&path, have, error.to_string())]));
                }
                fresh.push(have);
            }
            if shared.is_none() {
                given.push((number, have));
            }
        }
        assigned.push(have);
    }
    let list = service.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut);
    for (port, number) in list.into_iter().flatten().zip(assigned) {
        let value = if number == 0 { Value::Null } else { Value::from(number) };
        set_at(port, &["nodePort"], value);
    }
    health_check(service, before, bitmap, fresh)
}

fn health_check(
    service: &mut Value,
    before: &[i64],
    bitmap: &mut Bitmap,
    fresh: &mut Vec<i64>,
) -> Result<(), Status> {
    const PORT: [&str; 2] = ["spec", "healthCheckNodePort"];
    if !needs_health_check(at(service, &["spec"])) {
        return Ok(());
    }
    let wanted = at(service, &PORT).as_i64().unwrap_or_default();
    if wanted == 0 {
        let failed =
            |error| Status::internal(format!("failed to allocate a HealthCheck NodePort 0: {error}"));
        let port = bitmap.take_next().map_err(failed)?;
        fresh.push(port);
        set_at(service, &PORT, Value::from(port));
    } else if !before.contains(&wanted) {
        let failed = |error| {
            Status::internal(format!("failed to allocate requested HealthCheck NodePort {wanted}: {error}"))
        };
        bitmap.take(wanted).map_err(failed)?;
        fresh.push(wanted);
    }
    Ok(())
}

/// Gives back what a deleted service had.
pub(crate) fn after_delete<'a>(ctx: &'a Ctx, service: &'a Value) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        if ctx.dry_run {
            return;
        }
        let allocations = Allocations {
            local: ctx.local.clone(),
            settings: Settings::of(ctx),
            addresses: Vec::new(),
            ports: Vec::new(),
            old_addresses: own_addresses(service),
            old_ports: taken_ports(service),
        };
        Box::new(allocations).commit().await;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(spec: Value, before: &[i64]) -> (Value, Vec<i64>) {
        let mut service = json!({"metadata": {"name": "s"}, "spec": spec});
        let mut fresh = Vec::new();
        let mut bitmap = Bitmap::empty((30000, 32767));
        assign_ports(&mut service, before, &mut bitmap, &mut fresh).expect("assigned");
        (service, fresh)
    }

    #[test]
    fn two_protocols_of_a_port_share_theirs_on_nodes() {
        let ports = json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]);
        let (service, fresh) = assigned(json!({"type": "NodePort", "ports": ports}), &[]);
        assert_eq!(fresh.len(), 1);
        assert_eq!(service["spec"]["ports"][0]["nodePort"], service["spec"]["ports"][1]["nodePort"]);
    }

    #[test]
    fn ports_it_has_are_not_taken_again() {
        let ports = json!([{"port": 80, "nodePort": 30001}]);
        let (_, fresh) = assigned(json!({"type": "NodePort", "ports": ports}), &[30001]);
        assert!(fresh.is_empty());
    }

    #[test]
    fn a_local_load_balancer_gets_a_port_for_health_checks() {
        let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]});
        let (service, fresh) = assigned(spec, &[]);
        assert_eq!(fresh.len(), 2);
        assert_eq!(service["spec"]["healthCheckNodePort"], fresh[1]);
    }
}
