//! Security contexts of pods and containers.

use std::sync::LazyLock;

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::view::View;
use regex::Regex;

use super::Options;
use crate::registry::checks::*;

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

/// The security context of a container.
pub(super) fn container(context: &View, host_users: bool, errors: &mut Errors) {
    if !context.is_set() {
        return;
    }
    user_and_group(context, errors);
    let mount = context.get("procMount");
    if mount.is_set() {
        supported(&mount, &["Default", "Unmasked"], errors);
        if host_users && mount.str() == "Unmasked" {
            errors.push(mount.invalid("`hostUsers` must be false to use `Unmasked`"));
        }
    }
    seccomp_profile(&context.get("seccompProfile"), errors);
    if context.raw("allowPrivilegeEscalation").as_bool() == Some(false) {
        if context.flag("privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(context.invalid(detail));
        }
        for capability in context.get("capabilities").texts("add") {
            if capability == "CAP_SYS_ADMIN" {
                let detail =
                    "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
                errors.push(context.invalid(detail));
            }
        }
    }
    windows_options(&context.get("windowsOptions"), errors);
    app_armor_profile(&context.get("appArmorProfile"), errors);
}

fn user_and_group(context: &View, errors: &mut Errors) {
    for (field, check) in [
        ("runAsUser", content::is_valid_user_id as fn(i64) -> Vec<String>),
        ("runAsGroup", content::is_valid_group_id),
    ] {
        let id = context.get(field);
        if id.is_set() {
            each_int(&id, check(id.i64()), errors);
        }
    }
}

/// The security context of a pod.
pub(super) fn pod(spec: &View, options: &Options, errors: &mut Errors) {
    let context = spec.get("securityContext");
    let group = context.get("fsGroup");
    if group.is_set() {
        each_int(&group, content::is_valid_group_id(group.i64()), errors);
    }
    user_and_group(&context, errors);
    for group in context.get("supplementalGroups").items() {
        each_int(&group, content::is_valid_group_id(group.i64()), errors);
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let path = context.path().child("shareProcessNamespace");
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path, true, detail));
    }
    sysctls(spec, &context.get("sysctls"), options, errors);
    let one_of = |field, values: &[&str], errors: &mut Errors| {
        if context.has(field) {
            supported(&context.get(field), values, errors);
        }
    };
    one_of("fsGroupChangePolicy", &["Always", "OnRootMismatch"], errors);
    seccomp_profile(&context.get("seccompProfile"), errors);
    windows_options(&context.get("windowsOptions"), errors);
    app_armor_profile(&context.get("appArmorProfile"), errors);
    one_of("supplementalGroupsPolicy", &["Merge", "Strict"], errors);
    one_of("seLinuxChangePolicy", &["MountOption", "Recursive"], errors);
}

fn sysctls(spec: &View, list: &View, options: &Options, errors: &mut Errors) {
    let mut seen = Vec::new();
    for sysctl in list.items() {
        let name = sysctl.get("name");
        if name.is_empty() {
            errors.push(name.required(""));
        } else if !is_sysctl_name(name.str()) {
            let segment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
            errors.push(name.invalid_str(format!(
                "must have at most 253 characters and match regex ^({segment}[\\./])*{segment}$"
            )));
        } else if seen.contains(&name.str()) {
            errors.push(name.duplicate());
        }
        if !options.host_sysctls
            && let Some(detail) = host_sysctl(spec, name.str())
        {
            errors.push(name.invalid_str(detail));
        }
        seen.push(name.str());
    }
}

fn is_sysctl_name(name: &str) -> bool {
    let segment = |segment: &str| {
        let bytes = segment.as_bytes();
        let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(segment)
}

/// Why a sysctl can't be set in a pod that shares the namespace it belongs to with the host.
pub(super) fn host_sysctl(spec: &View, name: &str) -> Option<&'static str> {
    const IPC: [&str; 10] = [
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.shm",
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.msg",
    ];
    let dotted = dotted(name);
    let name = dotted.split('*').next().unwrap_or_default();
    if name.starts_with("net.") && spec.flag("hostNetwork") {
        return Some("may not be specified when 'hostNetwork' is true");
    }
    if (IPC.contains(&name) || name.starts_with("fs.mqueue.")) && spec.flag("hostIPC") {
        return Some("may not be specified when 'hostIPC' is true");
    }
    None
}

/// A name whose first separator is a slash has slashes for dots and dots for slashes.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name[first..].starts_with('/') => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn seccomp_profile(profile: &View, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    if kind.is_empty() {
        errors.push(kind.required("type is required when seccompProfile is set"));
    } else {
        supported(&kind, &PROFILE_TYPES, errors);
    }
    if kind.str() == "Localhost" {
        if local.is_set() {
            descending_path(&local, errors);
        } else {
            errors.push(local.required("must be set when seccomp type is Localhost"));
        }
    } else if local.is_set() {
        let detail = "can only be set when seccomp type is Localhost";
        errors.push(Error::invalid(local.path(), profile.value().clone(), detail));
    }
}

pub(super) fn app_armor_profile(profile: &View, errors: &mut Errors) {
    const MISSING: &str = "must be set when AppArmor type is Localhost";
    const LONGEST: usize = 4095;
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    match kind.str() {
        "Localhost" if !local.is_set() => errors.push(local.required(MISSING)),
        "Localhost" => {
            let trimmed = local.str().trim();
            if trimmed != local.str() {
                errors.push(local.invalid_str("must not be padded with whitespace"));
            } else if trimmed.is_empty() {
                errors.push(local.required(MISSING));
            }
            if local.str().len() > LONGEST {
                errors.push(Error::too_long(local.path(), LONGEST));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if local.is_set() {
                errors.push(local.invalid("can only be set when AppArmor type is Localhost"));
            }
        }
        "" => errors.push(kind.required("type is required when appArmorProfile is set")),
        _ => errors.push(kind.not_supported(&PROFILE_TYPES)),
    }
}

struct WindowsPatterns {
    net_bios: Option<Regex>,
    dns: Option<Regex>,
    bad_characters: Option<Regex>,
}

static WINDOWS: LazyLock<WindowsPatterns> = LazyLock::new(|| {
    WindowsPatterns {
    net_bios: Regex::new(r#"^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$"#).ok(),
    dns: Regex::new(
        r"^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$",
    )
    .ok(),
    bad_characters: Regex::new(r#"["/\\:;|=,\+\*\?<>@\[\]]"#).ok(),
}
});

fn matches(pattern: &Option<Regex>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

fn windows_options(options: &View, errors: &mut Errors) {
    let name = options.get("gmsaCredentialSpecName");
    if name.is_set() {
        dns_subdomain(&name, errors);
    }
    let spec = options.get("gmsaCredentialSpec");
    if spec.is_set() {
        if spec.str().is_empty() {
            errors.push(spec.invalid("gmsaCredentialSpec cannot be an empty string"));
        } else if spec.str().len() > 64 * 1024 {
            errors.push(spec.invalid("gmsaCredentialSpec size must be under 64 KiB"));
        }
    }
    let user = options.get("runAsUserName");
    if user.is_set() {
        errors.extend(windows_user(user.str()).into_iter().map(|detail| user.invalid(detail)));
    }
}

fn windows_user(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts.as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return vec!["runAsUserName cannot contain more than one backslash"],
    };
    let mut details = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            details.push("runAsUserName's Domain length must be under 256 characters");
        }
        if !matches(&WINDOWS.net_bios, domain) && !matches(&WINDOWS.dns, domain) {
            details.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        details.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        details.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        details.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if matches(&WINDOWS.bad_characters, user) {
        details.push(r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#);
    }
    details
}

/// Host-process containers run all together or not at all.
pub(super) fn windows_host_process(spec: &View, containers: &[View], errors: &mut Errors) {
    let of =
        |context: &View| context.get("securityContext").get("windowsOptions").raw("hostProcess").as_bool();
    let of_pod = of(spec);
    let mut count = 0;
    for container in containers {
        let own = of(container);
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let path = container.path().child("securityContext").child("windowsOptions").child("hostProcess");
            let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.push(Error::invalid(&path, own, detail));
        }
        if own.or(of_pod) == Some(true) {
            count += 1;
        }
    }
    if count == 0 {
        return;
    }
    if count != containers.len() {
        let detail =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(Error::invalid(spec.path(), "", detail));
    }
    if !spec.flag("hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(Error::invalid(&spec.path().child("hostNetwork"), false, detail));
    }
}

/// What the operating system of a pod rules out.
pub(super) fn by_os(spec: &View, containers: &[View], errors: &mut Errors) {
    const WINDOWS: &str = "cannot be set for a windows pod";
    let os = spec.get("os");
    if !os.is_set() {
        return;
    }
    let name = os.get("name");
    let context = spec.get("securityContext");
    match name.str() {
        "" => errors.push(name.required("")),
        "linux" => {
            let detail = "windows options cannot be set for a linux pod";
            for context in contexts(&context, containers) {
                if context.has("windowsOptions") {
                    errors.push(context.get("windowsOptions").forbidden(detail));
                }
            }
        }
        "windows" => {
            let forbid = |at: &View, field: &'static str, errors: &mut Errors| {
                let value = at.get(field);
                if value.is_set() && value.value().as_bool() != Some(false) || is_pointer(field, &value) {
                    errors.push(value.forbidden(WINDOWS));
                }
            };
            for field in ["appArmorProfile", "seLinuxOptions"] {
                forbid(&context, field, errors);
            }
            for field in ["hostUsers", "hostPID", "hostIPC"] {
                forbid(spec, field, errors);
            }
            for field in ["seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls"] {
                forbid(&context, field, errors);
            }
            forbid(spec, "shareProcessNamespace", errors);
            for field in [
                "runAsUser",
                "runAsGroup",
                "supplementalGroups",
                "supplementalGroupsPolicy",
                "seLinuxChangePolicy",
            ] {
                forbid(&context, field, errors);
            }
            for container in containers {
                let context = container.get("securityContext");
                for field in [
                    "appArmorProfile",
                    "seLinuxOptions",
                    "seccompProfile",
                    "capabilities",
                    "readOnlyRootFilesystem",
                    "privileged",
                    "allowPrivilegeEscalation",
                    "procMount",
                    "runAsUser",
                    "runAsGroup",
                ] {
                    forbid(&context, field, errors);
                }
            }
        }
        other => errors.push(Error::not_supported(os.path(), other, &["linux", "windows"])),
    }
}

/// Fields that are set even when they say false.
fn is_pointer(field: &str, value: &View) -> bool {
    value.is_set() && !matches!(field, "hostPID" | "hostIPC")
}

fn contexts<'a>(pod: &View<'a>, containers: &[View<'a>]) -> Vec<View<'a>> {
    let of_containers = containers.iter().map(|container| container.get("securityContext"));
    std::iter::once(pod.clone()).chain(of_containers).collect()
}

/// Annotations of profiles from before there were fields.
pub(super) fn annotations(metadata: &View, containers: &[View], errors: &mut Errors) {
    const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
    const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let list = metadata.get("annotations");
    let entries = list.entries();
    let named = |key: &str| list.path().child_named(key);
    for (key, value) in &entries {
        if *key == "seccomp.security.alpha.kubernetes.io/pod" || key.starts_with(SECCOMP) {
            seccomp_annotation(value.str(), &named(key), errors);
        }
    }
    for (key, value) in &entries {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        if !containers.iter().any(|container| container.text("name") == name) {
            errors.push(Error::invalid(value.path(), name, "container not found"));
        }
        let known = ["", "runtime/default", "unconfined"].contains(&value.str());
        if !known && !value.str().starts_with("localhost/") {
            let quoted = proto::field::quote(value.str());
            errors.push(value.invalid_str(format!("invalid AppArmor profile name: {quoted}")));
        }
    }
}

fn seccomp_annotation(profile: &str, path: &Path, errors: &mut Errors) {
    if let Some(local) = profile.strip_prefix("localhost/") {
        let local = serde_json::Value::from(local);
        descending_path(&View::at(&local, path.clone()), errors);
    } else if !["runtime/default", "docker/default", "unconfined"].contains(&profile) {
        errors.push(Error::invalid(path, profile, "must be a valid seccomp profile"));
    }
}

/// Annotations and fields of profiles must say the same in a new pod.
pub(super) fn annotations_match(metadata: &View, spec: &View, containers: &[View], errors: &mut Errors) {
    let annotations = metadata.get("annotations");
    let context = spec.get("securityContext");
    let of_pod = annotations.key("seccomp.security.alpha.kubernetes.io/pod");
    profile_matches(&of_pod, &context.get("seccompProfile"), None, "seccomp", errors);
    for container in containers {
        let key = format!("container.seccomp.security.alpha.kubernetes.io/{}", container.text("name"));
        let profile = container.get("securityContext").get("seccompProfile");
        profile_matches(&annotations.key(&key), &profile, None, "seccomp", errors);
    }
    if spec.get("os").text("name") == "windows" {
        return;
    }
    for container in containers {
        let key = format!("container.apparmor.security.beta.kubernetes.io/{}", container.text("name"));
        let own = container.get("securityContext").get("appArmorProfile");
        let profile = if own.is_set() { own.clone() } else { context.get("appArmorProfile") };
        profile_matches(&annotations.key(&key), &profile, Some(own.path()), "apparmor", errors);
    }
}

fn profile_matches(annotation: &View, profile: &View, at: Option<&Path>, what: &str, errors: &mut Errors) {
    if !annotation.is_set() || !profile.is_set() {
        return;
    }
    let path = at.unwrap_or(profile.path());
    let value = annotation.str();
    let local = value.strip_prefix("localhost/");
    let same_type = match profile.text("type") {
        "Unconfined" => value == "unconfined",
        "RuntimeDefault" => value == "runtime/default" || (what == "seccomp" && value == "docker/default"),
        "Localhost" => local.is_some(),
        _ => true,
    };
    if !same_type {
        let detail = format!("{what} type in annotation and field must match");
        errors.push(Error::forbidden(&path.child("type"), detail));
    } else if profile.text("type") == "Localhost" && local != Some(profile.text("localhostProfile")) {
        let detail = format!("{what} profile in annotation and field must match");
        errors.push(Error::forbidden(&path.child("localhostProfile"), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names() {
        for good in ["a", "kernel.shm_rmid_forced", "net/ipv4/ip_forward", "a-b.c"] {
            assert!(is_sysctl_name(good), "{good}");
        }
        for bad in ["", ".a", "a.", "A", "a..b", "_a"] {
            assert!(!is_sysctl_name(bad), "{bad}");
        }
        assert_eq!(dotted("net/ipv4/conf.x"), "net.ipv4.conf/x");
    }

    #[test]
    fn windows_users() {
        assert!(windows_user("ContainerAdministrator").is_empty());
        assert!(windows_user(r"NT AUTHORITY\SYSTEM").is_empty());
        assert_eq!(windows_user(r"a\b\c"), ["runAsUserName cannot contain more than one backslash"]);
        assert_eq!(windows_user("..").len(), 1);
    }
}
