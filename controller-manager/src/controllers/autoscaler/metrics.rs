//! The three APIs that metrics come from. Extension servers serve them; without one, each answers with an error.

use std::time::Duration;

use component_base::client::{Client, Error, encode, query};
use http::Method;
use proto::meta::nullable;
use proto::quantity::Quantity;
use proto::resources::Amounts;
use proto::time::{Duration as GoDuration, Time};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::calculate::{Sample, Samples};
use crate::api::autoscaling::Target;
use crate::common::kinds::Kinds;

/// The window of samples that don't say theirs.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct List<T> {
    #[serde(default = "Vec::new", deserialize_with = "nullable")]
    items: Vec<T>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Named,
    timestamp: Option<Time>,
    #[serde(default)]
    window: String,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerMetrics {
    name: String,
    usage: Amounts,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue {
    #[serde(default)]
    described_object: Named,
    timestamp: Option<Time>,
    window_seconds: Option<u64>,
    value: Quantity,
}

/// An error of the resource metrics API, as upstream's client words it where nobody serves that.
fn of_pods(error: &Error) -> String {
    let text = error.to_string();
    let unserved = text == "the server could not find the requested resource";
    if unserved { format!("{text} (get pods.metrics.k8s.io)") } else { text }
}

/// Asks for metrics.
pub(super) struct Metrics<'a> {
    pub(super) client: &'a Client,
    pub(super) kinds: &'a Kinds,
    pub(super) namespace: &'a str,
}

impl Metrics<'_> {
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let body = self.client.request(Method::GET, path, None).await?;
        serde_json::from_slice(&body).map_err(|e| Error::Decode(e.to_string()))
    }

    fn in_namespace(&self, group_version: &str, parts: &[&str]) -> String {
        let mut path = format!("/apis/{group_version}/namespaces/");
        encode(&mut path, self.namespace);
        for part in parts {
            path.push('/');
            // A star stands for all objects, and must arrive as one.
            if *part == "*" { path.push('*') } else { encode(&mut path, part) }
        }
        path
    }

    /// The usage of a resource by pods, or by one container of each.
    pub(super) async fn resource(
        &self,
        resource: &str,
        selector: &str,
        container: &str,
    ) -> Result<Samples, String> {
        let path =
            self.in_namespace("metrics.k8s.io/v1beta1", &["pods"]) + &query(&[("labelSelector", selector)]);
        let list: List<PodMetrics> = self
            .get(&path)
            .await
            .map_err(|why| format!("unable to fetch metrics from resource metrics API: {}", of_pods(&why)))?;
        if list.items.is_empty() {
            return Err("no metrics returned from resource metrics API".into());
        }
        let usage = |pod: &PodMetrics| -> Option<i64> {
            let amount = |c: &ContainerMetrics| Some(c.usage.get(resource)?.milli_value());
            if !container.is_empty() {
                return amount(pod.containers.iter().find(|c| c.name == container)?);
            }
            let all: Option<Vec<i64>> = pod.containers.iter().map(amount).collect();
            all.filter(|all| !all.is_empty()).map(|all| all.into_iter().fold(0, i64::saturating_add))
        };
        let sample = |pod: PodMetrics| {
            let window = pod.window.parse::<GoDuration>().map(GoDuration::to_std).unwrap_or_default();
            let value = usage(&pod)?;
            Some((pod.metadata.name, Sample { value, at: pod.timestamp, window }))
        };
        Ok(list.items.into_iter().filter_map(sample).collect())
    }

    /// A custom metric of the pods that a selector selects.
    pub(super) async fn pods(&self, metric: &str, selector: &str, labels: &str) -> Result<Samples, String> {
        let list = self.custom(&["pods", "*", metric], selector, labels).await?;
        let sample = |value: MetricValue| {
            let window = value.window_seconds.map_or(WINDOW, Duration::from_secs);
            let sample = Sample { value: value.value.milli_value(), at: value.timestamp, window };
            (value.described_object.name, sample)
        };
        Ok(list.into_iter().map(sample).collect())
    }

    /// A custom metric of one object.
    pub(super) async fn object(&self, metric: &str, object: &Target, labels: &str) -> Result<i64, String> {
        let list = if object.kind == "Namespace" {
            self.custom(&["metrics", metric], "", labels).await?
        } else {
            let resource = self.kinds.resource(&object.api_version, &object.kind).ok_or_else(|| {
                format!(
                    "unable to fetch metrics from custom metrics API: no matches for kind {:?} in version {:?}",
                    object.kind, object.api_version
                )
            })?;
            let name = proto::status::qualified(&resource.group, &resource.plural);
            self.custom(&[&name, &object.name, metric], "", labels).await?
        };
        list.first().map(|value| value.value.milli_value()).ok_or_else(|| {
            "unable to fetch metrics from custom metrics API: the server returned an empty list".to_string()
        })
    }

    /// Asks in the newer version of the API first.
    async fn custom(&self, parts: &[&str], selector: &str, labels: &str) -> Result<Vec<MetricValue>, String> {
        let query = query(&[("labelSelector", selector), ("metricLabelSelector", labels)]);
        let mut outcome = Err(Error::Timeout);
        for version in ["custom.metrics.k8s.io/v1beta2", "custom.metrics.k8s.io/v1beta1"] {
            outcome = self.get::<List<MetricValue>>(&(self.in_namespace(version, parts) + &query)).await;
            if !matches!(&outcome, Err(error) if error.is_not_found()) {
                break;
            }
        }
        let list =
            outcome.map_err(|why| format!("unable to fetch metrics from custom metrics API: {why}"))?;
        if list.items.is_empty() {
            return Err("no metrics returned from custom metrics API".into());
        }
        Ok(list.items)
    }

    /// The sum of the values of a metric that has nothing to do with the cluster.
    pub(super) async fn external(&self, metric: &str, labels: &str) -> Result<i64, String> {
        let path = self.in_namespace("external.metrics.k8s.io/v1beta1", &[metric])
            + &query(&[("labelSelector", labels)]);
        let list: List<MetricValue> = self
            .get(&path)
            .await
            .map_err(|why| format!("unable to fetch metrics from external metrics API: {why}"))?;
        if list.items.is_empty() {
            return Err("no metrics returned from external metrics API".into());
        }
        Ok(list.items.iter().fold(0, |sum, value| sum.saturating_add(value.value.milli_value())))
    }
}
