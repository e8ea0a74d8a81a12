use serde_json::json;

use super::*;
use crate::model::{CPU, Shapes};

fn node(name: &str, zone: &str) -> Node {
    Node::from_value(json!({
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"allocatable": {"cpu": "4", "pods": "10"}},
    }))
    .unwrap()
}

fn pod(shapes: &Shapes, name: &str, node: &str) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": name, "uid": name, "namespace": "ns", "labels": {"app": "a"}},
        "spec": {"nodeName": node, "containers": [{"resources": {"requests": {"cpu": "1"}}}]},
    });
    Arc::new(Pod::from_value(pod, shapes).unwrap())
}

#[test]
fn zones_are_interleaved() {
    let mut cluster = Cluster::default();
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")] {
        cluster.set_node(node(name, zone));
    }
    let names: Vec<_> = cluster.order().iter().map(|id| cluster.name(*id)).collect();
    assert_eq!(names, ["a1", "b1", "a2", "a3"]);
}

#[test]
fn pods_count_where_they_are_and_nowhere_else() {
    let shapes = Shapes::default();
    let mut cluster = Cluster::default();
    // The pod arrives before its node.
    cluster.place(pod(&shapes, "p", "n1"), false);
    assert!(cluster.order().is_empty());
    let (n1, _) = cluster.set_node(node("n1", "a"));
    let (n2, _) = cluster.set_node(node("n2", "a"));
    assert_eq!(cluster.used(CPU)[n1], 1000);
    let set = PodSet {
        parts: vec![(["ns".to_owned()].into(), Selector::from_map([("app".into(), "a".into())].into()))],
        live_only: true,
    };
    assert_eq!(cluster.count(&set)[n1], 1);
    cluster.place(pod(&shapes, "p", "n2"), false);
    assert_eq!((cluster.used(CPU)[n1], cluster.used(CPU)[n2]), (0, 1000));
    assert_eq!((cluster.count(&set)[n1], cluster.count(&set)[n2]), (0, 1));
    cluster.unplace(&"p".into());
    assert_eq!(cluster.used(CPU)[n2], 0);
    assert_eq!(cluster.count(&set)[n2], 0);
}

#[test]
fn rows_are_reused_without_leftovers() {
    let mut cluster = Cluster::default();
    let (id, _) = cluster.set_node(node("n1", "a"));
    cluster.remove_node("n1");
    let bare = Node { name: "n2".into(), ..Node::default() };
    assert_eq!(cluster.set_node(bare).0, id);
    assert_eq!(cluster.allocatable(CPU)[id], 0);
    assert_eq!(cluster.labels.get(id, ZONE), None);
    assert_eq!(cluster.node_id("n1"), None);
}
