//! Who writes a policy or a binding must be allowed to read the parameters that it names.

use futures::future::BoxFuture;
use proto::field::{Error, Errors, Path};
use proto::view::{at, text_at};
use serde_json::Value;

use super::GROUP;
use crate::auth::text::go_user;
use crate::auth::{Attributes, Decision, MASTERS};
use crate::registry::Ctx;

/// The group, version and resource of a paramKind; `*` for what can't be told.
struct Parameters {
    group: String,
    version: String,
    resource: Option<String>,
}

fn parameters(ctx: &Ctx, kind: &Value) -> Parameters {
    let api_version = text_at(kind, &["apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let registry = ctx.local.registry();
    let served = registry.of_kind(api_version, text_at(kind, &["kind"]));
    let resource = served.map(|served| served.endpoint.resource.to_string());
    Parameters { group: group.to_owned(), version: version.to_owned(), resource }
}

async fn may(ctx: &Ctx, verb: &str, parameters: Option<&Parameters>, namespace: &str, name: &str) -> bool {
    let any = || "*".to_owned();
    let attributes = Attributes {
        user: ctx.user.clone(),
        verb: verb.to_owned(),
        resource_request: true,
        group: parameters.map_or_else(any, |own| own.group.clone()),
        version: parameters.map_or_else(any, |own| own.version.clone()),
        resource: parameters.and_then(|own| own.resource.clone()).unwrap_or_else(any),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    ctx.local.services().authorizer.authorize(&attributes).await.decision == Decision::Allow
}

fn refused(field: &'static str, why: String) -> Errors {
    vec![Error::forbidden(&Path::new("spec").child(field), why)]
}

/// A policy of either kind.
pub(super) fn of_policy<'a>(ctx: &'a Ctx, new: &'a Value, old: &'a Value) -> BoxFuture<'a, Errors> {
    Box::pin(async move {
        let kind = at(new, &["spec", "paramKind"]);
        if kind.is_null() || kind == at(old, &["spec", "paramKind"]) || ctx.user.in_group(MASTERS) {
            return Errors::new();
        }
        let parameters = parameters(ctx, kind);
        if may(ctx, "get", Some(&parameters), "*", "*").await {
            return Errors::new();
        }
        refused(
            "paramKind",
            format!(
                "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
                go_user(&ctx.user),
                text_at(kind, &["kind"]),
                text_at(kind, &["apiVersion"]),
            ),
        )
    })
}

/// A binding of either kind.
pub(super) fn of_binding<'a>(ctx: &'a Ctx, new: &'a Value, old: &'a Value) -> BoxFuture<'a, Errors> {
    Box::pin(async move {
        let same = |field| at(new, &["spec", field]) == at(old, &["spec", field]);
        let reference = at(new, &["spec", "paramRef"]);
        if reference.is_null() || same("paramRef") && same("policyName") || ctx.user.in_group(MASTERS) {
            return Errors::new();
        }
        let policies = match &*ctx.endpoint.resource {
            "mutatingadmissionpolicybindings" => "mutatingadmissionpolicies",
            _ => "validatingadmissionpolicies",
        };
        let named = text_at(new, &["spec", "policyName"]);
        let policy = ctx.local.get(GROUP, policies, "", named).await;
        let kind = policy.as_ref().map_or(&Value::Null, |policy| at(policy, &["spec", "paramKind"]));
        let parameters = (!kind.is_null()).then(|| parameters(ctx, kind));
        let name = text_at(reference, &["name"]);
        let verb = if name.is_empty() { "list" } else { "get" };
        let namespace = text_at(reference, &["namespace"]);
        if may(ctx, verb, parameters.as_ref(), namespace, name).await {
            return Errors::new();
        }
        let user = go_user(&ctx.user);
        let unknown = |what: String| {
            format!(
                "{what} to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, versions and resources"
            )
        };
        let why = match &parameters {
            _ if policy.is_err() => unknown(format!("unable to get policy {named}")),
            Some(Parameters { resource: None, .. }) => unknown(format!(
                "unable to resolve paramKind &{{{} {}}}",
                text_at(kind, &["apiVersion"]),
                text_at(kind, &["kind"])
            )),
            _ => format!(
                "user {user} does not have \"{verb}\" permission on the object referenced by paramRef"
            ),
        };
        refused("paramRef", why)
    })
}
