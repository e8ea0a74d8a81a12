//! Checks that claims, slices and taint rules have in common.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;

use crate::registry::checks::{dns_label, dns_subdomain, each, each_at, label_name, supported};
pub(super) use crate::registry::core::pod::sources::csi_driver_name as driver_name;

const POOL_NAME_MAX: usize = 253;
const DOMAIN_MAX: usize = 63;
const ID_MAX: usize = 32;
const BINDING_CONDITIONS_MAX: usize = 4;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

type Check<'c> = &'c mut dyn FnMut(&View, &mut Errors);

/// The items of a list, unless there are too many: then only that is said.
pub(super) fn list(view: &View, max: usize, errors: &mut Errors, check: Check) -> bool {
    if view.len() > max {
        errors.push(Error::too_many(view.path(), view.len(), max));
        return false;
    }
    view.items().iter().for_each(|item| check(item, errors));
    true
}

/// A list whose items have different keys.
pub(super) fn set(view: &View, max: usize, errors: &mut Errors, key: fn(&View) -> String, check: Check) {
    if !list(view, max, errors, check) {
        return;
    }
    let mut seen = std::collections::HashSet::new();
    for item in view.items() {
        let key = key(&item);
        if seen.contains(&key) {
            errors.push(Error::duplicate(item.path(), key));
        } else {
            seen.insert(key);
        }
    }
}

/// The key of items that are texts.
pub(super) fn text(view: &View) -> String {
    view.str().to_owned()
}

/// The key of items that have names.
pub(super) fn name(view: &View) -> String {
    view.text("name").to_owned()
}

/// A map: at most so many entries, and each with a good key and value. Long keys are shortened in paths.
pub(super) fn map(
    view: &View,
    max: usize,
    shown: usize,
    errors: &mut Errors,
    check_key: fn(&View, &str, &mut Errors),
    check: Check,
) {
    if view.len() > max {
        errors.push(Error::too_many(view.path(), view.len(), max));
        return;
    }
    for (key, item) in view.entries() {
        check_key(view, key, errors);
        check(&item.with_path(view.path().key(&shortened(key, shown))), errors);
    }
}

fn shortened(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let rest = max - 3;
    let head = text.floor_char_boundary(rest.div_ceil(2));
    let tail = text.ceil_char_boundary(text.len() - rest / 2);
    format!("{}...{}", &text[..head], &text[tail..])
}

/// How long the key of an attribute may be before paths shorten it.
pub(super) const KEY_SHOWN: usize = DOMAIN_MAX + 1 + ID_MAX;

/// The name of a pool: DNS subdomains with slashes between them.
pub(super) fn pool_name(view: &View, errors: &mut Errors) {
    if view.str().is_empty() {
        errors.push(view.required(""));
        return;
    }
    if view.str().len() > POOL_NAME_MAX {
        errors.push(Error::too_long(view.path(), POOL_NAME_MAX));
    }
    for part in view.str().split('/') {
        each_at(view.path(), part, content::is_dns1123_subdomain(part), errors);
    }
}

/// The name of a counter.
pub(super) fn counter_key(map: &View, key: &str, errors: &mut Errors) {
    each_at(map.path(), key, content::is_dns1123_label(key), errors);
}

/// A UUID in its usual form.
pub(super) fn uid(view: &View, errors: &mut Errors) {
    match uuid::Uuid::try_parse(view.str()) {
        Err(_) => {
            let length = view.str().len();
            let why = match length {
                32 | 36 | 38 | 45 => "invalid UUID format".to_owned(),
                _ => format!("invalid UUID length: {length}"),
            };
            errors.push(view.invalid_str(format!("error validating uid: {why}")));
        }
        Ok(parsed) if parsed.hyphenated().to_string() != view.str() => errors.push(view.invalid_str(
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters",
        )),
        Ok(_) => {}
    }
}

fn identifier(view: &View, id: &str, errors: &mut Errors) {
    if id.len() > ID_MAX {
        errors.push(Error::too_long(view.path(), ID_MAX));
    }
    each_at(view.path(), id, content::is_c_identifier(id), errors);
}

/// An attribute's or capacity's name, with or without a domain. As upstream, more than one slash goes unnoticed.
pub(super) fn qualified_key(at: &View, name: &str, errors: &mut Errors) {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [id] => identifier(at, id, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(Error::invalid(at.path(), "", "the domain must not be empty"));
            } else {
                let domain = serde_json::Value::from(*domain);
                driver_name(&View::at(&domain, at.path().clone()), errors);
            }
            if id.is_empty() {
                errors.push(Error::invalid(at.path(), "", "the name must not be empty"));
            } else {
                identifier(at, id, errors);
            }
        }
        _ => {}
    }
}

/// An attribute's name with its domain.
pub(super) fn fully_qualified_name(view: &View, errors: &mut Errors) {
    qualified_key(view, view.str(), errors);
    if !view.str().contains('/') {
        errors.push(
            view.invalid_str("a fully qualified name must be a domain and a name separated by a slash"),
        );
    }
}

/// The name of a device class.
pub(super) fn class_name(view: &View, errors: &mut Errors) {
    if view.str().is_empty() {
        errors.push(view.required(""));
    } else {
        dns_subdomain(view, errors);
    }
}

/// The name of a node.
pub(super) fn node_name(view: &View, errors: &mut Errors) {
    dns_subdomain(view, errors);
}

/// The name of a device.
pub(super) fn device_name(view: &View, errors: &mut Errors) {
    dns_label(view, errors);
}

/// A taint. An effect that stays as it was is not judged again.
pub(super) fn taint(taint: &View, old: &serde_json::Value, errors: &mut Errors) {
    label_name(&taint.get("key"), errors);
    let value = taint.get("value");
    each(&value, content::is_label_value(value.str()), errors);
    let effect = taint.get("effect");
    let before = old.get("effect").and_then(serde_json::Value::as_str).unwrap_or_default();
    if !old.is_null() && before == effect.str() {
        return;
    }
    if effect.str().is_empty() {
        errors.push(effect.required(""));
    } else {
        supported(&effect, &EFFECTS, errors);
    }
}

/// A toleration of taints.
pub(super) fn toleration(toleration: &View, errors: &mut Errors) {
    let key = toleration.get("key");
    if !key.str().is_empty() {
        label_name(&key, errors);
    }
    let (operator, value) = (toleration.get("operator"), toleration.get("value"));
    match operator.str() {
        "Exists" if value.str().is_empty() => {}
        "Exists" => errors.push(value.invalid_str("must be empty for operator `Exists`")),
        "Equal" => each(&value, content::is_label_value(value.str()), errors),
        "" => errors.push(operator.required("")),
        _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
    }
    let effect = toleration.get("effect");
    if !effect.str().is_empty() {
        supported(&effect, &EFFECTS, errors);
    }
}

/// `bindingConditions` and `bindingFailureConditions`: both or neither, and nothing in both.
pub(super) fn binding_conditions(device: &View, errors: &mut Errors) {
    let (good, bad) = (device.get("bindingConditions"), device.get("bindingFailureConditions"));
    list(&good, BINDING_CONDITIONS_MAX, errors, &mut |name, errors| label_name(name, errors));
    list(&bad, BINDING_CONDITIONS_MAX, errors, &mut |name, errors| label_name(name, errors));
    let repeated = |items: &[View], at: usize| items[..at].iter().any(|item| item.str() == items[at].str());
    let (goods, bads) = (good.items(), bad.items());
    for (at, condition) in goods.iter().enumerate() {
        if repeated(&goods, at) {
            errors.push(condition.duplicate());
        }
    }
    for (at, condition) in bads.iter().enumerate() {
        if repeated(&bads, at) {
            errors.push(condition.duplicate());
        }
        if goods.iter().any(|other| other.str() == condition.str()) {
            errors.push(
                condition.invalid_str("bindingFailureConditions must not overlap with bindingConditions"),
            );
        }
    }
    if goods.is_empty() && !bads.is_empty() {
        errors.push(good.invalid("bindingConditions are required to use bindingFailureConditions"));
    }
    if bads.is_empty() && !goods.is_empty() {
        errors.push(bad.invalid("bindingFailureConditions are required to use bindingConditions"));
    }
}
