//! A profile: the plugins that place the pods of one scheduler name.

use crate::framework::{Filter, Plugin, PreEnqueue, Score};

/// The plugins of one profile, in order.
pub struct Profile {
    /// The scheduler name that pods give.
    pub name: String,
    /// How many of the nodes are ranked, in percent; 0 adapts to the size of the cluster.
    pub percentage_of_nodes_to_score: usize,
    /// Gate keepers of the queue.
    pub pre_enqueue: Vec<Box<dyn PreEnqueue>>,
    /// Filters.
    pub filters: Vec<Box<dyn Filter>>,
    /// Scorers with their weights.
    pub scores: Vec<(Box<dyn Score>, i64)>,
    /// Preemption, if enabled.
    pub preemption: Option<crate::preemption::Preemption>,
}

impl Profile {
    /// The plugin that turned a pod down, by name.
    pub fn rejector(&self, name: &str) -> Option<&dyn Plugin> {
        let filter = self.filters.iter().find(|p| p.name() == name).map(|p| &**p as &dyn Plugin);
        filter.or_else(|| self.pre_enqueue.iter().find(|p| p.name() == name).map(|p| &**p as &dyn Plugin))
    }
}
