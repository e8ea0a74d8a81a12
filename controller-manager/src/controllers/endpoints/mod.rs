//! Endpoints of Services, in both forms, and the mirror from the old form to the new.
//!
//! Watch Services, pods, nodes, and the objects that they write.

mod mirror;
mod service;
mod slices;
mod subsets;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use component_base::client::known::{ENDPOINT_SLICES, ENDPOINTS, SERVICES};
use component_base::client::{DeleteOptions, Error};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use parking_lot::Mutex;
use proto::meta::{Key, ObjectMeta};
use serde_json::{Value, json};

use crate::api::core::{Node, Pod, Service};
use crate::api::discovery::{EndpointSlice, Endpoints, MANAGED_BY, SERVICE_NAME};
use crate::common::events::Event;
use crate::common::write;
use crate::context::{Controller, Subject, enqueue_changes};
use service::TriggerTimes;

/// Index of slices: the controller and the Service.
const BY_SERVICE: &str = "service";
/// After a slice changed behind the controller's back it waits this long, in case more comes.
const SLICE_DELAY: Duration = Duration::from_secs(1);

fn slice_store(controller: &Controller) -> Store<EndpointSlice> {
    let store = controller.store::<EndpointSlice>(&ENDPOINT_SLICES);
    store.add_index(BY_SERVICE, |slice: &EndpointSlice| {
        let labels = &slice.metadata.labels;
        let manager = labels.get(MANAGED_BY).map(String::as_str).unwrap_or_default();
        let service = labels.get(SERVICE_NAME).map(String::as_str).unwrap_or_default();
        vec![index_key(manager, &slice.metadata.namespace, service)]
    });
    store
}

fn index_key(manager: &str, namespace: &str, service: &str) -> String {
    format!("{manager} {namespace}/{service}")
}

/// The Service (or Endpoints) that a slice of this manager belongs to.
fn service_of(slice: &EndpointSlice, manager: &str) -> Option<Key> {
    let labels = &slice.metadata.labels;
    let managed = labels.get(MANAGED_BY).is_some_and(|m| m == manager);
    let service = labels.get(SERVICE_NAME).filter(|_| managed)?;
    Some(Key::new(slice.metadata.namespace.as_str(), service.as_str()))
}

/// Tells the queue about slices that others changed; the echo of an own write is no news.
fn enqueue_slices(
    store: &Store<EndpointSlice>,
    queue: &Queue<Key>,
    manager: &'static str,
    echoes: Arc<Echoes>,
) {
    let queue = queue.clone();
    store.subscribe(move |change: &Change<EndpointSlice>| {
        for slice in change.old.iter().chain(&change.new) {
            let Some(key) = service_of(slice, manager) else { continue };
            let echo = change.new.as_ref().is_some_and(|new| echoes.is_echo(&key, &new.metadata));
            if !echo {
                queue.add_after(key, SLICE_DELAY);
            }
        }
    });
}

/// For each Service the newest revision that was written and perhaps not yet seen. Acting on an older
/// state would make the same slices twice.
#[derive(Default)]
struct Echoes {
    written: Mutex<HashMap<Key, u64>>,
}

fn revision(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

impl Echoes {
    fn wrote(&self, service: &Key, slice: &Value) {
        let new = revision(slice["metadata"]["resourceVersion"].as_str().unwrap_or_default());
        let mut written = self.written.lock();
        let entry = written.entry(service.clone()).or_default();
        *entry = (*entry).max(new);
    }

    fn is_echo(&self, service: &Key, slice: &ObjectMeta) -> bool {
        let written = self.written.lock().get(service).copied();
        written.is_some_and(|written| revision(&slice.resource_version) <= written)
    }

    /// Whether the cache, which is at `seen`, lacks something that was written.
    fn lags(&self, service: &Key, seen: &str) -> bool {
        let mut written = self.written.lock();
        let lags = written.get(service).is_some_and(|written| revision(seen) < *written);
        if !lags {
            written.remove(service);
        }
        lags
    }
}

/// What both slice controllers need to write slices.
struct SliceWriter {
    controller: Arc<Controller>,
    slices: Store<EndpointSlice>,
    echoes: Arc<Echoes>,
    manager: &'static str,
}

impl SliceWriter {
    /// The slices of a Service, or nothing while the cache lags behind what was written.
    fn current(&self, key: &Key) -> Option<Vec<Arc<EndpointSlice>>> {
        if self.echoes.lags(key, &self.slices.revision()) {
            return None;
        }
        let index = index_key(self.manager, &key.namespace, &key.name);
        let mut slices = self.slices.by_index(BY_SERVICE, &index);
        slices.retain(|s| !s.metadata.is_being_deleted());
        Some(slices)
    }

    async fn write(
        &self,
        service: &Key,
        create: &[EndpointSlice],
        update: &[EndpointSlice],
        delete: &[String],
    ) -> Result<(), Error> {
        let client = &self.controller.client;
        let namespace = &service.namespace;
        for slice in create {
            let mut object = serde_json::to_value(slice).map_err(|e| Error::Decode(e.to_string()))?;
            object["apiVersion"] = json!("discovery.k8s.io/v1");
            object["kind"] = json!("EndpointSlice");
            match client.create::<Value>(&ENDPOINT_SLICES, namespace, &object).await {
                Ok(created) => self.echoes.wrote(service, &created),
                Err(error) if error.is_namespace_terminating() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        for slice in update {
            let written = write::update(
                &self.controller,
                &ENDPOINT_SLICES,
                "EndpointSlice",
                &slice.metadata,
                |object| {
                    object["metadata"]["labels"] = json!(slice.metadata.labels);
                    object["metadata"]["annotations"] = json!(slice.metadata.annotations);
                    object["metadata"]["ownerReferences"] = json!(slice.metadata.owner_references);
                    object["endpoints"] = json!(slice.endpoints);
                    object["ports"] = json!(slice.ports);
                },
            )
            .await?;
            self.echoes.wrote(service, &written);
        }
        for name in delete {
            match client.delete(&ENDPOINT_SLICES, namespace, name, &DeleteOptions::default()).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Retries while the cache lags: the echo comes within milliseconds.
const LAG: Next = Next::After(Duration::from_millis(10));

fn watch_pods(pods: &Store<Pod>, services: &Store<Service>, queue: &Queue<Key>, batch: Duration) {
    let (services, queue) = (services.clone(), queue.clone());
    pods.subscribe(move |change: &Change<Pod>| {
        let namespace = &change.latest().metadata.namespace;
        let services = services.list_namespace(namespace);
        let services = services.iter().map(Arc::as_ref);
        for key in service::affected(services, change.old.as_deref(), change.new.as_deref()) {
            if batch.is_zero() { queue.add(key) } else { queue.add_after(key, batch) }
        }
    });
}

struct Slices {
    writer: SliceWriter,
    services: Store<Service>,
    pods: Store<Pod>,
    nodes: Store<Node>,
    times: TriggerTimes,
    max: usize,
}

/// Starts the controller of EndpointSlices.
pub fn start_slices(controller: Arc<Controller>) -> anyhow::Result<()> {
    let flags = controller.flags();
    let batch = flags.duration("endpointslice-updates-batch-period").to_std();
    let workers = usize::try_from(flags.int("concurrent-service-endpoint-syncs")).unwrap_or(5);
    let max = usize::try_from(flags.int("max-endpoints-per-slice")).unwrap_or(100).max(1);
    let queue: Queue<Key> = Queue::new("endpoint_slice");
    let echoes: Arc<Echoes> = Arc::default();
    let this = Arc::new(Slices {
        services: controller.store(&SERVICES),
        pods: controller.pods(),
        nodes: controller.nodes(),
        writer: SliceWriter {
            slices: slice_store(&controller),
            controller: controller.clone(),
            echoes: echoes.clone(),
            manager: slices::CONTROLLER,
        },
        times: TriggerTimes::default(),
        max,
    });
    enqueue_changes(&this.services, &queue);
    watch_pods(&this.pods, &this.services, &queue, batch);
    enqueue_slices(&this.writer.slices, &queue, slices::CONTROLLER, echoes);
    let own = this.clone();
    let ready = async move {
        own.services.synced().await;
        own.pods.synced().await;
        own.nodes.synced().await;
        own.writer.slices.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

fn selected(pods: &Store<Pod>, namespace: &str, selector: &BTreeMap<String, String>) -> Vec<Arc<Pod>> {
    let mut pods = pods.list_namespace(namespace);
    pods.retain(|pod| service::selects(selector, &pod.metadata.labels));
    pods
}

impl Slices {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(service) = self.services.get_key(key) else {
            self.times.forget(key);
            return Ok(Next::Done);
        };
        let Some(selector) = service::selector(&service) else { return Ok(Next::Done) };
        let Some(slices) = self.writer.current(key) else { return Ok(LAG) };
        let pods = selected(&self.pods, &key.namespace, selector);
        let plan = slices::plan(&slices::View {
            service: &service,
            pods: &pods,
            node: &|name| self.nodes.get("", name),
            slices: &slices,
            max_per_slice: self.max,
            trigger: self.times.compute(&service, &pods),
        });
        let written = self.writer.write(key, &plan.create, &plan.update, &plan.delete).await;
        let failure = match (written, plan.errors.as_slice()) {
            (Err(error), _) if error.is_conflict() => return Err(error.into()),
            (Err(error), _) => error.to_string(),
            (Ok(()), []) => return Ok(Next::Done),
            (Ok(()), errors) => errors.join(", "),
        };
        let message = format!("Error updating Endpoint Slices for Service {key}: {failure}");
        let subject = Subject::new("v1", "Service", &service.metadata);
        let event = Event::warning("FailedToUpdateEndpointSlices", message);
        self.writer.controller.record(&subject, &event);
        Err(anyhow::Error::msg(failure))
    }
}

struct Legacy {
    controller: Arc<Controller>,
    services: Store<Service>,
    pods: Store<Pod>,
    endpoints: Store<Endpoints>,
    times: TriggerTimes,
}

/// Starts the controller of Endpoints.
pub fn start_endpoints(controller: Arc<Controller>) -> anyhow::Result<()> {
    let batch = controller.flags().duration("endpoint-updates-batch-period").to_std();
    let workers = usize::try_from(controller.flags().int("concurrent-endpoint-syncs")).unwrap_or(5);
    let queue: Queue<Key> = Queue::new("endpoint");
    let this = Arc::new(Legacy {
        services: controller.store(&SERVICES),
        pods: controller.pods(),
        endpoints: controller.store(&ENDPOINTS),
        controller: controller.clone(),
        times: TriggerTimes::default(),
    });
    enqueue_changes(&this.services, &queue);
    watch_pods(&this.pods, &this.services, &queue, batch);
    let keys = queue.clone();
    this.endpoints.subscribe(move |change: &Change<Endpoints>| {
        // Deleted ones come back; those found at the start may belong to no Service any more.
        let is_lock = mirror::is_lock(change.latest());
        if (change.new.is_none() || change.old.is_none()) && !is_lock {
            keys.add(change.key());
        }
    });
    let own = this.clone();
    let ready = async move {
        own.services.synced().await;
        own.pods.synced().await;
        own.endpoints.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Legacy {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let client = &self.controller.client;
        let Some(service) = self.services.get_key(key) else {
            self.times.forget(key);
            if self.endpoints.get_key(key).is_some() {
                let (namespace, name) = (&key.namespace, &key.name);
                match client.delete(&ENDPOINTS, namespace, name, &DeleteOptions::default()).await {
                    Err(error) if !error.is_not_found() => return Err(error.into()),
                    _ => {}
                }
            }
            return Ok(Next::Done);
        };
        let Some(selector) = service::selector(&service) else { return Ok(Next::Done) };
        let pods = selected(&self.pods, &key.namespace, selector);
        let trigger = self.times.compute(&service, &pods);
        let current = self.endpoints.get_key(key);
        let Some(wanted) = subsets::plan(&service, &pods, current.as_deref(), trigger) else {
            return Ok(Next::Done);
        };
        let outcome = if current.is_none() {
            let mut object = serde_json::to_value(&wanted)?;
            object["apiVersion"] = json!("v1");
            object["kind"] = json!("Endpoints");
            client.create::<Value>(&ENDPOINTS, &key.namespace, &object).await
        } else {
            write::update(&self.controller, &ENDPOINTS, "Endpoints", &wanted.metadata, |object| {
                object["metadata"]["labels"] = json!(wanted.metadata.labels);
                object["metadata"]["annotations"] = json!(wanted.metadata.annotations);
                object["subsets"] = json!(wanted.subsets);
            })
            .await
        };
        match outcome {
            Ok(_) => Ok(Next::Done),
            Err(error) if error.is_namespace_terminating() || error.is_conflict() => Err(error.into()),
            Err(error) if current.is_none() && error.is_already_exists() => Ok(LAG),
            Err(error) => {
                let subject = Subject::new("v1", "Endpoints", &wanted.metadata);
                let event = if current.is_none() {
                    let message = format!("Failed to create endpoint for service {key}: {error}");
                    Event::warning("FailedToCreateEndpoint", message)
                } else {
                    let message = format!("Failed to update endpoint {key}: {error}");
                    Event::warning("FailedToUpdateEndpoint", message)
                };
                self.controller.record(&subject, &event);
                Err(error.into())
            }
        }
    }
}

struct Mirror {
    writer: SliceWriter,
    services: Store<Service>,
    endpoints: Store<Endpoints>,
    max: usize,
}

/// Starts the controller that mirrors Endpoints made by hand.
pub fn start_mirroring(controller: Arc<Controller>) -> anyhow::Result<()> {
    let flags = controller.flags();
    let workers = usize::try_from(flags.int("mirroring-concurrent-service-endpoint-syncs")).unwrap_or(5);
    let max = usize::try_from(flags.int("mirroring-max-endpoints-per-subset")).unwrap_or(1000);
    let batch = flags.duration("mirroring-endpointslice-updates-batch-period").to_std();
    let queue: Queue<Key> = Queue::new("endpoint_slice_mirroring");
    let echoes: Arc<Echoes> = Arc::default();
    let this = Arc::new(Mirror {
        services: controller.store(&SERVICES),
        endpoints: controller.store(&ENDPOINTS),
        writer: SliceWriter {
            slices: slice_store(&controller),
            controller: controller.clone(),
            echoes: echoes.clone(),
            manager: mirror::CONTROLLER,
        },
        max,
    });
    let keys = queue.clone();
    this.services.subscribe(move |change: &Change<Service>| {
        let selects = |s: &Arc<Service>| s.spec.selector.is_some();
        let (old, new) = (change.old.as_ref().map(selects), change.new.as_ref().map(selects));
        if old != new && (old == Some(false) || new == Some(false)) {
            keys.add(change.key());
        }
    });
    let keys = queue.clone();
    this.endpoints.subscribe(move |change: &Change<Endpoints>| {
        if change.old.iter().chain(&change.new).any(|e| mirror::wants_mirror(e)) {
            if batch.is_zero() { keys.add(change.key()) } else { keys.add_after(change.key(), batch) }
        }
    });
    enqueue_slices(&this.writer.slices, &queue, mirror::CONTROLLER, echoes);
    let own = this.clone();
    let ready = async move {
        own.services.synced().await;
        own.endpoints.synced().await;
        own.writer.slices.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Mirror {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(slices) = self.writer.current(key) else { return Ok(LAG) };
        let endpoints = self.endpoints.get_key(key).filter(|e| mirror::wants_mirror(e));
        let service = self.services.get_key(key).filter(|s| s.spec.selector.is_none());
        let (Some(endpoints), Some(_)) = (endpoints, service) else {
            let names: Vec<String> = slices.iter().map(|s| s.metadata.name.clone()).collect();
            self.writer.write(key, &[], &[], &names).await?;
            return Ok(Next::Done);
        };
        let plan = mirror::plan(&endpoints, &slices, self.max);
        let subject = Subject::new("v1", "Endpoints", &endpoints.metadata);
        for event in &plan.events {
            self.writer.controller.record(&subject, event);
        }
        self.writer.write(key, &plan.create, &plan.update, &plan.delete).await?;
        Ok(Next::Done)
    }
}
