//! The conditions that say why a namespace is still there.

use std::collections::BTreeMap;

use component_base::client::Error;
use proto::time::Time;

use crate::api::Condition;

/// What one round of deletion found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Group versions that could not be asked; an empty name stands for all.
    pub(super) discovery_failures: Vec<(String, Error)>,
    pub(super) failures: Vec<String>,
    /// How many objects remain, by resource.
    pub(super) remaining: BTreeMap<String, usize>,
    /// How many objects each finalizer holds.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// How long what remains may take.
    pub(super) wait_seconds: i64,
}

impl Findings {
    /// Notes what is left of one resource.
    pub(super) fn note(&mut self, resource: String, count: usize, finalizers: &[String], wait: i64) {
        if count > 0 {
            self.remaining.insert(resource, count);
        }
        for finalizer in finalizers {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        self.wait_seconds = self.wait_seconds.max(wait);
    }

    /// Why the namespace can't be given free.
    pub(super) fn first_error(&self) -> Option<String> {
        let failed = self.discovery_failures.first().map(|(_, e)| e.to_string());
        let remaining = || {
            let (resource, count) = self.remaining.first_key_value()?;
            Some(format!("{count} of {resource} remain"))
        };
        self.failures.first().cloned().or(failed).or_else(remaining)
    }

    fn discovery_message(&self) -> Option<String> {
        match self.discovery_failures.as_slice() {
            [] => None,
            [(name, error)] if name.is_empty() => Some(error.to_string()),
            groups => {
                let each: Vec<String> = groups.iter().map(|(name, e)| format!("{name}: {e}")).collect();
                Some(format!(
                    "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
                    groups.len(),
                    each.join(", ")
                ))
            }
        }
    }

    fn content_message(&self) -> Option<String> {
        let mut failures = self.failures.clone();
        failures.sort();
        (!failures.is_empty()).then(|| {
            let count = failures.len();
            format!("Failed to delete all resource types, {count} remaining: {}", failures.join(", "))
        })
    }

    fn remaining_message(&self) -> Option<String> {
        let each: Vec<String> =
            self.remaining.iter().map(|(r, n)| format!("{r} has {n} resource instances")).collect();
        (!each.is_empty()).then(|| format!("Some resources are remaining: {}", each.join(", ")))
    }

    fn finalizers_message(&self) -> Option<String> {
        let each: Vec<String> =
            self.finalizers.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
        (!each.is_empty())
            .then(|| format!("Some content in the namespace has finalizers remaining: {}", each.join(", ")))
    }
}

/// The conditions after a round, if they change.
pub(super) fn conditions(old: &[Condition], findings: &Findings, now: Time) -> Option<Vec<Condition>> {
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            findings.discovery_message().map(|m| ("DiscoveryFailed", m)),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            findings.content_message().map(|m| ("ContentDeletionFailed", m)),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            findings.remaining_message().map(|m| ("SomeResourcesRemain", m)),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            findings.finalizers_message().map(|m| ("SomeFinalizersRemain", m)),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let mut conditions = old.to_vec();
    for (kind, bad, (good_reason, good_message)) in rows {
        let mut new = match bad {
            Some((reason, message)) => Condition::new(kind, "True", reason, message, now),
            None => Condition::new(kind, "False", good_reason, good_message, now),
        };
        match conditions.iter_mut().find(|c| c.kind == kind) {
            None => conditions.push(new),
            Some(current) => {
                if current.status == new.status {
                    new.last_transition_time = current.last_transition_time;
                }
                *current = new;
            }
        }
    }
    (conditions != old).then_some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_follow_findings() {
        let mut findings = Findings::default();
        findings.note("pods.".into(), 2, &["x/y".to_string(), "x/y".to_string()], 30);
        let now = Time::now();
        let conditions = conditions(&[], &findings, now).unwrap();
        let messages: Vec<_> =
            conditions.iter().filter(|c| c.is_true()).map(|c| c.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "Some resources are remaining: pods. has 2 resource instances",
                "Some content in the namespace has finalizers remaining: x/y in 2 resource instances",
            ]
        );
        assert!(super::conditions(&conditions, &findings, now).is_none());
        let done = super::conditions(&conditions, &Findings::default(), now).unwrap();
        assert!(done.iter().all(|c| !c.is_true()));
    }
}
