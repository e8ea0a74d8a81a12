//! Files and answers that daemons read: configuration, kubeconfigs, objects that kube-proxy keeps, images' names, logs.

use std::path::Path;

use component_base::config;
use kube_proxy::model;
use serde_json::Value;

use crate::Target;

pub(super) const FILES: Target = Target {
    name: "files",
    seeds: &[
        b"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nevictionHard: {memory.available: 100Mi}\nsyncFrequency: 1m\n",
        br#"{"metadata":{"name":"a","namespace":"b","resourceVersion":"1"},"spec":{"type":"LoadBalancer","clusterIPs":["10.0.0.1"],"ports":[{"name":"p","port":80,"protocol":"TCP","nodePort":30000}],"sessionAffinity":"ClientIP"},"status":{"loadBalancer":{"ingress":[{"ip":"1.2.3.4"}]}}}"#,
        br#"{"metadata":{"name":"a","namespace":"b","labels":{"kubernetes.io/service-name":"a"}},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.2"],"conditions":{"ready":true},"nodeName":"n"}],"ports":[{"name":"p","port":8080}]}"#,
        b"2020-01-01T00:00:00.000000001Z stdout F a line\n",
        b"registry.example.com:5000/a/b:tag@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        b"nameserver 10.0.0.1\nsearch a b c\noptions ndots:5 attempts:2\n",
    ],
    run: |data| {
        let _ = model::Service::decode(data);
        let _ = model::Slice::decode(data);
        let _ = model::Node::decode(data);
        let _ = kubelet::logs::line::parse(data);
        let Ok(text) = std::str::from_utf8(data) else { return };
        let kinds = [("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration")];
        let _ = config::parse::<kubelet::config::KubeletConfiguration>(Path::new("config"), text, &kinds);
        let _ = config::parse::<Value>(Path::new("config"), text, &kinds);
        let _ = kubelet::images::name::parse(text);
        let _ = kubelet::container::dns::parse_resolv_conf(text);
    },
};
