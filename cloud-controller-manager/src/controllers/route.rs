//! The node-route controller: a route to every node's pods, and the node's NetworkUnavailable condition.

use component_base::client::Patch;
use component_base::client::known::NODES;
use component_base::events::{EventType, ObjectRef, Recorder};
use component_base::queue::{Next, Queue, run_workers};
use ipnet::IpNet;
use proto::meta::{Key, find_condition};
use proto::time::Time;
use serde::de::IgnoredAny;
use serde_json::json;
use std::net::IpAddr;

use super::{Context, UNINITIALIZED};
use crate::cloud::Route;
use crate::objects::Node;

/// What must be written for a node.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// Its routes, in place of those there are.
    routes: Option<Vec<Route>>,
    /// Whether its network is now available.
    available: Option<bool>,
}

/// The routes that a node should have: each of its pods' networks by its first inside address of that family.
fn wanted(node: &Node) -> Vec<Route> {
    let via = |net: &IpNet| {
        let fits =
            |ip: &&str| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == matches!(net, IpNet::V4(_)));
        node.addresses("InternalIP").find(fits).map(str::to_owned)
    };
    let nets = node.spec.pod_cidrs.iter().filter_map(|cidr| cidr.parse::<IpNet>().ok());
    nets.filter_map(|net| {
        Some(Route { node: node.metadata.name.clone(), destination: net.to_string(), via: via(&net)? })
    })
    .collect()
}

fn plan(node: &Node, there: &[Route]) -> Plan {
    if node.has_taint(UNINITIALIZED) || node.metadata.is_being_deleted() {
        return Plan::default();
    }
    let wanted = wanted(node);
    let complete = !wanted.is_empty() && wanted.len() == node.spec.pod_cidrs.len();
    let condition = find_condition(&node.status.conditions, "NetworkUnavailable");
    let said = condition.map(|condition| (&*condition.status, &*condition.reason));
    let expected = if complete { ("False", "RouteCreated") } else { ("True", "NoRouteCreated") };
    Plan {
        routes: (wanted != there).then_some(wanted),
        available: (said != Some(expected)).then_some(complete),
    }
}

#[derive(Clone)]
struct Controller {
    context: Context,
    recorder: Recorder,
}

impl Controller {
    async fn sync(&self, key: Key) -> anyhow::Result<Next> {
        let Some(node) = self.context.nodes.get_key(&key) else { return Ok(Next::Done) };
        let Some(routes) = self.context.cloud.routes() else { return Ok(Next::Done) };
        let name = &*node.metadata.name;
        let there: Vec<Route> = routes.list().await?.into_iter().filter(|route| route.node == name).collect();
        let plan = plan(&node, &there);
        if let Some(wanted) = plan.routes {
            tracing::info!(node = name, routes = wanted.len(), "Setting the routes of a node");
            if let Err(error) = routes.set(name, &wanted).await {
                let about = ObjectRef::new("v1", "Node", &*node);
                let text = format!("Could not create routes for node {name}: {error:#}");
                self.recorder.event(&about, EventType::Warning, "FailedToCreateRoute", text);
                return Err(error);
            }
        }
        if let Some(available) = plan.available {
            self.set_condition(name, available).await?;
        }
        Ok(Next::Done)
    }

    async fn set_condition(&self, node: &str, available: bool) -> anyhow::Result<()> {
        let (status, reason, message) = match available {
            true => ("False", "RouteCreated", "RouteController created a route"),
            false => ("True", "NoRouteCreated", "RouteController failed to create a route"),
        };
        let now = Time::now();
        let patch = json!({ "status": { "conditions": [{
            "type": "NetworkUnavailable", "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }] } });
        self.context
            .client
            .patch::<IgnoredAny>(&NODES.sub("status"), "", node, Patch::Strategic, &patch)
            .await?;
        Ok(())
    }
}

/// Starts the controller, if the cloud has routes and they are to be configured.
pub fn start(context: &Context) -> bool {
    if context.cloud.routes().is_none() || !context.options.configure_cloud_routes {
        return false;
    }
    let client = context.client.named("route-controller");
    let recorder = Recorder::new(&client, "route_controller", "", &context.tasks);
    let controller = Controller { context: Context { client, ..context.clone() }, recorder };
    let queue = Queue::new("Routes");
    let add = queue.clone();
    context.nodes.subscribe(move |change| add.add(change.key()));
    run_workers(&context.tasks, "node-route-controller", &queue, 1, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn node(cidrs: Value, address: &str, conditions: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": "n" }, "spec": { "podCIDRs": cidrs },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }], "conditions": conditions },
        }))
        .unwrap()
    }

    #[test]
    fn a_node_is_available_once_all_its_networks_have_routes() {
        let route = Route { node: "n".into(), destination: "10.1.0.0/24".into(), via: "10.0.0.1".into() };
        let routes = std::slice::from_ref(&route);
        let fresh = node(json!(["10.1.0.0/24"]), "10.0.0.1", json!([]));
        assert_eq!(plan(&fresh, &[]), Plan { routes: Some(vec![route.clone()]), available: Some(true) });
        let fine = json!([{ "type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated" }]);
        assert_eq!(plan(&node(json!(["10.1.0.0/24"]), "10.0.0.1", fine.clone()), routes), Plan::default());
        let moved = plan(&node(json!(["10.1.0.0/24"]), "10.0.0.9", fine.clone()), routes);
        assert_eq!(moved.routes.unwrap()[0].via, "10.0.0.9");
        // A family without an address can't be reached.
        let half = plan(&node(json!(["10.1.0.0/24", "fd00::/64"]), "10.0.0.1", fine), routes);
        assert_eq!(half, Plan { routes: None, available: Some(false) });
        assert_eq!(
            plan(&node(json!([]), "10.0.0.1", json!([])), &[]),
            Plan { routes: None, available: Some(false) }
        );
    }
}
