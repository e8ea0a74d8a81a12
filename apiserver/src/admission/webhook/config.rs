//! Webhook configurations, read once when they change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde_json::Value;

use super::super::expression::Conditions;
use super::super::matching::Matching;
use super::super::step::{items, text};
use crate::webhook::Remote;

/// One webhook of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub(super) name: String,
    /// What tells it from all other webhooks.
    pub(super) key: String,
    pub(super) remote: Remote,
    pub(super) matching: Matching,
    pub(super) fails_open: bool,
    pub(super) match_conditions: Arc<Conditions>,
    pub(super) allows_dry_run: bool,
    pub(super) review_versions: Vec<String>,
    pub(super) is_reinvoked: bool,
}

impl Webhook {
    fn parse(configuration: &str, position: usize, webhook: &Value) -> Webhook {
        let seconds = webhook["timeoutSeconds"].as_u64().unwrap_or(10);
        let timeout = Duration::from_secs(seconds.clamp(1, 30));
        let versions = items(&webhook["admissionReviewVersions"]).iter();
        Webhook {
            name: text(&webhook["name"]).to_owned(),
            key: format!("{configuration}/{position}"),
            remote: Remote::parse(&webhook["clientConfig"], timeout, true),
            matching: Matching::of_webhook(webhook),
            fails_open: text(&webhook["failurePolicy"]) == "Ignore",
            match_conditions: Arc::new(Conditions::of_webhook(&webhook["matchConditions"])),
            allows_dry_run: matches!(text(&webhook["sideEffects"]), "None" | "NoneOnDryRun"),
            review_versions: versions.map(|version| text(version).to_owned()).collect(),
            is_reinvoked: text(&webhook["reinvocationPolicy"]) == "IfNeeded",
        }
    }
}

/// The webhooks of all configurations of a kind, ordered by configuration and position.
#[derive(Default)]
pub(super) struct Configurations {
    by_name: RwLock<BTreeMap<String, Vec<Arc<Webhook>>>>,
}

impl Configurations {
    /// Applies a change of one configuration.
    pub(super) fn apply(&self, old: Option<&Value>, new: Option<&Value>) {
        let name = |object: &Value| text(&object["metadata"]["name"]).to_owned();
        let mut by_name = self.by_name.write();
        if let Some(old) = old {
            by_name.remove(&name(old));
        }
        if let Some(new) = new {
            let name = name(new);
            let webhooks = items(&new["webhooks"]).iter().enumerate();
            let webhooks =
                webhooks.map(|(at, webhook)| Arc::new(Webhook::parse(&name, at, webhook))).collect();
            by_name.insert(name, webhooks);
        }
    }

    /// All webhooks.
    pub(super) fn all(&self) -> Vec<Arc<Webhook>> {
        self.by_name.read().values().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configurations_follow_changes_in_order() {
        let configurations = Configurations::default();
        let object = |name: &str, hooks: &[&str]| {
            let hooks: Vec<Value> = hooks.iter().map(|name| json!({ "name": name })).collect();
            json!({ "metadata": { "name": name }, "webhooks": hooks })
        };
        configurations.apply(None, Some(&object("b", &["b1", "b2"])));
        configurations.apply(None, Some(&object("a", &["a1"])));
        let names = || configurations.all().iter().map(|hook| hook.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(), ["a1", "b1", "b2"]);
        configurations.apply(Some(&object("b", &[])), Some(&object("b", &["b3"])));
        assert_eq!(names(), ["a1", "b3"]);
        configurations.apply(Some(&object("a", &[])), None);
        assert_eq!(names(), ["b3"]);
    }
}
