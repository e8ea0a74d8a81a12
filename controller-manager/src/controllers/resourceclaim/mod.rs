//! ResourceClaims: made for pods from templates, kept while pods use them, given back afterwards (KEP-4381).
//!
//! Watches pods, claims and templates. A template is read when a claim is made from it.

mod plan;

use std::fmt;
use std::sync::Arc;

use component_base::client::known::{PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS};
use component_base::client::{DeleteOptions, Patch};
use component_base::metrics::Family;
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use proto::meta::Key;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::core::{Metadata, Pod};
use crate::api::resource::{ClaimName, Consumer, PodClaim, PodClaimStatus, ResourceClaim};
use crate::common::events::Event;
use crate::common::write;
use crate::context::{Controller, Subject};

/// Index of pods: namespace and name of each resource claim.
pub(super) const BY_RESOURCE_CLAIM: &str = "resource claim";
/// Says which entry of its pod a claim was made for.
const ENTRY: &str = "resource.kubernetes.io/pod-claim-name";
const MANAGER: &str = "ResourceClaimController";

static CREATED: Family = Family::counter(
    "resourceclaim_controller_creates_total",
    "[ALPHA] Number of ResourceClaims creation requests, categorized by creation status and admin access",
    &["status", "admin_access"],
);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Pod(Key),
    Claim(Key),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Pod(key) => write!(f, "pod:{key}"),
            Item::Claim(key) => write!(f, "claim:{key}"),
        }
    }
}

struct Claims {
    controller: Arc<Controller>,
    pods: Store<Pod>,
    claims: Store<ResourceClaim>,
}

/// The claims that a pod has.
pub(super) fn claims_of(pod: &Pod) -> Vec<Key> {
    let name = |entry: &PodClaim| match entry.resolve(pod) {
        ClaimName::Given(name) | ClaimName::Made(name) => {
            Some(Key::new(pod.metadata.namespace.as_str(), name))
        }
        _ => None,
    };
    pod.spec.resource_claims.iter().filter_map(name).collect()
}

/// All pods, indexed by their resource claims too.
pub(super) fn pods_by_resource_claim(controller: &Controller) -> Store<Pod> {
    let pods = controller.pods();
    pods.add_index(BY_RESOURCE_CLAIM, |pod| claims_of(pod).iter().map(Key::to_string).collect());
    pods
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let workers = usize::try_from(controller.flags().int("concurrent-resourceclaim-syncs")).unwrap_or(50);
    let queue: Queue<Item> = Queue::new("resource_claim");
    let this = Arc::new(Claims {
        pods: pods_by_resource_claim(&controller),
        claims: controller.store(&RESOURCE_CLAIMS),
        controller: controller.clone(),
    });
    let keys = queue.clone();
    this.pods.subscribe(move |change: &Change<Pod>| {
        let pod = change.latest();
        if pod.spec.resource_claims.is_empty() {
            return;
        }
        if change.new.as_ref().is_none_or(|pod| plan::is_done(pod)) {
            claims_of(pod).into_iter().for_each(|claim| keys.add(Item::Claim(claim)));
        } else {
            keys.add(Item::Pod(change.key()));
        }
    });
    let (own, keys) = (this.clone(), queue.clone());
    this.claims.subscribe(move |change: &Change<ResourceClaim>| {
        let key = change.key();
        for pod in own.pods.by_index(BY_RESOURCE_CLAIM, &key.to_string()) {
            keys.add(Item::Pod(pod.metadata.key()));
        }
        keys.add(Item::Claim(key));
    });
    let templates: Store<Metadata> = controller.store(&RESOURCE_CLAIM_TEMPLATES);
    let (own, keys) = (this.clone(), queue.clone());
    templates.subscribe(move |change: &Change<Metadata>| {
        let template = &change.latest().metadata;
        for pod in own.pods.list_namespace(&template.namespace) {
            let waits = |entry: &PodClaim| entry.resolve(&pod) == ClaimName::Missing(&template.name);
            if pod.spec.resource_claims.iter().any(waits) {
                keys.add(Item::Pod(pod.metadata.key()));
            }
        }
    });
    let own = this.clone();
    let ready = async move {
        own.pods.synced().await;
        own.claims.synced().await;
        templates.synced().await;
    };
    controller.run(&queue, workers, ready, move |item| {
        let this = this.clone();
        async move {
            match item {
                Item::Pod(key) => this.sync_pod(&key).await,
                Item::Claim(key) => this.sync_claim(&key).await,
            }
        }
    });
    Ok(())
}

impl Claims {
    async fn sync_pod(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get_key(key) else { return Ok(Next::Done) };
        let plan = plan::pod(&pod, |name| self.claims.get(&key.namespace, name));
        let mut statuses = pod.status.resource_claim_statuses.clone();
        for entry in &plan.make {
            let name = match self.make(&pod, entry).await {
                Ok(name) => name,
                Err(why) => {
                    let text = format!("PodResourceClaim {}: {why}", entry.name);
                    let subject = Subject::new("v1", "Pod", &pod.metadata);
                    self.controller.record(&subject, &Event::warning("FailedResourceClaimCreation", text));
                    anyhow::bail!("pod {key}, PodResourceClaim {}: {why}", entry.name);
                }
            };
            statuses.retain(|status| status.name != entry.name);
            statuses.push(PodClaimStatus { name: entry.name.clone(), resource_claim_name: Some(name) });
        }
        if !plan.make.is_empty() {
            let patch = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": key.name, "namespace": key.namespace},
                "status": {"resourceClaimStatuses": statuses},
            });
            let apply = Patch::Apply { manager: MANAGER, force: true };
            let status = PODS.sub("status");
            let client = &self.controller.client;
            client
                .patch::<Value>(&status, &key.namespace, &key.name, apply, &patch)
                .await
                .map_err(|why| anyhow::anyhow!("update pod {key} ResourceClaimStatuses: {why}"))?;
        }
        for name in &plan.reserve {
            let Some(claim) = self.claims.get(&key.namespace, name) else { continue };
            let mut consumers = claim.status.reserved_for.clone();
            consumers.push(Consumer {
                api_group: String::new(),
                resource: "pods".into(),
                name: key.name.to_string(),
                uid: pod.metadata.uid.clone(),
            });
            let resource = RESOURCE_CLAIMS.sub("status");
            write::update(&self.controller, &resource, "ResourceClaim", &claim.metadata, |object| {
                object["status"]["reservedFor"] = json!(consumers);
            })
            .await?;
        }
        Ok(Next::Done)
    }

    /// Makes a claim of a pod, unless an earlier try got so far; returns its name.
    async fn make(&self, pod: &Pod, entry: &PodClaim) -> anyhow::Result<String> {
        let namespace = &pod.metadata.namespace;
        let earlier = self.claims.list_namespace(namespace).into_iter().find(|claim| {
            claim.metadata.is_controlled_by(&pod.metadata.uid)
                && claim.metadata.annotations.get(ENTRY) == Some(&entry.name)
                && !claim.metadata.is_being_deleted()
        });
        if let Some(claim) = earlier {
            return Ok(claim.metadata.name.clone());
        }
        let Some(template) = &entry.resource_claim_template_name else {
            anyhow::bail!("no resource claim template is named");
        };
        let template = write::read(&self.controller, &RESOURCE_CLAIM_TEMPLATES, namespace, template)
            .await
            .map_err(|why| anyhow::anyhow!("resource claim template {template:?}: {why}"))?;
        let claim = new_claim(pod, entry, &template);
        let admin = if asks_for_admin_access(&claim) { "true" } else { "false" };
        match self.controller.client.create::<Metadata>(&RESOURCE_CLAIMS, namespace, &claim).await {
            Ok(created) => {
                CREATED.with(&["success", admin]).inc();
                Ok(created.metadata.name)
            }
            Err(error) => {
                CREATED.with(&["failure", admin]).inc();
                anyhow::bail!("create ResourceClaim : {error}")
            }
        }
    }

    async fn sync_claim(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(claim) = self.claims.get_key(key) else { return Ok(Next::Done) };
        let mut gone = Vec::new();
        for consumer in claim.status.reserved_for.iter().filter(|consumer| consumer.is_pod()) {
            let ended = match self.pods.get(&key.namespace, &consumer.name) {
                Some(pod) => pod.metadata.uid != consumer.uid || plan::is_done(&pod),
                None => {
                    // To take it from a pod that is just being placed would be bad: the cache may not have it yet.
                    let live =
                        self.controller.client.get::<Metadata>(&PODS, &key.namespace, &consumer.name).await;
                    match live {
                        Ok(pod) => pod.metadata.uid != consumer.uid,
                        Err(error) if error.is_not_found() => true,
                        Err(error) => return Err(error.into()),
                    }
                }
            };
            if ended {
                gone.push(consumer.uid.clone());
            }
        }
        let owner =
            claim.metadata.controller_of().and_then(|owner| self.pods.get(&key.namespace, &owner.name));
        let plan = plan::claim(&claim, &gone, owner.as_deref());
        let mut metadata = claim.metadata.clone();
        if plan.reserved_for.is_some() || plan.deallocate {
            let resource = RESOURCE_CLAIMS.sub("status");
            let written = write::update(&self.controller, &resource, "ResourceClaim", &metadata, |object| {
                if let Some(consumers) = &plan.reserved_for {
                    object["status"]["reservedFor"] = json!(consumers);
                }
                if plan.deallocate
                    && let Some(status) = object["status"].as_object_mut()
                {
                    status.remove("allocation");
                }
            })
            .await?;
            metadata = Metadata::deserialize(&written)?.metadata;
        }
        if plan.remove_finalizer {
            write::update(&self.controller, &RESOURCE_CLAIMS, "ResourceClaim", &metadata, |object| {
                if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
                    finalizers.retain(|f| f != plan::FINALIZER);
                }
            })
            .await?;
        }
        if plan.delete {
            let options = DeleteOptions::uid(&metadata.uid);
            let deleted =
                self.controller.client.delete(&RESOURCE_CLAIMS, &key.namespace, &key.name, &options).await;
            match deleted {
                Err(error) if !error.is_not_found() => {
                    anyhow::bail!("delete unused generated claim {key}: {error}")
                }
                _ => {}
            }
        }
        Ok(Next::Done)
    }
}

fn new_claim(pod: &Pod, entry: &PodClaim, template: &Value) -> Value {
    let of = |key: &str| template["spec"]["metadata"][key].as_object().cloned().unwrap_or_default();
    let mut annotations = of("annotations");
    annotations.insert(ENTRY.into(), json!(entry.name));
    json!({
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": plan::name_prefix(&pod.metadata.name, &entry.name),
            "annotations": annotations,
            "labels": of("labels"),
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid, "controller": true,
            }],
        },
        "spec": template["spec"]["spec"],
    })
}

fn asks_for_admin_access(claim: &Value) -> bool {
    let requests = claim["spec"]["devices"]["requests"].as_array();
    requests.into_iter().flatten().any(|request| request["exactly"]["adminAccess"] == true)
}
