//! Rows of services and what belongs to them.

use std::collections::BTreeSet;

use proto::view::{View, text_at};
use serde_json::Value;

use super::Table;
use super::cells::{Object, joined, labels, with_more};

const NONE: &str = "<none>";

pub(super) const SERVICE: Table = (
    &[
        ("Type", "string", 0),
        ("Cluster-IP", "string", 0),
        ("External-IP", "string", 0),
        ("Port(s)", "string", 0),
        ("Age", "string", 0),
        ("Selector", "string", 1),
    ],
    |object| {
        let addresses = object.view_at(&["spec", "clusterIPs"]).strs();
        let ports: Vec<String> = object.view_at(&["spec", "ports"]).items().iter().map(port).collect();
        vec![
            object.text_or(&["spec", "type"], ""),
            Value::from(*addresses.first().unwrap_or(&NONE)),
            Value::from(external_addresses(object)),
            Value::from(if ports.is_empty() { NONE.to_owned() } else { ports.join(",") }),
            object.age(),
            labels(object.at(&["spec", "selector"])),
        ]
    },
);

fn port(port: &View) -> String {
    let (number, protocol) = (port.int("port"), port.text("protocol"));
    match port.int("nodePort") {
        0 => format!("{number}/{protocol}"),
        node => format!("{number}:{node}/{protocol}"),
    }
}

fn external_addresses(object: &Object) -> String {
    let given = joined(object.at(&["spec", "externalIPs"]));
    match object.text(&["spec", "type"]) {
        "ClusterIP" | "NodePort" if given.is_empty() => NONE.to_owned(),
        "ClusterIP" | "NodePort" => given,
        "LoadBalancer" => match (balancer(object), given) {
            (balancer, given) if balancer.is_empty() && given.is_empty() => "<pending>".to_owned(),
            (balancer, given) if given.is_empty() => balancer,
            (balancer, given) if balancer.is_empty() => given,
            (balancer, given) => format!("{balancer},{given}"),
        },
        "ExternalName" => object.text(&["spec", "externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// The addresses of a load balancer, sorted.
fn balancer(object: &Object) -> String {
    let ingress = object.view_at(&["status", "loadBalancer", "ingress"]).items();
    let address = |ingress: &View| match ingress.text("ip") {
        "" => ingress.text("hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let all: BTreeSet<String> = ingress.iter().map(address).filter(|address| !address.is_empty()).collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

pub(super) const ENDPOINTS: Table = (&[("Endpoints", "string", 0), ("Age", "string", 0)], |object| {
    let mut all = Vec::new();
    for subset in object.view_at(&["subsets"]).items() {
        let ports = subset.get("ports").items();
        let addresses = subset.get("addresses").items();
        let addresses = addresses.iter().map(|address| text_at(address.value(), &["ip"]));
        if ports.is_empty() {
            all.extend(addresses.map(str::to_owned));
            continue;
        }
        for port in &ports {
            all.extend(addresses.clone().map(|ip| host_port(ip, port.int("port"))));
        }
    }
    let text = if all.is_empty() && object.view_at(&["subsets"]).is_empty() {
        NONE.to_owned()
    } else {
        with_more(&all, 3, ",")
    };
    vec![Value::from(text), object.age()]
});

fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

pub(super) const ENDPOINT_SLICE: Table = (
    &[("AddressType", "string", 0), ("Ports", "string", 0), ("Endpoints", "string", 0), ("Age", "string", 0)],
    |object| {
        let ports = object.view_at(&["ports"]).items();
        let ports: Vec<String> = ports
            .iter()
            .map(|port| match port.raw("port").as_i64() {
                Some(number) => number.to_string(),
                None if port.has("name") => port.text("name").to_owned(),
                None => "*".to_owned(),
            })
            .collect();
        let endpoints = object.view_at(&["endpoints"]).items();
        let addresses: Vec<String> =
            endpoints.iter().flat_map(|endpoint| endpoint.texts("addresses")).map(str::to_owned).collect();
        let unset = |list: &[String]| {
            Value::from(if list.is_empty() { "<unset>".to_owned() } else { with_more(list, 3, ",") })
        };
        vec![object.text_or(&["addressType"], ""), unset(&ports), unset(&addresses), object.age()]
    },
);

pub(super) const INGRESS: Table = (
    &[
        ("Class", "string", 0),
        ("Hosts", "string", 0),
        ("Address", "string", 0),
        ("Ports", "string", 0),
        ("Age", "string", 0),
    ],
    |object| {
        let rules = object.view_at(&["spec", "rules"]).items();
        let first = rules.iter().take(3).map(|rule| text_at(rule.value(), &["host"]));
        let hosts: Vec<&str> = first.filter(|host| !host.is_empty()).collect();
        let text = match (hosts.is_empty(), hosts.len() == 3 && rules.len() > 3) {
            (true, _) => "*".to_owned(),
            (false, true) => format!("{} + {} more...", hosts.join(","), rules.len() - 3),
            (false, false) => hosts.join(","),
        };
        let secure = !object.view_at(&["spec", "tls"]).is_empty();
        vec![
            object.text_or(&["spec", "ingressClassName"], NONE),
            Value::from(text),
            Value::from(balancer(object)),
            Value::from(if secure { "80, 443" } else { "80" }),
            object.age(),
        ]
    },
);

pub(super) const INGRESS_CLASS: Table =
    (&[("Controller", "string", 0), ("Parameters", "string", 0), ("Age", "string", 0)], |object| {
        let parameters = object.view_at(&["spec", "parameters"]);
        let text = if !parameters.is_set() {
            NONE.to_owned()
        } else if parameters.has("apiGroup") {
            let (kind, group) = (parameters.text("kind"), parameters.text("apiGroup"));
            format!("{kind}.{group}/{}", parameters.text("name"))
        } else {
            format!("{}/{}", parameters.text("kind"), parameters.text("name"))
        };
        vec![object.text_or(&["spec", "controller"], ""), Value::from(text), object.age()]
    });

pub(super) const NETWORK_POLICY: Table = (&[("Pod-Selector", "string", 0), ("Age", "string", 0)], |object| {
    vec![object.selector(&["spec", "podSelector"]), object.age()]
});

pub(super) const IP_ADDRESS: Table = (&[("ParentRef", "string", 0), ("Age", "string", 0)], |object| {
    let parent = object.view_at(&["spec", "parentRef"]);
    let mut text = NONE.to_owned();
    if parent.is_set() {
        text = proto::status::qualified(parent.text("group"), parent.text("resource")).to_lowercase();
        for part in [parent.text("namespace"), parent.text("name")] {
            if !part.is_empty() {
                text.push('/');
                text.push_str(part);
            }
        }
    }
    vec![Value::from(text), object.age()]
});

pub(super) const SERVICE_CIDR: Table = (&[("CIDRs", "string", 0), ("Age", "string", 0)], |object| {
    vec![Value::from(joined(object.at(&["spec", "cidrs"]))), object.age()]
});
