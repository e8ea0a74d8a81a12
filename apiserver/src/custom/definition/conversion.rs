//! How a definition says that its versions convert.

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::view::{at, strs};
use serde_json::Value;

use super::certificates;

const ACCEPTED: [&str; 2] = ["v1", "v1beta1"];

/// What the conversion of an older state of the definition permits.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) require_recognized: bool,
    pub(super) allow_invalid_bundle: bool,
}

/// Whether one of the versions is known, or there is none.
pub(super) fn is_recognized_or_empty(versions: &Value) -> bool {
    let versions = strs(versions);
    versions.is_empty() || versions.iter().any(|version| ACCEPTED.contains(version))
}

/// What is wrong with `spec.conversion`. Paths are those of upstream's internal form.
pub(super) fn validate(conversion: &Value, path: &Path, rules: Rules) -> Errors {
    let mut errors = Errors::new();
    if conversion.is_null() {
        return errors;
    }
    let strategy = conversion["strategy"].as_str().unwrap_or_default();
    let at_strategy = path.child("strategy");
    match strategy {
        "" => errors.push(Error::required(&at_strategy, "")),
        "None" | "Webhook" => {}
        other => errors.push(Error::not_supported(&at_strategy, other, &["None", "Webhook"])),
    }
    let client = at(conversion, &["webhook", "clientConfig"]);
    let versions = at(conversion, &["webhook", "conversionReviewVersions"]);
    let (at_client, at_versions) =
        (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if client.is_object() {
            errors.push(Error::forbidden(&at_client, detail));
        }
        if !strs(versions).is_empty() {
            errors.push(Error::forbidden(&at_versions, detail));
        }
        return errors;
    }
    if !client.is_object() {
        errors.push(Error::required(&at_client, "required when strategy is set to Webhook"));
    } else {
        let (url, service) = (at(client, &["url"]), at(client, &["service"]));
        match (url.as_str(), service.is_object()) {
            (Some(url), false) => self::url(&at_client.child("url"), url, &mut errors),
            (None, true) => self::service(&at_client.child("service"), service, &mut errors),
            _ => errors.push(Error::required(&at_client, "exactly one of url or service is required")),
        }
        let bundle = at(client, &["caBundle"]);
        if !rules.allow_invalid_bundle
            && let Err(error) = certificates::check_field(bundle)
        {
            errors.push(Error::invalid(&at_client.child("caBundle"), bundle.clone(), error));
        }
    }
    review_versions(versions, &at_versions, rules.require_recognized, &mut errors);
    errors
}

fn review_versions(versions: &Value, path: &Path, require_recognized: bool, errors: &mut Errors) {
    let list = strs(versions);
    if list.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    for (i, version) in list.iter().enumerate() {
        if list[..i].contains(version) {
            errors.push(Error::invalid(&path.index(i), *version, "duplicate version"));
            continue;
        }
        let messages = content::is_dns1035_label(version);
        errors.extend(messages.into_iter().map(|m| Error::invalid(&path.index(i), *version, m)));
    }
    if require_recognized && !is_recognized_or_empty(versions) {
        let detail = format!("must include at least one of {}", ACCEPTED.join(", "));
        errors.push(Error::invalid(path, versions.clone(), detail));
    }
}

fn url(path: &Path, url: &str, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("", url),
    };
    if url.chars().any(char::is_control) || rest.is_empty() && url.starts_with(':') {
        let detail =
            format!("url must be a valid URL: parse {}: invalid URL{FORM}", proto::field::quote(url));
        errors.push(Error::required(path, detail));
        return;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(Error::invalid(path, scheme, detail));
    }
    if host.is_empty() {
        errors.push(Error::invalid(path, host, format!("host must be specified{FORM}")));
    }
    if let Some(user) = user {
        errors.push(Error::invalid(path, user, "user information is not permitted in the URL"));
    }
    if !fragment.is_empty() {
        errors.push(Error::invalid(path, fragment, "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        errors.push(Error::invalid(path, query, "query parameters are not permitted in the URL"));
    }
}

fn service(path: &Path, service: &Value, errors: &mut Errors) {
    for field in ["name", "namespace"] {
        if service[field].as_str().unwrap_or_default().is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    let port = service["port"].as_i64().unwrap_or_default();
    let messages = content::is_valid_port_num(port);
    if !messages.is_empty() {
        let detail = format!("port is not valid: {}", messages.join(", "));
        errors.push(Error::invalid(&path.child("port"), port, detail));
    }
    let Some(text) = service["path"].as_str().filter(|text| !matches!(*text, "" | "/")) else { return };
    let at = path.child("path");
    let mut bad = |detail: String| errors.push(Error::invalid(&at, text, detail));
    if text == "//" {
        bad("segment[0] may not be empty".to_owned());
        return;
    }
    if !text.starts_with('/') {
        bad("must start with a '/'".to_owned());
    }
    let mut chars = text.chars();
    chars.next();
    let rest = chars.as_str();
    for (i, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            bad(format!("segment[{i}] may not be empty"));
            continue;
        }
        for message in content::is_dns1123_subdomain(segment) {
            bad(format!("segment[{i}]: {message}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(conversion: Value) -> Vec<String> {
        let rules = Rules { require_recognized: true, allow_invalid_bundle: false };
        validate(&conversion, &Path::new("c"), rules).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn conversions_are_checked() {
        let none: [&str; 0] = [];
        assert_eq!(texts(json!({"strategy": "None"})), none);
        assert_eq!(
            texts(json!({"strategy": "x"})),
            ["c.strategy: Unsupported value: \"x\": supported values: \"None\", \"Webhook\""]
        );
        assert_eq!(
            texts(
                json!({"strategy": "None", "webhook": {"clientConfig": {}, "conversionReviewVersions": ["v1"]}})
            ),
            [
                "c.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
                "c.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
            ]
        );
        assert_eq!(
            texts(json!({"strategy": "Webhook"})),
            [
                "c.webhookClientConfig: Required value: required when strategy is set to Webhook",
                "c.conversionReviewVersions: Required value",
            ]
        );
        let webhook = |client: Value| json!({"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}});
        assert_eq!(texts(webhook(json!({"url": "https://a.b/c"}))), none);
        assert_eq!(
            texts(webhook(json!({"url": "http://u@/x?q=1#f"}))),
            [
                "c.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "c.webhookClientConfig.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
                "c.webhookClientConfig.url: Invalid value: \"u\": user information is not permitted in the URL",
                "c.webhookClientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL",
                "c.webhookClientConfig.url: Invalid value: \"q=1\": query parameters are not permitted in the URL",
            ]
        );
        assert_eq!(
            texts(webhook(
                json!({"service": {"name": "s", "port": 443, "path": "/a//B"}, "caBundle": "Zm9v"})
            )),
            [
                "c.webhookClientConfig.service.namespace: Required value",
                "c.webhookClientConfig.service.path: Invalid value: \"/a//B\": segment[1] may not be empty",
                &format!(
                    "c.webhookClientConfig.service.path: Invalid value: \"/a//B\": segment[2]: {}",
                    content::is_dns1123_subdomain("B").join("")
                ),
                "c.webhookClientConfig.caBundle: Invalid value: \"Zm9v\": unable to load root certificates: unable to parse bytes as PEM block",
            ]
        );
        let mut odd = webhook(json!({"url": "https://a"}));
        odd["webhook"]["conversionReviewVersions"] = json!(["v9", "v9"]);
        assert_eq!(
            texts(odd),
            [
                "c.conversionReviewVersions[1]: Invalid value: \"v9\": duplicate version",
                "c.conversionReviewVersions: Invalid value: [\"v9\",\"v9\"]: must include at least one of v1, v1beta1",
            ]
        );
    }
}
