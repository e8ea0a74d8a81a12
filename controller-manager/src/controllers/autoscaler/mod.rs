//! HorizontalPodAutoscalers: as many replicas as metrics ask for.
//!
//! Watches autoscalers. Each is looked at once a period: the target's scale, its pods and the metrics are read then.

mod calculate;
mod metrics;
mod normalize;
mod proposals;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use component_base::client::known::{HORIZONTAL_POD_AUTOSCALERS, PODS};
use component_base::client::{Error, ListOptions, Resource};
use component_base::features::Gates;
use component_base::queue::{Next, Queue};
use component_base::watch::{Change, Store};
use parking_lot::Mutex;
use proto::labels::Selector;
use proto::meta::Key;
use proto::time::Time;
use serde_json::{Value, json};

use crate::api::autoscaling::HorizontalPodAutoscaler;
use crate::api::{Condition, condition_is_true, remove_condition};
use crate::common::events::Event;
use crate::common::kinds::Kinds;
use crate::common::write;
use crate::context::{Controller, Subject};
use calculate::Pod;
use normalize::{Finding, History, Numbers};

const API: &str = "autoscaling/v2";
const KIND: &str = "HorizontalPodAutoscaler";
/// How often a conflict on the target's scale is tried again.
const SCALE_TRIES: usize = 5;

/// What the flags say.
struct Settings {
    period: Duration,
    window: Duration,
    tolerance: f64,
    cpu_initialization: Duration,
    initial_readiness: Duration,
    /// Feature gates.
    to_zero: bool,
    own_tolerance: bool,
}

struct Autoscalers {
    controller: Arc<Controller>,
    autoscalers: Store<HorizontalPodAutoscaler>,
    kinds: Arc<Kinds>,
    settings: Settings,
    histories: Mutex<HashMap<Key, History>>,
    /// The selectors of the targets, as last seen.
    selectors: Mutex<HashMap<Key, Selector>>,
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let flags = controller.flags();
    let workers = usize::try_from(flags.int("concurrent-horizontal-pod-autoscaler-syncs")).unwrap_or(5);
    let gates = Gates::from_flags(flags, &Default::default())?;
    let duration = |name: &str| flags.duration(name).to_std();
    let settings = Settings {
        period: duration("horizontal-pod-autoscaler-sync-period"),
        window: duration("horizontal-pod-autoscaler-downscale-stabilization"),
        tolerance: flags.float("horizontal-pod-autoscaler-tolerance"),
        cpu_initialization: duration("horizontal-pod-autoscaler-cpu-initialization-period"),
        initial_readiness: duration("horizontal-pod-autoscaler-initial-readiness-delay"),
        to_zero: gates.enabled("HPAScaleToZero"),
        own_tolerance: gates.enabled("HPAConfigurableTolerance"),
    };
    let queue: Queue<Key> = Queue::new("horizontalpodautoscaler");
    let this = Arc::new(Autoscalers {
        autoscalers: controller.store(&HORIZONTAL_POD_AUTOSCALERS),
        kinds: controller.kinds(),
        settings,
        histories: Mutex::default(),
        selectors: Mutex::default(),
        controller: controller.clone(),
    });
    let (own, keys) = (this.clone(), queue.clone());
    this.autoscalers.subscribe(move |change: &Change<HorizontalPodAutoscaler>| {
        let key = change.key();
        let Some(new) = &change.new else {
            own.histories.lock().remove(&key);
            own.selectors.lock().remove(&key);
            return;
        };
        if change.old.as_ref().is_none_or(|old| old.spec != new.spec) {
            keys.add(key);
        }
    });
    let own = this.clone();
    let ready = async move {
        own.autoscalers.synced().await;
        own.kinds.synced().await;
    };
    controller.run(&queue, workers, ready, move |key| {
        let this = this.clone();
        async move {
            let Some(cached) = this.autoscalers.get_key(&key) else { return Ok(Next::Done) };
            // A failure is told on the object; the next look comes with the period all the same.
            if let Err(error) = this.sync(&key, &cached).await {
                tracing::warn!(hpa = %key, err = %error, "Autoscaling failed");
            }
            Ok(Next::After(this.settings.period))
        }
    });
    Ok(())
}

/// One look at an autoscaler: the object with the status as it becomes.
struct Look<'a> {
    owner: &'a Autoscalers,
    hpa: HorizontalPodAutoscaler,
    now: Time,
}

impl Look<'_> {
    fn record(&self, event: &Event) {
        self.owner.controller.record(&Subject::new(API, KIND, &self.hpa.metadata), event);
    }

    fn set(&mut self, kind: &str, status: bool, reason: &str, message: impl Into<String>) {
        let status = if status { "True" } else { "False" };
        let mut new = Condition::new(kind, status, reason, message, self.now);
        let conditions = &mut self.hpa.status.conditions;
        match conditions.iter_mut().find(|old| old.kind == kind) {
            Some(old) => {
                if old.status == new.status {
                    new.last_transition_time = old.last_transition_time;
                }
                *old = new;
            }
            None => conditions.push(new),
        }
    }

    fn find(&mut self, kind: &str, (status, reason, message): Finding) {
        self.set(kind, status, reason, message);
    }

    /// The scale can't be read.
    fn no_scale(&mut self, why: &str) {
        self.record(&Event::warning("FailedGetScale", why));
        let text = format!("the HPA controller was unable to get the target's current scale: {why}");
        self.set("AbleToScale", false, "FailedGetScale", text);
    }
}

impl Autoscalers {
    async fn sync(&self, key: &Key, cached: &HorizontalPodAutoscaler) -> anyhow::Result<()> {
        let mut look = Look { owner: self, hpa: cached.clone(), now: Time::now() };
        let outcome = self.reconcile(key, &mut look).await;
        if look.hpa.status != cached.status {
            let resource = HORIZONTAL_POD_AUTOSCALERS.sub("status");
            let written = write::update(&self.controller, &resource, KIND, &cached.metadata, |object| {
                object["status"] = json!(look.hpa.status);
            })
            .await;
            if let Err(error) = written {
                look.record(&Event::warning("FailedUpdateStatus", error.to_string()));
                anyhow::bail!("failed to update status for {}: {error}", key.name);
            }
        }
        outcome
    }

    async fn reconcile(&self, key: &Key, look: &mut Look<'_>) -> anyhow::Result<()> {
        let target = look.hpa.spec.scale_target_ref.clone();
        let reference = format!("{}/{}/{}", target.kind, key.namespace, target.name);
        let Some(resource) = self.kinds.resource(&target.api_version, &target.kind) else {
            let group = target.api_version.split_once('/').map_or("", |(group, _)| group);
            let why = format!("no matches for kind {:?} in group {group:?}", target.kind);
            look.no_scale(&why);
            anyhow::bail!("unable to determine resource for scale target reference: {why}");
        };
        let scales = resource.sub("scale");
        let scale: Value = match self.controller.client.get(&scales, &key.namespace, &target.name).await {
            Ok(scale) => scale,
            Err(error) => {
                look.no_scale(&error.to_string());
                anyhow::bail!("failed to query scale subresource for {reference}: {error}");
            }
        };
        let text = "the HPA controller was able to get the target's current scale";
        look.set("AbleToScale", true, "SucceededGetScale", text);
        let replicas =
            |part: &str| scale[part]["replicas"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
        let (current, reported) = (replicas("spec"), replicas("status"));
        self.histories.lock().entry(key.clone()).or_default().start(current, Instant::now());

        let spec = look.hpa.spec.clone();
        let (min, max) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
        let from_zero =
            self.settings.to_zero && condition_is_true(&look.hpa.status.conditions, "ScaledToZero");
        let outside = spec.metrics.iter().any(|metric| matches!(&*metric.kind, "Object" | "External"));
        let mut metrics = Vec::new();
        let mut failure = None;
        let (desired, reason) = if current == 0 && !(from_zero && (min != 0 || outside)) {
            let text = "scaling is disabled since the replica count of the target is zero";
            look.set("ScalingActive", false, "ScalingDisabled", text);
            if !self.settings.to_zero {
                remove_condition(&mut look.hpa.status.conditions, "ScaledToZero");
            }
            (current, String::new())
        } else if current > max {
            (max, "Current number of replicas above Spec.MaxReplicas".into())
        } else if current != 0 && current < min {
            (min, "Current number of replicas below Spec.MinReplicas".into())
        } else {
            let selector = scale["status"]["selector"].as_str().unwrap_or_default();
            let proposals = match self.pods(key, look, selector).await {
                Ok((selector, pods)) => {
                    proposals::collect(self, look, &selector, &pods, current, reported, &mut metrics).await
                }
                Err(error) => Err(error),
            };
            let proposal = match proposals {
                Ok(proposal) => proposal,
                Err(error) => {
                    self.set_status(look, current, None, metrics);
                    look.record(&Event::warning("FailedComputeMetricsReplicas", error.to_string()));
                    anyhow::bail!(
                        "failed to compute desired number of replicas based on listed metrics for {reference}: {error}"
                    );
                }
            };
            failure = proposal.failure;
            let mut reason = match proposal.replicas.max(0) {
                wanted if wanted > current => format!("{} above target", proposal.metric),
                wanted if wanted < current => "All metrics below target".into(),
                _ => String::new(),
            };
            let numbers = Numbers { current, desired: proposal.replicas.max(0), min, max };
            let normal = {
                let mut histories = self.histories.lock();
                let history = histories.entry(key.clone()).or_default();
                history.normalize(spec.behavior.as_ref(), numbers, self.settings.window, Instant::now())
            };
            look.find("AbleToScale", normal.able);
            look.find("ScalingLimited", normal.limited);
            let mut desired = normal.desired;
            if current == 0 && desired < min {
                desired = min;
                if reason.is_empty() {
                    reason = "Current number of replicas below Spec.MinReplicas".into();
                }
            }
            (desired, reason)
        };
        if desired == current {
            self.set_status(look, current, Some(current), metrics);
            return failure.map_or(Ok(()), |why| Err(anyhow::anyhow!(why)));
        }
        if let Err(error) = self.scale(&scales, key, &target.name, scale, desired).await {
            let text = format!("New size: {desired}; reason: {reason}; error: {error}");
            look.record(&Event::warning("FailedRescale", text));
            let text = format!("the HPA controller was unable to update the target scale: {error}");
            look.set("AbleToScale", false, "FailedUpdateScale", text);
            self.set_status(look, current, None, metrics);
            anyhow::bail!("failed to rescale {reference}: {error}");
        }
        let text = format!("the HPA controller was able to update the target scale to {desired}");
        look.set("AbleToScale", true, "SucceededRescale", text);
        look.record(&Event::normal("SuccessfulRescale", format!("New size: {desired}; reason: {reason}")));
        if let Some(history) = self.histories.lock().get_mut(key) {
            history.scaled(spec.behavior.as_ref(), current, desired, Instant::now());
        }
        if !self.settings.to_zero {
            remove_condition(&mut look.hpa.status.conditions, "ScaledToZero");
        } else if current > 0 && desired == 0 && min == 0 && outside {
            look.set("ScaledToZero", true, "ScaledToZero", "the HPA controller scaled the workload to zero");
        } else {
            let text = "the HPA controller did not scale the workload to zero";
            look.set("ScaledToZero", false, "NotScaledToZero", text);
        }
        self.set_status(look, current, Some(desired), metrics);
        look.hpa.status.last_scale_time = Some(look.now);
        failure.map_or(Ok(()), |why| Err(anyhow::anyhow!(why)))
    }

    /// Without a number that is desired, the last one stays.
    fn set_status(&self, look: &mut Look<'_>, current: i32, desired: Option<i32>, metrics: Vec<Value>) {
        let status = &mut look.hpa.status;
        status.current_replicas = current;
        status.desired_replicas = desired.unwrap_or(status.desired_replicas);
        status.current_metrics = metrics;
    }

    async fn scale(
        &self,
        scales: &Resource,
        key: &Key,
        name: &str,
        mut scale: Value,
        desired: i32,
    ) -> Result<(), Error> {
        let client = &self.controller.client;
        let mut tries = 0;
        loop {
            scale["spec"]["replicas"] = json!(desired);
            tries += 1;
            match client.update::<Value>(scales, &key.namespace, name, &scale).await {
                Err(error) if error.is_conflict() && tries < SCALE_TRIES => {
                    scale = client.get(scales, &key.namespace, name).await?;
                }
                outcome => return outcome.map(drop),
            }
        }
    }

    /// The pods of the target, which no other autoscaler may count as its own.
    async fn pods(
        &self,
        key: &Key,
        look: &mut Look<'_>,
        selector: &str,
    ) -> anyhow::Result<(String, Vec<Pod>)> {
        if selector.is_empty() {
            look.record(&Event::warning("SelectorRequired", "selector is required"));
            let text = "the HPA target's scale is missing a selector";
            look.set("ScalingActive", false, "InvalidSelector", text);
            anyhow::bail!("selector is required");
        }
        let parsed = match Selector::parse(selector) {
            Ok(parsed) => parsed,
            Err(why) => {
                let text = format!(
                    "couldn't convert selector into a corresponding internal selector object: {}",
                    why.0
                );
                look.record(&Event::warning("InvalidSelector", text.as_str()));
                look.set("ScalingActive", false, "InvalidSelector", text.as_str());
                anyhow::bail!(text);
            }
        };
        self.selectors.lock().insert(key.clone(), parsed);
        // As fresh as the server's cache: a moment doesn't matter here.
        let options =
            ListOptions { labels: selector.into(), resource_version: "0".into(), ..Default::default() };
        let list = self.controller.client.list::<Value>(&PODS, &key.namespace, &options).await?;
        let pods = list.items.iter().map(Pod::read).collect::<Result<Vec<_>, _>>()?;
        let selecting: Vec<String> = {
            let selectors = self.selectors.lock();
            let selects =
                |selector: &Selector| pods.iter().any(|pod| selector.matches_map(&pod.metadata.labels));
            let mut all: Vec<&Key> = selectors
                .iter()
                .filter(|(other, selector)| other.namespace == key.namespace && selects(selector))
                .map(|(other, _)| other)
                .collect();
            all.sort();
            all.iter().map(|other| format!("{{{} {}}}", other.name, other.namespace)).collect()
        };
        if selecting.len() > 1 {
            let text = format!(
                "pods by selector {selector} are controlled by multiple HPAs: [{}]",
                selecting.join(" ")
            );
            look.record(&Event::warning("AmbiguousSelector", text.as_str()));
            look.set("ScalingActive", false, "AmbiguousSelector", text.as_str());
            anyhow::bail!(text);
        }
        Ok((selector.into(), pods))
    }
}
