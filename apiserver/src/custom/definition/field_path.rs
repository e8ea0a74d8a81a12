//! Field paths that must lead to something in a schema: of selectable fields and of validation rules.

use crate::custom::schema::Schema;

/// A path that was found: its fields, and the schema it leads to.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// The names and keys on the way.
    pub(super) steps: Vec<String>,
    /// Where it ends; `None` where values have no schema.
    pub(super) schema: Option<&'a Schema>,
}

/// Follows a path such as `.spec.foo` or, with `brackets`, `['a-b']`.
pub(super) fn follow<'a>(path: &str, schema: &'a Schema, brackets: bool) -> Result<Found<'a>, String> {
    let mut found = Found { steps: Vec::new(), schema: Some(schema) };
    let tokens = tokens(path);
    let mut tokens = tokens.into_iter();
    let ended = || "unexpected end of JSON path".to_owned();
    while let Some(token) = tokens.next() {
        match token.as_str() {
            "[" => {
                if !brackets {
                    return Err("array notation is not allowed".to_owned());
                }
                let quoted = tokens.next().ok_or_else(ended)?;
                let inner = quoted.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
                let Some(inner) = inner else {
                    return Err(format!("expected single quoted string but got {quoted}"));
                };
                found.step(&unescape(inner)?)?;
                let close = tokens.next().ok_or_else(ended)?;
                if close != "]" {
                    return Err(format!("expected ] but got {close}"));
                }
            }
            "." => {
                let name = tokens.next().ok_or_else(ended)?;
                found.step(&name)?;
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok(found)
}

impl Found<'_> {
    fn step(&mut self, name: &str) -> Result<(), String> {
        let nowhere = || "does not refer to a valid field".to_owned();
        let schema = self.schema.ok_or_else(nowhere)?;
        self.schema = if !schema.properties.is_empty() {
            Some(schema.properties.get(name).ok_or_else(nowhere)?)
        } else if schema.additional_properties.is_some() {
            schema.additional()
        } else {
            return Err(nowhere());
        };
        self.steps.push(name.to_owned());
        Ok(())
    }
}

/// Dots, brackets, quoted texts and what is between them.
fn tokens(path: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let close = rest
                    .char_indices()
                    .skip(1)
                    .find(|(i, c)| *c == '\'' && !rest[..*i].ends_with('\\'))
                    .map(|(i, _)| i + 1);
                close.unwrap_or(rest.len())
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        let (token, tail) = rest.split_at(end);
        tokens.push(token.to_owned());
        rest = tail;
    }
    tokens
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\x07',
            Some('b') => '\x08',
            Some('f') => '\x0c',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\x0b',
            Some(c @ ('\'' | '"' | '\\' | '`' | '?')) => c,
            _ => return Err("invalid string literal: invalid syntax".to_owned()),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_are_followed() {
        let schema = Schema::parse(&json!({"properties": {
            "spec": {"properties": {"a": {"type": "string"}, "b.c": {"type": "integer"}}},
            "map": {"additionalProperties": {"type": "boolean"}}, "list": {"items": {"type": "string"}}}}));
        let ends = |path: &str| {
            follow(path, &schema, true).map(|f| f.schema.map(|s| s.ty.clone()).unwrap_or_default())
        };
        assert_eq!(ends(".spec.a"), Ok("string".to_owned()));
        assert_eq!(ends(".spec['b.c']"), Ok("integer".to_owned()));
        assert_eq!(ends(".map.any"), Ok("boolean".to_owned()));
        let bad = [
            (".spec.x", "does not refer to a valid field"),
            (".list.x", "does not refer to a valid field"),
            ("spec", "expected [ or . but got: spec"),
            (".spec.", "unexpected end of JSON path"),
            (".spec[a]", "expected single quoted string but got a"),
        ];
        for (path, error) in bad {
            assert_eq!(ends(path), Err(error.to_owned()), "{path}");
        }
        let error = follow(".spec['a']", &schema, false).expect_err("refused");
        assert_eq!(error, "array notation is not allowed");
    }
}
