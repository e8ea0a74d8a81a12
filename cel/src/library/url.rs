//! URLs: Kubernetes' `url` library, as Go's `net/url` reads and prints them.

use proto::field::quote;

use super::{Result, opaque, text};
use crate::env::Library;
use crate::eval::Error;
use crate::types::Type;
use crate::value::{Map, Opaque, Value, downcast};

/// A URL in parts.
#[derive(Debug, Default, PartialEq)]
struct Url {
    scheme: String,
    opaque: String,
    user: Option<String>,
    host: String,
    /// As it was written.
    raw_path: String,
    path: Vec<u8>,
    query: String,
    fragment: String,
}

impl Opaque for Url {
    fn ty(&self) -> Type {
        Type::object("kubernetes.URL")
    }

    fn equals(&self, other: &dyn Opaque) -> Option<bool> {
        downcast::<Url>(other).map(|other| self == other)
    }
}

pub(super) fn install(library: &mut Library) {
    let ty = Type::object("kubernetes.URL");
    library.named_type("kubernetes.URL", ty.clone());
    library.global("url", "string_to_url", &[Type::String], ty.clone(), |args| {
        let text = text(args, 0)?;
        let failed =
            |error: String| Error::new(format!("URL parse error during conversion from string: {error}"));
        parse_request_uri(text).map_err(failed)?;
        Ok(Value::opaque(parse(text).map_err(failed)?))
    });
    library.global("isURL", "is_url_string", &[Type::String], Type::Bool, |args| {
        Ok(Value::Bool(parse_request_uri(text(args, 0)?).is_ok()))
    });
    let one = [ty];
    library.member("getScheme", "url_get_scheme", &one, Type::String, |args| {
        Ok(Value::string(opaque::<Url>(args, 0)?.scheme.as_str()))
    });
    library.member("getHost", "url_get_host", &one, Type::String, |args| {
        Ok(Value::string(opaque::<Url>(args, 0)?.host.as_str()))
    });
    library.member("getHostname", "url_get_hostname", &one, Type::String, |args| {
        Ok(Value::string(split_host(&opaque::<Url>(args, 0)?.host).0))
    });
    library.member("getPort", "url_get_port", &one, Type::String, |args| {
        Ok(Value::string(split_host(&opaque::<Url>(args, 0)?.host).1))
    });
    library.member("getEscapedPath", "url_get_escaped_path", &one, Type::String, |args| {
        Ok(Value::string(escaped_path(opaque::<Url>(args, 0)?)))
    });
    let query = Type::map(Type::String, Type::list(Type::String));
    library.member("getQuery", "url_get_query", &one, query, |args| query_of(opaque::<Url>(args, 0)?));
}

/// The host's name and port.
fn split_host(host: &str) -> (&str, &str) {
    let port = host.rfind(':').filter(|at| {
        let digits = host[at + 1..].bytes().all(|c| c.is_ascii_digit());
        digits && !host[*at..].contains(']')
    });
    let (name, port) = port.map_or((host, ""), |at| (&host[..at], &host[at + 1..]));
    (name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name), port)
}

/// Reads a URL as a request's target, which is absolute. The error is Go's.
pub(super) fn parse_request_uri(raw: &str) -> std::result::Result<(), String> {
    parts(raw, true).map(|_| ()).map_err(|reason| format!("parse {}: {reason}", quote(raw)))
}

fn parse(raw: &str) -> std::result::Result<Url, String> {
    let failed = |reason: String| format!("parse {}: {reason}", quote(raw));
    let (before, fragment) = raw.split_once('#').unwrap_or((raw, ""));
    let mut url = parts(before, false).map_err(failed)?;
    unescape(fragment, Part::Fragment).map_err(failed)?;
    url.fragment = fragment.to_owned();
    Ok(url)
}

fn parts(raw: &str, request: bool) -> std::result::Result<Url, String> {
    if raw.bytes().any(|c| c < b' ' || c == 0x7f) {
        return Err("net/url: invalid control character in URL".into());
    }
    if raw.is_empty() && request {
        return Err("empty url".into());
    }
    if raw == "*" {
        return Ok(Url { path: b"*".to_vec(), raw_path: "*".into(), ..Url::default() });
    }
    let (scheme, rest) = scheme(raw)?;
    let mut url = Url { scheme: scheme.to_ascii_lowercase(), ..Url::default() };
    let mut rest = rest;
    if let Some((before, query)) = rest.split_once('?') {
        url.query = query.to_owned();
        rest = before;
    }
    if !rest.starts_with('/') {
        if !url.scheme.is_empty() {
            url.opaque = rest.to_owned();
            return Ok(url);
        }
        if request {
            return Err("invalid URI for request".into());
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".into());
        }
    }
    let has_authority = !url.scheme.is_empty() || (!request && !rest.starts_with("///"));
    if has_authority && let Some(after) = rest.strip_prefix("//") {
        let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
        (url.user, url.host) = authority_of(authority)?;
        rest = path;
    }
    url.path = unescape(rest, Part::Path)?;
    url.raw_path = rest.to_owned();
    Ok(url)
}

fn scheme(raw: &str) -> std::result::Result<(&str, &str), String> {
    for (at, c) in raw.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".into()),
            ':' => return Ok((&raw[..at], &raw[at + 1..])),
            _ => break,
        }
    }
    Ok(("", raw))
}

fn authority_of(authority: &str) -> std::result::Result<(Option<String>, String), String> {
    let Some((user, host)) = authority.rsplit_once('@') else {
        return Ok((None, host_of(authority)?));
    };
    let host = host_of(host)?;
    let valid = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !user.chars().all(valid) {
        return Err("net/url: invalid userinfo".into());
    }
    unescape(user, Part::User)?;
    Ok((Some(user.to_owned()), host))
}

fn host_of(host: &str) -> std::result::Result<String, String> {
    let port = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        &host[end + 1..]
    } else {
        host.rfind(':').map_or("", |_| host.find(':').map_or("", |at| &host[at..]))
    };
    let digits = |port: &str| port.bytes().all(|c| c.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(digits) {
        return Err(format!("invalid port {} after host", quote(port)));
    }
    let bytes = unescape(host, Part::Host)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Path,
    Host,
    User,
    Query,
    Fragment,
}

fn unescape(text: &str, part: Part) -> std::result::Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&c) = bytes.get(at) {
        match c {
            b'%' => {
                let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
                let byte = hex.filter(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit()));
                let Some(byte) = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
                    let shown = String::from_utf8_lossy(&bytes[at..(at + 3).min(bytes.len())]).into_owned();
                    return Err(format!("invalid URL escape {}", quote(&shown)));
                };
                // Hosts may only have non-ASCII characters escaped, and a zone's percent sign.
                if part == Part::Host && byte < 0x80 && byte != b'%' {
                    let shown = String::from_utf8_lossy(&bytes[at..at + 3]).into_owned();
                    return Err(format!("invalid URL escape {}", quote(&shown)));
                }
                out.push(byte);
                at += 3;
            }
            b'+' if part == Part::Query => {
                out.push(b' ');
                at += 1;
            }
            c => {
                let allowed =
                    c >= 0x80 || c.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"@".contains(&c);
                if part == Part::Host && !allowed {
                    return Err(format!(
                        "invalid character {} in host name",
                        quote(&char::from(c).to_string())
                    ));
                }
                out.push(c);
                at += 1;
            }
        }
    }
    Ok(out)
}

/// The path as it was written if that is a valid way to write it, or else escaped anew.
fn escaped_path(url: &Url) -> String {
    let valid = |c: u8| c.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]/%".contains(&c);
    if url.raw_path.bytes().all(valid) {
        return url.raw_path.clone();
    }
    let mut out = String::with_capacity(url.path.len());
    for &c in &url.path {
        if c.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&c) {
            out.push(char::from(c));
        } else {
            out.push_str(&format!("%{c:02X}"));
        }
    }
    out
}

fn query_of<'a>(url: &Url) -> Result<'a> {
    let mut values: Vec<(String, Vec<String>)> = Vec::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Ok(name), Ok(value)) = (unescape(name, Part::Query), unescape(value, Part::Query)) else {
            continue;
        };
        let name = String::from_utf8_lossy(&name).into_owned();
        let value = String::from_utf8_lossy(&value).into_owned();
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(value),
            None => values.push((name, vec![value])),
        }
    }
    let entries = values.into_iter().map(|(name, values)| (Value::string(name), Value::strings(values)));
    Ok(Value::Map(Map::new(entries)?))
}
