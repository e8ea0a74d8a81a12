//! Paths and queries of requests.

use http::Uri;

/// The query's pairs, decoded.
pub(super) fn pairs(uri: &Uri) -> Vec<(String, String)> {
    let raw = uri.query().unwrap_or_default();
    let pair = |p: &str| {
        let (key, value) = p.split_once('=').unwrap_or((p, ""));
        (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
    };
    raw.split('&').filter(|p| !p.is_empty()).map(pair).collect()
}

/// The parts of the path after its first, decoded.
pub(super) fn parts(uri: &Uri) -> Vec<String> {
    uri.path().split('/').skip(2).filter(|p| !p.is_empty()).map(decode).collect()
}

/// Decodes `%41`.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(byte) = bytes.get(i) {
        let hex = text.get(i + 1..i + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex {
            Some(decoded) if *byte == b'%' => {
                out.push(decoded);
                i += 3;
            }
            _ => {
                out.push(*byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether a value of a query means yes.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value, "1" | "true" | "True" | "TRUE" | "t" | "T")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_decode() {
        let uri: Uri = "/exec/n/p%20q/c?command=a+b&command=%2Fbin%2Fsh&tty=1&x".parse().unwrap();
        assert_eq!(parts(&uri), ["n", "p q", "c"]);
        let got = pairs(&uri);
        let want = [("command", "a b"), ("command", "/bin/sh"), ("tty", "1"), ("x", "")];
        assert_eq!(got, want.map(|(a, b)| (a.to_string(), b.to_string())));
        assert_eq!(decode("100%"), "100%");
    }
}
