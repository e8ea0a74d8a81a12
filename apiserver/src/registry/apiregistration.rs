//! The group apiregistration.k8s.io: API services of the aggregation layer.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use proto::content;
use proto::field::{Error, Errors, quote};
use proto::view::{View, at, set_at};
use serde_json::{Value, json};

use super::checks::{each, required};
use super::defaults::{fill, within};
use super::kind::{Enabled, Kind};
use super::{Builder, Ctx, Hooks, strategy};

const GROUP: &str = "apiregistration.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "apiservices", "APIService")
        .cluster()
        .category("api-extensions")
        .prefix("apiregistration.k8s.io/apiservices")
        .default(|object| {
            within(object, "spec", |spec| {
                within(spec, "service", |service| fill(service, "port", 443));
            });
        })
        .hooks(Hooks {
            prepare_create,
            validate: |_, new| validate(new),
            validate_update: |_, new, _| validate(new),
            allow_unconditional_update: false,
            validate_name: strategy::path_segment_name,
            ..strategy::with_status()
        })
        .status(Hooks {
            prepare_update: |_, new, old| {
                strategy::keep(new, old, &["spec"]);
                for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                    strategy::keep(new, old, &["metadata", field]);
                }
            },
            validate_update: |_, new, _| validate_status(new),
            allow_unconditional_update: false,
            ..strategy::status_only()
        })
        .without_table()
        .any_finalizers()
        .install(builder, enabled);
}

/// What this server answers itself is available from the beginning.
fn prepare_create(ctx: &Ctx, new: &mut Value) {
    strategy::drop_status(new);
    if at(new, &["spec", "service"]).is_null() {
        let condition = json!({
            "type": "Available",
            "status": "True",
            "lastTransitionTime": crate::engine::meta::time(ctx.now),
            "reason": "Local",
            "message": "Local APIServices are always available",
        });
        set_at(new, &["status", "conditions"], json!([condition]));
    }
}

fn validate(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(object);
    let (metadata, spec) = (view.get("metadata"), view.get("spec"));
    let (group, version) = (spec.get("group"), spec.get("version"));
    let name = format!("{}.{}", version.str(), group.str());
    for field in ["generateName", "name"] {
        let own = metadata.get(field);
        let judged = !own.is_empty() && content::is_path_segment_name(own.str()).is_empty();
        if judged && own.str() != name {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {}", quote(&name));
            errors.push(own.invalid_str(detail));
        }
    }
    if !group.is_empty() {
        each(&group, content::is_dns1123_subdomain(group.str()), &mut errors);
    } else if version.str() != "v1" {
        errors.push(group.required("only v1 may have an empty group and it better be legacy kube"));
    }
    each(&version, content::is_dns1035_label(version.str()), &mut errors);
    for (field, most) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
        let priority = spec.get(field);
        if !(1..=most).contains(&priority.i64()) {
            errors.push(priority.invalid_int(format!("must be positive and less than {most}")));
        }
    }
    let (service, bundle, insecure) =
        (spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify"));
    if !service.is_set() {
        if !bundle.is_empty() {
            let size = BASE64.decode(bundle.str()).map_or(0, |bytes| bytes.len());
            let detail = "local APIServices may not have a caBundle";
            errors.push(Error::invalid(bundle.path(), format!("{size} bytes"), detail));
        }
        if insecure.bool() {
            errors.push(insecure.invalid("local APIServices may not have insecureSkipTLSVerify"));
        }
        return errors;
    }
    required(&service.get("namespace"), &mut errors);
    required(&service.get("name"), &mut errors);
    let port = service.get("port");
    let messages = content::is_valid_port_num(port.i64());
    if !messages.is_empty() {
        errors.push(port.invalid_int(format!("port is not valid: {}", messages.join(", "))));
    }
    if insecure.bool() && !bundle.is_empty() {
        errors.push(insecure.invalid("may not be true if caBundle is present"));
    }
    errors
}

fn validate_status(object: &Value) -> Errors {
    let mut errors = Errors::new();
    for condition in View::root(object).get("status").get("conditions").items() {
        super::checks::supported(&condition.get("status"), &["True", "False", "Unknown"], &mut errors);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_checked() {
        let service = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
        let good = json!({"group": "g.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1});
        let with = |field: &str, value: Value| {
            let mut spec = good.clone();
            spec[field] = value;
            spec
        };
        let cases = [
            (service("v1.g.io", good.clone()), vec![]),
            (
                service("v2.g.io", good.clone()),
                vec![
                    "metadata.name: Invalid value: \"v2.g.io\": must be `spec.version+\".\"+spec.group`: \"v1.g.io\"",
                ],
            ),
            (
                service("v1.g.io", with("versionPriority", json!(1001))),
                vec!["spec.versionPriority: Invalid value: 1001: must be positive and less than 1000"],
            ),
            (
                service("v1.g.io", with("caBundle", json!("YWI="))),
                vec!["spec.caBundle: Invalid value: \"2 bytes\": local APIServices may not have a caBundle"],
            ),
            (
                service("v1.g.io", with("service", json!({"namespace": "a", "port": 0}))),
                vec![
                    "spec.service.name: Required value",
                    "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                ],
            ),
        ];
        for (object, want) in cases {
            let texts: Vec<String> = validate(&object).iter().map(ToString::to_string).collect();
            assert_eq!(texts, want, "{object}");
        }
    }
}
