//! Addresses of webhooks, wherever objects name them: a URL or a service.

use proto::content;
use proto::field::{Error, Errors, quote};
use proto::view::View;

use super::checks::required;

const FORM: &str = "; desired format: https://host[/path]";

/// A clientConfig: exactly one of `url` and `service`.
pub(crate) fn client_config(config: &View, errors: &mut Errors) {
    let (url, service) = (config.get("url"), config.get("service"));
    match (url.is_set(), service.is_set()) {
        (true, false) => self::url(&url, errors),
        (false, true) => self::service(&service, errors),
        _ => errors.push(config.required("exactly one of url or service is required")),
    }
}

fn url(view: &View, errors: &mut Errors) {
    let url = match Url::parse(view.str()) {
        Ok(url) => url,
        Err(why) => {
            let why = format!("parse {}: {why}", quote(view.str()));
            errors.push(view.required(format!("url must be a valid URL: {why}{FORM}")));
            return;
        }
    };
    let mut refuse = |part: &str, detail: &str| errors.push(Error::invalid(view.path(), part, detail));
    if url.scheme != "https" {
        refuse(&url.scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if url.host.is_empty() {
        refuse("", &format!("host must be specified{FORM}"));
    }
    if let Some(user) = url.user {
        refuse(user, "user information is not permitted in the URL");
    }
    if !url.fragment.is_empty() {
        refuse(url.fragment, "fragments are not permitted in the URL");
    }
    if !url.query.is_empty() {
        refuse(url.query, "query parameters are not permitted in the URL");
    }
}

/// A service reference. Upstream passes name and namespace in each other's place, which only the order shows.
fn service(service: &View, errors: &mut Errors) {
    let (name, namespace) = (service.get("name"), service.get("namespace"));
    let (first, second) =
        (namespace.with_path(name.path().clone()), name.with_path(namespace.path().clone()));
    required(&first, errors);
    required(&second, errors);
    let port = service.get("port");
    let messages = content::is_valid_port_num(port.i64());
    if !messages.is_empty() {
        errors.push(port.invalid_int(format!("port is not valid: {}", messages.join(", "))));
    }
    let path = service.get("path");
    match path.str() {
        "" | "/" => {}
        "//" => errors.push(path.invalid_str("segment[0] may not be empty")),
        text => {
            if !text.starts_with('/') {
                errors.push(path.invalid_str("must start with a '/'"));
            }
            let inner: String = text.chars().skip(1).collect();
            let inner = inner.strip_suffix('/').unwrap_or(&inner);
            for (at, step) in inner.split('/').enumerate() {
                if step.is_empty() {
                    errors.push(path.invalid_str(format!("segment[{at}] may not be empty")));
                    continue;
                }
                for message in content::is_dns1123_subdomain(step) {
                    errors.push(path.invalid_str(format!("segment[{at}]: {message}")));
                }
            }
        }
    }
}

/// The parts of a URL, split as Go's net/url does.
pub(crate) struct Url<'a> {
    pub(crate) scheme: String,
    pub(crate) user: Option<&'a str>,
    pub(crate) host: &'a str,
    pub(crate) query: &'a str,
    pub(crate) fragment: &'a str,
}

impl<'a> Url<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let (scheme, rest) = split_scheme(text)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Url { scheme, user: None, host: "", query, fragment };
        if !rest.starts_with('/') {
            if url.scheme.is_empty() && rest.split('/').next().is_some_and(|first| first.contains(':')) {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
            return Ok(url);
        }
        if let Some(authority) =
            rest.strip_prefix("//").filter(|_| !(url.scheme.is_empty() && rest.starts_with("///")))
        {
            let authority = authority.split('/').next().unwrap_or_default();
            let (user, host) = match authority.rsplit_once('@') {
                Some((user, host)) => (Some(user), host),
                None => (None, authority),
            };
            check_host(host)?;
            (url.user, url.host) = (user, host);
        }
        Ok(url)
    }
}

fn split_scheme(text: &str) -> Result<(String, &str), String> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

fn check_host(host: &str) -> Result<(), String> {
    let port = match host.strip_prefix('[') {
        Some(rest) => match rest.rsplit_once(']') {
            Some((_, port)) => port,
            None => return Err("missing ']' in host".to_owned()),
        },
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    if !is_port {
        return Err(format!("invalid port {} after host", quote(port)));
    }
    match host.chars().find(|c| matches!(c, ' ' | '^' | '`' | '{' | '}' | '|' | '\\')) {
        Some(c) => Err(format!("invalid character {} in host name", quote(&c.to_string()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::field::Path;
    use serde_json::{Value, json};

    fn texts(config: &Value) -> Vec<String> {
        let mut errors = Errors::new();
        client_config(&View::at(config, Path::new("c")), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn urls_are_checked() {
        let cases = [
            ("https://host", vec![]),
            ("https://host:443/a/b", vec![]),
            (
                "",
                vec![
                    "c.url: Invalid value: \"\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                    "c.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
                ],
            ),
            (
                "http://a",
                vec![
                    "c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                ],
            ),
            (
                "https://user:pw@h?q=1#frag",
                vec![
                    "c.url: Invalid value: \"user:pw\": user information is not permitted in the URL",
                    "c.url: Invalid value: \"frag\": fragments are not permitted in the URL",
                    "c.url: Invalid value: \"q=1\": query parameters are not permitted in the URL",
                ],
            ),
            (
                "https://h:x",
                vec![
                    "c.url: Required value: url must be a valid URL: parse \"https://h:x\": invalid port \":x\" after host; desired format: https://host[/path]",
                ],
            ),
            (
                "arbitrary:/a",
                vec![
                    "c.url: Invalid value: \"arbitrary\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                    "c.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
                ],
            ),
        ];
        for (url, want) in cases {
            assert_eq!(texts(&json!({"url": url})), want, "{url}");
        }
    }

    #[test]
    fn services_are_checked() {
        let with =
            |path: &str| json!({"service": {"namespace": "ns", "name": "n", "port": 443, "path": path}});
        let cases = [
            ("/a/b/", vec![]),
            ("foo/", vec!["c.service.path: Invalid value: \"foo/\": must start with a '/'"]),
            ("//", vec!["c.service.path: Invalid value: \"//\": segment[0] may not be empty"]),
            (
                "/foo//bar/",
                vec!["c.service.path: Invalid value: \"/foo//bar/\": segment[1] may not be empty"],
            ),
        ];
        for (path, want) in cases {
            let errors = texts(&with(path));
            assert_eq!(errors.len(), want.len(), "{path} {errors:?}");
            for (error, want) in errors.iter().zip(want) {
                assert_eq!(error, want);
            }
        }
        assert_eq!(
            texts(&json!({"url": "https://h", "service": {}})),
            ["c: Required value: exactly one of url or service is required"]
        );
        assert_eq!(
            texts(&json!({"service": {"name": "n", "port": 65536}})),
            [
                "c.service.name: Required value",
                "c.service.port: Invalid value: 65536: port is not valid: must be between 1 and 65535, inclusive",
            ]
        );
    }
}
