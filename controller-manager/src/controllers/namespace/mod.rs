//! Namespaces that are being deleted: their contents go, then they do.
//!
//! Watches namespaces. What a namespace holds is asked of the server, kind by kind, as no cache can
//! promise to have seen everything.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use component_base::client::known::{NAMESPACES, PODS};
use component_base::client::{DeleteOptions, Error, ListOptions, Resource};
use component_base::queue::{Next, Queue};
use component_base::watch::Store;
use proto::meta::Key;
use proto::time::Time;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::core::{Metadata, Namespace};
use crate::common::{discovery, seconds_between, write};
use crate::context::{Controller, enqueue_changes};
use plan::Findings;

/// The finalizer that this controller answers for.
const FINALIZER: &str = "kubernetes";
/// How long finalizers of the contents are given before the next look.
const FINALIZER_WAIT: i64 = 15;
const BACKGROUND: DeleteOptions =
    DeleteOptions { propagation_policy: Some("Background"), grace_period_seconds: None, preconditions: None };

struct Namespaces {
    controller: Arc<Controller>,
    namespaces: Store<Namespace>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let workers = usize::try_from(controller.flags().int("concurrent-namespace-syncs")).unwrap_or(10);
    let queue: Queue<Key> = Queue::new("namespace");
    let this =
        Arc::new(Namespaces { namespaces: controller.store(&NAMESPACES), controller: controller.clone() });
    enqueue_changes(&this.namespaces, &queue);
    let own = this.clone();
    let ready = async move { own.namespaces.synced().await };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Namespaces {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let cached = self.namespaces.get_key(key);
        if cached.is_none_or(|ns| !ns.metadata.is_being_deleted()) {
            return Ok(Next::Done);
        }
        let mut namespace = match self.read(key).await {
            Err(error) if error.is_not_found() => return Ok(Next::Done),
            outcome => outcome?,
        };
        let Some(deleted) = namespace.metadata.deletion_timestamp else { return Ok(Next::Done) };
        let status = NAMESPACES.sub("status");
        let kind = "Namespace";
        if namespace.status.phase != "Terminating" {
            write::update(&self.controller, &status, kind, &namespace.metadata, |object| {
                object["status"]["phase"] = json!("Terminating");
            })
            .await?;
            namespace = self.read(key).await?;
        }
        if !namespace.spec.finalizers.iter().any(|f| f == FINALIZER) {
            return Ok(Next::Done);
        }
        let findings = self.delete_contents(&key.name, deleted).await;
        if let Some(conditions) = plan::conditions(&namespace.status.conditions, &findings, Time::now()) {
            let written = write::update(&self.controller, &status, kind, &namespace.metadata, |object| {
                object["status"]["conditions"] = json!(conditions);
            })
            .await;
            match written {
                Err(error) if error.is_conflict() => {}
                outcome => drop(outcome?),
            }
        }
        if findings.wait_seconds > 0 {
            // Half the estimate, as contents often go sooner than they must.
            let wait = Duration::from_secs(u64::try_from(findings.wait_seconds / 2 + 1).unwrap_or(1));
            return Ok(Next::After(wait));
        }
        if let Some(error) = findings.first_error() {
            anyhow::bail!("{error}");
        }
        self.finalize(key).await?;
        Ok(Next::Done)
    }

    async fn read(&self, key: &Key) -> Result<Namespace, Error> {
        self.controller.client.get(&NAMESPACES, "", &key.name).await
    }

    async fn finalize(&self, key: &Key) -> Result<(), Error> {
        let client = &self.controller.client;
        let mut object: Value = match client.get(&NAMESPACES, "", &key.name).await {
            Err(error) if error.is_not_found() => return Ok(()),
            outcome => outcome?,
        };
        if let Some(finalizers) = object["spec"]["finalizers"].as_array_mut() {
            finalizers.retain(|f| f != FINALIZER);
        }
        let finalize = NAMESPACES.sub("finalize");
        match client.update::<Value>(&finalize, "", &key.name, &object).await {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Deletes everything, pods first: what they use must outlive them.
    async fn delete_contents(&self, namespace: &str, deleted: Time) -> Findings {
        let mut findings = Findings::default();
        let resources = match discovery::preferred(&self.controller.client).await {
            Ok(found) => {
                findings.discovery_failures = found.failed;
                found.resources
            }
            Err(error) => {
                findings.discovery_failures.push((String::new(), error));
                return findings;
            }
        };
        let deletable = resources.iter().filter(|d| d.resource.namespaced && d.can(&["delete"]));
        let (pods, rest): (Vec<_>, Vec<_>) =
            deletable.partition(|d| d.resource.group.is_empty() && d.resource.plural == "pods");
        for kind in pods {
            self.delete_kind(kind, namespace, deleted, &mut findings).await;
        }
        if findings.remaining.is_empty() {
            for kind in rest {
                self.delete_kind(kind, namespace, deleted, &mut findings).await;
            }
        }
        findings
    }

    async fn delete_kind(
        &self,
        kind: &discovery::Discovered,
        namespace: &str,
        deleted: Time,
        findings: &mut Findings,
    ) {
        let resource = &kind.resource;
        let name = format!("{}.{}", resource.plural, resource.group);
        match self.empty(kind, namespace, deleted).await {
            Ok(left) => {
                if left.finalizers.is_empty() && left.count > 0 && left.wait == 0 {
                    findings.failures.push(format!(
                        "unexpected items still remain in namespace: {namespace} for gvr: {}/{}, Resource={}",
                        resource.group, resource.version, resource.plural
                    ));
                }
                findings.note(name, left.count, &left.finalizers, left.wait);
            }
            Err(error) => findings.failures.push(error.to_string()),
        }
    }

    async fn empty(
        &self,
        kind: &discovery::Discovered,
        namespace: &str,
        deleted: Time,
    ) -> Result<Left, Error> {
        let client = &self.controller.client;
        let resource = &kind.resource;
        let is_absent = |e: &Error| e.is_not_found() || e.code() == 405;
        let grace = if *resource == PODS || resource.plural == "pods" && resource.group.is_empty() {
            self.grace(resource, namespace, deleted).await?
        } else {
            0
        };
        let all = ListOptions::default();
        let mut swept = false;
        if kind.can(&["deletecollection"]) {
            match client.delete_collection(resource, namespace, &all, &BACKGROUND).await {
                Err(error) if is_absent(&error) => {}
                outcome => {
                    outcome?;
                    swept = true;
                }
            }
        }
        if !kind.can(&["list"]) {
            return Ok(Left::default());
        }
        if !swept {
            let items = match client.list::<Metadata>(resource, namespace, &all).await {
                Err(error) if is_absent(&error) => return Ok(Left::default()),
                outcome => outcome?.items,
            };
            for item in items {
                match client.delete(resource, namespace, &item.metadata.name, &BACKGROUND).await {
                    Err(error) if !is_absent(&error) => return Err(error),
                    _ => {}
                }
            }
        }
        let items = match client.list::<Metadata>(resource, namespace, &all).await {
            Err(error) if is_absent(&error) => return Ok(Left::default()),
            outcome => outcome?.items,
        };
        let finalizers: Vec<String> = items.iter().flat_map(|i| i.metadata.finalizers.clone()).collect();
        let wait = match (items.is_empty(), grace) {
            (true, _) => 0,
            (false, 0) if !finalizers.is_empty() => FINALIZER_WAIT,
            (false, grace) => grace,
        };
        Ok(Left { count: items.len(), finalizers, wait })
    }

    /// The longest time that a pod may still take to end; 0 once that time is over.
    async fn grace(&self, pods: &Resource, namespace: &str, deleted: Time) -> Result<i64, Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Pod {
            spec: Spec,
            status: Status,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Spec {
            termination_grace_period_seconds: Option<i64>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            phase: String,
        }
        let list = self.controller.client.list::<Pod>(pods, namespace, &ListOptions::default()).await?;
        let running = list.items.iter().filter(|p| !matches!(&*p.status.phase, "Succeeded" | "Failed"));
        let grace = running.filter_map(|p| p.spec.termination_grace_period_seconds).max().unwrap_or(0);
        let passed = seconds_between(deleted, Time::now());
        Ok(if passed >= grace { 0 } else { grace })
    }
}

/// What is left of one kind.
#[derive(Default)]
struct Left {
    count: usize,
    finalizers: Vec<String>,
    wait: i64,
}
