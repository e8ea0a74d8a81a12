//! The parameters of policies: objects that a binding names or selects.

use std::sync::Arc;

use proto::labels::Selector;
use serde_json::Value;

use super::super::Review;
use super::super::form::Form;
use super::super::step::{find, text};
use crate::registry::{Backing, Local};

/// The parameters of a binding, each of which the policy is evaluated with; null: without any.
pub(super) async fn of(
    local: &Arc<dyn Local>,
    kind: Option<&(String, String)>,
    reference: &Value,
    review: &Review,
) -> Result<Vec<Value>, String> {
    let Some((api_version, kind)) = kind else { return Ok(vec![Value::Null]) };
    if !reference.is_object() {
        return Ok(vec![Value::Null]);
    }
    let registry = local.registry();
    let served = registry.of_kind(api_version, kind);
    let Some(served) = served.filter(|served| matches!(served.endpoint.backing, Backing::Stored(..))) else {
        return Err(unknown_kind(api_version, kind));
    };
    let endpoint = served.endpoint.clone();
    let Backing::Stored(group, resource) = &endpoint.backing else { return Ok(Vec::new()) };
    let mut namespace = text(&reference["namespace"]);
    if endpoint.namespaced && namespace.is_empty() {
        namespace = &review.namespace;
        if namespace.is_empty() {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
    } else if !endpoint.namespaced && !namespace.is_empty() {
        return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
    }
    let name = text(&reference["name"]);
    let found = if !name.is_empty() {
        match find(local, group, resource, namespace, name).await {
            Ok(object) => vec![object],
            Err(status) if status.is_not_found() => Vec::new(),
            Err(status) => return Err(status.message),
        }
    } else if reference["selector"].is_object() {
        let selector =
            Selector::from_label_selector(&reference["selector"]).map_err(|error| error.to_string())?;
        let listed = local.list(group, resource, namespace, &selector, false).await;
        listed.map_err(|status| status.message)?
    } else {
        return Err("one of name or selector must be provided".into());
    };
    if found.is_empty() && text(&reference["parameterNotFoundAction"]) == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    let mut parameters = Vec::new();
    for object in found {
        let shown = Form::Resource(endpoint.clone()).show(&object).await;
        parameters.push(shown.map_err(|status| status.message)?);
    }
    Ok(parameters)
}

/// The error of a policy whose parameters are of a kind that isn't served.
pub(super) fn unknown_kind(api_version: &str, kind: &str) -> String {
    format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'")
}
