//! The checks that many kinds share, over views. Each adds what it finds to a list of errors.

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::quantity::Quantity;
use proto::view::View;
use serde_json::Value;

/// The detail of a changed value that may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";
const NEGATIVE: &str = "must be greater than or equal to 0";
const NOT_POSITIVE: &str = "must be greater than zero";

/// One error per message, with the text of the view.
pub(crate) fn each(view: &View, messages: Vec<String>, errors: &mut Errors) {
    errors.extend(messages.into_iter().map(|message| view.invalid_str(message)));
}

/// One error per message about `value` at `path`.
pub(crate) fn each_at(path: &Path, value: &str, messages: Vec<String>, errors: &mut Errors) {
    errors.extend(messages.into_iter().map(|message| Error::invalid(path, value, message)));
}

/// One error per message, with the number of the view.
pub(crate) fn each_int(view: &View, messages: Vec<String>, errors: &mut Errors) {
    errors.extend(messages.into_iter().map(|message| view.invalid_int(message)));
}

/// A DNS label.
pub(crate) fn dns_label(view: &View, errors: &mut Errors) {
    each(view, content::is_dns1123_label(view.str()), errors);
}

/// A DNS subdomain.
pub(crate) fn dns_subdomain(view: &View, errors: &mut Errors) {
    each(view, content::is_dns1123_subdomain(view.str()), errors);
}

/// A qualified name, as label keys are.
pub(crate) fn qualified_name(view: &View, errors: &mut Errors) {
    each(view, content::is_qualified_name(view.str()), errors);
}

/// A segment of a URL path.
pub(crate) fn path_segment(view: &View, errors: &mut Errors) {
    each(view, content::is_path_segment_name(view.str()), errors);
}

/// A segment of a URL path that must be there.
pub(crate) fn required_path_segment(view: &View, errors: &mut Errors) {
    if required(view, errors) {
        path_segment(view, errors);
    }
}

/// Present and not empty. Answers whether it is.
pub(crate) fn required(view: &View, errors: &mut Errors) -> bool {
    if view.is_empty() {
        errors.push(view.required(""));
        return false;
    }
    true
}

/// A number that is not negative.
pub(crate) fn nonnegative(view: &View, errors: &mut Errors) {
    if view.i64() < 0 {
        errors.push(view.invalid_int(NEGATIVE));
    }
}

/// A number above zero.
pub(crate) fn positive(view: &View, errors: &mut Errors) {
    if view.i64() <= 0 {
        errors.push(view.invalid_int(NOT_POSITIVE));
    }
}

/// One of an enumeration, whose values are given in the order the message has them.
pub(crate) fn supported(view: &View, values: &[&str], errors: &mut Errors) -> bool {
    let good = values.contains(&view.str());
    if !good {
        errors.push(view.not_supported(values));
    }
    good
}

/// One of an enumeration; empty is `Required value`.
pub(crate) fn required_supported(view: &View, values: &[&str], errors: &mut Errors) {
    if required(view, errors) {
        supported(view, values, errors);
    }
}

/// Equal to the old value.
pub(crate) fn immutable(new: &View, old: &View, errors: &mut Errors) {
    if new.value() != old.value() {
        errors.push(new.invalid(IMMUTABLE));
    }
}

/// Equal to the old value; absent shows as "".
pub(crate) fn immutable_str(new: &View, old: &View, errors: &mut Errors) {
    if new.value() != old.value() {
        errors.push(new.invalid_str(IMMUTABLE));
    }
}

/// The name of a label.
pub(crate) fn label_name(view: &View, errors: &mut Errors) {
    qualified_name(view, errors);
}

/// A map of labels. Errors stand at the map itself.
pub(crate) fn labels(view: &View, errors: &mut Errors) {
    for (key, value) in view.entries() {
        each_at(view.path(), key, content::is_qualified_name(key), errors);
        each_at(view.path(), value.str(), content::is_label_value(value.str()), errors);
    }
}

/// A map of annotations.
pub(crate) fn annotations(view: &View, errors: &mut Errors) {
    const LIMIT: usize = 256 * 1024;
    let mut size = 0;
    for (key, value) in view.entries() {
        each_at(view.path(), key, content::is_qualified_name(&key.to_lowercase()), errors);
        size += key.len() + value.str().len();
    }
    if size > LIMIT {
        errors.push(Error::too_long(view.path(), LIMIT));
    }
}

/// A LabelSelector. `lenient` accepts values that are no label values, as old objects may have them.
pub(crate) fn label_selector(view: &View, lenient: bool, errors: &mut Errors) {
    labels(&view.get("matchLabels"), errors);
    for requirement in view.get("matchExpressions").items() {
        selector_requirement(&requirement, lenient, errors, |_| {
            Err(requirement.get("operator").invalid_str("not a valid selector operator"))
        });
    }
}

/// A requirement of a selector of labels; `other` judges operators that are not about sets, and their values.
pub(crate) fn selector_requirement(
    requirement: &View,
    lenient: bool,
    errors: &mut Errors,
    other: impl FnOnce(&View) -> Result<(), Error>,
) {
    let values = requirement.get("values");
    match requirement.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(values.forbidden(detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.extend(other(&values).err()),
    }
    label_name(&requirement.get("key"), errors);
    if !lenient {
        for value in values.items() {
            each(&value, content::is_label_value(value.str()), errors);
        }
    }
}

/// Whether an old LabelSelector is wrong in a way that new ones may not be.
pub(crate) fn bad_label_selector(view: &View) -> bool {
    let mut errors = Errors::new();
    label_selector(view, false, &mut errors);
    !errors.is_empty()
}

/// Whether a LabelSelector has no requirement.
pub(crate) fn selector_is_empty(selector: &View) -> bool {
    selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty()
}

/// The quantity at a view; zero if there is none.
pub(crate) fn quantity(value: &Value) -> Quantity {
    Quantity::from_json(value).unwrap_or_default()
}

/// A quantity that is not negative.
pub(crate) fn nonnegative_quantity(view: &View, errors: &mut Errors) {
    let quantity = quantity(view.value());
    if quantity.sign() < 0 {
        errors.push(Error::invalid(view.path(), quantity.to_string(), NEGATIVE));
    }
}

/// A quantity above zero.
pub(crate) fn positive_quantity(view: &View, errors: &mut Errors) {
    let quantity = quantity(view.value());
    if quantity.sign() <= 0 {
        errors.push(Error::invalid(view.path(), quantity.to_string(), NOT_POSITIVE));
    }
}

/// A finalizer without a domain must be a known one.
pub(crate) fn standard_finalizer(finalizer: &View, errors: &mut Errors) {
    const KNOWN: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let name = finalizer.str();
    if !name.contains('/') && !KNOWN.contains(&name) {
        errors.push(
            finalizer.invalid_str("name is neither a standard finalizer name nor is it fully qualified"),
        );
    }
}

/// An address in one of the fields that accept odd forms in old objects.
pub(crate) fn legacy_ip(view: &View, old: &[&str], errors: &mut Errors) {
    errors.extend(content::is_valid_ip_legacy(view.path(), view.str(), true, old));
}

/// A range in one of the fields that accept odd forms in old objects.
pub(crate) fn legacy_cidr(view: &View, old: &[&str], errors: &mut Errors) {
    errors.extend(content::is_valid_cidr_legacy(view.path(), view.str(), true, old));
}

/// A port as a number or a name.
pub(crate) fn port_or_name(view: &View, errors: &mut Errors) {
    if view.value().is_string() {
        each(view, content::is_valid_port_name(view.str()), errors);
    } else {
        each_int(view, content::is_valid_port_num(view.i64()), errors);
    }
}

/// A path that stays below where it starts.
pub(crate) fn descending_path(view: &View, errors: &mut Errors) {
    if view.str().starts_with('/') {
        errors.push(view.invalid_str("must be a relative path"));
    }
    no_backsteps(view, errors);
}

/// A path without `..`.
pub(crate) fn no_backsteps(view: &View, errors: &mut Errors) {
    if view.str().split('/').any(|part| part == "..") {
        errors.push(view.invalid_str("must not contain '..'"));
    }
}

/// A descending path whose first name does not begin with `..`.
pub(crate) fn non_reserved_path(view: &View, errors: &mut Errors) {
    descending_path(view, errors);
    let path = view.str();
    if path.starts_with("..") && !path.starts_with("../") {
        errors.push(view.invalid_str("must not start with '..'"));
    }
}

/// A name with an optional check of a prefix to which characters get appended.
pub(crate) fn name_with(check: fn(&str) -> Vec<String>, name: &str, prefix: bool) -> Vec<String> {
    if prefix { check(&content::masked_trailing_dash(name)) } else { check(name) }
}

/// A metav1.Condition list: unique types, each condition well formed.
pub(crate) fn conditions(view: &View, errors: &mut Errors) {
    let mut seen = Vec::new();
    for condition in view.items() {
        let kind = condition.get("type");
        if seen.contains(&kind.str()) {
            errors.push(kind.duplicate());
        } else {
            seen.push(kind.str());
        }
        self::condition(&condition, errors);
    }
}

fn condition(condition: &View, errors: &mut Errors) {
    label_name(&condition.get("type"), errors);
    supported(&condition.get("status"), &["False", "True", "Unknown"], errors);
    let generation = condition.get("observedGeneration");
    if generation.i64() < 0 {
        errors.push(generation.invalid_int("must be greater than or equal to zero"));
    }
    required(&condition.get("lastTransitionTime"), errors);
    let reason = condition.get("reason");
    if required(&reason, errors) {
        if !condition_reason_shaped(reason.str()) {
            let message = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
            let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
            let pattern = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
            errors.push(reason.invalid_str(content::regex_error(message, pattern, &examples)));
        }
        if reason.str().len() > 1024 {
            errors.push(Error::too_long(reason.path(), 1024));
        }
    }
    let message = condition.get("message");
    if message.str().len() > 32 * 1024 {
        errors.push(Error::too_long(message.path(), 32 * 1024));
    }
}

fn condition_reason_shaped(reason: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b',' | b':');
    match reason.as_bytes() {
        [first] => first.is_ascii_alphabetic(),
        [first, middle @ .., last] => {
            first.is_ascii_alphabetic()
                && middle.iter().all(|c| inner(*c))
                && (last.is_ascii_alphanumeric() || *last == b'_')
        }
        [] => false,
    }
}
