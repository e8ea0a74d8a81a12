//! The syntax rules of names, keys, ports and addresses, with the messages the API gives for them.
//!
//! A function returns every rule its value breaks; an empty list means the value is good.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::field::{Error, Errors, Path};

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const SUBDOMAIN_CASELESS_MESSAGE: &str = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const UNDERSCORE_SUBDOMAIN_FMT: &str =
    "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const UNDERSCORE_SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
const DNS1035_FMT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const DNS1035_MESSAGE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const WILDCARD_MESSAGE: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
const LABEL_KEY_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_KEY_MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL_VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// The longest DNS label.
pub const LABEL_MAX: usize = 63;
/// The longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

/// The message for a text longer than `max`.
pub fn max_len(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn max_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// The message for a value that does not match a pattern.
pub fn regex_error(message: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{pattern}')");
    }
    let quoted: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{pattern}')", quoted.join(" or "))
}

/// The message for a number outside a range.
pub fn inclusive_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn is_lower_alnum(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Whether `text` is nonempty, made of `inner` bytes, and begins and ends with `edge` bytes.
fn edged(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        [one] => edge(*one),
        [first, middle @ .., last] => edge(*first) && edge(*last) && middle.iter().all(|c| inner(*c)),
    }
}

fn label_shaped(text: &str) -> bool {
    edged(text, is_lower_alnum, |c| is_lower_alnum(c) || c == b'-')
}

fn subdomain_shaped(text: &str) -> bool {
    text.split('.').all(label_shaped)
}

/// A DNS label as of RFC 1123.
pub fn is_dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_len(LABEL_MAX));
    }
    if !label_shaped(value) {
        errors.push(if subdomain_shaped(value) {
            "must not contain dots".to_owned()
        } else {
            regex_error(LABEL_MESSAGE, LABEL_FMT, &["my-name", "123-abc"])
        });
    }
    errors
}

/// A DNS subdomain as of RFC 1123.
pub fn is_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_len(SUBDOMAIN_MAX));
    }
    if !subdomain_shaped(value) {
        errors.push(regex_error(SUBDOMAIN_MESSAGE, SUBDOMAIN_FMT, &["example.com"]));
    }
    errors
}

/// A DNS subdomain in any case.
pub fn is_dns1123_subdomain_caseless(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_bytes(SUBDOMAIN_MAX));
    }
    if !subdomain_shaped(&value.to_ascii_lowercase()) {
        errors.push(regex_error(SUBDOMAIN_CASELESS_MESSAGE, SUBDOMAIN_FMT, &["Example.com"]));
    }
    errors
}

/// A DNS subdomain whose labels may hold underscores.
pub fn is_dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_len(SUBDOMAIN_MAX));
    }
    let shaped = value.split('.').all(|label| {
        let label = label.strip_prefix('_').unwrap_or(label);
        edged(label, is_lower_alnum, |c| is_lower_alnum(c) || c == b'-' || c == b'_')
    });
    if !shaped {
        errors.push(regex_error(UNDERSCORE_SUBDOMAIN_MESSAGE, UNDERSCORE_SUBDOMAIN_FMT, &["example.com"]));
    }
    errors
}

/// A DNS label as of RFC 1035: it begins with a letter.
pub fn is_dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_len(LABEL_MAX));
    }
    if !(label_shaped(value) && value.starts_with(|c: char| c.is_ascii_lowercase())) {
        errors.push(regex_error(DNS1035_MESSAGE, DNS1035_FMT, &["my-name", "abc-123"]));
    }
    errors
}

/// A DNS subdomain behind `*.`.
pub fn is_wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_len(SUBDOMAIN_MAX));
    }
    if !value.strip_prefix("*.").is_some_and(subdomain_shaped) {
        let pattern = format!("\\*\\.{SUBDOMAIN_FMT}");
        errors.push(regex_error(WILDCARD_MESSAGE, &pattern, &["*.example.com"]));
    }
    errors
}

fn label_key_shaped(name: &str) -> bool {
    edged(
        name,
        |c| c.is_ascii_alphanumeric(),
        |c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'),
    )
}

/// A name with an optional DNS subdomain and a slash before it, as label keys are.
pub fn is_qualified_name(value: &str) -> Vec<String> {
    let examples = ["MyName", "my.name", "123-abc"];
    let mut errors = Vec::new();
    let name = match value.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                if prefix.len() > SUBDOMAIN_MAX {
                    errors.push(format!("prefix part {}", max_bytes(SUBDOMAIN_MAX)));
                }
                if !subdomain_shaped(prefix) {
                    let message = regex_error(SUBDOMAIN_MESSAGE, SUBDOMAIN_FMT, &["example.com"]);
                    errors.push(format!("prefix part {message}"));
                }
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_error(LABEL_KEY_MESSAGE, LABEL_KEY_FMT, &examples)
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", max_bytes(LABEL_MAX)));
    }
    if !label_key_shaped(name) {
        errors.push(format!("name part {}", regex_error(LABEL_KEY_MESSAGE, LABEL_KEY_FMT, &examples)));
    }
    errors
}

/// The value of a label.
pub fn is_label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_bytes(LABEL_MAX));
    }
    if !value.is_empty() && !label_key_shaped(value) {
        let pattern = format!("({LABEL_KEY_FMT})?");
        errors.push(regex_error(LABEL_VALUE_MESSAGE, &pattern, &["MyValue", "my_value", "12345"]));
    }
    errors
}

/// A domain of at least three segments.
pub fn is_fully_qualified_name(path: &Path, name: &str) -> Errors {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let errors = is_dns1123_subdomain(name);
    if !errors.is_empty() {
        return vec![Error::invalid(path, name, errors.join(","))];
    }
    if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        return vec![Error::invalid(path, name, detail)];
    }
    Errors::new()
}

/// A path behind a domain, such as `acme.io/foo`.
pub fn is_domain_prefixed_path(path: &Path, value: &str) -> Errors {
    if value.is_empty() {
        return vec![Error::required(path, "")];
    }
    let (host, rest) = match value.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => (host, rest),
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            return vec![Error::invalid(path, value, detail)];
        }
    };
    let mut errors: Errors =
        is_dns1123_subdomain(host).into_iter().map(|message| Error::invalid(path, host, message)).collect();
    if !rest.bytes().all(|c| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c)) {
        let message = regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
        errors.push(Error::invalid(path, rest, message));
    }
    errors
}

/// A qualified name that must have a domain.
pub fn is_domain_prefixed_key(path: &Path, key: &str) -> Errors {
    if key.is_empty() {
        return vec![Error::required(path, "")];
    }
    let errors: Errors =
        is_qualified_name(key).into_iter().map(|message| Error::invalid(path, key, message)).collect();
    if errors.is_empty() && !key.contains('/') {
        let detail = "must be a domain-prefixed key (such as \"acme.io/foo\")";
        return vec![Error::invalid(path, key, detail)];
    }
    errors
}

/// An identifier of the C language.
pub fn is_c_identifier(value: &str) -> Vec<String> {
    let mut bytes = value.bytes();
    let good = bytes.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && bytes.all(|c| c.is_ascii_alphanumeric() || c == b'_');
    if good {
        return Vec::new();
    }
    let message = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
    vec![regex_error(message, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// The number of a port.
pub fn is_valid_port_num(port: i64) -> Vec<String> {
    is_in_range(port, 1, 65535)
}

/// A number of a range.
pub fn is_in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![inclusive_range(low, high)] }
}

/// A numeric group id.
pub fn is_valid_group_id(id: i64) -> Vec<String> {
    is_in_range(id, 0, i64::from(i32::MAX))
}

/// A numeric user id.
pub fn is_valid_user_id(id: i64) -> Vec<String> {
    is_in_range(id, 0, i64::from(i32::MAX))
}

/// The name of a port, as IANA has service names.
pub fn is_valid_port_name(port: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if port.len() > 15 {
        errors.push(max_len(15));
    }
    if port.is_empty() || !port.bytes().all(|c| is_lower_alnum(c) || c == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !port.bytes().any(|c| c.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if port.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if port.starts_with('-') || port.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// A percentage such as `25%`.
pub fn is_valid_percent(percent: &str) -> Vec<String> {
    let digits = percent.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()) {
        return Vec::new();
    }
    let message = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_error(message, "[0-9]+%", &["1%", "93%"])]
}

/// The name of an HTTP header.
pub fn is_http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Vec::new();
    }
    let message = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(message, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// The name of an environment variable, in the strict form.
pub fn is_env_var_name(value: &str) -> Vec<String> {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
    let mut errors = Vec::new();
    let good = value.bytes().all(inner) && value.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if !good {
        let message = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit";
        let examples = ["my.env-name", "MY_ENV.NAME", "MyEnvName1"];
        errors.push(regex_error(message, "[-._a-zA-Z][-._a-zA-Z0-9]*", &examples));
    }
    errors.extend(parent_directory(value));
    errors
}

/// The name of an environment variable, in the relaxed form.
pub fn is_relaxed_env_var_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if value.bytes().all(|c| (0x20..0x7f).contains(&c) && c != b'=') {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .to_owned(),
    ]
}

/// The key of a ConfigMap or Secret.
pub fn is_config_map_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_len(SUBDOMAIN_MAX));
    }
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
    if value.is_empty() || !value.bytes().all(inner) {
        let message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        let examples = ["key.name", "KEY_NAME", "key-name"];
        errors.push(regex_error(message, "[-._a-zA-Z0-9]+", &examples));
    }
    errors.extend(parent_directory(value));
    errors
}

/// A name that is one segment of a URL path.
pub fn is_path_segment_name(name: &str) -> Vec<String> {
    match name {
        "." | ".." => vec![format!("may not be '{name}'")],
        _ => ["/", "%"]
            .iter()
            .filter(|part| name.contains(**part))
            .map(|part| format!("may not contain '{part}'"))
            .collect(),
    }
}

fn parent_directory(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if value.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// An address in any form ever accepted, leading zeros included.
pub fn parse_ip_sloppy(value: &str) -> Option<IpAddr> {
    if value.contains(':') {
        if let Some((head, v4)) = value.rsplit_once(':')
            && v4.contains('.')
        {
            return format!("{head}:{}", parse_v4_sloppy(v4)?).parse::<Ipv6Addr>().ok().map(IpAddr::V6);
        }
        return value.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    parse_v4_sloppy(value).map(IpAddr::V4)
}

fn parse_v4_sloppy(value: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = value.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

/// An address range: the address as written, and the prefix length. None if it is not one.
pub fn parse_cidr_sloppy(value: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = value.split_once('/')?;
    let address = parse_ip_sloppy(address)?;
    if bits.is_empty() || !bits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let bits = bits.parse::<u64>().ok().and_then(|bits| u8::try_from(bits).ok())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((address, bits))
}

/// The first address of a range.
pub fn network_of(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

/// The canonical text of an address; one mapped from IPv4 prints as IPv4.
pub fn canonical_ip(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => v6.to_string(),
        },
        v4 => v4.to_string(),
    }
}

fn has_leading_zeros(value: &str) -> bool {
    value.parse::<IpAddr>().is_err()
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn parse_ip(path: &Path, value: &str, strict: bool) -> Result<IpAddr, Errors> {
    let Some(address) = parse_ip_sloppy(value) else {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        return Err(vec![Error::invalid(path, value, detail)]);
    };
    if strict && has_leading_zeros(value) {
        return Err(vec![Error::invalid(path, value, "must not have leading 0s")]);
    }
    if strict && is_mapped(address) {
        let detail = "must not be an IPv4-mapped IPv6 address";
        return Err(vec![Error::invalid(path, value, detail)]);
    }
    Ok(address)
}

/// An address in a field that has long accepted odd forms; `old` values stay good.
pub fn is_valid_ip_legacy(path: &Path, value: &str, strict: bool, old: &[&str]) -> Errors {
    if old.contains(&value) {
        return Errors::new();
    }
    parse_ip(path, value, strict).err().unwrap_or_default()
}

/// An address in canonical form.
pub fn is_valid_ip(path: &Path, value: &str) -> Errors {
    match parse_ip(path, value, true) {
        Err(errors) => errors,
        Ok(address) if canonical_ip(address) == value => Errors::new(),
        Ok(address) => {
            let detail = format!("must be in canonical form (\"{}\")", canonical_ip(address));
            vec![Error::invalid(path, value, detail)]
        }
    }
}

fn parse_cidr(path: &Path, value: &str, strict: bool) -> Result<(IpAddr, u8), Errors> {
    let Some((address, bits)) = parse_cidr_sloppy(value) else {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        return Err(vec![Error::invalid(path, value, detail)]);
    };
    if strict {
        let (written, length) = value.split_once('/').unwrap_or((value, ""));
        let detail = if has_leading_zeros(written) || (length.len() > 1 && length.starts_with('0')) {
            Some("must not have leading 0s in IP or prefix length")
        } else if is_mapped(address) {
            Some("must not have an IPv4-mapped IPv6 address")
        } else if network_of(address, bits) != address {
            Some("must not have bits set beyond the prefix length")
        } else {
            None
        };
        if let Some(detail) = detail {
            return Err(vec![Error::invalid(path, value, detail)]);
        }
    }
    Ok((address, bits))
}

/// An address range in a field that has long accepted odd forms; `old` values stay good.
pub fn is_valid_cidr_legacy(path: &Path, value: &str, strict: bool, old: &[&str]) -> Errors {
    if old.contains(&value) {
        return Errors::new();
    }
    parse_cidr(path, value, strict).err().unwrap_or_default()
}

/// An address range in canonical form.
pub fn is_valid_cidr(path: &Path, value: &str) -> Errors {
    match parse_cidr(path, value, true) {
        Err(errors) => errors,
        Ok((address, bits)) => {
            let canonical = format!("{}/{bits}", canonical_ip(network_of(address, bits)));
            if canonical == value {
                return Errors::new();
            }
            let detail = format!("must be in canonical form (\"{canonical}\")");
            vec![Error::invalid(path, value, detail)]
        }
    }
}

/// A check of a name that reports messages.
pub type NameCheck = fn(&str) -> Vec<String>;

/// What is checked of a prefix that gets a random suffix: a dash at its end is no error.
pub fn masked_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let mut masked = rest.to_owned();
            masked.pop();
            masked.push('a');
            masked
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regex_errors_join_examples() {
        assert_eq!(
            regex_error("m", "p", &["a", "b"]),
            "m (e.g. 'a',  or 'b', regex used for validation is 'p')"
        );
        assert_eq!(regex_error("m", "p", &["a"]), "m (e.g. 'a', regex used for validation is 'p')");
        assert_eq!(regex_error("m", "p", &[]), "m (regex used for validation is 'p')");
    }

    #[test]
    fn labels_and_subdomains() {
        for good in ["a", "ab", "1-a", &"a".repeat(63)] {
            assert!(is_dns1123_label(good).is_empty(), "{good}");
        }
        assert_eq!(is_dns1123_label("a.b"), ["must not contain dots"]);
        for bad in ["", "-a", "a-", "A", "a_b", "a..b"] {
            assert_eq!(is_dns1123_label(bad).len(), 1, "{bad}");
        }
        assert_eq!(is_dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert!(is_dns1123_subdomain("a.b-c.1").is_empty());
        assert_eq!(is_dns1123_subdomain("a..b").len(), 1);
        assert_eq!(is_dns1035_label("1a").len(), 1);
        assert!(is_wildcard_dns1123_subdomain("*.a.b").is_empty());
        assert_eq!(is_wildcard_dns1123_subdomain("*").len(), 1);
    }

    #[test]
    fn qualified_names() {
        for good in ["a", "A.b_c-1", "example.com/x"] {
            assert!(is_qualified_name(good).is_empty(), "{good}");
        }
        assert_eq!(is_qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(is_qualified_name("")[0], "name part must be non-empty");
        assert_eq!(is_qualified_name("a/b/c").len(), 1);
        assert_eq!(is_label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert!(is_label_value("").is_empty());
    }

    #[test]
    fn addresses() {
        let path = Path::new("ip");
        assert!(is_valid_ip(&path, "10.0.0.1").is_empty());
        assert_eq!(is_valid_ip(&path, "010.0.0.1")[0].detail, "must not have leading 0s");
        assert_eq!(is_valid_ip(&path, "::ffff:1.2.3.4")[0].detail, "must not be an IPv4-mapped IPv6 address");
        assert_eq!(
            is_valid_ip(&path, "2001:DB8::1")[0].detail,
            "must be in canonical form (\"2001:db8::1\")"
        );
        assert!(is_valid_ip_legacy(&path, "010.0.0.1", false, &[]).is_empty());
        assert_eq!(
            is_valid_cidr(&path, "10.0.0.1/8")[0].detail,
            "must not have bits set beyond the prefix length"
        );
        assert!(is_valid_cidr(&path, "0.0.0.0/0").is_empty());
        assert!(is_valid_cidr(&path, "::/0").is_empty());
        assert_eq!(is_valid_cidr(&path, "10.0.0.0/33").len(), 1);
    }

    #[test]
    fn trailing_dash_is_masked() {
        assert_eq!(masked_trailing_dash("abc-"), "aba");
        assert_eq!(masked_trailing_dash("-"), "-");
    }
}
