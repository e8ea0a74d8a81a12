//! The addresses of services: which are taken, and the ranges they come from.

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::view::{View, strs};
use serde_json::Value;

use crate::registry::checks::*;
use crate::registry::{Hooks, strategy};

/// Hooks of IPAddresses.
pub(super) fn address() -> Hooks {
    Hooks {
        validate: |_, new| validate(new),
        validate_update: |_, new, old| {
            let mut errors = validate(new);
            let parent = |object| View::root(object).get("spec").get("parentRef");
            immutable(&parent(new), &parent(old), &mut errors);
            errors
        },
        validate_name: |name, _| {
            content::is_valid_ip(&Path::default(), name).into_iter().map(|error| error.detail).collect()
        },
        ..Hooks::default()
    }
}

fn validate(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let parent = View::root(object).get("spec").get("parentRef");
    if !parent.is_set() {
        errors.push(parent.required(""));
        return errors;
    }
    let group = parent.get("group");
    if !group.is_empty() {
        dns_subdomain(&group, &mut errors);
    }
    required_path_segment(&parent.get("resource"), &mut errors);
    required_path_segment(&parent.get("name"), &mut errors);
    let namespace = parent.get("namespace");
    if !namespace.is_empty() {
        path_segment(&namespace, &mut errors);
    }
    errors
}

/// Hooks of ServiceCIDRs.
pub(super) fn range() -> Hooks {
    Hooks {
        validate: |_, new| {
            let mut errors = Errors::new();
            ranges(&View::root(new).get("spec"), &mut errors);
            errors
        },
        validate_update: |_, new, old| range_update(new, old),
        ..strategy::with_status()
    }
}

fn ranges(spec: &View, errors: &mut Errors) {
    let list = spec.get("cidrs");
    if list.is_empty() {
        errors.push(list.required("at least one CIDR required"));
        return;
    }
    if list.len() > 2 {
        // What upstream shows is the spec.
        let shown = format!("{{\"CIDRs\":{}}}", list.value());
        errors.push(Error::invalid_as(list.path(), shown, "may only hold up to 2 values"));
        return;
    }
    for range in list.items() {
        errors.extend(content::is_valid_cidr(range.path(), range.str()));
    }
    let family = |range: &str| content::parse_cidr_sloppy(range).map(|(address, _)| address.is_ipv4());
    if let [first, second] = list.strs()[..]
        && family(first).is_some()
        && family(first) == family(second)
    {
        let detail =
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(list.invalid(detail));
    }
}

/// Ranges stay; a single one may get a second of the other family.
fn range_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = View::root(new).get("spec");
    let list = spec.get("cidrs");
    let before = strs(&old["spec"]["cidrs"]);
    let same = |errors: &mut Errors| {
        for (range, before) in list.items().iter().zip(&before) {
            if range.str() != *before {
                errors.push(range.invalid(IMMUTABLE));
            }
        }
    };
    match (before.len(), list.len()) {
        (before, now) if before == now => same(&mut errors),
        (1, 2) => {
            same(&mut errors);
            ranges(&spec, &mut errors);
        }
        _ => errors.push(list.invalid(IMMUTABLE)),
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ranges_only_grow_to_the_other_family() {
        let of = |ranges: &[&str]| json!({"spec": {"cidrs": ranges}});
        let (one, two) = (of(&["10.0.0.0/16"]), of(&["10.0.0.0/16", "2001:db8::/64"]));
        let cases = [
            (&one, &one, ""),
            (&two, &one, ""),
            (
                &of(&["10.1.0.0/16"]),
                &one,
                "spec.cidrs[0]: Invalid value: \"10.1.0.0/16\": field is immutable",
            ),
            (&one, &two, "spec.cidrs: Invalid value: [\"10.0.0.0/16\"]: field is immutable"),
            (
                &of(&["10.0.0.0/16", "10.1.0.0/16"]),
                &one,
                "spec.cidrs: Invalid value: [\"10.0.0.0/16\",\"10.1.0.0/16\"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ),
        ];
        for (new, old, want) in cases {
            let errors = range_update(new, old);
            assert_eq!(errors.first().map(ToString::to_string).unwrap_or_default(), want);
        }
    }

    #[test]
    fn addresses_have_a_parent() {
        let texts = |object: Value| validate(&object).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(json!({"spec": {}})), ["spec.parentRef: Required value"]);
        assert_eq!(
            texts(json!({"spec": {"parentRef": {"resource": "a/b"}}})),
            [
                "spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/'",
                "spec.parentRef.name: Required value"
            ]
        );
    }
}
