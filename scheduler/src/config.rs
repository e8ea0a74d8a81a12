//! KubeSchedulerConfiguration v1: profiles, which plugins they run, and the plugins' arguments.

use std::time::Duration;

use serde::Deserialize;

use crate::engine::Engine;
use crate::framework::{Filter, PreEnqueue, Score};
use crate::model::{NodeTerm, ResourceId, SpreadConstraint, WireNodeAffinity, WireSpread, resource_id};
use crate::plugins::names::*;
use crate::plugins::{self, Strategy};
use crate::preemption::Preemption;
use crate::profile::Profile;
use crate::queue::Queue;

/// The file's API versions and kinds.
pub const KINDS: &[(&str, &str)] = &[("kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration")];

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A plugin that doesn't exist.
    #[error("profiles[{0}].plugins: plugin {1:?} does not exist")]
    UnknownPlugin(usize, String),
    /// Arguments that can't be read.
    #[error("profiles[{profile}].pluginConfig: {plugin} args: {error}")]
    Args {
        /// Which profile.
        profile: usize,
        /// Which plugin.
        plugin: String,
        /// What is wrong.
        error: String,
    },
    /// A value out of range.
    #[error("{0}")]
    Invalid(String),
}

/// The configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Configuration {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    /// Upstream's number of worker threads; one attempt here needs none.
    pub parallelism: Option<i32>,
    /// Who leads.
    pub leader_election: LeaderElection,
    /// How the API is reached.
    pub client_connection: ClientConnection,
    /// Profiling handlers.
    pub enable_profiling: Option<bool>,
    /// Lock profiling.
    pub enable_contention_profiling: Option<bool>,
    /// Share of nodes ranked, for all profiles.
    pub percentage_of_nodes_to_score: Option<i32>,
    /// First pause after a failed attempt.
    pub pod_initial_backoff_seconds: Option<i64>,
    /// Longest pause.
    pub pod_max_backoff_seconds: Option<i64>,
    /// The profiles.
    pub profiles: Vec<ProfileConfig>,
    /// Webhooks that take part; not supported.
    pub extenders: Vec<serde_json::Value>,
    /// Wait for preemption calls in line; they never wait here.
    pub delay_cache_until_active: bool,
}

/// Leader election settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct LeaderElection {
    pub leader_elect: Option<bool>,
    pub lease_duration: Option<String>,
    pub renew_deadline: Option<String>,
    pub retry_period: Option<String>,
    pub resource_lock: Option<String>,
    pub resource_name: Option<String>,
    pub resource_namespace: Option<String>,
}

/// Client settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ClientConnection {
    pub kubeconfig: String,
    pub accept_content_types: String,
    pub content_type: String,
    pub qps: Option<f64>,
    pub burst: Option<f64>,
}

/// One profile.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProfileConfig {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i32>,
    plugins: Plugins,
    plugin_config: Vec<PluginConfig>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Plugins {
    pre_enqueue: PluginSet,
    queue_sort: PluginSet,
    pre_filter: PluginSet,
    filter: PluginSet,
    post_filter: PluginSet,
    pre_score: PluginSet,
    score: PluginSet,
    reserve: PluginSet,
    permit: PluginSet,
    pre_bind: PluginSet,
    bind: PluginSet,
    post_bind: PluginSet,
    placement_generate: PluginSet,
    placement_score: PluginSet,
    multi_point: PluginSet,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct PluginSet {
    enabled: Vec<PluginRef>,
    disabled: Vec<PluginRef>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct PluginRef {
    name: String,
    weight: Option<i64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PluginConfig {
    name: String,
    #[serde(default)]
    args: serde_json::Value,
}

/// The plugins that run by default, in order, with their weights.
const DEFAULTS: [(&str, i64); 20] = [
    (SCHEDULING_GATES, 0),
    (PRIORITY_SORT, 0),
    (NODE_UNSCHEDULABLE, 0),
    (NODE_NAME, 0),
    (TAINT_TOLERATION, 3),
    (NODE_AFFINITY, 2),
    (NODE_PORTS, 0),
    (NODE_RESOURCES_FIT, 1),
    (VOLUME_RESTRICTIONS, 0),
    (NODE_VOLUME_LIMITS, 0),
    (VOLUME_BINDING, 0),
    (VOLUME_ZONE, 0),
    (POD_TOPOLOGY_SPREAD, 2),
    (INTER_POD_AFFINITY, 2),
    (DYNAMIC_RESOURCES, 2),
    (DEFAULT_PREEMPTION, 0),
    (BALANCED_ALLOCATION, 1),
    (IMAGE_LOCALITY, 1),
    (DEFAULT_BINDER, 0),
    (NODE_DECLARED_FEATURES, 0),
];

impl Configuration {
    /// The scheduler this describes.
    pub fn engine(&self) -> Result<Engine, Error> {
        let seconds = |given: Option<i64>, default, name: &str, least| {
            let seconds = given.unwrap_or(default);
            match u64::try_from(seconds) {
                Ok(s) if seconds >= least => Ok(Duration::from_secs(s)),
                _ => Err(Error::Invalid(format!(
                    "{name}: Invalid value: {seconds}: must be greater than {}",
                    least - 1
                ))),
            }
        };
        let initial = seconds(self.pod_initial_backoff_seconds, 1, "podInitialBackoffSeconds", 1)?;
        let least = initial.as_secs() as i64;
        let max = seconds(self.pod_max_backoff_seconds, 10, "podMaxBackoffSeconds", least)?;
        if !self.extenders.is_empty() {
            return Err(Error::Invalid("extenders: scheduler extenders are not supported".to_owned()));
        }
        let default = [ProfileConfig::default()];
        let profiles = if self.profiles.is_empty() { &default[..] } else { &self.profiles[..] };
        let mut built: Vec<Profile> = Vec::new();
        for (i, profile) in profiles.iter().enumerate() {
            let name = match &profile.scheduler_name {
                Some(name) => name.clone(),
                None if profiles.len() == 1 => "default-scheduler".to_owned(),
                None => return Err(Error::Invalid(format!("profiles[{i}].schedulerName: Required value"))),
            };
            if built.iter().any(|p| p.name == name) {
                return Err(Error::Invalid(format!(
                    "profiles[{i}].schedulerName: Duplicate value: {name:?}"
                )));
            }
            let percentage = profile.percentage_of_nodes_to_score.or(self.percentage_of_nodes_to_score);
            let percentage = match usize::try_from(percentage.unwrap_or(0)) {
                Ok(p) if p <= 100 => p,
                _ => {
                    let text = "percentageOfNodesToScore: Invalid value: not in valid range [0-100]";
                    return Err(Error::Invalid(text.to_owned()));
                }
            };
            built.push(profile.build(i, name, percentage)?);
        }
        Ok(Engine::new(built, Queue::new(initial, max)))
    }
}

/// Is the plugin on at a point, and with what weight? What is said about the point outweighs what is said about all.
fn enabled(name: &str, point: &PluginSet, all: &PluginSet) -> Option<Option<i64>> {
    let names = |list: &[PluginRef]| list.iter().any(|p| p.name == name || p.name == "*");
    if let Some(explicit) = point.enabled.iter().find(|p| p.name == name) {
        return Some(explicit.weight);
    }
    if names(&point.disabled) {
        return None;
    }
    if let Some(explicit) = all.enabled.iter().find(|p| p.name == name) {
        return Some(explicit.weight);
    }
    let default = DEFAULTS.iter().find(|(n, _)| *n == name)?;
    (!names(&all.disabled)).then_some(Some(default.1))
}

impl ProfileConfig {
    fn build(&self, index: usize, name: String, percentage: usize) -> Result<Profile, Error> {
        let plugins = &self.plugins;
        self.check_names(index)?;
        let on = |name: &str, point: &PluginSet| enabled(name, point, &plugins.multi_point);
        // Plugins run in the default order; upstream lets the file reorder them, which changes only which of
        // several reasons a node is rejected for.
        let mut profile = Profile {
            name,
            percentage_of_nodes_to_score: percentage,
            pre_enqueue: Vec::new(),
            filters: Vec::new(),
            scores: Vec::new(),
            preemption: None,
        };
        if on(SCHEDULING_GATES, &plugins.pre_enqueue).is_some() {
            profile.pre_enqueue.push(Box::new(plugins::SchedulingGates) as Box<dyn PreEnqueue>);
        }
        for (name, _) in DEFAULTS {
            if on(name, &plugins.filter).is_some()
                && let Some(filter) = self.filter(index, name)?
            {
                profile.filters.push(filter);
            }
            if let Some(weight) = on(name, &plugins.score)
                && let Some(score) = self.score(index, name)?
            {
                let weight = weight.filter(|w| *w > 0).unwrap_or(1);
                profile.scores.push((score, weight));
            }
        }
        if on(DEFAULT_PREEMPTION, &plugins.post_filter).is_some() {
            let args: PreemptionArgs = self.args(index, DEFAULT_PREEMPTION)?;
            profile.preemption = Some(Preemption {
                min_candidate_nodes_percentage: args.min_candidate_nodes_percentage.unwrap_or(10),
                min_candidate_nodes_absolute: args.min_candidate_nodes_absolute.unwrap_or(100),
            });
        }
        for (required, point) in [(PRIORITY_SORT, &plugins.queue_sort), (DEFAULT_BINDER, &plugins.bind)] {
            if on(required, point).is_none() {
                let text = format!(
                    "profiles[{index}].plugins: {required} is the only plugin of its kind and can't be off"
                );
                return Err(Error::Invalid(text));
            }
        }
        Ok(profile)
    }

    fn check_names(&self, index: usize) -> Result<(), Error> {
        let p = &self.plugins;
        let sets = [
            &p.pre_enqueue,
            &p.queue_sort,
            &p.pre_filter,
            &p.filter,
            &p.post_filter,
            &p.pre_score,
            &p.score,
            &p.reserve,
            &p.permit,
            &p.pre_bind,
            &p.bind,
            &p.post_bind,
            &p.placement_generate,
            &p.placement_score,
            &p.multi_point,
        ];
        let known = |name: &str| DEFAULTS.iter().any(|(n, _)| *n == name);
        let unknown = sets.into_iter().flat_map(|s| &s.enabled).find(|p| !known(&p.name));
        match unknown {
            Some(plugin) => Err(Error::UnknownPlugin(index, plugin.name.clone())),
            None => Ok(()),
        }
    }

    fn args<T: for<'de> Deserialize<'de> + Default>(&self, profile: usize, plugin: &str) -> Result<T, Error> {
        let Some(config) = self.plugin_config.iter().find(|c| c.name == plugin) else {
            return Ok(T::default());
        };
        let mut args = config.args.clone();
        if let Some(args) = args.as_object_mut() {
            args.remove("apiVersion");
            args.remove("kind");
        }
        if args.is_null() {
            return Ok(T::default());
        }
        let error =
            |e: serde_json::Error| Error::Args { profile, plugin: plugin.to_owned(), error: e.to_string() };
        serde_json::from_value(args).map_err(error)
    }

    fn fit(&self, index: usize) -> Result<plugins::Fit, Error> {
        let args: FitArgs = self.args(index, NODE_RESOURCES_FIT)?;
        let strategy = args.scoring_strategy.unwrap_or_default();
        let kind = match strategy.kind.as_str() {
            "" | "LeastAllocated" => Strategy::LeastAllocated,
            "MostAllocated" => Strategy::MostAllocated,
            "RequestedToCapacityRatio" => {
                let shape = strategy.requested_to_capacity_ratio.unwrap_or_default().shape;
                // Scores go from 0 to 10 in the file.
                Strategy::RequestedToCapacityRatio(
                    shape.into_iter().map(|p| (p.utilization, p.score * 10)).collect(),
                )
            }
            other => {
                let error = format!("scoringStrategy.type: Unsupported value: {other:?}");
                return Err(Error::Args { profile: index, plugin: NODE_RESOURCES_FIT.to_owned(), error });
            }
        };
        Ok(plugins::Fit {
            ignored: args.ignored_resources,
            ignored_groups: args.ignored_resource_groups,
            strategy: kind,
            resources: resources(strategy.resources),
        })
    }

    fn spread(&self, index: usize) -> Result<plugins::PodTopologySpread, Error> {
        let args: SpreadArgs = self.args(index, POD_TOPOLOGY_SPREAD)?;
        if args.defaulting_type.as_deref() != Some("List") {
            return Ok(plugins::PodTopologySpread::default());
        }
        let defaults = args.default_constraints.into_iter();
        let defaults = defaults.map(|c| SpreadConstraint::from_wire(c, &Default::default())).collect();
        Ok(plugins::PodTopologySpread { defaults, system_defaults: false })
    }

    fn node_affinity(&self, index: usize) -> Result<plugins::NodeAffinity, Error> {
        let args: NodeAffinityArgs = self.args(index, NODE_AFFINITY)?;
        let added = args.added_affinity.unwrap_or_default();
        let required = added.required_during_scheduling_ignored_during_execution;
        let preferred = added.preferred_during_scheduling_ignored_during_execution.into_iter();
        Ok(plugins::NodeAffinity {
            added_required: required
                .map(|s| s.node_selector_terms.into_iter().map(NodeTerm::from_wire).collect()),
            added_preferred: preferred.map(|p| (p.weight, NodeTerm::from_wire(p.preference))).collect(),
        })
    }

    fn pod_affinity(&self, index: usize) -> Result<plugins::InterPodAffinity, Error> {
        let args: PodAffinityArgs = self.args(index, INTER_POD_AFFINITY)?;
        Ok(plugins::InterPodAffinity {
            hard_weight: args.hard_pod_affinity_weight.unwrap_or(1),
            ignore_preferred_of_existing: args.ignore_preferred_terms_of_existing_pods,
        })
    }

    fn filter(&self, index: usize, name: &'static str) -> Result<Option<Box<dyn Filter>>, Error> {
        Ok(Some(match name {
            NODE_UNSCHEDULABLE => Box::new(plugins::NodeUnschedulable),
            NODE_NAME => Box::new(plugins::NodeName),
            TAINT_TOLERATION => Box::new(plugins::TaintToleration),
            NODE_AFFINITY => Box::new(self.node_affinity(index)?),
            NODE_DECLARED_FEATURES => Box::new(plugins::NodeDeclaredFeatures),
            NODE_PORTS => Box::new(plugins::NodePorts),
            NODE_RESOURCES_FIT => Box::new(self.fit(index)?),
            VOLUME_RESTRICTIONS => Box::new(plugins::VolumeRestrictions),
            NODE_VOLUME_LIMITS => Box::new(plugins::NodeVolumeLimits),
            VOLUME_BINDING => Box::new(plugins::VolumeBinding),
            VOLUME_ZONE => Box::new(plugins::VolumeZone),
            DYNAMIC_RESOURCES => Box::new(plugins::Unsupported { plugin: name }),
            POD_TOPOLOGY_SPREAD => Box::new(self.spread(index)?),
            INTER_POD_AFFINITY => Box::new(self.pod_affinity(index)?),
            _ => return Ok(None),
        }))
    }

    fn score(&self, index: usize, name: &str) -> Result<Option<Box<dyn Score>>, Error> {
        Ok(Some(match name {
            TAINT_TOLERATION => Box::new(plugins::TaintToleration),
            NODE_AFFINITY => Box::new(self.node_affinity(index)?),
            NODE_RESOURCES_FIT => Box::new(self.fit(index)?),
            POD_TOPOLOGY_SPREAD => Box::new(self.spread(index)?),
            INTER_POD_AFFINITY => Box::new(self.pod_affinity(index)?),
            BALANCED_ALLOCATION => {
                let args: BalancedArgs = self.args(index, BALANCED_ALLOCATION)?;
                Box::new(plugins::BalancedAllocation { resources: resources(args.resources) })
            }
            IMAGE_LOCALITY => Box::new(plugins::ImageLocality),
            _ => return Ok(None),
        }))
    }
}

fn resources(specs: Vec<ResourceSpec>) -> Vec<(ResourceId, i64)> {
    if specs.is_empty() {
        return vec![(resource_id("cpu"), 1), (resource_id("memory"), 1)];
    }
    specs.iter().map(|s| (resource_id(&s.name), if s.weight == 0 { 1 } else { s.weight })).collect()
}

macro_rules! args {
    ($($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
        struct $name { $($(#[$meta])* $field: $type,)* }
    )*};
}

args! {
    PreemptionArgs { min_candidate_nodes_percentage: Option<usize>, min_candidate_nodes_absolute: Option<usize> }
    FitArgs {
        ignored_resources: Vec<String>, ignored_resource_groups: Vec<String>,
        scoring_strategy: Option<ScoringStrategy>,
    }
    ScoringStrategy {
        #[serde(rename = "type")] kind: String, resources: Vec<ResourceSpec>,
        requested_to_capacity_ratio: Option<Ratio>,
    }
    Ratio { shape: Vec<ShapePoint> }
    ShapePoint { utilization: i64, score: i64 }
    ResourceSpec { name: String, weight: i64 }
    BalancedArgs { resources: Vec<ResourceSpec> }
    SpreadArgs { default_constraints: Vec<WireSpread>, defaulting_type: Option<String> }
    NodeAffinityArgs { added_affinity: Option<WireNodeAffinity> }
    PodAffinityArgs { hard_pod_affinity_weight: Option<i64>, ignore_preferred_terms_of_existing_pods: bool }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<(Vec<&'static str>, Vec<(&'static str, i64)>), Error> {
        let configuration: ProfileConfig = serde_json::from_str(text).unwrap();
        let profile = configuration.build(0, "x".into(), 0)?;
        let filters = profile.filters.iter().map(|p| p.name()).collect();
        Ok((filters, profile.scores.iter().map(|(p, w)| (p.name(), *w)).collect()))
    }

    #[test]
    fn weights_default_as_documented() {
        let (_, scores) = names("{}").unwrap();
        assert_eq!(
            scores,
            [
                (TAINT_TOLERATION, 3),
                (NODE_AFFINITY, 2),
                (NODE_RESOURCES_FIT, 1),
                (POD_TOPOLOGY_SPREAD, 2),
                (INTER_POD_AFFINITY, 2),
                (BALANCED_ALLOCATION, 1),
                (IMAGE_LOCALITY, 1),
            ]
        );
    }

    #[test]
    fn a_point_can_be_reduced_to_one_plugin() {
        let text = r#"{"plugins": {"score": {"disabled": [{"name": "*"}],
            "enabled": [{"name": "NodeResourcesFit", "weight": 7}]}}}"#;
        let (filters, scores) = names(text).unwrap();
        assert_eq!(scores, [(NODE_RESOURCES_FIT, 7)]);
        assert!(filters.contains(&TAINT_TOLERATION));
        let text = r#"{"plugins": {"multiPoint": {"disabled": [{"name": "TaintToleration"}]}}}"#;
        let (filters, scores) = names(text).unwrap();
        assert!(!filters.contains(&TAINT_TOLERATION) && scores.len() == 6);
    }

    #[test]
    fn mistakes_are_named() {
        let text = r#"{"plugins": {"filter": {"enabled": [{"name": "Nope"}]}}}"#;
        assert_eq!(
            names(text).unwrap_err().to_string(),
            "profiles[0].plugins: plugin \"Nope\" does not exist"
        );
        let text = r#"{"pluginConfig": [{"name": "NodeResourcesFit", "args": {"bogus": 1}}]}"#;
        assert!(names(text).unwrap_err().to_string().contains("bogus"));
    }
}
