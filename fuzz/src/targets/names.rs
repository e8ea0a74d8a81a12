//! What pods ask the cluster's DNS server.

use std::sync::{Arc, LazyLock};

use cluster_dns::answer::{Answer, Authority, answer};
use cluster_dns::zone::{EndpointSlice, Service, Zone};
use hickory_proto::op::Message;
use hickory_proto::rr::Name;
use serde_json::json;

use crate::Target;

/// A zone with a Service of each form.
static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let mut zone = Zone::default();
    for (name, spec) in [
        (
            "a",
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "ports": [{"name": "p", "port": 80, "protocol": "TCP"}]}),
        ),
        ("b", json!({"clusterIP": "None", "ports": [{"name": "q", "port": 53, "protocol": "UDP"}]})),
        ("c", json!({"type": "ExternalName", "externalName": "example.com"})),
    ] {
        if let Ok(service) = serde_json::from_value::<Service>(
            json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec}),
        ) {
            zone.set_service(None, Some(&Arc::new(service)));
        }
    }
    let slice = json!({
        "metadata": {"name": "b-1", "namespace": "n", "labels": {"kubernetes.io/service-name": "b"}},
        "endpoints": [{"addresses": ["10.1.0.1"], "hostname": "h", "conditions": {"ready": true}}],
        "ports": [{"name": "q", "port": 53, "protocol": "UDP"}],
    });
    if let Ok(slice) = serde_json::from_value::<EndpointSlice>(slice) {
        zone.set_slice(None, Some(&Arc::new(slice)));
    }
    zone
});

pub(super) const NAMES: Target = Target {
    name: "names",
    seeds: &[
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x01n\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01",
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x02_q\x04_udp\x01b\x01n\x03svc\x07cluster\x05local\x00\x00\x21\x00\x01\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00",
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01c\x01n\x03svc\x07cluster\x05local\x00\x00\x1c\x00\x01",
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x011\x010\x010\x0210\x07in-addr\x04arpa\x00\x00\x0c\x00\x01",
        b"\x12\x34\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01\x01a\xc0\x0c\x00\xff\x00\xff",
        b"\x12\x34\x81\x80\x00\x00\x00\x01\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04",
    ],
    run: |data| {
        let Ok(request) = Message::from_vec(data) else { return };
        let Ok(domain) = Name::from_ascii("cluster.local.") else { return };
        let networks = ["10.0.0.0/8", "fd00::/8"].iter().filter_map(|network| network.parse().ok()).collect();
        if let Answer::Done(message) | Answer::Chase(message, _) =
            answer(&ZONE, &Authority { domain, networks }, &request)
        {
            let _ = message.to_vec();
            let _ = message.truncate().to_vec();
        }
    },
};
