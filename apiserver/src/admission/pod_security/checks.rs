//! The rules of the levels baseline and restricted, by the version that introduced them.
//!
//! Each check answers with a reason and a detail if the pod violates it. Checks run in the order
//! of the table: those of baseline, then those of restricted, each by their upstream id.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::step::{items, text};
use super::levels::{Level, LevelVersion};
use crate::auth::text::quoted;

/// What a check has against a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    reason: String,
    detail: String,
}

impl Violation {
    fn new(reason: &str, detail: String) -> Option<Violation> {
        Some(Violation { reason: reason.to_owned(), detail })
    }

    /// The reasons of all violations.
    pub(super) fn reasons(violations: &[Violation]) -> String {
        violations.iter().map(|violation| violation.reason.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The reasons of all violations, each with its detail.
    pub(super) fn details(violations: &[Violation]) -> String {
        let one = |violation: &Violation| match violation.detail.as_str() {
            "" => violation.reason.clone(),
            detail => format!("{} ({detail})", violation.reason),
        };
        violations.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

type Check = fn(&Pod<'_>) -> Option<Violation>;

/// A pod as the checks see it, and the version whose rules count.
pub(super) struct Pod<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
    minor: u32,
}

/// A check of a level.
struct Row {
    level: Level,
    check: Check,
    /// Whether the check counts from this minor version on.
    since: u32,
    /// A baseline check that a restricted one says more about counts until this version there.
    replaced_in_restricted: Option<u32>,
}

const fn baseline(since: u32, check: Check) -> Row {
    Row { level: Level::Baseline, check, since, replaced_in_restricted: None }
}

const fn restricted(since: u32, check: Check) -> Row {
    Row { level: Level::Restricted, check, since, replaced_in_restricted: None }
}

impl Row {
    const fn replaced(mut self, since: u32) -> Row {
        self.replaced_in_restricted = Some(since);
        self
    }
}

const CHECKS: &[Row] = &[
    baseline(0, app_armor_profile),
    baseline(0, added_capabilities).replaced(22),
    baseline(0, host_namespaces),
    baseline(0, host_path_volumes).replaced(0),
    baseline(0, host_ports),
    baseline(34, probe_hosts),
    baseline(0, privileged),
    baseline(0, proc_mount_unless_user_namespace).replaced(35),
    baseline(0, selinux_options),
    baseline(0, seccomp_baseline).replaced(19),
    baseline(0, sysctls),
    baseline(0, windows_host_process),
    restricted(8, privilege_escalation),
    restricted(22, capabilities),
    restricted(35, proc_mount),
    restricted(0, volume_types),
    restricted(0, run_as_non_root),
    restricted(23, run_as_user),
    restricted(19, seccomp_restricted),
];

/// The newest version whose rules are known.
const NEWEST: u32 = 36;

/// What the pod violates at this level.
pub(super) fn evaluate(wanted: LevelVersion, metadata: &Value, spec: &Value) -> Vec<Violation> {
    let minor = wanted.version.unwrap_or(NEWEST).min(NEWEST);
    let pod = Pod { metadata, spec, minor };
    let counts = |row: &&Row| {
        let is_replaced = wanted.level == Level::Restricted
            && row.replaced_in_restricted.is_some_and(|since| minor >= since);
        row.level <= wanted.level && minor >= row.since && !is_replaced
    };
    CHECKS.iter().filter(counts).filter_map(|row| (row.check)(&pod)).collect()
}

impl<'a> Pod<'a> {
    fn context(&self) -> &'a Value {
        &self.spec["securityContext"]
    }

    fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|list| items(&spec[list]))
    }

    fn containers_where(&self, is_bad: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        let bad = self.containers().filter(|container| is_bad(container));
        bad.map(|container| text(&container["name"])).collect()
    }

    fn is_windows(&self) -> bool {
        text(&self.spec["os"]["name"]) == "windows"
    }

    /// In a user namespace, root is not root.
    fn has_user_namespace(&self) -> bool {
        self.spec["hostUsers"] == false
    }
}

fn join<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect::<Vec<_>>().join(", ")
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
fn named(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), join(names))
}

/// Pod and containers that set something: `pod and container "a"`.
fn setters(by_pod: bool, containers: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = by_pod.then(|| "pod".to_owned()).into_iter().collect();
    if !containers.is_empty() {
        all.push(named(containers));
    }
    all
}

fn app_armor_profile(pod: &Pod<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut is_bad = |context: &Value| {
        let profile = &context["appArmorProfile"];
        let kind = text(&profile["type"]);
        let bad = profile.is_object() && !matches!(kind, "RuntimeDefault" | "Localhost");
        if bad {
            values.insert(kind.to_owned());
        }
        bad
    };
    let by_pod = is_bad(pod.context());
    let containers: Vec<&str> = pod
        .containers()
        .filter(|container| is_bad(&container["securityContext"]))
        .map(|container| text(&container["name"]))
        .collect();
    let mut all = setters(by_pod, &containers);
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let bad_annotations: Vec<String> = annotations
        .filter(|(key, value)| {
            let value = text(value);
            let allowed = value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with("container.apparmor.security.beta.kubernetes.io/") && !allowed
        })
        .map(|(key, value)| format!("{key}={}", quoted(text(value))))
        .collect();
    if !bad_annotations.is_empty() {
        all.push(plural(bad_annotations.len(), "annotation", "annotations").to_owned());
    }
    if all.is_empty() {
        return None;
    }
    let values: Vec<String> = values.into_iter().chain(bad_annotations).collect();
    Violation::new(
        plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles"),
        format!("{} must not set AppArmor profile type to {}", all.join(" and "), join(values)),
    )
}

const BASELINE_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Containers that add capabilities beyond the allowed, and these.
fn added_beyond<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut beyond = BTreeSet::new();
    let mut containers = Vec::new();
    for container in pod.containers() {
        let added = items(&container["securityContext"]["capabilities"]["add"]).iter().map(text);
        let bad: Vec<&str> = added.filter(|name| !allowed.contains(name)).collect();
        if !bad.is_empty() {
            containers.push(text(&container["name"]));
            beyond.extend(bad);
        }
    }
    (containers, beyond)
}

fn added_capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let (containers, beyond) = added_beyond(pod, BASELINE_CAPABILITIES);
    if containers.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        named(&containers),
        join(beyond)
    );
    Violation::new("non-default capabilities", detail)
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 25 && pod.is_windows() {
        return None;
    }
    let missing = pod.containers_where(|container| {
        let dropped = items(&container["securityContext"]["capabilities"]["drop"]);
        !dropped.iter().any(|name| text(name) == "ALL")
    });
    let mut details = Vec::new();
    if !missing.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&missing)));
    }
    let (containers, beyond) = added_beyond(pod, &["NET_BIND_SERVICE"]);
    if !containers.is_empty() {
        let names = join(beyond);
        details.push(format!(
            "{} must not include {names} in securityContext.capabilities.add",
            named(&containers)
        ));
    }
    if details.is_empty() { None } else { Violation::new("unrestricted capabilities", details.join("; ")) }
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    let set: Vec<String> = fields
        .iter()
        .filter(|field| pod.spec[**field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if set.is_empty() { None } else { Violation::new("host namespaces", set.join(", ")) }
}

fn host_path_volumes(pod: &Pod<'_>) -> Option<Violation> {
    let volumes = items(&pod.spec["volumes"]).iter().filter(|volume| volume["hostPath"].is_object());
    let names: Vec<&str> = volumes.map(|volume| text(&volume["name"])).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural(names.len(), "volume", "volumes"), join(names));
    Violation::new("hostPath volumes", detail)
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let mut containers = Vec::new();
    for container in pod.containers() {
        let own = items(&container["ports"]).iter().filter_map(|port| port["hostPort"].as_i64());
        let own: Vec<String> = own.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        if !own.is_empty() {
            containers.push(text(&container["name"]));
            ports.extend(own);
        }
    }
    if containers.is_empty() {
        return None;
    }
    let uses = plural(containers.len(), "uses", "use");
    let what = plural(ports.len(), "hostPort", "hostPorts");
    let list = ports.into_iter().collect::<Vec<_>>().join(", ");
    Violation::new("hostPort", format!("{} {uses} {what} {list}", named(&containers)))
}

fn probe_hosts(pod: &Pod<'_>) -> Option<Violation> {
    let pointers =
        ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    let mut hosts = BTreeSet::new();
    let mut containers = BTreeSet::new();
    for container in pod.containers() {
        for handler in pointers.iter().filter_map(|pointer| container.pointer(pointer)) {
            for host in [text(&handler["httpGet"]["host"]), text(&handler["tcpSocket"]["host"])] {
                if !host.is_empty() {
                    hosts.insert(host);
                    containers.insert(text(&container["name"]));
                }
            }
        }
    }
    if containers.is_empty() {
        return None;
    }
    let containers: Vec<&str> = containers.into_iter().collect();
    let uses = plural(containers.len(), "uses", "use");
    let what = plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts");
    Violation::new("probe or lifecycle host", format!("{} {uses} {what} {}", named(&containers), join(hosts)))
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.containers_where(|container| container["securityContext"]["privileged"] == true);
    if bad.is_empty() {
        return None;
    }
    Violation::new("privileged", format!("{} must not set securityContext.privileged=true", named(&bad)))
}

fn proc_mount_unless_user_namespace(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 35 && pod.has_user_namespace() { None } else { proc_mount(pod) }
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let value = |container: &Value| container["securityContext"]["procMount"].as_str().map(str::to_owned);
    let is_bad = |container: &Value| value(container).is_some_and(|value| value != "Default");
    let bad = pod.containers_where(is_bad);
    if bad.is_empty() {
        return None;
    }
    let values: BTreeSet<String> = pod.containers().filter(|c| is_bad(c)).filter_map(value).collect();
    let detail = format!("{} must not set securityContext.procMount to {}", named(&bad), join(values));
    Violation::new("procMount", detail)
}

fn selinux_options(pod: &Pod<'_>) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let (mut sets_user, mut sets_role) = (false, false);
    let mut is_bad = |context: &Value| {
        let options = &context["seLinuxOptions"];
        let kind = text(&options["type"]);
        let allowed = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (kind == "container_engine_t" && pod.minor >= 31);
        if !allowed {
            types.insert(kind.to_owned());
        }
        let (user, role) = (!text(&options["user"]).is_empty(), !text(&options["role"]).is_empty());
        sets_user |= user;
        sets_role |= role;
        !allowed || user || role
    };
    let by_pod = is_bad(pod.context());
    let containers: Vec<&str> = pod
        .containers()
        .filter(|container| is_bad(&container["securityContext"]))
        .map(|container| text(&container["name"]))
        .collect();
    let all = setters(by_pod, &containers);
    if all.is_empty() {
        return None;
    }
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural(types.len(), "type", "types"), join(types)));
    }
    if sets_user {
        data.push("user may not be set".to_owned());
    }
    if sets_role {
        data.push("role may not be set".to_owned());
    }
    let detail =
        format!("{} set forbidden securityContext.seLinuxOptions: {}", all.join(" and "), data.join("; "));
    Violation::new("seLinuxOptions", detail)
}

fn is_seccomp_allowed(profile: &Value) -> bool {
    matches!(text(&profile["type"]), "RuntimeDefault" | "Localhost")
}

fn seccomp_baseline(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor < 19 { seccomp_annotations(pod) } else { bad_seccomp_profiles(pod) }
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let annotations = &pod.metadata["annotations"];
    let containers = pod.containers().map(|container| {
        format!("container.seccomp.security.alpha.kubernetes.io/{}", text(&container["name"]))
    });
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned()).chain(containers);
    let bad: BTreeSet<String> = keys
        .filter_map(|key| annotations[&key].as_str().map(|value| (key, value)))
        .filter(|(_, value)| {
            !matches!(*value, "runtime/default" | "docker/default") && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={}", quoted(value)))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let what = plural(bad.len(), "annotation", "annotations");
    let list = bad.into_iter().collect::<Vec<_>>().join(", ");
    Violation::new("seccompProfile", format!("forbidden {what} {list}"))
}

fn bad_seccomp_profiles(pod: &Pod<'_>) -> Option<Violation> {
    let profile = |context: &Value| context["seccompProfile"].clone();
    let is_bad = |context: &Value| profile(context).is_object() && !is_seccomp_allowed(&profile(context));
    let by_pod = is_bad(pod.context());
    let containers = pod.containers_where(|container| is_bad(&container["securityContext"]));
    let all = setters(by_pod, &containers);
    if all.is_empty() {
        return None;
    }
    let contexts = std::iter::once(pod.context()).chain(pod.containers().map(|c| &c["securityContext"]));
    let values: BTreeSet<&str> =
        contexts.filter(|context| is_bad(context)).map(|c| text(&c["seccompProfile"]["type"])).collect();
    let detail =
        format!("{} must not set securityContext.seccompProfile.type to {}", all.join(" and "), join(values));
    Violation::new("seccompProfile", detail)
}

fn seccomp_restricted(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 25 && pod.is_windows() {
        return None;
    }
    if let Some(violation) = bad_seccomp_profiles(pod) {
        return Some(violation);
    }
    if pod.context()["seccompProfile"].is_object() {
        return None;
    }
    let unset = pod.containers_where(|container| !container["securityContext"]["seccompProfile"].is_object());
    if unset.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        named(&unset)
    );
    Violation::new("seccompProfile", detail)
}

/// (sysctl, minor version that allowed it)
const SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let names = items(&pod.context()["sysctls"]).iter().map(|sysctl| text(&sysctl["name"]));
    let allowed = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && pod.minor >= *since);
    let bad: Vec<&str> = names.filter(|name| !allowed(name)).collect();
    if bad.is_empty() { None } else { Violation::new("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(pod: &Pod<'_>) -> Option<Violation> {
    let is_bad = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let containers = pod.containers_where(|container| is_bad(&container["securityContext"]));
    let all = setters(is_bad(pod.context()), &containers);
    if all.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not set securityContext.windowsOptions.hostProcess=true", all.join(" and "));
    Violation::new("hostProcess", detail)
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 25 && pod.is_windows() {
        return None;
    }
    let bad = pod.containers_where(|c| c["securityContext"]["allowPrivilegeEscalation"] != false);
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&bad));
    Violation::new("allowPrivilegeEscalation != false", detail)
}

const ALLOWED_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn volume_types(pod: &Pod<'_>) -> Option<Violation> {
    let mut names = Vec::new();
    let mut types = BTreeSet::new();
    for volume in items(&pod.spec["volumes"]) {
        let source = volume.as_object().into_iter().flatten().find(|(_, value)| value.is_object());
        let kind = source.map_or("unknown", |(field, _)| field.as_str());
        if !ALLOWED_VOLUMES.contains(&kind) {
            names.push(text(&volume["name"]));
            types.insert(kind);
        }
    }
    if names.is_empty() {
        return None;
    }
    let volumes = plural(names.len(), "volume", "volumes");
    let uses = plural(names.len(), "uses", "use");
    let what = plural(types.len(), "restricted volume type", "restricted volume types");
    Violation::new(
        "restricted volume types",
        format!("{volumes} {} {uses} {what} {}", join(names), join(types)),
    )
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 35 && pod.has_user_namespace() {
        return None;
    }
    let own = |container: &Value| container["securityContext"]["runAsNonRoot"].as_bool();
    let of_pod = pod.context()["runAsNonRoot"].as_bool();
    let explicit = pod.containers_where(|container| own(container) == Some(false));
    let all = setters(of_pod == Some(false), &explicit);
    if !all.is_empty() {
        let detail = format!("{} must not set securityContext.runAsNonRoot=false", all.join(" and "));
        return Violation::new("runAsNonRoot != true", detail);
    }
    let implicit = pod.containers_where(|container| own(container).is_none());
    if of_pod == Some(true) || implicit.is_empty() {
        return None;
    }
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", named(&implicit));
    Violation::new("runAsNonRoot != true", detail)
}

fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor >= 35 && pod.has_user_namespace() {
        return None;
    }
    let containers = pod.containers_where(|container| container["securityContext"]["runAsUser"] == 0);
    let all = setters(pod.context()["runAsUser"] == 0, &containers);
    if all.is_empty() {
        return None;
    }
    Violation::new("runAsUser=0", format!("{} must not set runAsUser=0", all.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn details(level: Level, version: Option<u32>, spec: Value) -> String {
        Violation::details(&evaluate(LevelVersion { level, version }, &json!({}), &spec))
    }

    #[test]
    fn a_plain_pod() {
        let spec = json!({ "containers": [{ "name": "c" }] });
        assert_eq!(details(Level::Privileged, None, spec.clone()), "");
        assert_eq!(details(Level::Baseline, None, spec.clone()), "");
        assert_eq!(
            details(Level::Restricted, None, spec),
            "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
             unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
             runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
             seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
    }

    #[test]
    fn a_pod_that_is_restricted() {
        let spec = json!({
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{ "name": "c", "securityContext": { "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] } } }],
            "volumes": [{ "name": "v", "emptyDir": {} }],
        });
        assert_eq!(details(Level::Restricted, None, spec), "");
    }

    #[test]
    fn each_violation_is_named() {
        let context = |context: Value| json!({ "containers": [{ "name": "a", "securityContext": context }, { "name": "b" }] });
        for (spec, expected) in [
            (
                json!({ "hostNetwork": true, "hostPID": true }),
                "host namespaces (hostNetwork=true, hostPID=true)",
            ),
            (json!({ "volumes": [{ "name": "v", "hostPath": {} }] }), "hostPath volumes (volume \"v\")"),
            (
                json!({ "containers": [{ "name": "a", "ports": [{ "hostPort": 80 }, { "hostPort": 443 }] }] }),
                "hostPort (container \"a\" uses hostPorts 443, 80)",
            ),
            (
                json!({ "containers": [{ "name": "a", "livenessProbe": { "httpGet": { "host": "x" } } }] }),
                "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"x\")",
            ),
            (
                context(json!({ "privileged": true })),
                "privileged (container \"a\" must not set securityContext.privileged=true)",
            ),
            (
                context(json!({ "procMount": "Unmasked" })),
                "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
            ),
            (
                context(json!({ "capabilities": { "add": ["NET_RAW", "CHOWN"] } })),
                "non-default capabilities (container \"a\" must not include \"NET_RAW\" in securityContext.capabilities.add)",
            ),
            (
                context(json!({ "seLinuxOptions": { "type": "x", "user": "u" } })),
                "seLinuxOptions (container \"a\" set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set)",
            ),
            (
                json!({ "securityContext": { "seccompProfile": { "type": "Unconfined" } } }),
                "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
            ),
            (
                json!({ "securityContext": { "sysctls": [{ "name": "kernel.msgmax" }] } }),
                "forbidden sysctls (kernel.msgmax)",
            ),
            (
                json!({ "securityContext": { "windowsOptions": { "hostProcess": true } } }),
                "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
            ),
            (
                json!({ "securityContext": { "appArmorProfile": { "type": "Unconfined" } } }),
                "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
            ),
        ] {
            assert_eq!(details(Level::Baseline, None, spec), expected);
        }
    }

    #[test]
    fn versions_and_replacements() {
        let host_path = json!({ "volumes": [{ "name": "v", "hostPath": {} }] });
        assert_eq!(
            details(Level::Restricted, None, host_path),
            "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")"
        );
        let sysctl = json!({ "securityContext": { "sysctls": [{ "name": "net.ipv4.tcp_rmem" }] } });
        assert_eq!(
            details(Level::Baseline, Some(31), sysctl.clone()),
            "forbidden sysctls (net.ipv4.tcp_rmem)"
        );
        assert_eq!(details(Level::Baseline, Some(32), sysctl.clone()), "");
        assert_eq!(details(Level::Baseline, Some(999), sysctl), "");
        let user_namespace = json!({ "hostUsers": false, "containers": [{ "name": "c",
            "securityContext": { "procMount": "Unmasked" } }] });
        assert_eq!(details(Level::Baseline, None, user_namespace.clone()), "");
        assert!(details(Level::Restricted, None, user_namespace).contains("procMount"));
    }
}
