//! Events: what happened, kept for an hour.

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::view::{View, text_at};
use serde_json::Value;

use super::kind;
use crate::registry::checks::*;
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Ctx, Hooks, strategy};

const TTL: u64 = 3600;
const MOST_TEXT: usize = 128;
const MOST_NOTE: usize = 1024;

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    kind("events", "Event")
        .short(&["ev"])
        .storage(|storage| {
            storage.cached = false;
            storage.ttl = Some(|_| TTL);
        })
        .selectable(&[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "type",
        ])
        .selectable_by("source", &["source.component", "reportingComponent"], |event| {
            let source = text_at(event, &["source", "component"]);
            if source.is_empty() { text_at(event, &["reportingComponent"]) } else { source }.to_owned()
        })
        .hooks(Hooks {
            validate: |ctx, new| validate(ctx, new),
            validate_update,
            // The older group leaves metadata to what holds for all objects.
            validate_name: strategy::path_segment_name,
            allow_create_on_update: true,
            ..Hooks::default()
        })
        .any_finalizers()
        .install(builder, enabled);
}

/// Only the newer group asks for all fields.
fn is_newer(ctx: &Ctx) -> bool {
    ctx.endpoint.group == "events.k8s.io"
}

fn validate(ctx: &Ctx, event: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(event);
    common(&view, is_newer(ctx), &mut errors);
    if !is_newer(ctx) {
        return errors;
    }
    metadata(&view.get("metadata"), &mut errors);
    series(&view, &mut errors);
    required(&view.get("eventTime"), &mut errors);
    let kind = view.get("type");
    if !matches!(kind.str(), "Normal" | "Warning") {
        errors.push(Error::invalid(kind.path(), "", format!("has invalid value: {}", kind.str())));
    }
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        if view.has(field) {
            errors.push(Error::invalid(&Path::new(field), "", "needs to be unset"));
        }
    }
    errors
}

/// The newer group checks names and finalizers as most kinds do.
fn metadata(metadata: &View, errors: &mut Errors) {
    let name = metadata.get("name");
    if !name.is_empty() {
        dns_subdomain(&name, errors);
    }
    for finalizer in metadata.get("finalizers").items() {
        standard_finalizer(&finalizer, errors);
    }
}

fn series(event: &View, errors: &mut Errors) {
    let series = event.get("series");
    if !series.is_set() {
        return;
    }
    if series.int("count") < 2 {
        errors.push(Error::invalid(&Path::new("series.count"), "", "should be at least 2"));
    }
    if !series.has("lastObservedTime") {
        errors.push(Error::required(&Path::new("series.lastObservedTime"), ""));
    }
}

fn common(event: &View, newer: bool, errors: &mut Errors) {
    const MISMATCH: &str = "does not match event.namespace";
    let namespace = text_at(event.value(), &["metadata", "namespace"]);
    let about = event.get("involvedObject").get("namespace");
    if !event.has("eventTime") {
        let matches =
            if about.is_empty() { matches!(namespace, "" | "default") } else { namespace == about.str() };
        if !matches {
            errors.push(about.invalid_str(MISMATCH));
        }
    } else {
        if about.is_empty() && !matches!(namespace, "default" | "kube-system") {
            errors.push(about.invalid_str(MISMATCH));
        }
        let shown = if newer { "reportingController" } else { "reportingComponent" };
        let controller = event.get("reportingComponent").with_path(Path::new(shown));
        required(&controller, errors);
        qualified_name(&controller, errors);
        for (field, most, must) in [
            ("reportingInstance", MOST_TEXT, true),
            ("action", MOST_TEXT, true),
            ("reason", MOST_TEXT, true),
            ("message", MOST_NOTE, false),
        ] {
            let text = event.get(field);
            if must {
                required(&text, errors);
            }
            if text.str().len() > most {
                let detail = format!("can have at most {most} characters");
                errors.push(Error::invalid(text.path(), "", detail));
            }
        }
    }
    each_at(&Path::new("namespace"), namespace, content::is_dns1123_subdomain(namespace), errors);
}

fn validate_update(ctx: &Ctx, new: &Value, old: &Value) -> Errors {
    // The paths are upstream's; they are not those of the newer version.
    const FROZEN: [(&str, &str); 14] = [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    let mut errors = Errors::new();
    let (view, before) = (View::root(new), View::root(old));
    common(&view, is_newer(ctx), &mut errors);
    if !is_newer(ctx) {
        return errors;
    }
    metadata(&view.get("metadata"), &mut errors);
    if view.raw("series") != before.raw("series") {
        series(&view, &mut errors);
    }
    for (field, shown) in FROZEN {
        let now = view.get(field).with_path(Path::new(shown));
        if field == "reportingComponent" {
            immutable_str(&now, &before.get(field), &mut errors);
        } else {
            immutable(&now, &before.get(field), &mut errors);
        }
    }
    errors
}
