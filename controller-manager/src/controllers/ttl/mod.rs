//! Nodes are told how long their kubelets may cache Secrets and ConfigMaps; the more nodes, the longer.
//!
//! Watches nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use component_base::client::Patch;
use component_base::client::known::NODES;
use component_base::queue::{Next, Queue};
use component_base::watch::Change;
use proto::meta::Key;
use serde_json::{Value, json};

use crate::api::core::Node;
use crate::context::Controller;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
/// The least and the greatest number of nodes of each step, and its seconds. The steps overlap, so that a number of
/// nodes that goes up and down doesn't lead to a write of every node each time.
const STEPS: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// The step for so many nodes, coming from another.
fn step(mut current: usize, nodes: usize) -> usize {
    while nodes > STEPS[current].1 {
        current += 1;
    }
    while nodes < STEPS[current].0 {
        current -= 1;
    }
    current
}

/// Starts the controller.
pub fn start(controller: Arc<Controller>) -> anyhow::Result<()> {
    let queue: Queue<Key> = Queue::new("ttlcontroller");
    let nodes = controller.nodes();
    let current = Arc::new(AtomicUsize::new(0));
    let (keys, all, now) = (queue.clone(), nodes.clone(), current.clone());
    nodes.subscribe(move |change: &Change<Node>| {
        if change.old.is_some() != change.new.is_some() {
            let old = now.load(Ordering::Relaxed);
            let new = step(old, all.len());
            now.store(new, Ordering::Relaxed);
            if old != new {
                all.for_each(|node| keys.add(node.metadata.key()));
            }
        }
        keys.add(change.key());
    });
    let all = nodes.clone();
    let ready = async move { all.synced().await };
    let own = controller.clone();
    controller.run(&queue, 5, ready, move |key| {
        let (controller, node) = (own.clone(), nodes.get_key(&key));
        let seconds = STEPS[current.load(Ordering::Relaxed)].2.to_string();
        async move {
            let is_told = |node: &Node| node.metadata.annotations.get(ANNOTATION) == Some(&seconds);
            if node.is_none_or(|node| is_told(&node)) {
                return Ok(Next::Done);
            }
            let patch = json!({"metadata": {"annotations": {ANNOTATION: seconds}}});
            match controller.client.patch::<Value>(&NODES, "", &key.name, Patch::Strategic, &patch).await {
                Err(error) if !error.is_not_found() => Err(error.into()),
                _ => Ok(Next::Done),
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_overlap() {
        for (current, nodes, wanted) in [
            (0, 0, 0),
            (0, 100, 0),
            (0, 101, 1),
            (1, 90, 1),
            (1, 89, 0),
            (0, 5000, 4),
            (4, 1799, 3),
            (4, 3, 0),
        ] {
            assert_eq!(step(current, nodes), wanted, "{current} {nodes}");
        }
    }
}
