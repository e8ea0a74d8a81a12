//! The warnings that many kinds share.

use std::net::IpAddr;

use proto::content;
use proto::field::{Path, quote};
use proto::view::View;

const NODE_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// What is to be said of a node label that has a successor.
pub(crate) fn node_label(label: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(old, _)| *old == label).map(|(_, message)| *message)
}

/// Deprecated node labels in a term of a NodeSelector, and values that are no label values where `values` asks for them.
pub(crate) fn node_selector_term(term: &View, values: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    for expression in term.get("matchExpressions").items() {
        let key = expression.get("key");
        if let Some(message) = node_label(key.str()) {
            warnings.push(format!("{}: {} is {message}", key.path(), key.str()));
        }
        for value in expression.get("values").items().iter().filter(|_| values) {
            let messages = content::is_label_value(value.str()).into_iter();
            warnings
                .extend(messages.map(|why| format!("{}: {} is invalid, {why}", value.path(), value.str())));
        }
    }
    warnings
}

/// Deprecated node labels in a LabelSelector of nodes.
pub(crate) fn node_selector(selector: &View) -> Vec<String> {
    let mut warnings = Vec::new();
    for expression in selector.get("matchExpressions").items() {
        let key = expression.get("key");
        if let Some(message) = node_label(key.str()) {
            warnings.push(format!("{}: {} is {message}", key.path(), key.str()));
        }
    }
    let labels = selector.get("matchLabels");
    for (label, _) in labels.entries() {
        if let Some(message) = node_label(label) {
            warnings.push(format!("{}: {message}", labels.path().child_named(label)));
        }
    }
    warnings
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// An address in a form that may not be accepted for ever.
pub(crate) fn ip(path: &Path, value: &str) -> Vec<String> {
    let Some(address) = content::parse_ip_sloppy(value) else { return Vec::new() };
    let canonical = content::canonical_ip(address);
    match value.parse::<IpAddr>() {
        Ok(strict) if !is_mapped(strict) => {
            if strict.is_ipv6() && canonical != value {
                let value = quote(value);
                return vec![format!(
                    "{path}: IPv6 address {value} should be in RFC 5952 canonical format ({})",
                    quote(&canonical)
                )];
            }
            Vec::new()
        }
        _ => {
            let value = quote(value);
            vec![format!("{path}: non-standard IP address {value} is invalid: use {}", quote(&canonical))]
        }
    }
}

/// An address range in a form that may not be accepted for ever.
pub(crate) fn cidr(path: &Path, value: &str) -> Vec<String> {
    let Some((address, bits)) = content::parse_cidr_sloppy(value) else { return Vec::new() };
    let network = content::network_of(address, bits);
    let canonical = format!("{}/{bits}", content::canonical_ip(network));
    let mut warnings = Vec::new();
    if network != address {
        let single = if address.is_ipv4() { 32 } else { 128 };
        let alone = format!("{}/{single}", content::canonical_ip(address));
        warnings.push(format!(
            "{path}: CIDR value {} is ambiguous in this context (should be {} or {}?)",
            quote(value),
            quote(&canonical),
            quote(&alone)
        ));
    }
    let (written, length) = value.split_once('/').unwrap_or((value, ""));
    let strict = written.parse::<IpAddr>().ok().filter(|ip| !is_mapped(*ip));
    let standard = strict.is_some() && (length == "0" || !length.starts_with('0'));
    if !standard {
        warnings.push(format!(
            "{path}: non-standard CIDR value {} is invalid: use {}",
            quote(value),
            quote(&canonical)
        ));
    }
    if warnings.is_empty() && address.is_ipv6() && canonical != value {
        warnings.push(format!(
            "{path}: IPv6 CIDR value {} should be in RFC 5952 canonical format ({})",
            quote(value),
            quote(&canonical)
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_addresses() {
        let path = Path::new("f");
        let cases = [
            ("1.2.3.4", None),
            ("2001:db8::1", None),
            ("1.2.3.04", Some("f: non-standard IP address \"1.2.3.04\" is invalid: use \"1.2.3.4\"")),
            (
                "::ffff:1.2.3.4",
                Some("f: non-standard IP address \"::ffff:1.2.3.4\" is invalid: use \"1.2.3.4\""),
            ),
            (
                "2001:DB8:0::1",
                Some(
                    "f: IPv6 address \"2001:DB8:0::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
                ),
            ),
        ];
        for (value, want) in cases {
            assert_eq!(ip(&path, value).first().map(String::as_str), want, "{value}");
        }
    }

    #[test]
    fn odd_ranges() {
        let path = Path::new("f");
        let cases = [
            ("10.0.0.0/8", None),
            (
                "10.0.0.1/8",
                Some(
                    "f: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
                ),
            ),
            (
                "010.0.0.0/8",
                Some("f: non-standard CIDR value \"010.0.0.0/8\" is invalid: use \"10.0.0.0/8\""),
            ),
            (
                "2001:DB8::/32",
                Some(
                    "f: IPv6 CIDR value \"2001:DB8::/32\" should be in RFC 5952 canonical format (\"2001:db8::/32\")",
                ),
            ),
        ];
        for (value, want) in cases {
            assert_eq!(cidr(&path, value).first().map(String::as_str), want, "{value}");
        }
    }
}
