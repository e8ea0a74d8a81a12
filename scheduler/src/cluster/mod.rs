//! The cluster as the scheduler sees it: columns by node, updated in place by events.
//!
//! Invariants:
//! * A node has one [`NodeId`] while it or a pod on it exists; ids are reused afterwards.
//! * Every column is as long as there are ids; a row without a node ("a pod came before its node") has zeros
//!   and is not in [`Cluster::order`].
//! * `used`, `scoring`, ports, counts and terms are exactly the sums over the pods of the row.
//! * An assumed pod counts like a bound one until it is confirmed by the API or forgotten.

mod counts;
mod labels;
mod volumes;
mod workloads;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

pub use counts::{PodSet, Role, Terms};
pub use labels::{LabelTest, Labels, TermTest, ValueId};
pub use volumes::{Claim, Class, NO_PROVISIONER, SELECTED_NODE, Storage, Volume, Volumes, decode_limits};
pub use workloads::{Budget, ObjectKey, Workload, WorkloadKind, Workloads};

use crate::model::{HostPort, Node, Pod, PodKey, PodTerm, ResourceId, Selector, Taint};

/// A node's row in the columns.
pub type NodeId = usize;

/// A distinct list of taints.
pub type TaintsId = usize;

/// A pod and the row it counts on.
#[derive(Clone, Debug)]
struct Placed {
    pod: Arc<Pod>,
    node: NodeId,
    assumed: bool,
}

#[derive(Debug, Default)]
struct Row {
    name: String,
    node: Option<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    ports: Vec<HostPort>,
}

#[derive(Debug, Default)]
struct Image {
    size: i64,
    nodes: BTreeSet<NodeId>,
}

/// All that placing a pod depends on.
#[derive(Debug, Default)]
pub struct Cluster {
    ids: HashMap<String, NodeId>,
    free: Vec<NodeId>,
    rows: Vec<Row>,
    order: Vec<NodeId>,
    /// Node labels.
    pub labels: Labels,
    allocatable: Vec<Vec<i64>>,
    used: Vec<Vec<i64>>,
    scoring_cpu: Vec<i64>,
    scoring_memory: Vec<i64>,
    taints: Vec<TaintsId>,
    taint_lists: Vec<Vec<Taint>>,
    images: HashMap<String, Image>,
    pods: HashMap<PodKey, Placed>,
    counts: Mutex<counts::Counts>,
    /// The affinity terms of running pods.
    pub terms: Terms,
    namespaces: HashMap<String, BTreeMap<String, String>>,
    /// Services, controllers and disruption budgets.
    pub workloads: Workloads,
    /// Claims, volumes and storage classes.
    pub volumes: Volumes,
}

/// Labels that say which zone a node is in, for interleaving zones.
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";

impl Cluster {
    /// The nodes, zones interleaved, so that the first ones tried are spread over all zones.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// The node of a name.
    pub fn node_id(&self, name: &str) -> Option<NodeId> {
        self.ids.get(name).copied().filter(|id| self.rows[*id].node.is_some())
    }

    /// A node's name.
    pub fn name(&self, node: NodeId) -> &str {
        &self.rows[node].name
    }

    /// A node, if the API knows it (a row may exist for its pods only).
    pub fn node(&self, node: NodeId) -> Option<&Arc<Node>> {
        self.rows[node].node.as_ref()
    }

    /// Is the node cordoned?
    pub fn is_unschedulable(&self, node: NodeId) -> bool {
        self.rows[node].node.as_ref().is_some_and(|n| n.unschedulable)
    }

    /// The pods on a node.
    pub fn pods_on(&self, node: NodeId) -> &[Arc<Pod>] {
        &self.rows[node].pods
    }

    /// The host ports in use on a node.
    pub fn ports(&self, node: NodeId) -> &[HostPort] {
        &self.rows[node].ports
    }

    /// How many more rows than nodes there may be: the length of a table by node.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// What pods may use of a resource, by node.
    pub fn allocatable(&self, resource: ResourceId) -> &[i64] {
        self.allocatable.get(resource).map_or(&[], Vec::as_slice)
    }

    /// What pods use of a resource, by node.
    pub fn used(&self, resource: ResourceId) -> &[i64] {
        self.used.get(resource).map_or(&[], Vec::as_slice)
    }

    /// CPU and memory in use with containers that ask for none at a default, by node.
    pub fn scoring_used(&self) -> (&[i64], &[i64]) {
        (&self.scoring_cpu, &self.scoring_memory)
    }

    /// The taints of a node, as the number of a distinct list.
    pub fn taints_of(&self, node: NodeId) -> TaintsId {
        self.taints[node]
    }

    /// The distinct taint lists.
    pub fn taint_lists(&self) -> &[Vec<Taint>] {
        &self.taint_lists
    }

    /// An image's size and the nodes that have it.
    pub fn image(&self, name: &str) -> Option<(i64, &BTreeSet<NodeId>)> {
        self.images.get(name).map(|i| (i.size, &i.nodes))
    }

    /// How many pods of a set run on each node.
    pub fn count(&self, set: &PodSet) -> Vec<u32> {
        let mut counts = self.counts.lock().get(set, || {
            let on_row = |row: &Row| row.pods.iter().filter(|p| set.contains(p)).count() as u32;
            self.rows.iter().map(on_row).collect()
        });
        counts.resize(self.rows.len(), 0);
        counts
    }

    /// The labels of a namespace.
    pub fn namespace_labels(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)
    }

    /// Notes a namespace's labels, or that it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) {
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
    }

    /// The namespaces a term of a new pod looks at.
    pub fn namespaces_of(&self, term: &PodTerm) -> BTreeSet<String> {
        let chosen = |selector: &Selector| -> Vec<String> {
            let matching = self.namespaces.iter().filter(|(_, labels)| selector.matches(labels));
            matching.map(|(name, _)| name.clone()).collect()
        };
        let mut all = term.namespaces.clone();
        all.extend(chosen(&term.namespace_selector));
        all
    }

    /// Does the term of a running pod select this pod?
    pub fn term_selects(&self, term: &PodTerm, pod: &Pod) -> bool {
        let in_namespace = || {
            term.namespaces.contains(pod.namespace())
                || match self.namespaces.get(pod.namespace()) {
                    Some(labels) => term.namespace_selector.matches(labels),
                    None => term.namespace_selector.is_everything(),
                }
        };
        term.selector.matches(&pod.shape.labels) && in_namespace()
    }

    /// Is the pod counted on a node that the API hasn't confirmed yet?
    pub fn is_assumed(&self, key: &PodKey) -> bool {
        self.pods.get(key).is_some_and(|p| p.assumed)
    }

    /// How many pods are counted, and how many of them are assumed.
    pub fn pod_counts(&self) -> (usize, usize) {
        (self.pods.len(), self.pods.values().filter(|p| p.assumed).count())
    }

    /// Is the pod counted on a node?
    pub fn is_placed(&self, key: &PodKey) -> bool {
        self.pods.contains_key(key)
    }

    /// Adds a node, or takes over its new state; the old one is returned.
    pub fn set_node(&mut self, node: Node) -> (NodeId, Option<Arc<Node>>) {
        let id = self.row(&node.name);
        let old = self.rows[id].node.take();
        let none = Node::default();
        let before = old.as_deref().unwrap_or(&none);
        self.labels.replace(id, &before.labels, &node.labels);
        for (resource, _) in &before.allocatable {
            self.allocatable[*resource][id] = 0;
        }
        for &(resource, amount) in &node.allocatable {
            set(&mut self.allocatable, resource, id, self.rows.len(), |n| *n = amount);
        }
        if before.images != node.images {
            self.replace_images(id, &before.images, &node.images);
        }
        self.taints[id] = intern_taints(&mut self.taint_lists, &node.taints);
        let reorder =
            old.is_none() || [REGION, ZONE].iter().any(|k| before.labels.get(*k) != node.labels.get(*k));
        self.rows[id].node = Some(Arc::new(node));
        if reorder {
            self.reorder();
        }
        (id, old)
    }

    /// Forgets a node; its pods stay counted until they are gone too.
    pub fn remove_node(&mut self, name: &str) -> Option<Arc<Node>> {
        let id = *self.ids.get(name)?;
        let node = self.rows[id].node.take()?;
        self.labels.replace(id, &node.labels, &BTreeMap::new());
        for (resource, _) in &node.allocatable {
            self.allocatable[*resource][id] = 0;
        }
        self.replace_images(id, &node.images, &[]);
        self.release_if_empty(id);
        self.reorder();
        Some(node)
    }

    /// Counts a pod on the node it names. A pod counted already is moved to its new state.
    pub fn place(&mut self, pod: Arc<Pod>, assumed: bool) {
        let Some(name) = pod.node.clone() else { return };
        self.unplace(&pod.key);
        let node = self.row(&name);
        self.account(&pod, node, true);
        self.pods.insert(pod.key.clone(), Placed { pod, node, assumed });
    }

    /// Stops counting a pod.
    pub fn unplace(&mut self, key: &PodKey) -> Option<Arc<Pod>> {
        let placed = self.pods.remove(key)?;
        self.account(&placed.pod, placed.node, false);
        self.release_if_empty(placed.node);
        Some(placed.pod)
    }

    /// Adds a pod to (or takes it off) a row's sums, without registering it: for trying things out.
    pub fn account(&mut self, pod: &Arc<Pod>, node: NodeId, added: bool) {
        let sign = if added { 1 } else { -1 };
        let rows = self.rows.len();
        for &(resource, amount) in &pod.shape.requests.amounts {
            set(&mut self.used, resource, node, rows, |n| *n += sign * amount);
        }
        self.scoring_cpu[node] += sign * pod.shape.requests.scoring_cpu;
        self.scoring_memory[node] += sign * pod.shape.requests.scoring_memory;
        self.counts.get_mut().change(pod, node, added);
        self.terms.change(pod, node, added);
        let row = &mut self.rows[node];
        if added {
            row.ports.extend(pod.shape.host_ports.iter().cloned());
            row.pods.push(pod.clone());
            return;
        }
        if let Some(at) = row.pods.iter().position(|p| p.key == pod.key) {
            row.pods.swap_remove(at);
        }
        for port in &pod.shape.host_ports {
            if let Some(at) = row.ports.iter().position(|p| p == port) {
                row.ports.swap_remove(at);
            }
        }
    }

    fn row(&mut self, name: &str) -> NodeId {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.rows.push(Row::default());
            self.scoring_cpu.push(0);
            self.scoring_memory.push(0);
            self.taints.push(intern_taints(&mut self.taint_lists, &[]));
            let rows = self.rows.len();
            for column in self.allocatable.iter_mut().chain(&mut self.used) {
                column.resize(rows, 0);
            }
            rows - 1
        });
        self.rows[id].name = name.to_owned();
        self.ids.insert(name.to_owned(), id);
        id
    }

    fn release_if_empty(&mut self, id: NodeId) {
        let row = &mut self.rows[id];
        if row.node.is_none() && row.pods.is_empty() {
            self.ids.remove(&row.name);
            *row = Row::default();
            self.free.push(id);
        }
    }

    fn replace_images(&mut self, id: NodeId, old: &[(String, i64)], new: &[(String, i64)]) {
        for (name, _) in old {
            if let Some(image) = self.images.get_mut(name) {
                image.nodes.remove(&id);
                if image.nodes.is_empty() {
                    self.images.remove(name);
                }
            }
        }
        for (name, size) in new {
            let image = self.images.entry(name.clone()).or_default();
            if image.nodes.is_empty() {
                image.size = *size;
            }
            image.nodes.insert(id);
        }
    }

    fn reorder(&mut self) {
        let mut zones: Vec<((Option<&str>, Option<&str>), Vec<NodeId>)> = Vec::new();
        let mut ids: Vec<_> = (0..self.rows.len()).filter(|id| self.rows[*id].node.is_some()).collect();
        ids.sort_unstable();
        for id in ids {
            let zone = (self.labels.get(id, REGION), self.labels.get(id, ZONE));
            match zones.iter_mut().find(|(z, _)| *z == zone) {
                Some((_, nodes)) => nodes.push(id),
                None => zones.push((zone, vec![id])),
            }
        }
        let longest = zones.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
        self.order =
            (0..longest).flat_map(|i| zones.iter().filter_map(move |(_, n)| n.get(i).copied())).collect();
    }
}

fn set(columns: &mut Vec<Vec<i64>>, resource: ResourceId, id: NodeId, rows: usize, f: impl FnOnce(&mut i64)) {
    if columns.len() <= resource {
        columns.resize_with(resource + 1, || vec![0; rows]);
    }
    f(&mut columns[resource][id]);
}

/// Distinct taint lists are few (ready, not ready, control plane, …) and kept for good.
fn intern_taints(lists: &mut Vec<Vec<Taint>>, taints: &[Taint]) -> TaintsId {
    lists.iter().position(|l| l == taints).unwrap_or_else(|| {
        lists.push(taints.to_vec());
        lists.len() - 1
    })
}

#[cfg(test)]
mod tests;
