//! What each metric of an autoscaler proposes.

use proto::quantity::{Format, Quantity};
use serde_json::{Value, json};

use super::calculate::{Calculator, Pod, Tolerances};
use super::metrics::Metrics;
use super::{Autoscalers, Look};
use crate::api::apps::LabelSelector;
use crate::api::autoscaling::{Goal, Identifier, MetricSpec, ResourceMetric};
use crate::common::events::Event;
use crate::common::selector;

/// The largest of the proposals.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// The metric that made it.
    pub(super) metric: String,
    /// Why some other metric made none.
    pub(super) failure: Option<String>,
}

/// Why a metric makes no proposal: the reason for the condition, what to tell there, and the error as a whole.
struct Failure {
    reason: &'static str,
    why: String,
    whole: String,
}

/// A proposal of one metric: replicas, the metric's name, its status.
type One = (i32, String, Value);

/// Asks every metric. If one makes no proposal, the others may only add replicas, as it might want more.
pub(super) async fn collect(
    owner: &Autoscalers,
    look: &mut Look<'_>,
    selector: &str,
    pods: &[Pod],
    current: i32,
    reported: i32,
    statuses: &mut Vec<Value>,
) -> anyhow::Result<Proposal> {
    let settings = &owner.settings;
    let calculator = Calculator {
        pods,
        current,
        tolerances: tolerances(owner, look),
        cpu_initialization: settings.cpu_initialization,
        initial_readiness: settings.initial_readiness,
        now: look.now,
    };
    let namespace = look.hpa.metadata.namespace.clone();
    let metrics = Metrics { client: &owner.controller.client, kinds: &owner.kinds, namespace: &namespace };
    let specs = look.hpa.spec.metrics.clone();
    let mut best = Proposal { replicas: 0, metric: String::new(), failure: None };
    let mut failures: Vec<Failure> = Vec::new();
    for spec in &specs {
        match one(&metrics, &calculator, spec, selector, reported).await {
            Ok((replicas, metric, status)) => {
                statuses.push(status);
                if best.replicas == 0 || replicas > best.replicas {
                    best = Proposal { replicas, metric, failure: None };
                }
            }
            Err(failure) => {
                statuses.push(json!({"type": ""}));
                look.record(&Event::warning(failure.reason, failure.why.as_str()));
                failures.push(failure);
            }
        }
    }
    if let Some(first) = failures.first() {
        let (count, all) = (failures.len(), specs.len());
        let text = format!("invalid metrics ({count} invalid out of {all}), first error is: {}", first.whole);
        if count >= all || best.replicas < current {
            let told = format!("the HPA was unable to compute the replica count: {}", first.why);
            look.set("ScalingActive", false, first.reason, told);
            anyhow::bail!(text);
        }
        best.failure = Some(text);
    }
    let text = format!("the HPA was able to successfully calculate a replica count from {}", best.metric);
    look.set("ScalingActive", true, "ValidMetricFound", text);
    Ok(best)
}

fn tolerances(owner: &Autoscalers, look: &Look<'_>) -> Tolerances {
    let settings = &owner.settings;
    let behavior = look.hpa.spec.behavior.as_ref().filter(|_| settings.own_tolerance);
    let of = |rules: Option<&crate::api::autoscaling::Rules>| {
        rules.and_then(|rules| rules.tolerance.as_ref()).map_or(settings.tolerance, Quantity::to_f64)
    };
    Tolerances {
        down: of(behavior.and_then(|b| b.scale_down.as_ref())),
        up: of(behavior.and_then(|b| b.scale_up.as_ref())),
    }
}

async fn one(
    metrics: &Metrics<'_>,
    calculator: &Calculator<'_>,
    spec: &MetricSpec,
    selector: &str,
    reported: i32,
) -> Result<One, Failure> {
    let fail = |reason: &'static str, prefix: String| {
        move |why: String| Failure { reason, whole: format!("failed to get {prefix}: {why}"), why }
    };
    match (spec.kind.as_str(), spec) {
        ("Resource", MetricSpec { resource: Some(metric), .. }) => {
            let prefix = format!("{} resource metric value", metric.name);
            resource(metrics, calculator, metric, selector, "resource utilization")
                .await
                .map(|(n, name, current)| {
                    (
                        n,
                        name,
                        json!({"type": "Resource", "resource": {"name": metric.name, "current": current}}),
                    )
                })
                .map_err(fail("FailedGetResourceMetric", prefix))
        }
        ("ContainerResource", MetricSpec { container_resource: Some(metric), .. }) => {
            let prefix = format!("{} container metric value", metric.container);
            let status = |current: Value| {
                json!({"type": "ContainerResource", "containerResource": {
                    "name": metric.name, "container": metric.container, "current": current,
                }})
            };
            resource(metrics, calculator, metric, selector, "container resource utilization")
                .await
                .map(|(n, name, current)| (n, name, status(current)))
                .map_err(fail("FailedGetContainerResourceMetric", prefix))
        }
        ("Pods", MetricSpec { pods: Some(metric), .. }) => {
            let proposal = async {
                let labels = labels(metric.metric.selector.as_ref())?;
                let name = &metric.metric.name;
                let samples = metrics
                    .pods(name, selector, &labels)
                    .await
                    .map_err(|why| format!("unable to get metric {name}: {why}"))?;
                let target = milli(metric.target.average_value.as_ref());
                let (replicas, usage) = calculator.by_value(samples, target, "")?;
                let current = json!({"averageValue": quantity(usage, Format::DecimalSi)});
                let status = json!({"type": "Pods", "pods": {"metric": metric.metric, "current": current}});
                Ok((replicas, format!("pods metric {name}"), status))
            };
            proposal.await.map_err(fail("FailedGetPodsMetric", "pods metric value".into()))
        }
        ("Object", MetricSpec { object: Some(metric), .. }) => {
            let proposal = async {
                let (name, object) = (&metric.metric.name, &metric.described_object);
                let labels = labels(metric.metric.selector.as_ref())?;
                let usage = metrics.object(name, object, &labels).await.map_err(|why| {
                    let namespace = metrics.namespace;
                    format!(
                        "unable to get metric {name}: {} on {namespace} {}/{why}",
                        object.kind, object.name
                    )
                });
                let none = "invalid object metric source: neither a value target nor an average value target was set";
                let named = format!("{} metric {name}", object.kind);
                let (replicas, told, current) = shared(
                    calculator,
                    &metric.target,
                    &metric.metric,
                    usage,
                    reported,
                    named,
                    none,
                    "object",
                )?;
                let body = json!({"describedObject": object, "metric": metric.metric, "current": current});
                Ok((replicas, told, json!({"type": "Object", "object": body})))
            };
            proposal.await.map_err(fail("FailedGetObjectMetric", "object metric value".into()))
        }
        ("External", MetricSpec { external: Some(metric), .. }) => {
            let name = &metric.metric.name;
            let proposal = async {
                let labels = labels(metric.metric.selector.as_ref())?;
                let usage = metrics.external(name, &labels).await.map_err(|why| {
                    let selector = describe(metric.metric.selector.as_ref());
                    format!("unable to get external metric {}/{name}/{selector}: {why}", metrics.namespace)
                });
                let none = "invalid external metric source: neither a value target nor an average value target was set";
                let named = external_name(&metric.metric);
                let (replicas, told, current) = shared(
                    calculator,
                    &metric.target,
                    &metric.metric,
                    usage,
                    reported,
                    named,
                    none,
                    "external",
                )?;
                let status =
                    json!({"type": "External", "external": {"metric": metric.metric, "current": current}});
                Ok((replicas, told, status))
            };
            proposal.await.map_err(fail("FailedGetExternalMetric", format!("{name} external metric value")))
        }
        (kind, _) => {
            let why = format!("unknown metric source type {kind:?}");
            Err(Failure { reason: "InvalidMetricSourceType", whole: why.clone(), why })
        }
    }
}

/// Replicas for the usage of a resource, with the metric's name and its current value.
async fn resource(
    metrics: &Metrics<'_>,
    calculator: &Calculator<'_>,
    metric: &ResourceMetric,
    selector: &str,
    what: &str,
) -> Result<One, String> {
    let name = &metric.name;
    let format = if name == "memory" { Format::BinarySi } else { Format::DecimalSi };
    let samples = async || {
        let samples = metrics.resource(name, selector, &metric.container).await;
        samples.map_err(|why| format!("unable to get metrics for resource {name}: {why}"))
    };
    if let Some(target) = &metric.target.average_value {
        let found = async { calculator.by_value(samples().await?, target.milli_value(), name) }.await;
        let (replicas, usage) = found.map_err(|why| format!("failed to get {name} usage: {why}"))?;
        let current = json!({"averageValue": quantity(usage, format)});
        return Ok((replicas, format!("{name} resource"), current));
    }
    let Some(target) = metric.target.average_utilization else {
        return Err("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".into());
    };
    let found = async { calculator.by_utilization(samples().await?, target, name, &metric.container) }.await;
    let (replicas, percent, usage) =
        found.map_err(|why| format!("failed to get {name} utilization: {why}"))?;
    let current = json!({"averageUtilization": percent, "averageValue": quantity(usage, format)});
    Ok((replicas, format!("{name} {what} (percentage of request)"), current))
}

/// Replicas for a value that isn't one of pods: of all of them together, or a share for each.
fn shared(
    calculator: &Calculator<'_>,
    target: &Goal,
    metric: &Identifier,
    usage: Result<i64, String>,
    reported: i32,
    named: String,
    none: &str,
    kind: &str,
) -> Result<One, String> {
    let value = target.value.as_ref().filter(|_| kind == "external" || target.kind == "Value");
    let share = target.average_value.as_ref().filter(|_| kind == "external" || target.kind == "AverageValue");
    match (share, value) {
        (Some(share), _) => {
            let usage = usage.map_err(|why| format!("failed to get {} {kind} metric: {why}", metric.name))?;
            let (replicas, each) = calculator.by_share(usage, milli(Some(share)), reported);
            let current = json!({"averageValue": quantity(each, Format::DecimalSi)});
            Ok((replicas, external_name(metric), current))
        }
        (None, Some(value)) => {
            let failed = |why: String| match kind {
                "external" => format!("failed to get external metric {}: {why}", metric.name),
                _ => why,
            };
            let usage = usage.map_err(failed)?;
            let replicas = calculator.by_total(usage, milli(Some(value))).map_err(failed)?;
            let current = json!({"value": quantity(usage, Format::DecimalSi)});
            Ok((replicas, named, current))
        }
        (None, None) => Err(none.into()),
    }
}

fn external_name(metric: &Identifier) -> String {
    format!("external metric {}({})", metric.name, describe(metric.selector.as_ref()))
}

fn describe(selector: Option<&LabelSelector>) -> String {
    selector.map_or_else(|| "nil".into(), LabelSelector::describe)
}

fn labels(selector: Option<&LabelSelector>) -> Result<String, String> {
    match selector {
        None => Ok(String::new()),
        some => Ok(selector::compile(some)?.to_string()),
    }
}

/// A goal in milli units; one that is missing can't be divided by, and validation refused it.
fn milli(goal: Option<&Quantity>) -> i64 {
    goal.map_or(1, |goal| goal.milli_value().max(1))
}

fn quantity(milli: i64, format: Format) -> Quantity {
    Quantity::from_milli(milli, format)
}
