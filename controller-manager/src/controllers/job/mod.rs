//! Jobs: pods that run to completion.
//!
//! Watches Jobs and their pods.

mod failures;
mod indexes;
mod plan;

use std::sync::Arc;

use component_base::client::known::{JOBS, NAMESPACES, PODS};
use component_base::client::{Error, Patch, Resource};
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use futures::future::join_all;
use proto::meta::{Key, ObjectMeta};
use proto::time::Time;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::batch::{Job, JobStatus};
use crate::api::core::{Namespace, Pod};
use crate::common::claim::{self, Claimant};
use crate::common::expectations::Expectations;
use crate::common::template::pod_from_template;
use crate::common::{pod_control, refs, write};
use crate::context::{BY_OWNER, Controller, Subject, enqueue_changes, orphan_key};
use plan::{FINALIZER, Plan, View};

const KIND: &str = "Job";
const API: &str = "batch/v1";
/// The value of `managedBy` that means this controller.
const MANAGER: &str = "kubernetes.io/job-controller";
static OWNERS: Resource = JOBS;
static OWNED: Resource = PODS;

struct Jobs {
    controller: Arc<Controller>,
    jobs: Store<Job>,
    pods: Store<Pod>,
    namespaces: Store<Namespace>,
    expectations: Expectations,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let workers = usize::try_from(controller.flags().int("concurrent-job-syncs")).unwrap_or(5);
    let queue: Queue<Key> = Queue::new("job");
    let this = Arc::new(Jobs {
        jobs: controller.store(&JOBS),
        pods: controller.pods(),
        namespaces: controller.store(&NAMESPACES),
        controller: controller.clone(),
        expectations: Expectations::default(),
    });
    enqueue_changes(&this.jobs, &queue);
    let (own, keys) = (this.clone(), queue.clone());
    this.pods.subscribe(move |change| own.on_pod(change, &keys));
    let own = this.clone();
    let ready = async move {
        own.jobs.synced().await;
        own.pods.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move { this.sync(&key).await }
    });
    Ok(())
}

impl Jobs {
    fn owner(&self, metadata: &ObjectMeta) -> Option<Arc<Job>> {
        refs::controller_in(&self.jobs, metadata, KIND)
    }

    fn on_pod(&self, change: &Change<Pod>, queue: &Queue<Key>) {
        let pod = change.latest();
        let leaving = change.new.as_ref().is_none_or(|p| p.metadata.is_being_deleted());
        if let Some(job) = self.owner(&pod.metadata) {
            let key = job.metadata.key();
            if leaving {
                self.expectations.deleted(&key, &pod.metadata.name);
            } else if change.old.is_none() {
                self.expectations.created(&key, 1);
            }
            queue.add(key);
        } else if pod.metadata.finalizers.iter().any(|f| f == FINALIZER) {
            // A pod whose Job is gone must not be held for ever; its old key finds it.
            if let Some(owner) = pod.metadata.controller_of().filter(|o| o.kind == KIND) {
                queue.add(Key::new(pod.metadata.namespace.as_str(), owner.name.as_str()));
            }
        }
    }

    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(job) = self.jobs.get_key(key) else {
            self.expectations.forget(key);
            self.release_orphans(key).await?;
            return Ok(Next::Done);
        };
        let foreign = job.spec.managed_by.as_deref().is_some_and(|m| m != MANAGER);
        if foreign || plan::is_finished(&job) {
            return Ok(Next::Done);
        }
        let subject = Subject::new(API, KIND, &job.metadata);
        let Ok(selector) = job.spec.selector.compile() else { return Ok(Next::Done) };
        let mut pods = self.pods.by_index(BY_OWNER, &job.metadata.uid);
        pods.extend(self.pods.by_index(BY_OWNER, &orphan_key(&key.namespace)));
        let claimant = Claimant {
            controller: &self.controller,
            objects: &OWNED,
            owners: &OWNERS,
            owner: &job.metadata,
            reference: refs::controller_ref(&job.metadata, API, KIND),
        };
        let pods = claimant.claim(claim::sort(&job.metadata, &selector, pods)).await?;
        let template = job.spec.template.to_value();
        let namespace = self.namespaces.get("", &key.namespace);
        let view = View {
            closing: namespace.is_some_and(|namespace| namespace.metadata.is_being_deleted()),
            job: &job,
            pods: &pods,
            up_to_date: self.expectations.satisfied(key),
            on_failure: template.pointer("/spec/restartPolicy") == Some(&json!("OnFailure")),
            now: Time::now(),
        };
        let plan = plan::plan(&view);
        let again = plan.again_after;
        self.execute(&job, &subject, plan, &template).await?;
        Ok(again.map_or(Next::Done, Next::After))
    }

    async fn execute(
        &self,
        job: &Job,
        subject: &Subject,
        mut plan: Plan,
        template: &Value,
    ) -> anyhow::Result<()> {
        let key = job.metadata.key();
        if plan.release_deleted {
            self.release(&plan.delete).await?;
        }
        let mut outcome = Ok(());
        if !plan.delete.is_empty() {
            let names: Vec<String> = plan.delete.iter().map(|p| p.metadata.name.clone()).collect();
            self.expectations.set(&key, 0, names.iter().cloned());
            outcome = pod_control::delete_all(&self.controller, subject, &self.expectations, &names).await;
        } else if !plan.create.is_empty() {
            let pods: Vec<Value> = plan
                .create
                .iter()
                .map(|i| new_pod(job, template, *i, i.and_then(|i| plan.failures.get(&i).copied())))
                .collect();
            self.expectations.set(&key, pods.len(), []);
            outcome = pod_control::create_all(&self.controller, subject, &self.expectations, &pods).await;
            if outcome.is_err() {
                // What was created will be seen; the count is right then.
                plan.status.active = job.status.active;
            }
        }
        self.write_status(job, &plan.status).await?;
        for event in &plan.events {
            self.controller.record(subject, event);
        }
        self.release(&plan.release).await?;
        Ok(outcome?)
    }

    async fn write_status(&self, job: &Job, status: &JobStatus) -> anyhow::Result<()> {
        if *status == job.status {
            return Ok(());
        }
        let resource = JOBS.sub("status");
        write::update(&self.controller, &resource, KIND, &job.metadata, |object| {
            write::merge(&mut object["status"], status);
        })
        .await?;
        Ok(())
    }

    /// Takes the finalizer off pods.
    async fn release(&self, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let held = |p: &&Arc<Pod>| p.metadata.finalizers.iter().any(|f| f == FINALIZER);
        let results = join_all(pods.iter().filter(held).map(async |pod| {
            let patch = json!({"metadata": {
                "uid": pod.metadata.uid,
                "$deleteFromPrimitiveList/finalizers": [FINALIZER],
            }});
            let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
            let client = &self.controller.client;
            match client.patch::<Value>(&PODS, namespace, name, Patch::Strategic, &patch).await {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(()),
            }
        }))
        .await;
        results.into_iter().collect()
    }

    /// Pods of a Job that is gone need no counting.
    async fn release_orphans(&self, key: &Key) -> anyhow::Result<()> {
        let of_job =
            |p: &Pod| p.metadata.controller_of().is_some_and(|o| o.kind == KIND && *o.name == *key.name);
        let mut pods = self.pods.list_namespace(&key.namespace);
        pods.retain(|p| of_job(p));
        Ok(self.release(&pods).await?)
    }
}

/// A pod of an index, if the Job has such; `failures` says how often the index failed before.
fn new_pod(job: &Job, template: &Value, index: Option<i32>, failures: Option<(i32, i32)>) -> Value {
    let reference = refs::controller_ref(&job.metadata, API, KIND);
    let mut pod = pod_from_template(template, &job.metadata.name, &reference);
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Finalizers {
        finalizers: Vec<String>,
    }
    let mut finalizers = Finalizers::deserialize(&pod["metadata"]).unwrap_or_default().finalizers;
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    pod["metadata"]["finalizers"] = json!(finalizers);
    if let Some(index) = index {
        let text = index.to_string();
        pod["metadata"]["labels"][indexes::INDEX] = json!(text);
        pod["metadata"]["annotations"][indexes::INDEX] = json!(text);
        if let Some((counted, ignored)) = failures {
            pod["metadata"]["annotations"][failures::FAILURES] = json!(counted.to_string());
            if ignored > 0 {
                pod["metadata"]["annotations"][failures::IGNORED_FAILURES] = json!(ignored.to_string());
            }
        }
        pod["metadata"]["generateName"] = json!(format!("{}-{index}-", job.metadata.name));
        pod["spec"]["hostname"] = json!(format!("{}-{index}", job.metadata.name));
        for list in ["containers", "initContainers"] {
            let containers = pod["spec"][list].as_array_mut().into_iter().flatten();
            containers.for_each(add_index_variable);
        }
    }
    pod
}

/// Tells a container its index.
fn add_index_variable(container: &mut Value) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    let path = format!("metadata.labels['{}']", indexes::INDEX);
    let variable = json!({"name": NAME, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    match container["env"].as_array_mut() {
        Some(env) if env.iter().any(|v| v["name"] == NAME) => {}
        Some(env) => env.push(variable),
        None => container["env"] = json!([variable]),
    }
}
