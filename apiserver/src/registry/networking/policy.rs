//! Network policies.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::{View, is_empty};
use serde_json::{Value, json};

use crate::registry::checks::*;
use crate::registry::defaults::{each as each_item, fill, inside};
use crate::registry::{Hooks, strategy, warnings};

pub(super) fn defaults(object: &mut Value) {
    inside(object, "spec", |spec| {
        if spec.get("policyTypes").is_none_or(is_empty) {
            let egress = spec.get("egress").is_some_and(|egress| !is_empty(egress));
            let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            if let Value::Object(spec) = spec {
                spec.insert("policyTypes".to_owned(), types);
            }
        }
        for list in ["ingress", "egress"] {
            each_item(spec, list, |rule| each_item(rule, "ports", |port| fill(port, "protocol", "TCP")));
        }
    });
}

pub(super) fn policy() -> Hooks {
    Hooks {
        validate: |_, new| validate(new, &Value::Null),
        validate_update: |_, new, old| validate(new, old),
        warnings: |_, new| odd_ranges(new),
        warnings_update: |_, new, _| odd_ranges(new),
        ..strategy::generation_only()
    }
}

/// The rules of both directions, each with its peers.
fn rules<'a>(policy: &'a Value) -> Vec<(View<'a>, View<'a>)> {
    let spec = View::root(policy).get("spec");
    [("ingress", "from"), ("egress", "to")]
        .iter()
        .flat_map(|(list, peers)| {
            spec.get(list).items().into_iter().map(|rule| (rule.clone(), rule.get(peers)))
        })
        .collect()
}

/// The ranges of all blocks of addresses.
fn ranges<'a>(policy: &'a Value) -> Vec<View<'a>> {
    let peers = rules(policy).into_iter().flat_map(|(_, peers)| peers.items());
    let blocks = peers.map(|peer| peer.get("ipBlock")).filter(View::is_set);
    blocks.flat_map(|block| std::iter::once(block.get("cidr")).chain(block.get("except").items())).collect()
}

fn odd_ranges(policy: &Value) -> Vec<String> {
    ranges(policy).iter().flat_map(|range| warnings::cidr(range.path(), range.str())).collect()
}

fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = View::root(new).get("spec");
    let lenient = bad_label_selector(&View::root(old).get("spec").get("podSelector"));
    // A range that was there before may be in any rule now.
    let old_ranges: Vec<&str> = ranges(old).iter().map(View::str).collect();
    label_selector(&spec.get("podSelector"), lenient, &mut errors);
    for (rule, peers) in rules(new) {
        for port in rule.get("ports").items() {
            validate_port(&port, &mut errors);
        }
        for peer in peers.items() {
            validate_peer(&peer, lenient, &old_ranges, &mut errors);
        }
    }
    let types = spec.get("policyTypes");
    if types.len() > 2 {
        errors.push(types.invalid("may not specify more than two policyTypes"));
        return errors;
    }
    for kind in types.items() {
        supported(&kind, &["Ingress", "Egress"], &mut errors);
    }
    errors
}

fn validate_port(port: &View, errors: &mut Errors) {
    let (number, end) = (port.get("port"), port.get("endPort"));
    if port.has("protocol") {
        supported(&port.get("protocol"), &["TCP", "UDP", "SCTP"], errors);
    }
    if !number.is_set() {
        if end.is_set() {
            errors.push(end.invalid("may not be specified when `port` is not specified"));
        }
        return;
    }
    if number.value().is_string() {
        if end.is_set() {
            errors.push(end.invalid("may not be specified when `port` is non-numeric"));
        }
        each(&number, content::is_valid_port_name(number.str()), errors);
        return;
    }
    each_int(&number, content::is_valid_port_num(number.i64()), errors);
    if end.is_set() {
        if end.i64() < number.i64() {
            // The value shown is upstream's: the port's.
            let detail = "must be greater than or equal to `port`";
            errors.push(Error::invalid(end.path(), number.i64(), detail));
        }
        each_int(&end, content::is_valid_port_num(end.i64()), errors);
    }
}

fn validate_peer(peer: &View, lenient: bool, old_ranges: &[&str], errors: &mut Errors) {
    let mut found = 0;
    for field in ["podSelector", "namespaceSelector"] {
        let selector = peer.get(field);
        if selector.is_set() {
            found += 1;
            label_selector(&selector, lenient, errors);
        }
    }
    let block = peer.get("ipBlock");
    if block.is_set() {
        found += 1;
        validate_block(&block, old_ranges, errors);
    }
    if found == 0 {
        errors.push(peer.required("must specify a peer"));
    } else if found > 1 && block.is_set() {
        errors.push(peer.forbidden("may not specify both ipBlock and another peer"));
    }
}

fn validate_block(block: &View, old: &[&str], errors: &mut Errors) {
    let range = block.get("cidr");
    if !required(&range, errors) {
        return;
    }
    legacy_cidr(&range, old, errors);
    let Some((address, bits)) = content::parse_cidr_sloppy(range.str()) else { return };
    let network = content::network_of(address, bits);
    for except in block.get("except").items() {
        legacy_cidr(&except, old, errors);
        let Some((inner, inner_bits)) = content::parse_cidr_sloppy(except.str()) else { continue };
        let inner = content::network_of(inner, inner_bits);
        let within = inner.is_ipv4() == network.is_ipv4() && content::network_of(inner, bits) == network;
        if !within || bits >= inner_bits {
            errors.push(except.invalid("must be a strict subset of `cidr`"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(policy: Value, old: Value) -> String {
        validate(&policy, &old).first().map(ToString::to_string).unwrap_or_default()
    }

    fn from(peer: Value) -> Value {
        json!({"spec": {"podSelector": {}, "ingress": [{"from": [peer]}]}})
    }

    #[test]
    fn peers_and_ports() {
        let at = "spec.ingress[0].from[0]";
        let cases = [
            (from(json!({"podSelector": {}, "namespaceSelector": {}})), String::new()),
            (from(json!({})), format!("{at}: Required value: must specify a peer")),
            (
                from(json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
                format!("{at}: Forbidden: may not specify both ipBlock and another peer"),
            ),
            (
                from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}})),
                format!(
                    "{at}.ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`"
                ),
            ),
            (
                json!({"spec": {"egress": [{"ports": [{"port": 80, "endPort": 70}]}]}}),
                "spec.egress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"
                    .to_owned(),
            ),
        ];
        for (policy, want) in cases {
            assert_eq!(first(policy, Value::Null), want);
        }
    }

    #[test]
    fn what_was_odd_before_stays_good() {
        let odd = from(json!({"ipBlock": {"cidr": "10.0.0.1/8"}}));
        assert!(first(odd.clone(), Value::Null).contains("must not have bits set beyond the prefix length"));
        assert_eq!(first(odd.clone(), odd.clone()), "");
        assert_eq!(odd_ranges(&odd).len(), 1);
    }
}
