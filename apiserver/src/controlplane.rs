//! The service `kubernetes`, through which pods reach the API servers, and the ranges that services get addresses from.
//!
//! Each server keeps a key of its own below `masterleases`, with a lease that it renews; the endpoints of the service are the
//! addresses whose keys are there. So servers that die are taken out by the others, and no server needs to know them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use component_base::tasks::Tasks;
use jiff::Timestamp;
use proto::status::Status;
use serde_json::{Value, json};

use crate::allocator;
use crate::engine::{Engine, meta, unavailable, undecodable};
use crate::registry::{Local, Settings};
use crate::storage::keys;

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
const PORT_NAME: &str = "https";
/// How often the lease is renewed and the endpoints are looked at (upstream's interval).
const INTERVAL: Duration = Duration::from_secs(10);
/// Seconds a lease lasts (upstream's).
const LEASE: i64 = 15;

/// What is known of this server.
#[derive(Debug, Clone)]
pub struct Member {
    /// Address under which others reach it.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Port of the service on nodes; 0: none.
    pub node_port: u16,
    /// Whether endpoints are kept.
    pub reconcile: bool,
}

/// The object that stands for the configured service ranges, ready to be used.
pub async fn service_ranges(local: Arc<dyn Local>, settings: Settings) -> Result<(), Status> {
    let group = "networking.k8s.io";
    match local.create(group, "servicecidrs", allocator::default_service_cidr(&settings)).await {
        Ok(_) => {}
        Err(status) if status.is_already_exists() => {}
        Err(status) => return Err(status),
    }
    let mut ready = |old: &Value| {
        let mut new = old.clone();
        if new["status"]["conditions"].is_null() {
            new["status"] = json!({"conditions": [{
                "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
                "lastTransitionTime": meta::time(Timestamp::now()),
            }]});
        }
        Ok(new)
    };
    let name = allocator::DEFAULT_SERVICE_CIDR;
    local.update(group, "servicecidrs", "status", "", name, &mut ready).await.map(|_| ())
}

/// Repairs allocations now, and then in the background.
pub async fn repair(tasks: Tasks, local: Arc<dyn Local>, settings: Settings) -> Result<(), Status> {
    let mut leaked = BTreeSet::new();
    allocator::repair(&*local, &settings, &mut leaked).await?;
    tasks.spawn("service repair", async move {
        loop {
            tokio::time::sleep(allocator::REPAIR_PERIOD).await;
            if let Err(error) = allocator::repair(&*local, &settings, &mut leaked).await {
                tracing::warn!(%error, "repairing the allocations of services");
            }
        }
    });
    Ok(())
}

/// Makes the service and its endpoints, and keeps them in the background.
pub async fn service(
    tasks: Tasks,
    engine: Arc<Engine>,
    local: Arc<dyn Local>,
    settings: Settings,
    member: Member,
) -> Result<(), Status> {
    let keeper = Keeper { engine, local, settings, member };
    // A failure (such as an address that endpoints can't have) leaves the server serving; the next round tries again.
    keeper.try_round().await;
    let stopping = tasks.stopping_token();
    tasks.spawn_graceful("kubernetes service", async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            keeper.try_round().await;
        }
        if keeper.member.reconcile
            && let Err(error) = keeper.leave().await
        {
            tracing::error!(%error, "unable to remove old endpoints from kubernetes service");
        }
        Ok(())
    });
    Ok(())
}

async fn create_service(local: &dyn Local, settings: &Settings, member: &Member) -> Result<(), Status> {
    if local.cached("", "services", NAMESPACE, NAME).is_some() {
        return Ok(());
    }
    let first = settings.service_ranges.first().map(|(network, _)| match network {
        IpAddr::V4(ip) => IpAddr::from((u32::from(*ip) + 1).to_be_bytes()),
        IpAddr::V6(ip) => IpAddr::from((u128::from(*ip) + 1).to_be_bytes()),
    });
    let mut port = json!({"name": PORT_NAME, "port": 443, "protocol": "TCP", "targetPort": member.port});
    if member.node_port > 0 {
        port["nodePort"] = member.node_port.into();
    }
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": first.map(|ip| ip.to_string()),
            "ipFamilyPolicy": "SingleStack",
            "ports": [port],
            "sessionAffinity": "None",
            "type": if member.node_port > 0 { "NodePort" } else { "ClusterIP" },
        },
    });
    match local.create("", "services", service).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}

/// Keeps the endpoints.
struct Keeper {
    engine: Arc<Engine>,
    local: Arc<dyn Local>,
    settings: Settings,
    member: Member,
}

impl Keeper {
    async fn try_round(&self) {
        if let Err(error) = self.round().await {
            tracing::error!(%error, "unable to sync kubernetes service");
        }
    }

    fn prefix(&self) -> String {
        format!("/{}/masterleases/", self.engine.config().etcd_prefix.trim_matches('/'))
    }

    async fn round(&self) -> Result<(), Status> {
        create_service(&*self.local, &self.settings, &self.member).await?;
        if !self.member.reconcile {
            return Ok(());
        }
        self.renew().await?;
        let members = self.members().await?;
        if members.is_empty() {
            return Err(Status::internal(
                "no API server IP addresses were listed in storage, refusing to erase all endpoints for the kubernetes Service",
            ));
        }
        self.write(&members).await
    }

    /// Takes this server out.
    async fn leave(&self) -> Result<(), Status> {
        let key = format!("{}{}", self.prefix(), self.member.address);
        self.engine.etcd().delete_always(&key).await.map_err(unavailable)?;
        let members = self.members().await?;
        self.write(&members).await
    }

    async fn renew(&self) -> Result<(), Status> {
        let Some(store) = self.engine.store("", "endpoints") else { return Err(Status::unknown_path()) };
        let address = self.member.address.to_string();
        let mut value = json!({
            "apiVersion": "v1", "kind": "Endpoints", "metadata": {},
            "subsets": [{"addresses": [{"ip": address}]}],
        });
        let bytes = store.codec.encode_stored(&mut value).map_err(undecodable)?;
        let etcd = self.engine.etcd();
        let lease = etcd.grant(LEASE).await.map_err(unavailable)?;
        etcd.put_always(&format!("{}{address}", self.prefix()), bytes, lease).await.map_err(unavailable)
    }

    /// The servers' addresses, in order.
    async fn members(&self) -> Result<Vec<String>, Status> {
        let prefix = self.prefix();
        let page =
            self.engine.etcd().range(&prefix, &keys::end_of(&prefix), 0, 0).await.map_err(unavailable)?;
        Ok(page.kvs.iter().filter_map(|kv| kv.key.strip_prefix(&prefix).map(str::to_owned)).collect())
    }

    async fn write(&self, members: &[String]) -> Result<(), Status> {
        let endpoints = json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {
                "name": NAME, "namespace": NAMESPACE,
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": subsets(members, self.member.port),
        });
        self.ensure("", "endpoints", endpoints, &["subsets"]).await?;
        let of_family = |v6: bool| members.iter().filter(move |m| m.contains(':') == v6);
        let v6 = of_family(false).next().is_none() && !members.is_empty();
        let ready: Vec<Value> =
            of_family(v6).map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
        let mut slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": NAME, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": NAME},
            },
            "addressType": if v6 { "IPv6" } else { "IPv4" },
            "ports": [{"name": PORT_NAME, "port": self.member.port, "protocol": "TCP"}],
        });
        if !ready.is_empty() {
            slice["endpoints"] = ready.into();
        }
        self.ensure("discovery.k8s.io", "endpointslices", slice, &["endpoints", "ports"]).await
    }

    /// Creates the object, or gives the one that is there these fields.
    async fn ensure(
        &self,
        group: &str,
        resource: &str,
        wanted: Value,
        fields: &[&str],
    ) -> Result<(), Status> {
        if self.local.cached(group, resource, NAMESPACE, NAME).is_none() {
            match self.local.create(group, resource, wanted.clone()).await {
                Err(status) if status.is_already_exists() => {}
                created => return created.map(|_| ()),
            }
        }
        let mut change = |old: &Value| {
            let mut new = old.clone();
            for field in fields {
                match wanted.get(field) {
                    Some(value) => new[*field] = value.clone(),
                    None => {
                        new.as_object_mut().map(|object| object.remove(*field));
                    }
                }
            }
            new["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
            Ok(new)
        };
        self.local.update(group, resource, "", NAMESPACE, NAME, &mut change).await.map(|_| ())
    }
}

fn subsets(members: &[String], port: u16) -> Value {
    if members.is_empty() {
        return Value::Null;
    }
    let addresses: Vec<Value> = members.iter().map(|ip| json!({"ip": ip})).collect();
    json!([{"addresses": addresses, "ports": [{"name": PORT_NAME, "port": port, "protocol": "TCP"}]}])
}
