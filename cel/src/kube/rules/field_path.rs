//! The field that a rule is about (`fieldPath`).

use crate::kube::schema::Schema;

/// The path in the form that errors have it, such as `spec.items[key]`; `None` if it leads nowhere.
pub(super) fn normalized(path: &str, schema: &Schema) -> Option<String> {
    let (mut out, mut rest, mut at) = (String::new(), path, Some(schema));
    while !rest.is_empty() {
        let name;
        if let Some(after) = rest.strip_prefix("['") {
            let end = quote_end(after)?;
            name = unescape(&after[..end])?;
            rest = after[end..].strip_prefix("']")?;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[', ']']).unwrap_or(after.len());
            name = after[..end].to_owned();
            rest = &after[end..];
        }
        let schema = at?;
        match (&schema.properties, &schema.additional) {
            (Some(properties), _) => {
                out.push_str(if out.is_empty() { "" } else { "." });
                out.push_str(&name);
                at = Some(properties.get(&name)?);
            }
            (None, Some(values)) => {
                out.push_str(&format!("[{name}]"));
                at = Some(values);
            }
            _ => return None,
        }
    }
    (!out.is_empty()).then_some(out)
}

fn quote_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|at| bytes[*at] == b'\'' && (*at == 0 || bytes[at - 1] != b'\\'))
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                c @ ('\'' | '\\') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}
