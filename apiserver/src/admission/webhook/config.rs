//! Webhook configurations.

use std::sync::Arc;
use std::time::Duration;

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

/// The webhooks of a configuration, in their order.
pub(super) fn webhooks(configuration: &Value) -> Vec<Arc<Webhook>> {
    let name = text(&configuration["metadata"]["name"]);
    let webhooks = items(&configuration["webhooks"]).iter().enumerate();
    webhooks.map(|(at, webhook)| Arc::new(Webhook::parse(name, at, webhook))).collect()
}
