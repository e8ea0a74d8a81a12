//! Field selectors: `metadata.name=a,status.phase!=Running`.

use std::fmt;

/// Why a field selector could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole selector.
        selector: String,
        /// The term.
        term: String,
    },
    /// A backslash before a character that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A `,` or `=` in a value with no backslash.
    #[error("invalid field selector: unescaped character in value: {}", *.0 as u32)]
    Unescaped(char),
}

/// One term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Field path.
    pub field: String,
    /// Whether the value must be equal (else it must differ).
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// A conjunction of terms; an empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The terms, in the order of their text.
    pub requirements: Vec<Requirement>,
}

impl Selector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|t| !t.is_empty()) {
            let (field, equal, value) = split_term(term)
                .ok_or_else(|| ParseError::Term { selector: text.to_owned(), term: term.to_owned() })?;
            requirements.push(Requirement { field: field.to_owned(), equal, value: unescape(value)? });
        }
        Ok(Selector { requirements })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object matches whose fields this function tells.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| (get(&r.field).unwrap_or("") == r.value) == r.equal)
    }

    /// The value that the field must have, if there is such a term.
    pub fn requires_exact_match(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.equal && r.field == field).map(|r| r.value.as_str())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let op = if r.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{op}{}", r.field, escape(&r.value))?;
        }
        Ok(())
    }
}

/// Escapes a literal for use as a value.
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

fn unescape(value: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(e @ ('\\' | ',' | '=')) => out.push(e),
                Some(other) => return Err(ParseError::Escape(format!("\\{other}"))),
                None => return Err(ParseError::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(ParseError::Unescaped(c)),
            _ => out.push(c),
        }
    }
    Ok(out)
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (i, _) in term.char_indices() {
        let (field, rest) = term.split_at(i);
        for (op, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(op) {
                return Some((field, equal, value));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        let s = Selector::parse("status.phase!=Running,metadata.name==a").expect("parses");
        assert_eq!(s.to_string(), "metadata.name=a,status.phase!=Running");
        assert_eq!(s.requires_exact_match("metadata.name"), Some("a"));
        assert!(s.matches_with(|f| if f == "metadata.name" { Some("a") } else { None }));
        assert!(!s.matches_with(|f| if f == "metadata.name" { Some("a") } else { Some("Running") }));
    }

    #[test]
    fn refuses_what_upstream_refuses() {
        let text = |s: &str| Selector::parse(s).expect_err("refused").to_string();
        assert_eq!(text("a"), "invalid selector: 'a'; can't understand 'a'");
        assert_eq!(text("a=b\\x"), "invalid field selector: invalid escape sequence: \\x");
        assert_eq!(text("a=b=c"), "invalid field selector: unescaped character in value: 61");
    }

    #[test]
    fn escapes_round_trip() {
        let s = Selector::parse("a=b\\,c\\=d").expect("parses");
        assert_eq!(s.requirements[0].value, "b,c=d");
        assert_eq!(s.to_string(), "a=b\\,c\\=d");
    }
}
