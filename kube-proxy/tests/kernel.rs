//! The table in a real kernel, in a network namespace of the test's own (root).
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube_proxy::model::{Node, Service, Slice};
use kube_proxy::nft::{Family, Socket};
use kube_proxy::proxy::Proxy;
use kube_proxy::rules::{Local, NodePorts, Settings};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

/// Runs a test on a thread in a namespace of its own, with addresses on its loopback.
fn in_namespace(test: fn()) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("making a network namespace, which takes root");
        run("ip", "link set lo up");
        for n in 1..=4 {
            run("ip", &format!("addr add 10.0.0.{n}/32 dev lo"));
        }
        // A way out that leads nowhere: what isn't rewritten gets lost.
        run("ip", "link add v0 type veth peer name v1");
        for link in ["v0", "v1"] {
            run("ip", &format!("link set {link} up"));
        }
        run("ip", "addr add 192.168.7.1/24 dev v0");
        run("ip", "route add default via 192.168.7.2");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn run(program: &str, args: &str) -> String {
    let output = Command::new(program).args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

struct World {
    proxy: Proxy,
    socket: Socket,
    services: std::collections::HashMap<String, Arc<Service>>,
    slices: std::collections::HashMap<String, Arc<Slice>>,
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            mark: 1 << 14,
            masquerade_all: false,
            local: Local::Network("10.0.0.0/8".parse().unwrap()),
            node_ports: NodePorts::On(vec!["192.168.7.1".parse().unwrap()]),
            service_cidrs: vec!["10.96.0.0/12".parse().unwrap()],
        };
        let v6 = Settings { local: Local::Unknown, node_ports: NodePorts::All, ..settings.clone() };
        let node =
            Node { name: "here".into(), addresses: vec!["192.168.7.1".parse().unwrap()], ..Node::default() };
        World {
            proxy: Proxy::new(node, vec![(Family::V4, settings), (Family::V6, v6)]),
            socket: Socket::open().unwrap(),
            services: Default::default(),
            slices: Default::default(),
        }
    }

    fn service(&mut self, name: &str, spec: Value, status: Value) {
        let json = json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec, "status": status});
        let new = Arc::new(Service::decode(json.to_string().as_bytes()).unwrap());
        let old = self.services.insert(name.into(), new.clone());
        self.proxy.service_changed(old.as_ref(), Some(&new));
    }

    fn endpoints(&mut self, name: &str, addresses: &[(&str, u16, &str)]) {
        let port = addresses.first().map_or(1, |a| a.1);
        let endpoints: Vec<_> = (addresses.iter())
            .map(|(a, _, node)| json!({"addresses": [a], "nodeName": node, "conditions": {"ready": true}}))
            .collect();
        let protocol = |p: &str| json!({"name": p.to_lowercase(), "protocol": p, "port": port});
        let json = json!({
            "metadata": {"name": format!("{name}-1"), "namespace": "ns",
                         "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [protocol("TCP"), protocol("UDP")],
        });
        let new = Arc::new(Slice::decode(json.to_string().as_bytes()).unwrap());
        let old = self.slices.insert(name.into(), new.clone());
        self.proxy.slice_changed(old.as_ref(), Some(&new));
    }

    fn sync(&mut self) {
        self.proxy.sync(&self.socket).unwrap();
    }
}

fn spec(ip: &str, more: Value) -> Value {
    let mut spec = json!({
        "type": "ClusterIP", "clusterIPs": [ip],
        "ports": [{"name": "tcp", "protocol": "TCP", "port": 80}],
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

/// A server that answers with its own address and the client's.
fn serve(address: &str) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    let answering = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for stream in answering.incoming().flatten() {
            let mut stream = stream;
            let text = format!("{} {}", stream.local_addr().unwrap(), stream.peer_addr().unwrap().ip());
            let _ = stream.write_all(text.as_bytes());
        }
    });
    listener
}

/// Who answers, and whom it saw; an error if nobody does.
fn ask(address: &str) -> std::io::Result<(SocketAddr, Ipv4Addr)> {
    ask_for(Duration::from_millis(300), address)
}

/// Long enough for a refusal of the second attempt, which is the first one the kernel tells the sender of.
const PATIENCE: Duration = Duration::from_millis(2500);

fn ask_for(timeout: Duration, address: &str) -> std::io::Result<(SocketAddr, Ipv4Addr)> {
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), timeout)?;
    let mut text = String::new();
    stream.set_read_timeout(Some(timeout))?;
    stream.read_to_string(&mut text)?;
    let (server, client) = text.split_once(' ').unwrap();
    Ok((server.parse().unwrap(), client.parse().unwrap()))
}

#[test]
fn services_reach_their_endpoints() {
    in_namespace(|| {
        let servers: Vec<_> = (1..=4).map(|n| serve(&format!("10.0.0.{n}:8080"))).collect();
        let mut world = World::new();
        world.service("plain", spec("10.96.0.1", json!({})), json!({}));
        world.endpoints("plain", &[("10.0.0.1", 8080, "here"), ("10.0.0.2", 8080, "there")]);
        world.service("empty", spec("10.96.0.2", json!({})), json!({}));
        world.sync();

        let answers: std::collections::BTreeSet<_> =
            (0..40).map(|_| ask("10.96.0.1:80").unwrap().0.to_string()).collect();
        assert_eq!(answers.into_iter().collect::<Vec<_>>(), ["10.0.0.1:8080", "10.0.0.2:8080"]);
        // No endpoints, no such port: refused at once. No such Service: dropped.
        for refused in ["10.96.0.2:80", "10.96.0.1:81"] {
            assert_eq!(
                ask_for(PATIENCE, refused).unwrap_err().kind(),
                ErrorKind::ConnectionRefused,
                "{refused}"
            );
        }
        assert_eq!(ask_for(PATIENCE, "10.96.0.3:80").unwrap_err().kind(), ErrorKind::TimedOut);

        // One endpoint is replaced by another.
        world.endpoints("plain", &[("10.0.0.3", 8080, "here"), ("10.0.0.2", 8080, "there")]);
        world.sync();
        let answers: std::collections::BTreeSet<_> =
            (0..40).map(|_| ask("10.96.0.1:80").unwrap().0.to_string()).collect();
        assert_eq!(answers.into_iter().collect::<Vec<_>>(), ["10.0.0.2:8080", "10.0.0.3:8080"]);

        // All go, and come back.
        world.endpoints("plain", &[]);
        world.sync();
        assert!(ask("10.96.0.1:80").is_err());
        world.endpoints("plain", &[("10.0.0.4", 8080, "here")]);
        world.sync();
        assert_eq!(ask("10.96.0.1:80").unwrap().0.to_string(), "10.0.0.4:8080");
        drop(servers);
    });
}

#[test]
fn traffic_from_outside_obeys_the_policy() {
    in_namespace(|| {
        let _servers: Vec<_> = (1..=2).map(|n| serve(&format!("10.0.0.{n}:8080"))).collect();
        let mut world = World::new();
        let ports = json!([{"name": "tcp", "protocol": "TCP", "port": 80, "nodePort": 30080}]);
        let more = json!({"type": "LoadBalancer", "externalIPs": ["1.2.3.4"], "ports": ports});
        let ingress =
            json!({"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}, {"ip": "5.6.7.9", "ipMode": "Proxy"}]}});
        world.service("lb", spec("10.96.0.1", more.clone()), ingress.clone());
        world.endpoints("lb", &[("10.0.0.1", 8080, "here")]);
        world.sync();
        for address in ["1.2.3.4:80", "5.6.7.8:80", "192.168.7.1:30080"] {
            assert_eq!(ask(address).unwrap().0.to_string(), "10.0.0.1:8080", "{address}");
        }
        assert!(ask("5.6.7.9:80").is_err());
        // Not one of the addresses for node ports.
        assert!(ask("10.0.0.4:30080").is_err());

        // Only sources that are let through.
        let mut guarded = more.clone();
        guarded["loadBalancerSourceRanges"] = json!(["203.0.113.0/24"]);
        world.service("lb", spec("10.96.0.1", guarded), ingress.clone());
        world.sync();
        assert_eq!(ask("5.6.7.8:80").unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(ask("1.2.3.4:80").is_ok());

        // This host's own traffic is not held to its node; that from elsewhere would be.
        let mut local = more;
        local["externalTrafficPolicy"] = json!("Local");
        world.service("lb", spec("10.96.0.1", local), ingress);
        world.endpoints("lb", &[("10.0.0.1", 8080, "there")]);
        world.sync();
        assert!(run("nft", "list map ip kube-proxy no-endpoint-services").contains("5.6.7.8 . tcp . 80"));
        assert!(ask("10.96.0.1:80").is_ok());
    });
}

#[test]
fn clients_stay_with_their_endpoint() {
    in_namespace(|| {
        let _servers: Vec<_> = (1..=4).map(|n| serve(&format!("10.0.0.{n}:8080"))).collect();
        let mut world = World::new();
        let sticky = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 2}}});
        world.service("sticky", spec("10.96.0.1", sticky), json!({}));
        let all = [1, 2, 3, 4].map(|n| format!("10.0.0.{n}"));
        let endpoints: Vec<_> = all.iter().map(|a| (a.as_str(), 8080, "here")).collect();
        world.endpoints("sticky", &endpoints);
        world.sync();
        let first = ask("10.96.0.1:80").unwrap().0;
        for _ in 0..20 {
            assert_eq!(ask("10.96.0.1:80").unwrap().0, first);
        }
        // When it is gone, another takes its place, and stays.
        let rest: Vec<_> = endpoints.iter().filter(|e| e.0 != first.ip().to_string()).copied().collect();
        world.endpoints("sticky", &rest);
        world.sync();
        let second = ask("10.96.0.1:80").unwrap().0;
        assert_ne!(second, first);
        for _ in 0..20 {
            assert_eq!(ask("10.96.0.1:80").unwrap().0, second);
        }
        // After the time is over the choice is free again.
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(2600));
            seen.insert(ask("10.96.0.1:80").unwrap().0);
        }
        assert!(seen.len() > 1, "always {seen:?}");
    });
}

#[test]
fn stale_udp_connections_are_forgotten() {
    in_namespace(|| {
        let mut world = World::new();
        let ports = json!({"ports": [{"name": "udp", "protocol": "UDP", "port": 53}]});
        world.service("dns", spec("10.96.0.10", ports), json!({}));
        world.endpoints("dns", &[("10.0.0.1", 5353, "here")]);
        world.sync();
        let servers = ["10.0.0.1:5353", "10.0.0.2:5353"].map(|a| {
            let server = UdpSocket::bind(a).unwrap();
            server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            server
        });
        let client = UdpSocket::bind("10.0.0.4:4000").unwrap();
        let mut buffer = [0; 16];
        client.send_to(b"x", "10.96.0.10:53").unwrap();
        servers[0].recv(&mut buffer).unwrap();
        world.endpoints("dns", &[("10.0.0.2", 5353, "here")]);
        let done = world.proxy.sync(&world.socket).unwrap();
        assert_eq!(done.stale_udp, [Family::V4]);
        assert_eq!(kube_proxy::conntrack::clean(&world.socket, &world.proxy.tables()[0]).unwrap(), 1);
        client.send_to(b"x", "10.96.0.10:53").unwrap();
        servers[1].recv(&mut buffer).unwrap();
    });
}

#[test]
fn many_services_load_fast_and_change_faster() {
    in_namespace(|| {
        let mut world = World::new();
        for n in 0..10_000u32 {
            let name = format!("s{n}");
            world.service(&name, spec(&format!("10.96.{}.{}", n / 250, n % 250 + 1), json!({})), json!({}));
            let endpoints: Vec<_> =
                (0..5).map(|e| format!("10.{}.{}.{}", 128 + e, n / 250, n % 250 + 1)).collect();
            let endpoints: Vec<_> = endpoints.iter().map(|a| (a.as_str(), 8080, "there")).collect();
            world.endpoints(&name, &endpoints);
        }
        let start = Instant::now();
        world.sync();
        let load = start.elapsed();
        world.endpoints("s77", &[("10.1.2.3", 8080, "there"), ("10.129.0.78", 8080, "there")]);
        let start = Instant::now();
        world.sync();
        let change = start.elapsed();
        println!("10,000 Services: loaded in {load:?}, one changed in {change:?}");
        let nft = run("nft", "list map ip kube-proxy endpoints");
        assert_eq!(nft.matches("tcp").count(), 10_000 * 5 - 3);
        assert!(load < Duration::from_secs(20) && change < Duration::from_secs(2));
    });
}
