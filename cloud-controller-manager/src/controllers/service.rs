//! The service controller: a load balancer for every Service that wants one, over the nodes that can carry it.

use std::sync::Arc;
use std::time::Duration;

use component_base::client::known::SERVICES;
use component_base::client::{Error, Patch};
use component_base::events::{EventType, ObjectRef, Recorder};
use component_base::flags::parse_bool;
use component_base::queue::{Next, Queue, RateLimit, run_workers};
use component_base::watch::Change;
use proto::meta::Key;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{Context, unchanged};
use crate::objects::{FINALIZER, Ingress, Node, Service};

const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// Set by the cluster autoscaler on nodes that are about to go.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// What a service needs.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Ensure,
    CleanUp,
}

fn plan(service: &Service) -> Plan {
    if service.needs_cleanup() {
        Plan::CleanUp
    } else if service.wants_load_balancer() && !service.metadata.is_being_deleted() {
        Plan::Ensure
    } else {
        Plan::Nothing
    }
}

/// Whether a node can carry load balancers.
fn carries(node: &Node) -> bool {
    let excluded = node.metadata.labels.get(EXCLUDED).is_some_and(|value| parse_bool(value) != Some(false));
    node.is_ready() && !excluded && !node.has_taint(TO_BE_DELETED) && !node.metadata.is_being_deleted()
}

#[derive(Clone)]
struct Controller {
    context: Context,
    recorder: Recorder,
}

impl Controller {
    async fn sync(&self, key: Key) -> anyhow::Result<Next> {
        let Some(service) = self.context.services.get_key(&key) else { return Ok(Next::Done) };
        let outcome = match plan(&service) {
            Plan::Nothing => Ok(()),
            Plan::Ensure => self.ensure(&service).await,
            Plan::CleanUp => self.clean_up(&service).await,
        };
        if let Err(error) = outcome {
            // A change meanwhile brings the key back anyway.
            if error.downcast_ref::<Error>().is_some_and(Error::is_conflict) {
                return Ok(Next::After(Duration::from_millis(100)));
            }
            let text = format!("Error syncing load balancer: {error:#}");
            self.tell(&service, EventType::Warning, "SyncLoadBalancerFailed", &text);
            return Err(error);
        }
        Ok(Next::Done)
    }

    async fn ensure(&self, service: &Arc<Service>) -> anyhow::Result<()> {
        let Some(balancers) = self.context.cloud.load_balancers() else { return Ok(()) };
        let meta = &service.metadata;
        let new = !meta.finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        if new {
            self.tell(service, EventType::Normal, "EnsuringLoadBalancer", "Ensuring load balancer");
            let finalizers: Vec<&str> =
                meta.finalizers.iter().map(String::as_str).chain([FINALIZER]).collect();
            self.set_finalizers(service, json!(finalizers)).await?;
        }
        let nodes: Vec<Arc<Node>> =
            self.context.nodes.list().into_iter().filter(|node| carries(node)).collect();
        let ensured = balancers
            .ensure(service, &nodes)
            .await
            .map_err(|e| e.context("failed to ensure load balancer"))?;
        if ensured.ingress != service.status.load_balancer.ingress {
            self.set_status(service, &ensured.ingress).await?;
        }
        if ensured.changed {
            if nodes.is_empty() {
                let text = "There are no available nodes for LoadBalancer";
                self.tell(service, EventType::Warning, "UnAvailableLoadBalancer", text);
            } else if service.status.load_balancer.ingress.is_empty() {
                self.tell(service, EventType::Normal, "EnsuredLoadBalancer", "Ensured load balancer");
            } else {
                self.tell(
                    service,
                    EventType::Normal,
                    "UpdatedLoadBalancer",
                    "Updated load balancer with new hosts",
                );
            }
        }
        Ok(())
    }

    async fn clean_up(&self, seen: &Arc<Service>) -> anyhow::Result<()> {
        let Some(balancers) = self.context.cloud.load_balancers() else { return Ok(()) };
        // Each step changes the object, so what the watch has shown may be what was already cleaned up.
        let Some(service) = self.read(seen).await?.filter(Service::needs_cleanup) else { return Ok(()) };
        self.tell(&service, EventType::Normal, "DeletingLoadBalancer", "Deleting load balancer");
        balancers.delete(&service).await.map_err(|e| e.context("failed to delete load balancer"))?;
        if !service.status.load_balancer.ingress.is_empty() && !service.metadata.is_being_deleted() {
            self.set_status(&service, &[]).await?;
        }
        let Some(service) = self.read(seen).await? else { return Ok(()) };
        let rest: Vec<&String> =
            service.metadata.finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
        self.set_finalizers(&service, json!(rest)).await?;
        self.tell(&service, EventType::Normal, "DeletedLoadBalancer", "Deleted load balancer");
        Ok(())
    }

    /// The same service as it is now; none if it is gone.
    async fn read(&self, seen: &Service) -> anyhow::Result<Option<Service>> {
        let meta = &seen.metadata;
        match self.context.client.get::<Service>(&SERVICES, &meta.namespace, &meta.name).await {
            Ok(service) => Ok(Some(service).filter(|service| service.metadata.uid == meta.uid)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn set_finalizers(&self, service: &Service, finalizers: Value) -> anyhow::Result<()> {
        let mut metadata = unchanged(&service.metadata);
        metadata["finalizers"] = finalizers;
        self.patch(service, "", &json!({ "metadata": metadata })).await
    }

    async fn set_status(&self, service: &Service, ingress: &[Ingress]) -> anyhow::Result<()> {
        let patch = json!({ "metadata": { "uid": service.metadata.uid }, "status": { "loadBalancer": { "ingress": ingress } } });
        self.patch(service, "status", &patch).await
    }

    async fn patch(&self, service: &Service, sub: &'static str, patch: &Value) -> anyhow::Result<()> {
        let meta = &service.metadata;
        let resource = SERVICES.sub(sub);
        match self
            .context
            .client
            .patch::<IgnoredAny>(&resource, &meta.namespace, &meta.name, Patch::Merge, patch)
            .await
        {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn tell(&self, service: &Service, kind: EventType, reason: &str, text: &str) {
        self.recorder.event(&ObjectRef::new("v1", "Service", service), kind, reason, text);
    }
}

/// Whether a change of a node can change what carries load balancers.
fn matters(change: &Change<Node>) -> bool {
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => carries(old) != carries(new),
        (Some(node), None) | (None, Some(node)) => carries(node),
        (None, None) => false,
    }
}

/// Starts the controller, if the cloud has load balancers.
pub fn start(context: &Context) -> bool {
    if context.cloud.load_balancers().is_none() {
        return false;
    }
    let client = context.client.named("service-controller");
    let recorder = Recorder::new(&client, "service-controller", "", &context.tasks);
    let controller = Controller { context: Context { client, ..context.clone() }, recorder };
    let limit = RateLimit { base: Duration::from_secs(5), max: Duration::from_secs(300), bucket: None };
    let queue: Queue<Key> = Queue::with_limit("service", limit);

    let (add, services) = (queue.clone(), context.services.clone());
    let all = move |only_waiting: bool| {
        services.for_each(|service| {
            let waits = service.status.load_balancer.ingress.is_empty();
            if service.wants_load_balancer() && (waits || !only_waiting) {
                add.add(service.metadata.key());
            }
        });
    };
    let (add, freed) = (queue.clone(), all.clone());
    context.services.subscribe(move |change| {
        let relevant = |service: &Arc<Service>| service.wants_load_balancer() || service.needs_cleanup();
        if change.new.as_ref().is_some_and(relevant) {
            add.add(change.key());
        }
        // An address that has come free may be what another service waits for.
        let has = |service: &Option<Arc<Service>>| {
            service.as_ref().is_some_and(|s| !s.status.load_balancer.ingress.is_empty())
        };
        if has(&change.old) && !has(&change.new) {
            freed(true);
        }
    });
    context.nodes.subscribe(move |change| {
        if matters(change) {
            all(false);
        }
    });
    let (add, services) = (queue.clone(), context.services.clone());
    context.slices.subscribe(move |change| {
        let slice = change.latest();
        let service = services.get(&slice.metadata.namespace, slice.service());
        if service.is_some_and(|s| s.wants_load_balancer() && s.spec.external_traffic_policy == "Local") {
            add.add(Key::new(&*slice.metadata.namespace, slice.service()));
        }
    });

    let workers = context.options.concurrent_service_syncs;
    run_workers(&context.tasks, "service-lb-controller", &queue, workers, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_get_what_they_want() {
        let service = |kind: &str, meta: Value, class: &str| -> Service {
            serde_json::from_value(
                json!({ "metadata": meta, "spec": { "type": kind, "loadBalancerClass": class } }),
            )
            .unwrap()
        };
        let ours = json!({ "finalizers": [FINALIZER] });
        let going = json!({ "finalizers": [FINALIZER], "deletionTimestamp": "2024-01-01T00:00:00Z" });
        for (service, expected) in [
            (service("ClusterIP", json!({}), ""), Plan::Nothing),
            (service("LoadBalancer", json!({}), ""), Plan::Ensure),
            (service("LoadBalancer", json!({}), "else/where"), Plan::Nothing),
            (service("LoadBalancer", ours.clone(), ""), Plan::Ensure),
            (service("ClusterIP", ours, ""), Plan::CleanUp),
            (service("LoadBalancer", going, ""), Plan::CleanUp),
        ] {
            assert_eq!(plan(&service), expected, "{service:?}");
        }
    }

    #[test]
    fn only_able_nodes_carry() {
        let node = |value: Value| carries(&serde_json::from_value(value).unwrap());
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        assert!(node(json!({ "status": { "conditions": ready } })));
        assert!(!node(json!({ "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] } })));
        assert!(!node(
            json!({ "metadata": { "labels": { EXCLUDED: "" } }, "status": { "conditions": ready } })
        ));
        assert!(node(
            json!({ "metadata": { "labels": { EXCLUDED: "false" } }, "status": { "conditions": ready } })
        ));
        assert!(!node(
            json!({ "spec": { "taints": [{ "key": TO_BE_DELETED }] }, "status": { "conditions": ready } })
        ));
    }
}
