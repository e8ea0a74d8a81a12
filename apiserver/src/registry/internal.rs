//! The group internal.apiserver.k8s.io: which server stores what in which version.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;
use serde_json::Value;

use super::checks::{each, qualified_name, required};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new("internal.apiserver.k8s.io", "v1alpha1", "storageversions", "StorageVersion")
        .cluster()
        .hooks(Hooks {
            validate: |_, new| validate_status(new),
            validate_name: |name, _| name_problems(name),
            allow_unconditional_update: false,
            ..strategy::with_status()
        })
        .status(Hooks {
            validate_update: |_, new, _| validate_status(new),
            allow_unconditional_update: false,
            ..strategy::status_only()
        })
        .install(builder, enabled);
}

fn name_problems(name: &str) -> Vec<String> {
    let Some((group, resource)) = name.rsplit_once('.') else {
        return vec!["name must be in the form of <group>.<resource>".to_owned()];
    };
    let prefixed = |part: &str, messages: Vec<String>| {
        messages.into_iter().map(|message| format!("the {part} segment {message}")).collect::<Vec<_>>()
    };
    let mut problems = prefixed("group", content::is_dns1123_subdomain(group));
    problems.extend(prefixed("resource", content::is_dns1035_label(resource)));
    problems
}

fn validate_status(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let status = View::root(object).get("status");
    let servers = status.get("storageVersions").items();
    for (at, server) in servers.iter().enumerate() {
        let id = server.get("apiServerID");
        if servers[..at].iter().any(|other| other.text("apiServerID") == id.str()) {
            errors.push(id.duplicate());
        }
        self::server(server, &mut errors);
    }
    common_version(&status, &servers, &mut errors);
    conditions(&status, &mut errors);
    errors
}

fn server(server: &View, errors: &mut Errors) {
    let id = server.get("apiServerID");
    each(&id, content::is_dns1123_subdomain(id.str()), errors);
    let encoding = server.get("encodingVersion");
    api_version(&encoding, errors);
    let decodable = server.get("decodableVersions");
    for version in decodable.items() {
        api_version(&version, errors);
    }
    let known = decodable.strs();
    if !known.contains(&encoding.str()) {
        let detail = format!("decodableVersions must include encodingVersion {}", encoding.str());
        errors.push(decodable.invalid(detail));
    }
    for version in server.get("servedVersions").items() {
        api_version(&version, errors);
        if !known.contains(&version.str()) {
            errors.push(version.invalid_str(format!(
                "individual served version : {} must be included in decodableVersions : [{}]",
                version.str(),
                known.join(" ")
            )));
        }
    }
}

fn common_version(status: &View, servers: &[View], errors: &mut Errors) {
    let mut versions = servers.iter().map(|server| server.text("encodingVersion"));
    let first = versions.next();
    let actual = first.filter(|first| versions.all(|version| version == *first));
    let stated = status.get("commonEncodingVersion");
    match (actual, stated.is_set()) {
        (None, true) => errors.push(stated.invalid_str(
            "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet",
        )),
        (Some(actual), false) => {
            let detail = format!("the common encoding version is {actual}");
            errors.push(Error::invalid(stated.path(), Value::Null, detail));
        }
        (Some(actual), true) if actual != stated.str() => {
            errors.push(stated.invalid_str(format!("the actual common encoding version is {actual}")));
        }
        _ => {}
    }
}

fn conditions(status: &View, errors: &mut Errors) {
    let conditions = status.get("conditions").items();
    for (at, condition) in conditions.iter().enumerate() {
        // Upstream reports these below the status itself.
        let condition = condition.with_path(status.path().index(at));
        let kind = condition.get("type");
        let earlier = conditions[..at].iter().rposition(|other| other.text("type") == kind.str());
        if let Some(earlier) = earlier {
            errors.push(kind.invalid_str(format!(
                "the type of the condition is not unique, it also appears in conditions[{earlier}]"
            )));
        }
        qualified_name(&kind, errors);
        qualified_name(&condition.get("status"), errors);
        required(&condition.get("reason"), errors);
        required(&condition.get("message"), errors);
    }
}

/// `version` or `group/version`.
fn api_version(view: &View, errors: &mut Errors) {
    const EMPTY: &str = "must be non-empty";
    let prefixed = |part: &str, messages: Vec<String>| {
        messages.into_iter().map(|message| format!("{part} part: {message}")).collect::<Vec<_>>()
    };
    let mut problems = Vec::new();
    let version = match view.str().split('/').collect::<Vec<_>>()[..] {
        [version] => Some(version),
        [group, version] => {
            if group.is_empty() {
                problems.push(format!("group part: {EMPTY}"));
            } else {
                problems.extend(prefixed("group", content::is_dns1123_subdomain(group)));
            }
            Some(version)
        }
        _ => None,
    };
    match version {
        None => {
            let label = "a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
            let shape = content::regex_error(label, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]);
            problems.push(format!(
                "an apiVersion is {shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')"
            ));
        }
        Some("") => problems.push(format!("version part: {EMPTY}")),
        Some(version) => problems.extend(prefixed("version", content::is_dns1035_label(version))),
    }
    if !problems.is_empty() {
        errors.push(view.invalid_str(problems.join(",")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn statuses_are_checked() {
        let server = |id: &str, version: &str| {
            json!({"apiServerID": id, "encodingVersion": version, "decodableVersions": [version],
                   "servedVersions": [version]})
        };
        let condition =
            json!({"type": "AllEncodingVersionsEqual", "status": "True", "reason": "r", "message": "m"});
        let cases = [
            (json!({}), vec![]),
            (json!({"storageVersions": [server("a", "v1")], "commonEncodingVersion": "v1"}), vec![]),
            (
                json!({"storageVersions": [server("a", "v1"), server("a", "v2")], "commonEncodingVersion": "v1"}),
                vec![
                    "status.storageVersions[1].apiServerID: Duplicate value: \"a\"",
                    "status.commonEncodingVersion: Invalid value: \"v1\": should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet",
                ],
            ),
            (
                json!({"storageVersions": [server("a", "v1")]}),
                vec!["status.commonEncodingVersion: Invalid value: null: the common encoding version is v1"],
            ),
            (
                json!({"storageVersions": [server("a", "/v1")], "commonEncodingVersion": "/v1"}),
                vec![
                    "status.storageVersions[0].encodingVersion: Invalid value: \"/v1\": group part: must be non-empty",
                    "status.storageVersions[0].decodableVersions[0]: Invalid value: \"/v1\": group part: must be non-empty",
                    "status.storageVersions[0].servedVersions[0]: Invalid value: \"/v1\": group part: must be non-empty",
                ],
            ),
            (
                json!({"conditions": [condition, condition]}),
                vec![
                    "status[1].type: Invalid value: \"AllEncodingVersionsEqual\": the type of the condition is not unique, it also appears in conditions[0]",
                ],
            ),
        ];
        for (status, want) in cases {
            let object = json!({"status": status});
            let texts: Vec<String> = validate_status(&object).iter().map(ToString::to_string).collect();
            assert_eq!(texts, want, "{object}");
        }
        assert_eq!(name_problems("fizz"), ["name must be in the form of <group>.<resource>"]);
        assert!(name_problems("apps.deployments").is_empty());
    }
}
