//! Services, controllers and disruption budgets: what says which pods belong together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use crate::model::{Pod, Selector, WireLabelSelector};

/// A namespaced name.
pub type ObjectKey = (String, String);

/// A pod disruption budget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Which pods it protects.
    pub selector: Selector,
    /// How many may be disrupted now.
    pub allowed: i32,
    /// Pods whose disruption is under way already.
    pub disrupted: BTreeSet<String>,
}

/// What groups pods.
#[derive(Debug, Default)]
pub struct Workloads {
    services: HashMap<ObjectKey, Selector>,
    controllers: HashMap<(&'static str, ObjectKey), Selector>,
    budgets: HashMap<ObjectKey, Budget>,
}

/// The parts of Services, controllers and budgets that are read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: BudgetStatus,
}

#[derive(Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    selector: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BudgetStatus {
    disruptions_allowed: i32,
    disrupted_pods: BTreeMap<String, serde::de::IgnoredAny>,
}

/// One of the kinds that group pods, projected.
#[derive(Clone, Debug)]
pub enum Workload {
    /// A Service or ReplicationController: a map of exact labels; or a controller: a full selector.
    Selects(Selector),
    /// A budget.
    Budget(Budget),
}

/// The kinds of [`Workload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// core/v1 Service.
    Service,
    /// core/v1 ReplicationController.
    ReplicationController,
    /// apps/v1 ReplicaSet.
    ReplicaSet,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// policy/v1 PodDisruptionBudget.
    Budget,
}

impl WorkloadKind {
    fn name(self) -> &'static str {
        match self {
            WorkloadKind::Service => "Service",
            WorkloadKind::ReplicationController => "ReplicationController",
            WorkloadKind::ReplicaSet => "ReplicaSet",
            WorkloadKind::StatefulSet => "StatefulSet",
            WorkloadKind::Budget => "PodDisruptionBudget",
        }
    }

    /// Reads an object of this kind.
    pub fn decode(self, json: &[u8]) -> Result<Workload, serde_json::Error> {
        let object: Object = serde_json::from_slice(json)?;
        let selector = match (self, object.spec.selector) {
            (WorkloadKind::Service | WorkloadKind::ReplicationController, Some(map)) => {
                let map: BTreeMap<String, String> = serde_json::from_value(map)?;
                // A Service without a selector groups nothing.
                if map.is_empty() { Selector::Nothing } else { Selector::from_map(map) }
            }
            (_, selector) => {
                let selector: Option<WireLabelSelector> = selector.map(serde_json::from_value).transpose()?;
                Selector::from_wire(selector)
            }
        };
        Ok(match self {
            WorkloadKind::Budget => Workload::Budget(Budget {
                selector,
                allowed: object.status.disruptions_allowed,
                disrupted: object.status.disrupted_pods.into_keys().collect(),
            }),
            _ => Workload::Selects(selector),
        })
    }
}

impl Workloads {
    /// Notes an object's state, or that it is gone.
    pub fn set(&mut self, kind: WorkloadKind, key: ObjectKey, workload: Option<Workload>) {
        match (kind, workload) {
            (WorkloadKind::Service, Some(Workload::Selects(s))) => {
                self.services.insert(key, s);
            }
            (WorkloadKind::Service, _) => {
                self.services.remove(&key);
            }
            (WorkloadKind::Budget, Some(Workload::Budget(b))) => {
                self.budgets.insert(key, b);
            }
            (WorkloadKind::Budget, _) => {
                self.budgets.remove(&key);
            }
            (kind, Some(Workload::Selects(s))) => {
                self.controllers.insert((kind.name(), key), s);
            }
            (kind, _) => {
                self.controllers.remove(&(kind.name(), key));
            }
        }
    }

    /// The selector of the pods that belong with this one: those of its Services and of its controller
    /// together. `None` if nothing groups it.
    pub fn selector_of(&self, pod: &Pod) -> Option<Selector> {
        let services = (self.services.iter())
            .filter(|((ns, _), s)| ns == pod.namespace() && s.matches(&pod.shape.labels))
            .map(|(_, s)| s);
        let controller = pod.shape.owner.as_ref().and_then(|(kind, name)| {
            let kind = match kind.as_str() {
                "ReplicationController" => "ReplicationController",
                "ReplicaSet" => "ReplicaSet",
                "StatefulSet" => "StatefulSet",
                _ => return None,
            };
            self.controllers.get(&(kind, (pod.namespace().to_owned(), name.clone())))
        });
        let mut all = Vec::new();
        for selector in services.chain(controller) {
            match selector {
                Selector::All(requirements) => all.extend(requirements.iter().cloned()),
                Selector::Nothing => return Some(Selector::Nothing),
            }
        }
        all.sort_by(|a, b| a.key.cmp(&b.key).then_with(|| a.values.cmp(&b.values)));
        all.dedup();
        if all.is_empty() { None } else { Some(Selector::All(all)) }
    }

    /// The budgets that protect a pod.
    pub fn budgets_of<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = (&'a ObjectKey, &'a Budget)> {
        self.budgets.iter().filter(|((ns, _), budget)| {
            ns == pod.namespace()
                && !pod.shape.labels.is_empty()
                && !budget.selector.is_everything()
                && budget.selector.matches(&pod.shape.labels)
                && !budget.disrupted.contains(&pod.name)
        })
    }
}
