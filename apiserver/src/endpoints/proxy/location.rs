//! Where a connection leads: from the objects to a host, a port and a path.

use std::net::IpAddr;

use proto::field::{self, Path};
use proto::status::Status;
use rand::RngExt as _;
use serde_json::Value;

use super::backend::Backends;
use crate::registry::{Connect, Local};
use crate::server::query::Query;
use crate::server::request_info::RequestInfo;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A kubelet, which knows this server by its client certificate.
    Kubelet,
    /// A pod: anyone's program, which must learn nothing of the caller's or the server's identity.
    Plain,
    /// The same over TLS, unverified: pods have no names that a certificate could be checked against.
    PlainTls,
}

/// The other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) target: Target,
    /// An address or, for kubelets, also a host name.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) path: String,
}

/// Finds the other end; `None`: a pod without a node, of which only the log is asked.
pub(super) async fn find(
    backends: &Backends,
    local: &dyn Local,
    connect: Connect,
    info: &RequestInfo,
    query: &Query,
) -> Result<Option<Location>, Status> {
    match connect {
        Connect::PodLog | Connect::PodExec | Connect::PodAttach | Connect::PodPortForward => {
            kubelet(backends, local, connect, info, query).await
        }
        Connect::PodProxy => pod(local, info, query).await.map(Some),
        Connect::ServiceProxy => service(local, info, query).await.map(Some),
        Connect::NodeProxy => node(backends, local, info, query).await.map(Some),
    }
}

async fn kubelet(
    backends: &Backends,
    local: &dyn Local,
    connect: Connect,
    info: &RequestInfo,
    query: &Query,
) -> Result<Option<Location>, Status> {
    let pod = local.get("", "pods", &info.namespace, &info.name).await?;
    let node_name = text(&pod, "/spec/nodeName");
    let container = match connect {
        Connect::PodPortForward => String::new(),
        _ => container(&pod, query.get("container").unwrap_or_default())?,
    };
    if node_name.is_empty() {
        if connect == Connect::PodLog {
            return Ok(None);
        }
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", info.name)));
    }
    let phase = text(&pod, "/status/phase");
    if connect == Connect::PodExec && matches!(phase, "Succeeded" | "Failed") {
        return Err(Status::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let (host, port) = kubelet_address(backends, local, node_name).await?;
    let (namespace, name) = (&info.namespace, &info.name);
    let path = match connect {
        Connect::PodLog => {
            format!("/containerLogs/{namespace}/{name}/{container}{}", log_parameters(query, name)?)
        }
        Connect::PodExec => format!("/exec/{namespace}/{name}/{container}{}", stream_parameters(query)),
        Connect::PodAttach => format!("/attach/{namespace}/{name}/{container}{}", stream_parameters(query)),
        _ => {
            let ports = query.all("ports").flat_map(|list| list.split(',')).map(|port| ("port", port));
            format!("/portForward/{namespace}/{name}{}", encode(ports))
        }
    };
    Ok(Some(Location { target: Target::Kubelet, host, port, path }))
}

/// The container that is meant: the one that is named, or the only one.
fn container(pod: &Value, wanted: &str) -> Result<String, Status> {
    let names = |list: &str| -> Vec<&str> {
        let items = pod.pointer(list).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(|container| container["name"].as_str()).collect()
    };
    let (containers, inits, ephemerals) =
        (names("/spec/containers"), names("/spec/initContainers"), names("/spec/ephemeralContainers"));
    let name = text(pod, "/metadata/name");
    if !wanted.is_empty() {
        let known = [&containers, &inits, &ephemerals].iter().any(|list| list.contains(&wanted));
        return match known {
            true => Ok(wanted.to_owned()),
            false => Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}"))),
        };
    }
    match containers[..] {
        [only] => Ok(only.to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        _ => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                containers.join(" ")
            );
            if !inits.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", inits.join(" ")));
            }
            Err(Status::bad_request(text))
        }
    }
}

/// The parameters of a pod's log, checked.
fn log_parameters(query: &Query, pod: &str) -> Result<String, Status> {
    let mut given: Vec<(&str, String)> = Vec::new();
    let mut errors = Vec::new();
    for name in ["follow", "previous", "timestamps"] {
        if query.flag(name) == Some(true) {
            given.push((name, "true".into()));
        }
    }
    for (name, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let Some(value) = query.non_empty(name) else { continue };
        match value.parse::<i64>() {
            Ok(number) if number >= least => given.push((name, number.to_string())),
            Ok(number) => {
                let must =
                    if least == 1 { "must be greater than 0" } else { "must be greater than or equal to 0" };
                errors.push(field::Error::invalid(&Path::new(name), number, must));
            }
            Err(_) => return Err(Status::bad_request(format!("{name}: {value:?} is not an integer"))),
        }
    }
    if let Some(time) = query.non_empty("sinceTime") {
        if query.non_empty("sinceSeconds").is_some() {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(field::Error::forbidden(&Path::new(""), why));
        }
        given.push(("sinceTime", time.to_owned()));
    }
    if let Some(stream) = query.non_empty("stream") {
        let streams = ["All", "Stderr", "Stdout"];
        if !streams.contains(&stream) {
            errors.push(field::Error::not_supported(&Path::new("stream"), stream, &streams));
        }
        given.push(("stream", stream.to_owned()));
    }
    match errors[..] {
        [] => Ok(encode(given.iter().map(|(name, value)| (*name, value.as_str())))),
        _ => Err(Status::invalid("", "PodLogOptions", pod, &errors)),
    }
}

/// The parameters of exec and attach in the kubelet's words.
fn stream_parameters(query: &Query) -> String {
    let flags = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];
    let flags =
        flags.iter().filter(|(name, _)| query.flag(name) == Some(true)).map(|(_, kubelet)| (*kubelet, "1"));
    encode(flags.chain(query.all("command").map(|word| ("command", word))))
}

/// The address and the port of a node's kubelet.
async fn kubelet_address(
    backends: &Backends,
    local: &dyn Local,
    node: &str,
) -> Result<(String, u16), Status> {
    let node = local.get("", "nodes", "", node).await?;
    let port = node
        .pointer("/status/daemonEndpoints/kubeletEndpoint/Port")
        .and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .unwrap_or(10250);
    let addresses =
        node.pointer("/status/addresses").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of_kind = |kind: &String| addresses.iter().find(|address| address["type"] == kind.as_str());
    match backends.address_types().iter().find_map(of_kind).and_then(|address| address["address"].as_str()) {
        Some(address) => Ok((address.to_owned(), port)),
        None => {
            let types: Vec<&str> = addresses.iter().filter_map(|address| address["type"].as_str()).collect();
            Err(Status::internal(format!("no preferred addresses found; known addresses: {types:?}")))
        }
    }
}

async fn node(
    backends: &Backends,
    local: &dyn Local,
    info: &RequestInfo,
    query: &Query,
) -> Result<Location, Status> {
    let (scheme, name, port) = split(&info.name, "node")?;
    let (host, own_port) = kubelet_address(backends, local, name).await?;
    if host.parse::<IpAddr>().is_ok_and(|address| !is_proxyable(address)) {
        return Err(Status::bad_request("address not allowed"));
    }
    let path = rest_of_path(info, query);
    if port.is_empty() || port == own_port.to_string() {
        return Ok(Location { target: Target::Kubelet, host, port: own_port, path });
    }
    Ok(Location { target: plain(scheme), host, port: number(port)?, path })
}

async fn pod(local: &dyn Local, info: &RequestInfo, query: &Query) -> Result<Location, Status> {
    let (scheme, name, port) = split(&info.name, "pod")?;
    let pod = local.get("", "pods", &info.namespace, name).await?;
    let port = match port {
        "" => {
            let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
            let first = containers
                .into_iter()
                .flatten()
                .find_map(|container| container.pointer("/ports/0/containerPort"));
            let number = first.and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
            number.unwrap_or(if scheme == "https" { 443 } else { 80 })
        }
        port => number(port)?,
    };
    let host = text(&pod, "/status/podIP").to_owned();
    if !host.parse::<IpAddr>().is_ok_and(is_proxyable) {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(Location { target: plain(scheme), host, port, path: rest_of_path(info, query) })
}

async fn service(local: &dyn Local, info: &RequestInfo, query: &Query) -> Result<Location, Status> {
    let (scheme, name, port) = split(&info.name, "service")?;
    let none =
        |what: &str| Status::service_unavailable(format!("no endpoints available for service {what:?}"));
    let mut port_name = port.to_owned();
    if let Ok(wanted) = port.parse::<u64>() {
        let service = local.get("", "services", &info.namespace, name).await?;
        let ports = service.pointer("/spec/ports").and_then(Value::as_array);
        let found = ports.into_iter().flatten().find(|candidate| candidate["port"].as_u64() == Some(wanted));
        let Some(found) = found else {
            return Err(Status::service_unavailable(format!(
                "no service port {wanted} found for service {name:?}"
            )));
        };
        port_name = found["name"].as_str().unwrap_or_default().to_owned();
    }
    let endpoints = local.get("", "endpoints", &info.namespace, name).await?;
    let subsets = endpoints["subsets"].as_array().map(Vec::as_slice).unwrap_or_default();
    if subsets.is_empty() {
        return Err(none(name));
    }
    let mut candidates = Vec::new();
    for subset in subsets {
        let ports = subset["ports"].as_array().into_iter().flatten();
        for port in ports.filter(|port| port["name"].as_str().unwrap_or_default() == port_name) {
            let Some(port) = port["port"].as_u64().and_then(|port| u16::try_from(port).ok()) else {
                continue;
            };
            for address in subset["addresses"].as_array().into_iter().flatten() {
                // Only pods: an address of anyone's choosing would make the server a way into its own network.
                let is_pod = address.pointer("/targetRef/kind").is_some_and(|kind| kind == "Pod");
                match address["ip"].as_str() {
                    Some(ip) if is_pod && ip.parse().is_ok_and(is_proxyable) => candidates.push((ip, port)),
                    _ => {}
                }
            }
        }
    }
    if candidates.is_empty() {
        return Err(none(&info.name));
    }
    let (host, port) = candidates[rand::rng().random_range(0..candidates.len())];
    Ok(Location { target: plain(scheme), host: host.to_owned(), port, path: rest_of_path(info, query) })
}

/// `[scheme:]name[:port]`.
fn split<'a>(id: &'a str, what: &str) -> Result<(&'a str, &'a str, &'a str), Status> {
    let parts: Vec<&str> = id.split(':').collect();
    match parts[..] {
        [name] if !name.is_empty() => Ok(("", name, "")),
        [name, port] if !name.is_empty() => Ok(("", name, port)),
        [scheme @ ("http" | "https" | ""), name, port] if !name.is_empty() => Ok((scheme, name, port)),
        _ => Err(Status::bad_request(format!("invalid {what} request {id:?}"))),
    }
}

fn plain(scheme: &str) -> Target {
    if scheme == "https" { Target::PlainTls } else { Target::Plain }
}

fn number(port: &str) -> Result<u16, Status> {
    port.parse().map_err(|_| Status::bad_request(format!("invalid port {port:?}")))
}

/// A global unicast address: not loopback, link-local, multicast or unspecified.
fn is_proxyable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_multicast() || address.is_unspecified() || link_local)
}

/// The path after `proxy`, escaped again, with the query as it came.
fn rest_of_path(info: &RequestInfo, query: &Query) -> String {
    let mut path = String::new();
    for part in &info.rest {
        path.push('/');
        escape(&mut path, part);
    }
    if path.is_empty() || info.path.ends_with('/') {
        path.push('/');
    }
    path + &encode(query.iter())
}

/// `?a=b&c=d`, or nothing.
fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        text.push(if text.is_empty() { '?' } else { '&' });
        escape(&mut text, name);
        text.push('=');
        escape(&mut text, value);
    }
    text
}

fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_are_chosen_as_kubectl_users_know() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        let two = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(container(&one, "").ok().as_deref(), Some("a"));
        assert_eq!(container(&two, "i").ok().as_deref(), Some("i"));
        let message =
            |pod, wanted| container(pod, wanted).err().map(|status| status.message).unwrap_or_default();
        assert_eq!(message(&one, "x"), "container x is not valid for pod p");
        assert_eq!(
            message(&two, ""),
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
    }

    #[test]
    fn parameters_become_the_kubelets() {
        let query = Query::parse(Some(
            "command=sh&command=-c&command=a%20b&stdin=true&tty=false&stdout=1&container=x",
        ));
        assert_eq!(stream_parameters(&query), "?input=1&output=1&command=sh&command=-c&command=a%20b");
        let log = |text| log_parameters(&Query::parse(Some(text)), "p");
        assert_eq!(log("follow=true&tailLines=5").ok().as_deref(), Some("?follow=true&tailLines=5"));
        assert_eq!(
            log("tailLines=-1&sinceSeconds=0").err().map(|status| (status.code, status.message)),
            Some((
                422,
                "PodLogOptions \"p\" is invalid: [tailLines: Invalid value: -1: must be greater than or equal to 0, \
                 sinceSeconds: Invalid value: 0: must be greater than 0]"
                    .into()
            ))
        );
        assert!(log("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn names_may_carry_scheme_and_port() {
        assert_eq!(split("web", "pod").ok(), Some(("", "web", "")));
        assert_eq!(split("web:80", "pod").ok(), Some(("", "web", "80")));
        assert_eq!(split("https:web:443", "pod").ok(), Some(("https", "web", "443")));
        assert!(
            split("ftp:web:21", "pod").is_err()
                && split("", "pod").is_err()
                && split("a:b:c:d", "pod").is_err()
        );
    }

    #[test]
    fn the_servers_own_network_is_no_target() {
        for (address, allowed) in [
            ("10.244.0.7", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("fd00::1", true),
        ] {
            assert_eq!(is_proxyable(address.parse().expect("an address")), allowed, "{address}");
        }
    }
}
