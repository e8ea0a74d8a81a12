//! Who may use devices as an administrator, bind claims and report on devices (KEP-5018, 6015).

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use proto::field::{Error, Errors, Path};
use proto::view::{View, at, text_at};
use serde_json::Value;

use super::GROUP;
use crate::auth::authz::forbidden;
use crate::auth::{Attributes, Decision};
use crate::registry::{Ctx, Settings};

const ADMIN: &str = "resource.kubernetes.io/admin-access";
const NODE: &str = "authentication.kubernetes.io/node-name";

/// A list and the place of the item in it that asks for access to all devices.
type Place = (&'static str, usize);

/// A new claim.
pub(super) fn of_claim<'a>(ctx: &'a Ctx, new: &'a Value, old: &'a Value) -> BoxFuture<'a, Errors> {
    Box::pin(async move { as_admin(ctx, requested(at(new, &["spec"])), old).await })
}

/// A new template of claims.
pub(super) fn of_template<'a>(ctx: &'a Ctx, new: &'a Value, old: &'a Value) -> BoxFuture<'a, Errors> {
    Box::pin(async move { as_admin(ctx, requested(at(new, &["spec", "spec"])), old).await })
}

/// The first request for all devices, which its field names as v1beta1 has it.
fn requested(spec: &Value) -> Option<Place> {
    let requests = View::root(spec).get("devices").get("requests").items();
    let first = requests.iter().position(|request| request.get("exactly").flag("adminAccess"))?;
    Some(("spec.devices.requests", first))
}

fn granted(claim: &Value) -> Option<Place> {
    let results = at(claim, &["status", "allocation", "devices", "results"]).as_array()?;
    let first = results.iter().position(|result| result.get("adminAccess") == Some(&Value::Bool(true)))?;
    Some(("status.allocation.devices.results", first))
}

/// The namespace must be marked for it. Old specs have been judged, and don't change.
async fn as_admin(ctx: &Ctx, wanted: Option<Place>, old: &Value) -> Errors {
    let Some((list, index)) = wanted.filter(|_| old.is_null()) else { return Errors::new() };
    let namespace = ctx.local.get("", "namespaces", "", &ctx.namespace).await;
    let path = Path::dotted(list).index(index).child("adminAccess");
    match namespace {
        Err(status) => {
            let why = format!("could not retrieve namespace to verify admin access: {}", status.message);
            vec![Error::internal(&path, why)]
        }
        Ok(namespace) if text_at(&namespace, &["metadata", "labels", ADMIN]) == "true" => Errors::new(),
        Ok(_) => {
            let why = format!(
                "admin access to devices requires the `{ADMIN}: true` label on the containing namespace"
            );
            vec![Error::forbidden(&path, why)]
        }
    }
}

/// A new status of a claim.
pub(super) fn of_status<'a>(ctx: &'a Ctx, new: &'a Value, old: &'a Value) -> BoxFuture<'a, Errors> {
    Box::pin(async move {
        let wanted = granted(new).filter(|_| granted(old).is_none());
        let mut errors = as_admin(ctx, wanted, &Value::Null).await;
        if !Settings::has(ctx, "DRAResourceClaimGranularStatusAuthorization") {
            return errors;
        }
        let changed = |field| at(new, &["status", field]) != at(old, &["status", field]);
        if (changed("allocation") || changed("reservedFor"))
            && let Err(why) = may(ctx, ctx.verb, "binding", "", "").await
        {
            let verb = ctx.verb;
            errors.push(Error::forbidden(
                &Path::dotted("status.allocation"),
                format!(
                    "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {why}"
                ),
            ));
        }
        let allocation = at(new, &["status", "allocation"]);
        if !Settings::has(ctx, "DRAResourceClaimDeviceStatus") || allocation.is_null() {
            return errors;
        }
        let mut verbs = Vec::new();
        if runs_on(ctx, node_of(allocation)) {
            verbs.push(format!("associated-node:{}", ctx.verb));
        }
        verbs.push(format!("arbitrary-node:{}", ctx.verb));
        for driver in changed_drivers(new, old) {
            let mut refusal = None;
            for verb in &verbs {
                match may(ctx, verb, "driver", &ctx.namespace, driver).await {
                    Ok(()) => {
                        refusal = None;
                        break;
                    }
                    Err(why) => refusal = refusal.or(Some(why)),
                }
            }
            if let Some(why) = refusal {
                let verbs = verbs.join(" ");
                errors.push(Error::forbidden(
                    &Path::dotted("status.devices"),
                    format!(
                        "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{verbs}]\" permission: {why}"
                    ),
                ));
            }
        }
        errors
    })
}

/// Asks about a subresource that nothing serves.
async fn may(ctx: &Ctx, verb: &str, subresource: &str, namespace: &str, name: &str) -> Result<(), String> {
    let attributes = Attributes {
        user: ctx.user.clone(),
        verb: verb.to_owned(),
        resource_request: true,
        group: GROUP.to_owned(),
        version: ctx.endpoint.version.to_string(),
        resource: "resourceclaims".to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    let answer = ctx.local.services().authorizer.authorize(&attributes).await;
    if answer.decision == Decision::Allow {
        return Ok(());
    }
    Err(forbidden(&attributes, &answer.reason).message)
}

/// The drivers whose devices' status came, went or changed.
fn changed_drivers<'a>(new: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    let devices =
        |claim: &'a Value| at(claim, &["status", "devices"]).as_array().map_or(&[][..], Vec::as_slice);
    let (new, old) = (devices(new), devices(old));
    let changed = new.iter().filter(|device| !old.contains(device));
    let gone = old.iter().filter(|device| !new.contains(device));
    changed.chain(gone).map(|device| text_at(device, &["driver"])).collect()
}

/// The one node that an allocation is bound to.
fn node_of(allocation: &Value) -> Option<&str> {
    let [term] = at(allocation, &["nodeSelector", "nodeSelectorTerms"]).as_array()?.as_slice() else {
        return None;
    };
    let [field] = at(term, &["matchFields"]).as_array()?.as_slice() else { return None };
    let named = proto::view::is_empty(at(term, &["matchExpressions"]))
        && text_at(field, &["key"]) == "metadata.name"
        && text_at(field, &["operator"]) == "In";
    match at(field, &["values"]).as_array()?.as_slice() {
        [node] if named => node.as_str(),
        _ => None,
    }
}

/// Whether the user is a service account whose pod runs on this node.
fn runs_on(ctx: &Ctx, node: Option<&str>) -> bool {
    let nodes = ctx.user.extra.get(NODE).map_or(&[][..], Vec::as_slice);
    ctx.user.name.starts_with("system:serviceaccount:")
        && matches!((node, nodes), (Some(node), [own]) if !node.is_empty() && own == node)
}
