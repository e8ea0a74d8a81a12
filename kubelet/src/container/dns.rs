//! The pod's resolver settings.

use crate::api::{Pod, PodView};
use proto::cri::DNSConfig;
use std::collections::BTreeMap;

/// What the node's administrator configured.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses of the cluster's resolver.
    pub cluster_dns: Vec<String>,
    /// The cluster's domain, without a dot at the end.
    pub cluster_domain: String,
    /// The node's resolver file; empty for none.
    pub resolv_conf: String,
}

/// A remark to send as an event.
pub struct Remark {
    /// The reason of the event.
    pub reason: &'static str,
    /// Its text.
    pub message: String,
}

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;
const DEFAULT_OPTIONS: &[&str] = &["ndots:5"];

/// Reads a resolver file.
pub fn parse_resolv_conf(text: &str) -> DNSConfig {
    let mut config = DNSConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_string)),
            // The last search line counts.
            Some("search") => config.searches = words.map(trim_domain).collect(),
            Some("options") => merge_options(&mut config.options, words.map(str::to_string)),
            _ => {}
        }
    }
    config
}

fn trim_domain(domain: &str) -> String {
    // A lone dot is a domain of its own.
    if domain == "." { domain.into() } else { domain.trim_end_matches('.').into() }
}

/// Decides the settings of a pod. `node` is the node's own resolver file, parsed.
pub fn pod_config(pod: &Pod, settings: &Settings, node: &DNSConfig) -> (DNSConfig, Vec<Remark>) {
    let mut remarks = Vec::new();
    let policy = pod.spec().dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod.host_network(),
        _ => false,
    };
    let mut config = if policy == "None" {
        DNSConfig::default()
    } else if cluster && !settings.cluster_dns.is_empty() {
        DNSConfig {
            servers: settings.cluster_dns.clone(),
            searches: cluster_searches(pod.namespace(), &settings.cluster_domain, &node.searches),
            options: DEFAULT_OPTIONS.iter().map(|o| o.to_string()).collect(),
        }
    } else {
        if cluster {
            remarks.push(Remark {
                reason: "MissingClusterDNS",
                message: format!(
                    "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"{policy}\" policy. \
                     Falling back to \"Default\" policy."
                ),
            });
        }
        let mut config = node.clone();
        if settings.resolv_conf.is_empty() {
            config =
                DNSConfig { servers: vec!["127.0.0.1".into()], searches: vec![".".into()], options: vec![] };
        }
        config
    };
    if let Some(own) = &pod.spec().dns_config {
        append_unique(&mut config.servers, own.nameservers.clone().unwrap_or_default());
        append_unique(&mut config.searches, own.searches.clone().unwrap_or_default());
        let options = own.options.clone().unwrap_or_default().into_iter().filter_map(|o| {
            let name = o.name?;
            Some(match o.value {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name,
            })
        });
        merge_options(&mut config.options, options);
    }
    cut_to_limits(&mut config, &mut remarks);
    (config, remarks)
}

fn cluster_searches(namespace: &str, domain: &str, node: &[String]) -> Vec<String> {
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_string()];
    }
    append_unique(&mut searches, node.to_vec());
    searches
}

fn append_unique(list: &mut Vec<String>, more: Vec<String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// A later option of the same name replaces the earlier one.
fn merge_options(list: &mut Vec<String>, more: impl Iterator<Item = String>) {
    let name = |option: &str| option.split(':').next().unwrap_or_default().to_string();
    for option in more {
        match list.iter_mut().find(|o| name(o) == name(&option)) {
            Some(present) => *present = option,
            None => list.push(option),
        }
    }
}

/// The resolver library reads only so much.
fn cut_to_limits(config: &mut DNSConfig, remarks: &mut Vec<Remark>) {
    let mut remark = |message| remarks.push(Remark { reason: "DNSConfigForming", message });
    if config.servers.len() > MAX_SERVERS {
        config.servers.truncate(MAX_SERVERS);
        remark(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            config.servers.join(" ")
        ));
    }
    let mut exceeded = config.searches.len() > MAX_SEARCHES;
    config.searches.truncate(MAX_SEARCHES);
    while config.searches.join(" ").len() > MAX_SEARCH_CHARS {
        config.searches.pop();
        exceeded = true;
    }
    if exceeded {
        remark(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            config.searches.join(" ")
        ));
    }
}

/// A pod's host name: its name, cut to what the kernel takes, or what the spec says, and its domain.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> Result<(String, String), String> {
    let spec = pod.spec();
    if let Some(name) = &spec.hostname_override {
        return Ok((truncate_hostname(name), String::new()));
    }
    let name = match spec.hostname.as_deref() {
        Some(name) if !name.is_empty() => check_label("Hostname", name)?,
        _ => pod.name().to_string(),
    };
    let domain = match spec.subdomain.as_deref() {
        Some(sub) if !sub.is_empty() => {
            format!("{}.{}.svc.{cluster_domain}", check_label("Subdomain", sub)?, pod.namespace())
        }
        _ => String::new(),
    };
    Ok((truncate_hostname(&name), domain))
}

fn check_label(what: &str, value: &str) -> Result<String, String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ok = !value.is_empty()
        && value.len() <= 63
        && value.bytes().all(inner)
        && !value.starts_with('-')
        && !value.ends_with('-');
    if ok { Ok(value.to_string()) } else { Err(format!("pod {what} {value:?} is not a valid DNS label")) }
}

fn truncate_hostname(name: &str) -> String {
    const MAX: usize = 63;
    if name.len() <= MAX {
        return name.to_string();
    }
    let cut: String = name.chars().take(MAX).collect();
    // A name must not end so.
    cut.trim_end_matches(['-', '.']).to_string()
}

/// The host name the kernel is given: the qualified name, if the pod wants that.
pub fn kernel_hostname(hostname: &str, domain: &str, as_fqdn: bool) -> Result<String, String> {
    if !as_fqdn || domain.is_empty() {
        return Ok(hostname.to_string());
    }
    let fqdn = format!("{hostname}.{domain}");
    const MAX: usize = 64;
    if fqdn.len() > MAX {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long \
             ({MAX} characters is the max, {} characters requested)",
            fqdn.len()
        ));
    }
    Ok(fqdn)
}

/// The text of the resolver file, as the runtime would write it.
pub fn file(config: &DNSConfig) -> String {
    let mut lines: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    if !config.searches.is_empty() {
        lines.entry(0).or_default().push(format!("search {}", config.searches.join(" ")));
    }
    lines.entry(1).or_default().extend(config.servers.iter().map(|s| format!("nameserver {s}")));
    if !config.options.is_empty() {
        lines.entry(2).or_default().push(format!("options {}", config.options.join(" ")));
    }
    lines.into_values().flatten().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p", "namespace": "n" }, "spec": spec }))
            .unwrap()
    }

    #[test]
    fn cluster_first() {
        let settings = Settings {
            cluster_dns: vec!["10.96.0.10".into()],
            cluster_domain: "cluster.local".into(),
            resolv_conf: "/etc/resolv.conf".into(),
        };
        let node = parse_resolv_conf("nameserver 1.1.1.1\nsearch example.org.\noptions ndots:2 rotate\n");
        let (config, remarks) = pod_config(&pod(json!({ "containers": [] })), &settings, &node);
        assert!(remarks.is_empty());
        assert_eq!(config.servers, ["10.96.0.10"]);
        assert_eq!(
            config.searches,
            ["n.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"]
        );
        assert_eq!(config.options, ["ndots:5"]);
        let host = pod(json!({ "containers": [], "hostNetwork": true,
            "dnsConfig": { "options": [{ "name": "ndots", "value": "1" }] } }));
        let (config, _) = pod_config(&host, &settings, &node);
        assert_eq!(
            (config.servers, config.options),
            (vec!["1.1.1.1".into()], vec!["ndots:1".into(), "rotate".into()])
        );
    }

    #[test]
    fn host_names() {
        let p = pod(json!({ "containers": [], "hostname": "h", "subdomain": "s" }));
        assert_eq!(hostname(&p, "c.local").unwrap(), ("h".into(), "s.n.svc.c.local".into()));
        assert_eq!(kernel_hostname("h", "s.n", true).unwrap(), "h.s.n");
        assert!(kernel_hostname(&"h".repeat(70), "s.n", true).is_err());
        assert!(hostname(&pod(json!({ "containers": [], "hostname": "Not Ok" })), "c").is_err());
    }
}
