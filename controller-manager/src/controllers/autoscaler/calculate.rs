//! How many replicas a metric asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto::meta::ObjectMeta;
use proto::resources::{Amounts, of_pod};
use proto::time::Time;
use serde::Deserialize;
use serde_json::Value;

use crate::api::{Condition, find_condition};
use crate::common::seconds_between;

/// A pod of the target, as calculations see it.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) metadata: ObjectMeta,
    phase: String,
    conditions: Vec<Condition>,
    started: Option<Time>,
    containers: Vec<Container>,
    /// The requests of the pod as a whole, if it has any of its own.
    at_pod_level: Option<Amounts>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    resources: Resources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Amounts,
}

impl Pod {
    /// Reads what matters of a pod.
    pub(super) fn read(pod: &Value) -> Result<Pod, serde_json::Error> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let sidecar = |container: &Value| container["restartPolicy"] == "Always";
        let init = list(&pod["spec"]["initContainers"]).into_iter().filter(sidecar);
        let containers = list(&pod["spec"]["containers"]).into_iter().chain(init);
        let own = &pod["spec"]["resources"]["requests"];
        Ok(Pod {
            metadata: serde_json::from_value(pod["metadata"].clone())?,
            phase: pod["status"]["phase"].as_str().unwrap_or_default().into(),
            conditions: Option::deserialize(&pod["status"]["conditions"])?.unwrap_or_default(),
            started: Option::deserialize(&pod["status"]["startTime"])?,
            containers: containers.map(serde_json::from_value).collect::<Result<_, _>>()?,
            at_pod_level: own.as_object().filter(|own| !own.is_empty()).map(|_| of_pod(pod, "requests")),
        })
    }

    /// What it requests of a resource, in milli units; of one container if that is named.
    fn request(&self, resource: &str, container: &str) -> Result<i64, String> {
        let name = &self.metadata.name;
        if let Some(requests) = self.at_pod_level.as_ref().filter(|_| container.is_empty()) {
            let request = requests.get(resource);
            return request
                .map(|amount| amount.milli_value())
                .ok_or_else(|| format!("missing pod-level request for {resource} in Pod {name}"));
        }
        let mut sum = 0i64;
        for c in self.containers.iter().filter(|c| container.is_empty() || c.name == container) {
            let request = c.resources.requests.get(resource);
            let request = request.ok_or_else(|| {
                format!("missing request for {resource} in container {} of Pod {name}", c.name)
            })?;
            sum = sum.saturating_add(request.milli_value());
        }
        Ok(sum)
    }
}

/// One measurement of a pod, in milli units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) value: i64,
    pub(super) at: Option<Time>,
    /// The time over which it was taken.
    pub(super) window: Duration,
}

/// Samples by name of the pod.
pub(super) type Samples = BTreeMap<String, Sample>;

/// How far the ratio of usage to target may be off before anything is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerances {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerances {
    fn allow(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What calculations share.
pub(super) struct Calculator<'a> {
    pub(super) pods: &'a [Pod],
    pub(super) current: i32,
    pub(super) tolerances: Tolerances,
    /// Time after a pod's start in which its cpu samples may say nothing about its load.
    pub(super) cpu_initialization: Duration,
    /// Time after a pod's start in which it can get unready without ever having been ready.
    pub(super) initial_readiness: Duration,
    pub(super) now: Time,
}

/// Pods by what their samples are worth.
#[derive(Debug, Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

const NO_PODS: &str = "no pods returned by selector while calculating replica count";

impl Calculator<'_> {
    fn group(&self, samples: &Samples, resource: &str) -> Groups {
        let mut groups = Groups::default();
        for pod in self.pods {
            let name = pod.metadata.name.clone();
            if pod.metadata.is_being_deleted() || pod.phase == "Failed" {
                groups.ignored.insert(name);
            } else if pod.phase == "Pending" {
                groups.unready.insert(name);
            } else if let Some(sample) = samples.get(&name) {
                if resource == "cpu" && self.is_unready(pod, sample) {
                    groups.unready.insert(name);
                } else {
                    groups.ready += 1;
                }
            } else {
                groups.missing.insert(name);
            }
        }
        groups
    }

    /// Whether a cpu sample is from before the pod could do its work.
    fn is_unready(&self, pod: &Pod, sample: &Sample) -> bool {
        let (Some(ready), Some(started)) = (find_condition(&pod.conditions, "Ready"), pod.started) else {
            return true;
        };
        let changed = ready.last_transition_time.unwrap_or(started);
        let passed = |from: Time, to: Time| seconds_between(from, to);
        let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        if passed(started, self.now) < seconds(self.cpu_initialization) {
            let early = sample.at.is_none_or(|at| passed(changed, at) < seconds(sample.window));
            ready.status == "False" || early
        } else {
            ready.status == "False" && passed(started, changed) < seconds(self.initial_readiness)
        }
    }

    /// Replicas for a usage of a resource in percent of what pods request; with the usage in percent, and on average.
    pub(super) fn by_utilization(
        &self,
        samples: Samples,
        target: i32,
        resource: &str,
        container: &str,
    ) -> Result<(i32, i32, i64), String> {
        if self.pods.is_empty() {
            return Err(NO_PODS.into());
        }
        let (samples, groups) = self.usable(samples, resource)?;
        let mut requests = BTreeMap::new();
        for pod in self.pods {
            requests.insert(pod.metadata.name.clone(), pod.request(resource, container)?);
        }
        let ratio = |samples: &Samples| -> Result<(f64, i32, i64), String> {
            let known =
                samples.iter().filter_map(|(name, sample)| Some((sample.value, *requests.get(name)?)));
            let (mut used, mut requested, mut count) = (0i64, 0i64, 0i64);
            for (value, request) in known {
                used = used.saturating_add(value);
                requested = requested.saturating_add(request);
                count += 1;
            }
            if requested == 0 {
                return Err("no metrics returned matched known pods".into());
            }
            let percent = (i128::from(used) * 100 / i128::from(requested)).clamp(0, i32::MAX.into()) as i32;
            Ok((f64::from(percent) / f64::from(target), percent, used / count))
        };
        let (first, percent, average) = ratio(&samples)?;
        let fallback = |name: &str| {
            let request = requests.get(name).copied().unwrap_or(0);
            request.saturating_mul(i64::from(target.max(100))) / 100
        };
        let replicas = self.replicas(first, samples, &groups, fallback, |samples| Ok(ratio(samples)?.0))?;
        Ok((replicas, percent, average))
    }

    /// Replicas for an average value per pod; with the average.
    pub(super) fn by_value(
        &self,
        samples: Samples,
        target: i64,
        resource: &str,
    ) -> Result<(i32, i64), String> {
        if self.pods.is_empty() {
            return Err(NO_PODS.into());
        }
        let (samples, groups) = self.usable(samples, resource)?;
        let average = |samples: &Samples| {
            let sum: i128 = samples.values().map(|sample| i128::from(sample.value)).sum();
            i64::try_from(sum / samples.len().max(1) as i128).unwrap_or(i64::MAX)
        };
        let ratio = |samples: &Samples| average(samples) as f64 / target as f64;
        let (first, usage) = (ratio(&samples), average(&samples));
        let replicas = self.replicas(first, samples, &groups, |_| target, |samples| Ok(ratio(samples)))?;
        Ok((replicas, usage))
    }

    fn usable(&self, mut samples: Samples, resource: &str) -> Result<(Samples, Groups), String> {
        let groups = self.group(&samples, resource);
        samples.retain(|name, _| !groups.ignored.contains(name) && !groups.unready.contains(name));
        if samples.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".into());
        }
        Ok((samples, groups))
    }

    /// Replicas for a ratio of usage to target. Pods whose usage isn't known are taken to be such that less is done.
    fn replicas(
        &self,
        first: f64,
        mut samples: Samples,
        groups: &Groups,
        fallback: impl Fn(&str) -> i64,
        ratio: impl Fn(&Samples) -> Result<f64, String>,
    ) -> Result<i32, String> {
        let up_with_unready = !groups.unready.is_empty() && first > 1.0;
        if !up_with_unready && groups.missing.is_empty() {
            if self.tolerances.allow(first) {
                return Ok(self.current);
            }
            return Ok(ceil(first * groups.ready as f64));
        }
        let assume = |value| Sample { value, ..Default::default() };
        if first < 1.0 {
            samples.extend(groups.missing.iter().map(|name| (name.clone(), assume(fallback(name)))));
        } else if first > 1.0 {
            samples.extend(groups.missing.iter().map(|name| (name.clone(), assume(0))));
        }
        if up_with_unready {
            samples.extend(groups.unready.iter().map(|name| (name.clone(), assume(0))));
        }
        let second = ratio(&samples)?;
        if self.tolerances.allow(second) || (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0) {
            return Ok(self.current);
        }
        let replicas = ceil(second * samples.len() as f64);
        if (second < 1.0 && replicas > self.current) || (second > 1.0 && replicas < self.current) {
            return Ok(self.current);
        }
        Ok(replicas)
    }

    /// Replicas for a value that all pods together bring about.
    pub(super) fn by_total(&self, usage: i64, target: i64) -> Result<i32, String> {
        let ratio = usage as f64 / target as f64;
        if self.current == 0 {
            return Ok(ceil(ratio));
        }
        if self.tolerances.allow(ratio) {
            return Ok(self.current);
        }
        if self.pods.is_empty() {
            return Err(format!("unable to calculate ready pods: {NO_PODS}"));
        }
        let ready = |pod: &&Pod| {
            pod.phase == "Running" && find_condition(&pod.conditions, "Ready").is_some_and(Condition::is_true)
        };
        Ok(ceil(ratio * self.pods.iter().filter(ready).count() as f64))
    }

    /// Replicas for a value that is to be shared among `replicas`; with the share of each.
    pub(super) fn by_share(&self, usage: i64, target: i64, replicas: i32) -> (i32, i64) {
        let ratio = usage as f64 / (target as f64 * f64::from(replicas));
        let wanted = if self.tolerances.allow(ratio) { replicas } else { ceil(usage as f64 / target as f64) };
        (wanted, (usage as f64 / f64::from(replicas)).ceil() as i64)
    }
}

/// Rounds up; what doesn't fit becomes the greatest number.
fn ceil(value: f64) -> i32 {
    value.ceil() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn time(minute: i64) -> Time {
        let text = format!("2026-01-01T00:{minute:02}:00Z");
        text.parse().unwrap()
    }

    /// A pod with a request of 1 cpu: `ready` since minute 1, phase and start as given.
    fn pod(index: usize, phase: &str, ready: bool, started: i64) -> Pod {
        Pod::read(&json!({
            "metadata": {"name": format!("p{index}")},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {
                "phase": phase,
                "startTime": time(started),
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": time(started + 1)}],
            },
        }))
        .unwrap()
    }

    fn samples(values: &[i64]) -> Samples {
        let sample =
            |value: &i64| Sample { value: *value, at: Some(time(30)), window: Duration::from_secs(60) };
        values.iter().enumerate().map(|(i, value)| (format!("p{i}"), sample(value))).collect()
    }

    fn calculator(pods: &[Pod]) -> Calculator<'_> {
        Calculator {
            pods,
            current: pods.len() as i32,
            tolerances: Tolerances { down: 0.1, up: 0.1 },
            cpu_initialization: Duration::from_secs(120),
            initial_readiness: Duration::from_secs(10),
            now: time(30),
        }
    }

    /// After upstream's replica_calculator_test.go.
    #[test]
    fn utilization() {
        let running = |n: usize| (0..n).map(|i| pod(i, "Running", true, 0)).collect::<Vec<_>>();
        let mut with_pending = running(2);
        with_pending.push(pod(2, "Pending", false, 0));
        let mut with_failed = running(2);
        with_failed.push(pod(2, "Failed", false, 0));
        let mut with_new = running(2);
        with_new.push(pod(2, "Running", true, 29));
        for (what, pods, values, target, wanted) in [
            ("up", running(3), vec![300, 500, 700], 30, Ok((5, 50, 500))),
            ("down", running(5), vec![100, 300, 500, 250, 250], 50, Ok((3, 28, 280))),
            ("within tolerance", running(3), vec![1010, 1030, 1020], 100, Ok((3, 102, 1020))),
            ("missing, would go up", running(2), vec![1000], 50, Ok((2, 100, 1000))),
            ("missing, goes down less", running(4), vec![100, 100, 100], 100, Ok((2, 10, 100))),
            ("pending, goes up less", with_pending, vec![1000, 1000], 50, Ok((4, 100, 1000))),
            ("failed is no replica", with_failed, vec![1000, 1000], 50, Ok((4, 100, 1000))),
            ("too new to count", with_new, vec![1000, 1000, 5000], 50, Ok((4, 100, 1000))),
            (
                "no samples",
                running(2),
                vec![],
                50,
                Err("did not receive metrics for targeted pods (pods might be unready)"),
            ),
            ("no pods", vec![], vec![], 50, Err(NO_PODS)),
        ] {
            let found = calculator(&pods).by_utilization(samples(&values), target, "cpu", "");
            assert_eq!(found, wanted.map_err(String::from), "{what}");
        }
        let error = calculator(&running(1)).by_utilization(samples(&[1]), 50, "memory", "").unwrap_err();
        assert_eq!(error, "missing request for memory in container c of Pod p0");
    }

    #[test]
    fn values() {
        let pods: Vec<Pod> = (0..3).map(|i| pod(i, "Running", true, 0)).collect();
        let calculator = calculator(&pods);
        assert_eq!(calculator.by_value(samples(&[20000, 10000, 30000]), 15000, ""), Ok((4, 20000)));
        assert_eq!(calculator.by_value(samples(&[20000, 10000, 30000]), 20000, ""), Ok((3, 20000)));
        assert_eq!(calculator.by_total(20000, 15000), Ok(4));
        assert_eq!(calculator.by_total(15500, 15000), Ok(3));
        assert_eq!(Calculator { current: 0, ..calculator }.by_total(20000, 15000), Ok(2));
        let calculator = super::tests::calculator(&pods);
        assert_eq!(calculator.by_share(8600, 2867, 3), (3, 2867));
        assert_eq!(calculator.by_share(8600, 2150, 3), (4, 2867));
    }
}
