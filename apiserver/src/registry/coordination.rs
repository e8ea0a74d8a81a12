//! The group coordination.k8s.io: leases.

use std::cmp::Ordering;

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;
use serde_json::Value;

use super::checks::*;
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks};

const GROUP: &str = "coordination.k8s.io";

const OLDEST: &str = "OldestEmulationVersion";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "leases", "Lease")
        .hooks(Hooks {
            validate: |_, new| lease(new),
            validate_update: |_, new, _| lease(new),
            allow_create_on_update: true,
            allow_unconditional_update: false,
            ..Hooks::default()
        })
        .any_finalizers()
        .install(builder, enabled);
    Kind::new(GROUP, "v1beta1", "leasecandidates", "LeaseCandidate")
        .selectable(&["spec.leaseName"])
        .hooks(Hooks {
            validate: |_, new| candidate(new),
            validate_update: |_, new, old| {
                let mut errors = candidate(new);
                let name = |object| View::root(object).get("spec").get("leaseName");
                immutable_str(&name(new), &name(old), &mut errors);
                errors
            },
            validate_name: |name, _| content::is_config_map_key(name),
            allow_create_on_update: true,
            allow_unconditional_update: false,
            ..Hooks::default()
        })
        .also("v1alpha2")
        .any_finalizers()
        .install(builder, enabled);
}

fn lease(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = View::root(object).get("spec");
    let (duration, transitions) = (spec.get("leaseDurationSeconds"), spec.get("leaseTransitions"));
    if duration.is_set() && duration.i64() <= 0 {
        errors.push(duration.invalid("must be greater than 0"));
    }
    if transitions.i64() < 0 {
        errors.push(transitions.invalid("must be greater than or equal to 0"));
    }
    let (strategy, holder) = (spec.get("strategy"), spec.get("preferredHolder"));
    if strategy.is_set() {
        validate_strategy(&strategy, &mut errors);
    }
    if !holder.is_empty() && strategy.is_empty() {
        errors.push(holder.forbidden("may only be specified if `strategy` is defined"));
    }
    errors
}

fn validate_strategy(strategy: &View, errors: &mut Errors) {
    // Upstream names the field twice.
    let strategy = strategy.with_path(strategy.path().child("strategy"));
    if strategy.str().contains('/') {
        qualified_name(&strategy, errors);
    } else {
        supported(&strategy, &[OLDEST], errors);
    }
}

fn candidate(object: &Value) -> Errors {
    const SHAPE: &str = "must be a valid semantic version";
    let mut errors = Errors::new();
    let spec = View::root(object).get("spec");
    required(&spec.get("leaseName"), &mut errors);
    let (emulation, binary) = (spec.get("emulationVersion"), spec.get("binaryVersion"));
    let mut emulated = Version::default();
    if !emulation.is_empty() {
        match Version::parse(emulation.str()) {
            Some(version) => emulated = version,
            None => errors.push(emulation.invalid(SHAPE)),
        }
    }
    let mut built = Version::default();
    if required(&binary, &mut errors) {
        match Version::parse(binary.str()) {
            Some(version) => built = version,
            None => errors.push(binary.invalid(SHAPE)),
        }
    }
    if !binary.is_empty() && !emulation.is_empty() && built.cmp(&emulated) == Ordering::Less {
        let detail = "must be greater than or equal to `emulationVersion`";
        errors.push(Error::invalid(binary.path(), binary.str(), detail));
    }
    let strategy = spec.get("strategy");
    if required(&strategy, &mut errors) {
        if strategy.str() == OLDEST && emulated.cmp(&Version::default()) == Ordering::Equal {
            errors.push(emulation.required("must be specified when `strategy` is 'OldestEmulationVersion'"));
        }
        validate_strategy(&strategy, &mut errors);
    }
    errors
}

/// A semantic version (2.0.0), whose build metadata doesn't count.
#[derive(Default)]
struct Version<'a> {
    numbers: [u64; 3],
    before: Vec<&'a str>,
}

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (rest, build) = match text.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (text, None),
        };
        let (core, before) = match rest.split_once('-') {
            Some((core, before)) => (core, Some(before)),
            None => (rest, None),
        };
        let mut parts = core.split('.');
        let mut next = || parts.next().and_then(number);
        let numbers = [next()?, next()?, next()?];
        if parts.next().is_some() || build.is_some_and(|build| !build.split('.').all(identifier)) {
            return None;
        }
        let before: Vec<&str> = before.map(|before| before.split('.').collect()).unwrap_or_default();
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let good = |part: &&str| identifier(part) && (!digits(part) || number(part).is_some());
        before.iter().all(good).then_some(Version { numbers, before })
    }

    fn cmp(&self, other: &Version) -> Ordering {
        let numbers = self.numbers.cmp(&other.numbers);
        numbers.then_with(|| match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.before.iter().zip(&other.before);
                let first = pairs.map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
                first.unwrap_or_else(|| self.before.len().cmp(&other.before.len()))
            }
        })
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (text.len() == 1 || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

fn identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Numbers go before names.
fn compare(a: &str, b: &str) -> Ordering {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_are_ordered() {
        let order = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0", "1.0.1", "1.10.0"];
        for pair in order.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|text| Version::parse(text).expect("a version"));
            assert_eq!(a.cmp(&b), Ordering::Less, "{pair:?}");
        }
        for bad in
            ["", "1", "1.2", "01.1.1", "1.2.3.4", "1.2.3-01", "1.2.3-", "1.2.3+", "v1.2.3", "1.2.3-a_b"]
        {
            assert!(Version::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn candidates() {
        let texts = |spec: Value| {
            candidate(&json!({"spec": spec})).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let good = json!({
            "leaseName": "l", "binaryVersion": "1.2.0", "emulationVersion": "1.1.0", "strategy": OLDEST,
        });
        assert!(texts(good).is_empty());
        assert_eq!(
            texts(json!({"leaseName": "l", "binaryVersion": "1.0.0", "strategy": "x"})),
            [
                "spec.strategy.strategy: Unsupported value: \"x\": supported values: \"OldestEmulationVersion\""
            ]
        );
    }

    #[test]
    fn leases() {
        let texts =
            |spec: Value| lease(&json!({"spec": spec})).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts(json!({"leaseDurationSeconds": 0, "preferredHolder": "a"})),
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
            ]
        );
    }
}
