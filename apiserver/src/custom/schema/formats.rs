//! The formats that strings of custom resources are checked against.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

type Check = fn(&str) -> bool;

/// A format that is checked.
#[derive(Clone, Copy)]
pub(crate) struct Format(Check);

/// All formats, their names without dashes.
const FORMATS: &[(&str, Check)] = &[
    ("bsonobjectid", |s| s.len() == 24 && s.bytes().all(|b| b.is_ascii_hexdigit())),
    ("byte", |s| BASE64.is_match(s)),
    ("cidr", is_cidr),
    ("creditcard", is_credit_card),
    ("date", is_date),
    ("datetime", is_date_time),
    ("duration", is_duration),
    ("email", is_email),
    ("hexcolor", |s| HEX_COLOR.is_match(s)),
    ("hostname", is_hostname),
    ("ipv4", |s| s.contains('.') && is_ip(s)),
    ("ipv6", |s| s.contains(':') && s.parse::<Ipv6Addr>().is_ok()),
    ("isbn", |s| is_isbn10(s) || is_isbn13(s)),
    ("isbn10", is_isbn10),
    ("isbn13", is_isbn13),
    ("k8slongname", |s| s.len() <= 253 && s.split('.').all(is_short_segment)),
    ("k8sshortname", |s| s.len() <= 63 && is_short_segment(s)),
    ("mac", is_mac),
    ("password", |_| true),
    ("rgbcolor", |s| RGB_COLOR.is_match(s)),
    ("ssn", |s| s.len() == 11 && SSN.is_match(s)),
    ("uri", is_request_uri),
    ("uuid", |s| UUID.is_match(s)),
    ("uuid3", |s| UUID.is_match(s) && uuid_digit(s, 12) == Some('3')),
    ("uuid4", |s| UUID.is_match(s) && uuid_digit(s, 12) == Some('4') && is_variant(s)),
    ("uuid5", |s| UUID.is_match(s) && uuid_digit(s, 12) == Some('5') && is_variant(s)),
];

impl Format {
    /// The format of a name; `None` if it is not checked.
    pub(crate) fn of(name: &str) -> Option<Format> {
        let name = name.replace('-', "");
        let at = FORMATS.binary_search_by_key(&name.as_str(), |(name, _)| name).ok()?;
        Some(Format(FORMATS[at].1))
    }

    /// Whether the text has the format.
    pub(crate) fn matches(self, text: &str) -> bool {
        (self.0)(text)
    }
}

/// Whether a format means something for values of this type (empty: any, or several).
pub(crate) fn is_supported(format: &str, ty: &str) -> bool {
    match ty {
        "" | "string" => Format::of(format).is_some(),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

fn pattern(text: &str) -> Regex {
    // The patterns are constants: tests compile them all.
    Regex::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

static BASE64: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$")
});
static HEX_COLOR: LazyLock<Regex> = LazyLock::new(|| pattern("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));
static RGB_COLOR: LazyLock<Regex> = LazyLock::new(|| {
    let part = r"(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])";
    pattern(&format!(
        r"^rgb\([\t\n\f\r ]*{part}[\t\n\f\r ]*,[\t\n\f\r ]*{part}[\t\n\f\r ]*,[\t\n\f\r ]*{part}[\t\n\f\r ]*\)$"
    ))
});
static SSN: LazyLock<Regex> = LazyLock::new(|| pattern("^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"));
static CREDIT_CARD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$",
    )
});
static HOSTNAME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
    )
});
static DATE_TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern("^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$"));
static UUID: LazyLock<Regex> =
    LazyLock::new(|| pattern("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"));
static DURATION_PART: LazyLock<Regex> = LazyLock::new(|| pattern("([0-9]+)[\\t\\n\\f\\r ]*([A-Za-zµ]+)"));

/// A digit of a UUID, dashes not counted.
fn uuid_digit(text: &str, at: usize) -> Option<char> {
    text.chars().filter(|c| *c != '-').nth(at)
}

fn is_variant(text: &str) -> bool {
    matches!(uuid_digit(text, 16), Some('8' | '9' | 'a' | 'A' | 'b' | 'B'))
}

fn is_short_segment(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(a), Some(z)) if good(*a) && good(*z))
        && bytes.iter().all(|b| good(*b) || *b == b'-')
}

/// An address; leading zeros are tolerated, as in old Go.
fn is_ip(text: &str) -> bool {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().is_ok();
    }
    let parts: Vec<&str> = text.split('.').collect();
    let octet = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.trim_start_matches('0').len() <= 3
            && part.parse::<u64>().is_ok_and(|n| n <= 255)
    };
    parts.len() == 4 && parts.iter().all(octet) || text.parse::<Ipv4Addr>().is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = if address.contains(':') { 128 } else { 32 };
    is_ip(address)
        && !bits.is_empty()
        && bits.bytes().all(|b| b.is_ascii_digit())
        && bits.parse::<u32>().is_ok_and(|n| n <= most)
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if !CREDIT_CARD.is_match(&digits) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let n = u32::from(b - b'0');
            match (i % 2, n * 2) {
                (0, _) => n,
                (_, double) if double >= 10 => double % 10 + 1,
                (_, double) => double,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn isbn_digits(text: &str) -> Vec<u8> {
    text.bytes().filter(|b| !matches!(b, b'-' | b' ' | b'\t' | b'\n' | b'\x0c' | b'\r')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let bytes = isbn_digits(text);
    let [start @ .., last] = bytes.as_slice() else { return false };
    if start.len() != 9 || !start.iter().all(u8::is_ascii_digit) || !(last.is_ascii_digit() || *last == b'X')
    {
        return false;
    }
    let check = if *last == b'X' { 10 } else { u32::from(last - b'0') };
    let sum: u32 = start.iter().zip(1..).map(|(b, i)| i * u32::from(b - b'0')).sum();
    (sum + 10 * check).is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let bytes = isbn_digits(text);
    if bytes.len() != 13 || !bytes.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let digit = |i: usize| u32::from(bytes[i] - b'0');
    let sum: u32 = (0..12).map(|i| digit(i) * if i % 2 == 0 { 1 } else { 3 }).sum();
    digit(12) == (10 - sum % 10) % 10
}

/// `2006-01-02`
fn is_date(text: &str) -> bool {
    let shaped = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    shaped && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let within = |m: Option<regex::Match<'_>>, most: &str| m.is_some_and(|m| m.as_str() <= most);
    text.len() >= 4
        && is_date(date)
        && DATE_TIME
            .captures(time)
            .is_some_and(|m| within(m.get(1), "23") && within(m.get(2), "59") && within(m.get(3), "59"))
}

/// A duration of Go, or one of words as Scala has them: `3 days`.
fn is_duration(text: &str) -> bool {
    if text.parse::<proto::time::Duration>().is_ok() {
        return true;
    }
    /// Names of units; the last of each may have an ending.
    const UNITS: &[&[&str]] = &[
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    let mut found = false;
    for part in DURATION_PART.captures_iter(text) {
        if part.get(1).is_none_or(|digits| digits.as_str().parse::<i64>().is_err()) {
            return false;
        }
        let unit = part.get(2).map_or_else(String::new, |unit| unit.as_str().to_lowercase());
        found |= UNITS.iter().any(|names| {
            names.contains(&unit.as_str()) || names.last().is_some_and(|last| unit.starts_with(last))
        });
    }
    found
}

/// The addresses that people write: a name in front of one in angle brackets, or one alone.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(start), Some(inner)) => &inner[start + 1..],
        _ => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c))
    };
    let dotted = |text: &str| text.split('.').all(atom);
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']'));
    (quoted || dotted(local)) && (dotted(domain) || literal.is_some_and(is_ip))
}

fn is_hostname(text: &str) -> bool {
    HOSTNAME.is_match(text) && text.len() <= 255 && text.split('.').all(|part| part.len() <= 63)
}

/// Six, eight or twenty bytes, between colons, dashes or (by two) dots.
fn is_mac(text: &str) -> bool {
    let bytes = |separator: char, digits: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        let good = |p: &&str| p.len() == digits && p.bytes().all(|b| b.is_ascii_hexdigit());
        parts.iter().all(good) && matches!(parts.len() * digits / 2, 6 | 8 | 20)
    };
    bytes(':', 2) || bytes('-', 2) || bytes('.', 4)
}

/// What may stand in an HTTP request: an absolute URI, or an absolute path.
fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return false;
    }
    let escapes_are_good = text.match_indices('%').all(|(i, _)| {
        text.as_bytes().get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    if text == "*" || text.starts_with('/') {
        return escapes_are_good;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let scheme_is_good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !scheme_is_good {
        return false;
    }
    // Without a slash the rest is opaque, and anything goes.
    let Some(authority) = rest.strip_prefix("//") else { return !rest.starts_with('/') || escapes_are_good };
    let host = authority.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let port = match host.rsplit_once(']') {
        Some((_, after)) => after.strip_prefix(':').or(after.is_empty().then_some("")),
        None => Some(host.rsplit_once(':').map_or("", |(_, port)| port)),
    };
    escapes_are_good
        && !host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}'])
        && port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_sorted_and_compile() {
        assert!(FORMATS.is_sorted_by_key(|(name, _)| name));
        for (_, check) in FORMATS {
            check("x");
        }
    }

    #[test]
    fn formats_match_as_upstreams() {
        let cases: &[(&str, &str, bool)] = &[
            ("bsonobjectid", "507f1f77bcf86cd799439011", true),
            ("byte", "aGVsbG8=", true),
            ("byte", "a", false),
            ("cidr", "10.0.0.0/08", true),
            ("cidr", "10.0.0.0/33", false),
            ("credit-card", "4111 1111 1111 1111", true),
            ("creditcard", "4111111111111112", false),
            ("date", "2024-02-29", true),
            ("date", "2023-02-29", false),
            ("date-time", "2014-12-15T19:30:20.000Z", true),
            ("datetime", "2014-12-15T24:30:20Z", false),
            ("duration", "1h5m", true),
            ("duration", "22 ns", true),
            ("duration", "3 days", true),
            ("duration", "soon", false),
            ("email", "Me <me@example.com>", true),
            ("email", "me", false),
            ("hexcolor", "#FFFFFF", true),
            ("hostname", "example.com", true),
            ("hostname", "exa_mple.com", false),
            ("ipv4", "192.168.001.1", true),
            ("ipv4", "::1", false),
            ("ipv6", "::1", true),
            ("isbn", "0321751043", true),
            ("isbn", "978-0321751041", true),
            ("isbn13", "978-0321751042", false),
            ("k8s-short-name", "a-b", true),
            ("k8s-short-name", "A", false),
            ("k8s-long-name", "a.b-c", true),
            ("mac", "01:02:03:04:05:06", true),
            ("mac", "01:02:03:04:05", false),
            ("rgbcolor", "rgb(0, 12,255)", true),
            ("ssn", "111-11-1111", true),
            ("uri", "https://example.com:80/a?b", true),
            ("uri", "example", false),
            ("uuid", "a8098c1a-f86e-11da-bd1a-00112444be1e", true),
            ("uuid", "a8098c1af86e11dabd1a00112444be1e", true),
            ("uuid", "a8098c1a-f86e-11da-bd1a-00112444be1", false),
            ("uuid4", "025b0d74-00a2-4048-bf57-227c5111bb34", true),
            ("uuid4", "a8098c1a-f86e-11da-bd1a-00112444be1e", false),
        ];
        for (format, text, good) in cases {
            let format_of = Format::of(format).unwrap_or_else(|| panic!("{format}"));
            assert_eq!(format_of.matches(text), *good, "{format}: {text}");
        }
        assert!(Format::of("int32").is_none() && is_supported("int32", "integer"));
    }
}
