//! Sidecars end after the containers they serve, the first of them last.

use crate::api::{Pod, PodView, is_sidecar};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Who waits for whom while a pod ends.
pub struct Order {
    ended: HashMap<String, watch::Sender<bool>>,
    before: HashMap<String, Vec<watch::Receiver<bool>>>,
}

impl Order {
    /// `running` are the containers that still run.
    pub fn new(pod: &Pod, running: &[&str]) -> Order {
        let mut order = Order { ended: HashMap::new(), before: HashMap::new() };
        let mut main = Vec::new();
        for c in pod.containers() {
            main.push(order.add(&c.name, running));
        }
        let mut next_sidecar: Option<watch::Receiver<bool>> = None;
        for c in pod.init_containers().iter().rev() {
            let own = order.add(&c.name, running);
            if is_sidecar(c) {
                let mut before = main.clone();
                before.extend(next_sidecar.take());
                order.before.insert(c.name.clone(), before);
                next_sidecar = Some(own);
            }
        }
        order
    }

    fn add(&mut self, name: &str, running: &[&str]) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(!running.contains(&name));
        self.ended.insert(name.to_string(), sender);
        receiver
    }

    /// Waits until a container's turn has come, at most for `limit`; tells how long that took.
    pub async fn wait_for_turn(&self, name: &str, limit: Duration) -> Duration {
        let begun = Instant::now();
        let all = async {
            for before in self.before.get(name).into_iter().flatten() {
                // An error means that the sender is gone, and so is the reason to wait.
                before.clone().wait_for(|ended| *ended).await.ok();
            }
        };
        tokio::time::timeout(limit, all).await.ok();
        begun.elapsed()
    }

    /// Notes that a container has ended.
    pub fn ended(&self, name: &str) {
        if let Some(sender) = self.ended.get(name) {
            sender.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn sidecars_wait() {
        let sidecar = |n: &str| json!({ "name": n, "restartPolicy": "Always" });
        let pod: Pod = serde_json::from_value(json!({
            "spec": { "initContainers": [sidecar("s1"), sidecar("s2")], "containers": [{ "name": "a" }] }
        }))
        .unwrap();
        let order = Order::new(&pod, &["s1", "s2", "a"]);
        let minute = Duration::from_secs(60);
        assert_eq!(order.wait_for_turn("a", minute).await.as_secs(), 0);
        // Paused time runs ahead only while everything waits.
        let clock = tokio::time::Instant::now();
        order.wait_for_turn("s2", minute).await;
        assert_eq!(clock.elapsed().as_secs(), 60);
        order.ended("a");
        let clock = tokio::time::Instant::now();
        order.wait_for_turn("s2", minute).await;
        assert_eq!(clock.elapsed().as_secs(), 0);
        order.wait_for_turn("s1", minute).await;
        assert_eq!(clock.elapsed().as_secs(), 60);
        order.ended("s2");
        order.wait_for_turn("s1", minute).await;
        assert_eq!(clock.elapsed().as_secs(), 60);
    }
}
