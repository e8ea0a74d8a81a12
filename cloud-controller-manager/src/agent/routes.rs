//! Which routes this node should have.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::bare_metal::routes_of;
use crate::objects::Node;

/// The other nodes' pods' networks, and the address each is reached by.
pub(super) fn plan(own: &str, nodes: &[Arc<Node>]) -> BTreeMap<IpNet, IpAddr> {
    let others = nodes.iter().filter(|node| node.metadata.name != own);
    let routes = others.flat_map(|node| routes_of(node));
    routes
        .filter_map(|route| Some((route.destination.parse::<IpNet>().ok()?.trunc(), route.via.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare_metal::ROUTES;
    use serde_json::json;

    #[test]
    fn a_node_needs_routes_to_the_others_only() {
        let node = |name: &str, routes: &str| -> Arc<Node> {
            serde_json::from_value(json!({ "metadata": { "name": name, "annotations": { ROUTES: routes } } }))
                .map(Arc::new)
                .unwrap()
        };
        let nodes =
            [node("a", "10.1.0.0/24 via 10.0.0.1"), node("b", "10.1.1.0/24 via 10.0.0.2"), node("c", "")];
        let plan = plan("a", &nodes);
        assert_eq!(plan, BTreeMap::from([("10.1.1.0/24".parse().unwrap(), "10.0.0.2".parse().unwrap())]));
    }
}
