//! ImageLocality: nodes that have the pod's images score better, in proportion to size and spread.

use super::names::IMAGE_LOCALITY;
use crate::cluster::{Cluster, NodeId};
use crate::framework::{MAX_SCORE, Normalize, Plugin, Score, Scoring};
use crate::model::Pod;

/// The plugin.
#[derive(Debug)]
pub struct ImageLocality;

const MIB: i64 = 1024 * 1024;
/// Less than this is not worth anything.
const MIN_TOTAL: i64 = 23 * MIB;
/// More than this per container adds nothing.
const MAX_PER_CONTAINER: i64 = 1000 * MIB;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        IMAGE_LOCALITY
    }
}

impl Score for ImageLocality {
    fn score<'a>(&'a self, cluster: &'a Cluster, pod: &'a Pod, _: &'a [NodeId]) -> Scoring<'a> {
        let total_nodes = cluster.order().len() as f64;
        let images: Vec<_> = (pod.shape.images.iter())
            .filter_map(|name| cluster.image(name))
            .map(|(size, nodes)| ((size as f64 * (nodes.len() as f64 / total_nodes)) as i64, nodes))
            .collect();
        if images.is_empty() {
            return Scoring::Skip;
        }
        let ceiling = MAX_PER_CONTAINER * pod.shape.containers as i64;
        let score = move |node: NodeId| {
            let present = images.iter().filter(|(_, nodes)| nodes.contains(&node));
            let sum = present.map(|(size, _)| size).sum::<i64>().clamp(MIN_TOTAL, ceiling.max(MIN_TOTAL));
            MAX_SCORE * (sum - MIN_TOTAL) / (ceiling - MIN_TOTAL).max(1)
        };
        Scoring::Score { score: Box::new(score), normalize: Normalize::No }
    }
}
