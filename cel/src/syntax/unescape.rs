//! The values of string and bytes literals.

/// The value of a literal, with its quotes and without a `b` prefix. A bytes literal's escapes are bytes, a string
/// literal's are characters.
pub(crate) fn unescape(literal: &str, is_bytes: bool) -> Result<Vec<u8>, &'static str> {
    let literal = literal.replace("\r\n", "\n").replace('\r', "\n");
    let raw = literal.starts_with(['r', 'R']);
    let quoted = if raw { &literal[1..] } else { literal.as_str() };
    let quotes =
        if quoted.len() >= 6 && (quoted.starts_with("'''") || quoted.starts_with("\"\"\"")) { 3 } else { 1 };
    let Some(inner) = quoted.get(quotes..quoted.len().saturating_sub(quotes)) else {
        return Err("unable to unescape string");
    };
    if raw || !inner.contains('\\') {
        return Ok(inner.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            push(&mut out, c);
            continue;
        }
        let Some(c) = rest.chars().next() else {
            return Err("unable to unescape string, found '\\' as last character");
        };
        rest = &rest[c.len_utf8()..];
        let (digits, radix, first) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' => {
                out.push(match c {
                    'a' => 7,
                    'b' => 8,
                    'f' => 12,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    _ => 11,
                });
                continue;
            }
            '\\' | '\'' | '"' | '`' | '?' => {
                push(&mut out, c);
                continue;
            }
            'x' | 'X' => (2, 16, 0),
            'u' | 'U' if is_bytes => return Err("unable to unescape string"),
            'u' => (4, 16, 0),
            'U' => (8, 16, 0),
            '0'..='3' => (2, 8, u32::from(c as u8 - b'0')),
            _ => return Err("unable to unescape string"),
        };
        let wrong = if radix == 8 {
            "unable to unescape octal sequence in string"
        } else {
            "unable to unescape string"
        };
        let text = rest.get(..digits).ok_or(wrong)?;
        let value = u32::from_str_radix(text, radix).map_err(|_| wrong)?;
        let value = if radix == 8 { first * 64 + value } else { value };
        rest = &rest[digits..];
        match (is_bytes, char::from_u32(value)) {
            (true, _) => out.push(value as u8),
            (false, Some(c)) => push(&mut out, c),
            (false, None) => return Err("invalid unicode code point"),
        }
    }
    Ok(out)
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_have_their_values() {
        let cases: &[(&str, bool, Result<&[u8], &str>)] = &[
            (r"'a\n\x41\u00e9\101'", false, Ok("a\nAéA".as_bytes())),
            (r"r'a\n'", false, Ok(br"a\n")),
            ("'''a'b'''", false, Ok(b"a'b")),
            ("\"\"", false, Ok(b"")),
            (r"'\xff'", true, Ok(&[0xff])),
            (r"'\377'", true, Ok(&[0xff])),
            (r"'\u0041'", true, Err("unable to unescape string")),
            (r"'\ud800'", false, Err("invalid unicode code point")),
            ("'a\r\nb'", false, Ok(b"a\nb")),
        ];
        for (literal, is_bytes, expected) in cases {
            assert_eq!(unescape(literal, *is_bytes).as_deref(), expected.as_ref().map(|v| *v), "{literal}");
        }
    }
}
