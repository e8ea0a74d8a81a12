//! What is to be said of pods and pod templates that are valid.

use proto::content;
use proto::field::{Path, quote};
use proto::view::{View, at};
use serde_json::{Value, json};

use crate::registry::checks::quantity;
use crate::registry::core::claim;
use crate::registry::{Ctx, strategy, warnings};

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Warnings about a new pod.
pub(super) fn pod(pod: &Value) -> Vec<String> {
    of(&View::root(pod), false)
}

/// Warnings about a pod template.
pub(crate) fn template(template: &View) -> Vec<String> {
    of(template, true)
}

/// Warnings about a new controller whose template is at `spec.template` and whose pods are named after it.
pub(crate) fn controller(ctx: &Ctx, new: &Value) -> Vec<String> {
    let mut warnings = strategy::pod_name_warning(ctx, new);
    warnings.extend(template(&View::root(new).get("spec").get("template")));
    warnings
}

/// Warnings about a controller whose spec has changed.
pub(crate) fn controller_update(_: &Ctx, new: &Value, old: &Value) -> Vec<String> {
    if !strategy::generation_changes(new, old) {
        return Vec::new();
    }
    template(&View::root(new).get("spec").get("template"))
}

fn of(pod: &View, is_template: bool) -> Vec<String> {
    let (metadata, spec) = (pod.get("metadata"), pod.get("spec"));
    let annotations = metadata.get("annotations");
    let containers = super::containers(&spec);
    let mut out = Vec::new();
    if !is_template && spec.get("os").text("name") != "windows" {
        containers.iter().for_each(|container| app_armor(container, &spec, &annotations, &mut out));
    }
    node_labels(&spec, &mut out);
    deprecated_annotations(&annotations, &mut out);
    volumes(&spec.get("volumes"), &mut out);
    lists(&spec, &mut out);
    for resource in ["memory", "ephemeral-storage"] {
        whole_bytes(&spec.get("overhead").key(resource), &mut out);
    }
    if !spec.get("securityContext").has("seccompProfile") {
        seccomp(&annotations.key(SECCOMP_POD), &mut out);
    }
    for container in &containers {
        self::container(container, &spec, &annotations, is_template, &mut out);
    }
    ports(&containers, &mut out);
    port_names(&containers, &mut out);
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.i64() < 0 {
        out.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            grace.path()
        ));
    }
    null_selectors(&spec.get("affinity"), &mut out);
    for server in spec.get("dnsConfig").get("nameservers").items() {
        out.extend(warnings::ip(server.path(), server.str()));
    }
    for alias in spec.get("hostAliases").items() {
        out.extend(warnings::ip(alias.get("ip").path(), alias.text("ip")));
    }
    out
}

fn node_labels(spec: &View, out: &mut Vec<String>) {
    for (label, view) in spec.get("nodeSelector").entries() {
        if let Some(message) = warnings::node_label(label) {
            out.push(format!("{}: {message}", view.path()));
        }
    }
    let affinity = spec.get("affinity").get("nodeAffinity");
    let required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution");
    for term in required.get("nodeSelectorTerms").items() {
        out.extend(warnings::node_selector_term(&term, false));
    }
    for preferred in affinity.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
        out.extend(warnings::node_selector_term(&preferred.get("preference"), true));
    }
    for constraint in spec.get("topologySpreadConstraints").items() {
        let key = constraint.get("topologyKey");
        if let Some(message) = warnings::node_label(key.str()) {
            out.push(format!("{}: {} is {message}", key.path(), key.str()));
        }
        null_selector(&constraint, out);
    }
}

fn null_selector(term: &View, out: &mut Vec<String>) {
    if !term.has("labelSelector") {
        let path = term.get("labelSelector").path().clone();
        out.push(format!("{path}: a null labelSelector results in matching no pod"));
    }
}

fn null_selectors(affinity: &View, out: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let terms = affinity.get(kind);
        for term in terms.get("requiredDuringSchedulingIgnoredDuringExecution").items() {
            null_selector(&term, out);
        }
        for weighted in terms.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
            null_selector(&weighted.get("podAffinityTerm"), out);
        }
    }
}

fn deprecated_annotations(annotations: &View, out: &mut Vec<String>) {
    const ROWS: [(&str, &str); 3] = [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            "non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ),
        (
            "security.alpha.kubernetes.io/sysctls",
            "non-functional in v1.11+; use the \"sysctls\" field instead",
        ),
        (
            "security.alpha.kubernetes.io/unsafe-sysctls",
            "non-functional in v1.11+; use the \"sysctls\" field instead",
        ),
    ];
    for (key, message) in ROWS {
        let annotation = annotations.key(key);
        if annotation.is_set() {
            out.push(format!("{}: {message}", annotation.path()));
        }
    }
}

fn seccomp(annotation: &View, out: &mut Vec<String>) {
    if annotation.is_set() {
        out.push(format!(
            "{}: non-functional in v1.27+; use the \"seccompProfile\" field instead",
            annotation.path()
        ));
    }
}

fn volumes(list: &View, out: &mut Vec<String>) {
    const PLUGINS: [(&str, &str); 7] = [
        ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
        ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
        ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ];
    const LATER: [(&str, &str); 2] = [
        ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    for volume in list.items() {
        let deprecated = |plugins: &[(&'static str, &str)], out: &mut Vec<String>| {
            for (shown, message) in plugins {
                let field = if *shown == "storageOS" { "storageos" } else { shown };
                if volume.has(field) {
                    out.push(format!("{}: {message}", volume.path().child(shown)));
                }
            }
        };
        deprecated(&PLUGINS, out);
        let template = volume.get("ephemeral").get("volumeClaimTemplate");
        if template.is_set() {
            out.extend(claim::spec_warnings(&template.get("spec")));
        }
        deprecated(&LATER, out);
    }
    for volume in list.items() {
        overlaps(&volume, out);
    }
}

/// A path in a volume, and what puts it there.
#[derive(Clone, PartialEq)]
struct Source {
    path: String,
    from: String,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&quote(&self.path))?;
        if !self.from.is_empty() { write!(f, " ({})", self.from) } else { Ok(()) }
    }
}

fn item_paths(source: &View, from: &str) -> Vec<Source> {
    let items = source.get("items").items();
    items.iter().map(|item| Source { path: item.text("path").to_owned(), from: from.to_owned() }).collect()
}

/// Paths that are, or are below, another one: the last one written wins.
fn overlaps(volume: &View, out: &mut Vec<String>) {
    let name = quote(volume.text("name"));
    let mut report = |what: &str, sources: Vec<Source>| {
        let mut seen: Vec<Source> = Vec::new();
        for mut source in sources {
            source.path.truncate(source.path.trim_end_matches('/').len());
            let below = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
            let meets = |other: &&Source| {
                !source.path.is_empty()
                    && !other.path.is_empty()
                    && (below(&other.path, &source.path) || below(&source.path, &other.path))
            };
            for other in seen.iter().filter(meets) {
                out.push(format!("volume {name} ({what}): overlapping paths: {source} with {other}"));
            }
            seen.push(source);
        }
    };
    let (map, secret) = (volume.get("configMap"), volume.get("secret"));
    report(&format!("ConfigMap {}", quote(map.text("name"))), item_paths(&map, ""));
    report(&format!("Secret {}", quote(secret.text("secretName"))), item_paths(&secret, ""));
    report("DownwardAPI", item_paths(&volume.get("downwardAPI"), ""));
    let mut projected = Vec::new();
    let mut empty = 0;
    for source in volume.get("projected").get("sources").items() {
        if source.is_empty() {
            empty += 1;
        }
        projected.extend(projection(&source));
    }
    report("Projected", projected);
    out.extend((0..empty).map(|_| format!("volume {name} (Projected) has no sources provided")));
}

fn projection(source: &View) -> Vec<Source> {
    let one = |path: &str, from: String| vec![Source { path: path.to_owned(), from }];
    let (map, secret, downward) = (source.get("configMap"), source.get("secret"), source.get("downwardAPI"));
    let (token, bundle, certificate) =
        (source.get("serviceAccountToken"), source.get("clusterTrustBundle"), source.get("podCertificate"));
    if map.has("items") {
        item_paths(&map, &format!("ConfigMap {}", quote(map.text("name"))))
    } else if secret.has("items") {
        item_paths(&secret, &format!("Secret {}", quote(secret.text("name"))))
    } else if downward.has("items") {
        item_paths(&downward, "DownwardAPI")
    } else if token.is_set() {
        one(token.text("path"), "ServiceAccountToken".to_owned())
    } else if bundle.is_set() {
        let name = if bundle.has("name") { bundle.text("name") } else { bundle.text("signerName") };
        one(bundle.text("path"), format!("ClusterTrustBundle {}", quote(name)))
    } else {
        let paths = [
            ("certificateChainPath", "chain"),
            ("keyPath", "key"),
            ("credentialBundlePath", "credential bundle"),
        ];
        let given = paths.iter().filter(|(field, _)| !certificate.text(field).is_empty());
        given
            .flat_map(|(field, what)| one(certificate.text(field), format!("PodCertificate {what}")))
            .collect()
    }
}

fn lists(spec: &View, out: &mut Vec<String>) {
    let mut duplicates = |list: &View, field: &'static str, what: &str| {
        let mut seen = Vec::new();
        for item in list.items() {
            let value = item.get(field);
            if seen.contains(&value.str()) {
                out.push(format!("{}: duplicate {what} {}", value.path(), quote(value.str())));
            }
            seen.push(value.str());
        }
    };
    let secrets = spec.get("imagePullSecrets");
    duplicates(&spec.get("hostAliases"), "ip", "ip");
    duplicates(&secrets, "name", "name");
    for secret in secrets.items().iter().filter(|secret| secret.text("name").is_empty()) {
        out.push(format!("{}: invalid empty name \"\"", secret.get("name").path()));
    }
}

fn whole_bytes(amount: &View, out: &mut Vec<String>) {
    if !amount.is_set() {
        return;
    }
    let value = quantity(amount.value());
    if value.milli_value() % 1000 != 0 {
        let text = quote(&value.to_string());
        out.push(format!("{}: fractional byte value {text} is invalid, must be an integer", amount.path()));
    }
}

fn container(container: &View, spec: &View, annotations: &View, is_template: bool, out: &mut Vec<String>) {
    let name = container.text("name");
    let context = container.get("securityContext");
    if !context.has("seccompProfile") {
        seccomp(&annotations.key(&format!("{SECCOMP_CONTAINER}{name}")), out);
    }
    if is_template {
        app_armor(container, spec, annotations, out);
    }
    for resource in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            whole_bytes(&container.get("resources").get(list).key(resource), out);
        }
    }
    environment(&container.get("env"), out);
}

/// The AppArmorProfile that an annotation stands for, if it is a good one.
pub(super) fn app_armor_profile(annotation: &str) -> Option<Value> {
    const LONGEST: usize = 4095;
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        other => {
            let name = other.strip_prefix("localhost/")?;
            let good = !name.is_empty() && name.trim() == name && name.len() <= LONGEST;
            good.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

fn app_armor(container: &View, spec: &View, annotations: &View, out: &mut Vec<String>) {
    let annotation = annotations.key(&format!("{APP_ARMOR}{}", container.text("name")));
    if !annotation.is_set() || container.get("securityContext").has("appArmorProfile") {
        return;
    }
    let own = at(spec.value(), &["securityContext", "appArmorProfile"]);
    if own.is_null() || app_armor_profile(annotation.str()).as_ref() != Some(own) {
        out.push(format!(
            "{}: deprecated since v1.30; use the \"appArmorProfile\" field instead",
            annotation.path()
        ));
    }
}

fn environment(variables: &View, out: &mut Vec<String>) {
    let mut seen = Vec::new();
    for variable in variables.items() {
        let (name, value) = (variable.text("name"), variable.text("value"));
        if !seen.contains(&name) {
            seen.push(name);
            continue;
        }
        let reference = format!("$({name})");
        if variable.has("valueFrom") || value == reference || !value.contains(&reference) {
            out.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                variable.path(),
                quote(name)
            ));
        }
    }
}

fn ports(containers: &[View], out: &mut Vec<String>) {
    let mut seen: Vec<View> = Vec::new();
    for port in containers.iter().flat_map(|container| container.get("ports").items()) {
        let (ip, host, number, protocol) =
            (port.text("hostIP"), port.int("hostPort"), port.int("containerPort"), port.text("protocol"));
        if !ip.is_empty() && host == 0 {
            out.push(format!(
                "{}: hostIP set without hostPort: {{Name:{} HostPort:{host} ContainerPort:{number} Protocol:{protocol} HostIP:{ip}}}",
                port.path(),
                port.text("name")
            ));
        }
        for other in &seen {
            if other.int("containerPort") != number || other.text("protocol") != protocol {
                continue;
            }
            let (other_ip, other_host) = (other.text("hostIP"), other.int("hostPort"));
            let kind = if other_ip == ip && other_host == host {
                "duplicate"
            } else if host == 0 || other_host == 0 {
                "overlapping"
            } else if host == other_host && ip.is_empty() != other_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            out.push(format!("{}: {kind} port definition with {}", port.path(), other.path()));
        }
        seen.push(port);
    }
}

fn port_names(containers: &[View], out: &mut Vec<String>) {
    let mut seen: Vec<(&str, Path)> = Vec::new();
    for port in containers.iter().flat_map(|container| container.get("ports").items()) {
        let name = port.text("name");
        match seen.iter().find(|(known, _)| *known == name) {
            _ if name.is_empty() => {}
            Some((_, other)) => out.push(format!(
                "{}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                port.path(),
                quote(name)
            )),
            None => seen.push((name, port.path().clone())),
        }
    }
}

/// Odd addresses in a pod's status.
pub(super) fn status(pod: &Value) -> Vec<String> {
    let status = View::root(pod).get("status");
    let lists = ["podIPs", "hostIPs"].map(|list| status.get(list).items());
    let ips = lists.iter().flatten().map(|item| item.get("ip"));
    ips.filter(|ip| content::parse_ip_sloppy(ip.str()).is_some())
        .flat_map(|ip| warnings::ip(ip.path(), ip.str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods() {
        let cases = [
            (
                json!({"nodeSelector": {"beta.kubernetes.io/os": "x"}}),
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ),
            (
                json!({"volumes": [{"name": "v", "gitRepo": {}}]}),
                "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
            ),
            (
                json!({"terminationGracePeriodSeconds": -1}),
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ),
            (
                json!({"imagePullSecrets": [{"name": ""}]}),
                "spec.imagePullSecrets[0].name: invalid empty name \"\"",
            ),
            (
                json!({"hostAliases": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}]}),
                "spec.hostAliases[1].ip: duplicate ip \"1.2.3.4\"",
            ),
            (
                json!({"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]}),
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            ),
            (
                json!({"containers": [{"resources": {"limits": {"memory": "100m"}}}]}),
                "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            ),
            (
                json!({"containers": [{"ports": [{"containerPort": 1}, {"containerPort": 1, "hostPort": 2}]}]}),
                "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
            ),
            (
                json!({"volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"path": "a"}, {"path": "a/b"}]}}]}),
                "volume \"v\" (ConfigMap \"m\"): overlapping paths: \"a/b\" with \"a\"",
            ),
            (
                json!({"topologySpreadConstraints": [{"topologyKey": "k"}]}),
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            ),
        ];
        for (spec, want) in cases {
            assert_eq!(pod(&json!({"spec": spec})), [want]);
        }
    }

    #[test]
    fn templates_are_told_of_app_armor() {
        let annotations = json!({"container.apparmor.security.beta.kubernetes.io/c": "unconfined"});
        let template_of = |context: Value| json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "c"}], "securityContext": context}});
        assert_eq!(template(&View::root(&template_of(json!({})))).len(), 1);
        let same = json!({"appArmorProfile": {"type": "Unconfined"}});
        assert!(template(&View::root(&template_of(same))).is_empty());
    }
}
