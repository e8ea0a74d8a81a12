//! Ingresses and their classes.

use proto::content::{self, NameCheck};
use proto::field::{Error, Errors, Path};
use proto::view::{View, at};
use serde_json::Value;

use crate::registry::checks::*;
use crate::registry::defaults::{fill, within};
use crate::registry::{Hooks, strategy, warnings};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// What an old object already had wrong stays permitted.
#[derive(Clone, Copy, Default)]
struct Options {
    bad_secret_names: bool,
    bad_wildcard_rules: bool,
}

impl Options {
    fn of(old: &Value) -> Options {
        let spec = View::root(old).get("spec");
        let bad_secret = |tls: &View<'_>| {
            let name = tls.text("secretName");
            !name.is_empty() && !content::is_dns1123_subdomain(name).is_empty()
        };
        let bad_rule = |rule: &View<'_>| {
            let mut errors = Errors::new();
            // Upstream is strict about service names here, although new ones need not be so.
            http(rule, content::is_dns1035_label, &mut errors);
            rule.text("host").contains('*') && !errors.is_empty()
        };
        Options {
            bad_secret_names: spec.get("tls").items().iter().any(bad_secret),
            bad_wildcard_rules: spec.get("rules").items().iter().any(bad_rule),
        }
    }
}

/// Hooks of Ingresses.
pub(super) fn ingress() -> Hooks {
    Hooks {
        validate: |_, new| {
            let mut errors = validate(new, Options::default());
            class_agrees(new, &mut errors);
            errors
        },
        validate_update: |_, new, old| validate(new, Options::of(old)),
        warnings: |_, new| {
            let annotated = !at(new, &["metadata", "annotations", CLASS_ANNOTATION]).is_null();
            if !annotated || !at(new, &["spec", "ingressClassName"]).is_null() {
                return Vec::new();
            }
            vec![format!(
                "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
            )]
        },
        ..strategy::with_generation()
    }
}

/// Hooks of the subresource `status`.
pub(super) fn status() -> Hooks {
    Hooks {
        validate_update: |_, new, old| {
            let mut errors = Errors::new();
            load_balancer(new, old, &mut errors);
            errors
        },
        warnings_update: |_, new, _| {
            points(new)
                .iter()
                .filter(|point| !point.text("ip").is_empty())
                .flat_map(|point| warnings::ip(point.path(), point.text("ip")))
                .collect()
        },
        ..strategy::status()
    }
}

fn points(ingress: &Value) -> Vec<View<'_>> {
    View::root(ingress).get("status").get("loadBalancer").get("ingress").items()
}

fn class_agrees(ingress: &Value, errors: &mut Errors) {
    let annotation = at(ingress, &["metadata", "annotations", CLASS_ANNOTATION]);
    let class = at(ingress, &["spec", "ingressClassName"]);
    if !annotation.is_null() && !class.is_null() && annotation != class {
        let path = Path::new("annotations").child(CLASS_ANNOTATION);
        let detail = "must match `ingressClassName` when both are specified";
        errors.push(Error::invalid(&path, annotation.clone(), detail));
    }
}

fn validate(ingress: &Value, options: Options) -> Errors {
    let mut errors = Errors::new();
    let spec = View::root(ingress).get("spec");
    let (rules, default) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules.is_empty() && !default.is_set() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        // What upstream shows is the list of rules.
        errors.push(Error::invalid_as(spec.path(), "null", detail));
    }
    if default.is_set() {
        backend(&default, content::is_dns1123_label, &mut errors);
    }
    for rule in rules.items() {
        let host = rule.get("host");
        let wildcard = host.str().contains('*');
        if !host.is_empty() {
            if content::parse_ip_sloppy(host.str()).is_some() {
                errors.push(host.invalid("must be a DNS name, not an IP address"));
            }
            host_name(&host, &mut errors);
        }
        if !wildcard || !options.bad_wildcard_rules {
            http(&rule, content::is_dns1123_label, &mut errors);
        }
    }
    for tls in spec.get("tls").items() {
        for host in tls.get("hosts").items() {
            host_name(&host, &mut errors);
        }
        let secret = tls.get("secretName");
        if !secret.is_empty() && !options.bad_secret_names {
            dns_subdomain(&secret, &mut errors);
        }
    }
    let class = spec.get("ingressClassName");
    if class.is_set() {
        dns_subdomain(&class, &mut errors);
    }
    errors
}

/// A host name, whose first label may be `*`.
fn host_name(host: &View, errors: &mut Errors) {
    if host.str().contains('*') {
        each(host, content::is_wildcard_dns1123_subdomain(host.str()), errors);
    } else {
        dns_subdomain(host, errors);
    }
}

fn http(rule: &View, service_name: NameCheck, errors: &mut Errors) {
    let http = rule.get("http");
    if !http.is_set() {
        return;
    }
    required(&http.get("paths"), errors);
    for item in http.get("paths").items() {
        let kind = item.get("pathType");
        if !kind.is_set() {
            errors.push(kind.required("pathType must be specified"));
            continue;
        }
        path(&item.get("path"), &kind, errors);
        backend(&item.get("backend"), service_name, errors);
    }
}

fn path(path: &View, kind: &View, errors: &mut Errors) {
    const WITHIN: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
    const AT_END: [&str; 2] = ["/..", "/."];
    let text = path.str();
    let absolute = text.starts_with('/');
    match kind.str() {
        "Exact" | "Prefix" => {
            if !absolute {
                errors.push(path.invalid_str("must be an absolute path"));
            }
            for bad in WITHIN.iter().filter(|bad| text.contains(**bad)) {
                errors.push(path.invalid_str(format!("must not contain '{bad}'")));
            }
            for bad in AT_END.iter().filter(|bad| text.ends_with(**bad)) {
                errors.push(path.invalid_str(format!("cannot end with '{bad}'")));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !absolute {
                errors.push(path.invalid_str("must be an absolute path"));
            }
        }
        _ => errors.push(kind.not_supported(&["Exact", "ImplementationSpecific", "Prefix"])),
    }
}

fn backend(backend: &View, service_name: NameCheck, errors: &mut Errors) {
    let (resource, service) = (backend.get("resource"), backend.get("service"));
    let wrong = |detail: &str| Error::invalid(backend.path(), "", detail);
    match (resource.is_set(), service.is_set()) {
        (true, true) => errors.push(wrong("cannot set both resource and service backends")),
        (false, false) => errors.push(wrong("resource or service backend is required")),
        (true, false) => typed_reference(&resource, errors),
        (false, true) => {
            let name = service.get("name");
            if required(&name, errors) {
                each(&name, service_name(name.str()), errors);
            }
            let port = service.get("port");
            let (name, number) = (port.get("name"), port.get("number"));
            match (!name.is_empty(), number.i64() != 0) {
                (true, true) => errors.push(wrong("cannot set both port name & port number")),
                (true, false) => each(&name, content::is_valid_port_name(name.str()), errors),
                (false, true) => each_int(&number, content::is_valid_port_num(number.i64()), errors),
                (false, false) => errors.push(backend.required("port name or number is required")),
            }
        }
    }
}

/// A reference to an object of some kind.
fn typed_reference(reference: &View, errors: &mut Errors) {
    let group = reference.get("apiGroup");
    if group.is_set() {
        dns_subdomain(&group, errors);
    }
    required_path_segment(&reference.get("kind"), errors);
    required_path_segment(&reference.get("name"), errors);
}

fn load_balancer(new: &Value, old: &Value, errors: &mut Errors) {
    let old: Vec<&str> =
        points(old).iter().map(|point| point.text("ip")).filter(|ip| !ip.is_empty()).collect();
    for point in points(new) {
        let (ip, name) = (point.get("ip"), point.get("hostname"));
        if !ip.is_empty() {
            legacy_ip(&ip, &old, errors);
        }
        if !name.is_empty() {
            dns_subdomain(&name, errors);
            if content::parse_ip_sloppy(name.str()).is_some() {
                errors.push(name.invalid("must be a DNS name, not an IP address"));
            }
        }
    }
}

/// Hooks of IngressClasses.
pub(super) fn class() -> Hooks {
    Hooks {
        validate: |_, new| {
            let mut errors = Errors::new();
            validate_class(new, &mut errors);
            errors
        },
        validate_update: |_, new, old| {
            let mut errors = Errors::new();
            let controller = |class| View::root(class).get("spec").get("controller");
            immutable_str(&controller(new), &controller(old), &mut errors);
            validate_class(new, &mut errors);
            errors
        },
        ..strategy::generation_only()
    }
}

pub(super) fn class_defaults(object: &mut Value) {
    within(object, "spec", |spec| {
        within(spec, "parameters", |parameters| fill(parameters, "scope", "Cluster"));
    });
}

fn validate_class(class: &Value, errors: &mut Errors) {
    const LIMIT: usize = 250;
    let spec = View::root(class).get("spec");
    let controller = spec.get("controller");
    if controller.str().len() > LIMIT {
        errors.push(Error::too_long(controller.path(), LIMIT));
    }
    errors.extend(content::is_domain_prefixed_path(controller.path(), controller.str()));
    let parameters = spec.get("parameters");
    if !parameters.is_set() {
        return;
    }
    typed_reference(&parameters, errors);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    if !scope.is_set() {
        errors.push(scope.required(""));
        return;
    }
    supported(&scope, &["Cluster", "Namespace"], errors);
    match scope.str() {
        "Namespace" if !namespace.is_set() => {
            errors.push(namespace.required("`parameters.scope` is set to 'Namespace'"));
        }
        "Namespace" => dns_label(&namespace, errors),
        "Cluster" if namespace.is_set() => {
            errors.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(ingress: Value) -> Vec<String> {
        validate(&ingress, Options::default()).iter().map(ToString::to_string).collect()
    }

    fn with_path(path: &str, kind: &str) -> Value {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        let path = json!({"path": path, "pathType": kind, "backend": backend});
        json!({"spec": {"rules": [{"host": "*.foo.com", "http": {"paths": [path]}}]}})
    }

    #[test]
    fn paths() {
        let at = "spec.rules[0].http.paths[0].path";
        let cases = [
            ("/a", "Exact", vec![]),
            ("", "ImplementationSpecific", vec![]),
            ("", "Prefix", vec![format!("{at}: Invalid value: \"\": must be an absolute path")]),
            (
                "/a//b/..",
                "Exact",
                vec![
                    format!("{at}: Invalid value: \"/a//b/..\": must not contain '//'"),
                    format!("{at}: Invalid value: \"/a//b/..\": cannot end with '/..'"),
                ],
            ),
        ];
        for (path, kind, want) in cases {
            assert_eq!(texts(with_path(path, kind)), want);
        }
    }

    #[test]
    fn what_was_wrong_before_stays_good() {
        let mut old = with_path("/a", "Prefix");
        old["spec"]["rules"][0]["http"]["paths"] = json!([]);
        assert!(!texts(old.clone()).is_empty());
        assert!(validate(&old, Options::of(&old)).is_empty());
    }

    #[test]
    fn the_annotation_agrees_with_the_class() {
        let mut errors = Errors::new();
        let annotations = json!({CLASS_ANNOTATION: "a"});
        class_agrees(
            &json!({"metadata": {"annotations": annotations}, "spec": {"ingressClassName": "b"}}),
            &mut errors,
        );
        assert_eq!(
            errors[0].to_string(),
            "annotations.kubernetes.io/ingress.class: Invalid value: \"a\": must match `ingressClassName` when both are specified"
        );
    }
}
