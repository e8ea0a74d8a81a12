//! Label selectors, both as text (`app=web,tier in (a,b),!canary`) and as a `LabelSelector` object.

use std::fmt;

use serde_json::Value;

use crate::content;

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`
    DoubleEquals,
    /// `key!=a`
    NotEquals,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

/// Why a selector could not be built; the text is upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// Comparison.
    pub operator: Operator,
    /// Sorted values; none for `Exists` and `DoesNotExist`.
    pub values: Vec<String>,
}

impl Requirement {
    /// A checked requirement.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, ParseError> {
        use Operator::*;
        let mut errors = Vec::new();
        let key_errors = content::is_qualified_name(key);
        if !key_errors.is_empty() {
            errors.push(format!("key: Invalid value: {key:?}: {}", key_errors.join("; ")));
        }
        let listed =
            || format!("[{}]", values.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(","));
        let mut bad = |why: &str| errors.push(format!("values: Invalid value: {}: {why}", listed()));
        match operator {
            In | NotIn if values.is_empty() => bad("for 'in', 'notin' operators, values set can't be empty"),
            Equals | DoubleEquals | NotEquals if values.len() != 1 => {
                bad("exact-match compatibility requires one single value")
            }
            Exists | DoesNotExist if !values.is_empty() => {
                bad("values set must be empty for exists and does not exist")
            }
            GreaterThan | LessThan => {
                if values.len() != 1 {
                    bad("for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (i, v) in values.iter().enumerate().filter(|(_, v)| v.parse::<i64>().is_err()) {
                    errors.push(format!(
                        "values[{i}]: Invalid value: {v:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                    ));
                }
            }
            _ => {}
        }
        for (i, v) in values.iter().enumerate() {
            let value_errors = content::is_label_value(v);
            if !value_errors.is_empty() {
                errors.push(format!("values[{i}][{key}]: Invalid value: {v:?}: {}", value_errors.join("; ")));
            }
        }
        match errors.len() {
            0 => {
                values.sort_unstable();
                Ok(Requirement { key: key.to_owned(), operator, values })
            }
            1 => Err(ParseError(errors.remove(0))),
            _ => Err(ParseError(format!("[{}]", errors.join(", ")))),
        }
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|w| w == v);
        let number = |s: &str| s.parse::<i64>().ok();
        let compare = |greater: bool| {
            let (Some(have), Some(want)) =
                (value.and_then(number), self.values.first().and_then(|v| number(v)))
            else {
                return false;
            };
            if greater { have > want } else { have < want }
        };
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compare(true),
            Operator::LessThan => compare(false),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.join(",");
        match self.operator {
            Operator::In => write!(f, "{} in ({values})", self.key),
            Operator::NotIn => write!(f, "{} notin ({values})", self.key),
            Operator::Equals => write!(f, "{}={values}", self.key),
            Operator::DoubleEquals => write!(f, "{}=={values}", self.key),
            Operator::NotEquals => write!(f, "{}!={values}", self.key),
            Operator::Exists => f.write_str(&self.key),
            Operator::DoesNotExist => write!(f, "!{}", self.key),
            Operator::GreaterThan => write!(f, "{}>{values}", self.key),
            Operator::LessThan => write!(f, "{}<{values}", self.key),
        }
    }
}

/// A conjunction of requirements sorted by key; an empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The requirements.
    pub requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Selector { requirements: Vec::new(), nothing: true }
    }

    /// From requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector { requirements, nothing: false }
    }

    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Parser { tokens: scan(text), position: 0 }.parse().map(Selector::new)
    }

    /// From a map of labels that must all be equal (as a Service's `spec.selector`); absent or empty selects everything.
    pub fn from_set(set: &Value) -> Self {
        let entries = set.as_object().into_iter().flatten();
        let requirement = |(k, v): (&String, &Value)| Requirement {
            key: k.clone(),
            operator: Operator::Equals,
            values: vec![v.as_str().unwrap_or_default().to_owned()],
        };
        Selector::new(entries.map(requirement).collect())
    }

    /// From a `LabelSelector` object: null selects nothing, an empty one everything.
    pub fn from_label_selector(selector: &Value) -> Result<Self, ParseError> {
        let Some(selector) = selector.as_object() else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key, Operator::Equals, vec![value])?);
        }
        for e in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| e.get(name).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(ParseError(format!("{other:?} is not a valid label selector operator"))),
            };
            let values = e.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(Requirement::new(text("key"), operator, values)?);
        }
        Ok(Selector::new(requirements))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it selects nothing by construction.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Whether labels match that this function tells.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }

    /// Whether a JSON object of labels matches (null counts as no labels).
    pub fn matches(&self, labels: &Value) -> bool {
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }

    /// Whether labels in a map match.
    pub fn matches_map(&self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// The one value the label must have, if the selector says so.
    pub fn requires_exact_match(&self, label: &str) -> Option<&str> {
        use Operator::*;
        let r = self.requirements.iter().find(|r| r.key == label)?;
        match (r.operator, r.values.as_slice()) {
            (Equals | DoubleEquals | In, [only]) => Some(only),
            _ => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            r.fmt(f)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

fn symbol(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "(" => Token::Open,
        _ => return None,
    })
}

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Splits into tokens; the longest symbol wins. Always ends with `End`.
fn scan(text: &str) -> Vec<(Token, String)> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let length = if is_special(first) {
            let run = rest.find(|c| !is_special(c)).unwrap_or(rest.len());
            let longest = (1..=run.min(2)).rev().find_map(|n| symbol(&rest[..n]).map(|t| (t, n)));
            match longest {
                Some((token, n)) => {
                    tokens.push((token, rest[..n].to_owned()));
                    n
                }
                None => {
                    tokens.push((Token::Error, format!("error expected: keyword found '{}'", &rest[..run])));
                    run
                }
            }
        } else {
            let n = rest.find(|c| is_special(c) || is_space(c)).unwrap_or(rest.len());
            let token = match &rest[..n] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Identifier,
            };
            tokens.push((token, rest[..n].to_owned()));
            n
        };
        rest = rest[length..].trim_start_matches(is_space);
    }
    tokens.push((Token::End, String::new()));
    tokens
}

struct Parser {
    tokens: Vec<(Token, String)>,
    position: usize,
}

impl Parser {
    /// The token here; `in` and `notin` read as identifiers where a value may stand.
    fn peek(&self, values: bool) -> (Token, &str) {
        let (token, text) =
            self.tokens.get(self.position).map_or((Token::End, ""), |(t, s)| (*t, s.as_str()));
        match token {
            Token::In | Token::NotIn if values => (Token::Identifier, text),
            _ => (token, text),
        }
    }

    fn next(&mut self, values: bool) -> (Token, String) {
        let (token, text) = self.peek(values);
        let taken = (token, text.to_owned());
        self.position += 1;
        taken
    }

    fn parse(&mut self) -> Result<Vec<Requirement>, ParseError> {
        let found = |text: &str, wanted: &str| Err(ParseError(format!("found '{text}', expected: {wanted}")));
        let mut requirements = Vec::new();
        loop {
            let (token, text) = self.peek(true);
            match token {
                Token::Identifier | Token::Not => {
                    let r = self
                        .requirement()
                        .map_err(|e| ParseError(format!("unable to parse requirement: {e}")))?;
                    requirements.push(r);
                    let (token, text) = self.next(true);
                    match token {
                        Token::End => return Ok(requirements),
                        Token::Comma => {
                            let (token, text) = self.peek(true);
                            if token != Token::Identifier && token != Token::Not {
                                return found(text, "identifier after ','");
                            }
                        }
                        _ => return found(&text, "',' or 'end of string'"),
                    }
                }
                Token::End => return Ok(requirements),
                _ => return found(text, "!, identifier, or 'end of string'"),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let (mut token, mut key) = self.next(true);
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next(true);
        }
        if token != Token::Identifier {
            return Err(ParseError(format!("found '{key}', expected: identifier")));
        }
        let errors = content::is_qualified_name(&key);
        if !errors.is_empty() {
            return Err(ParseError(format!("<nil>: Invalid value: {key:?}: {}", errors.join("; "))));
        }
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(true).0, Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let (token, text) = self.next(false);
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => {
                return Err(ParseError(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")));
            }
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(&key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, ParseError> {
        if matches!(self.peek(true).0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next(true) {
            (Token::Identifier, text) => Ok(text),
            (_, text) => Err(ParseError(format!("found '{text}', expected: identifier"))),
        }
    }

    /// `(a,b)`; empty places between commas are empty values.
    fn values(&mut self) -> Result<Vec<String>, ParseError> {
        let (token, text) = self.next(true);
        if token != Token::Open {
            return Err(ParseError(format!("found '{text}' expected: '('")));
        }
        let mut values = Vec::new();
        loop {
            let value = match self.peek(true) {
                (Token::Identifier, _) => self.next(true).1,
                (Token::Comma | Token::Close, _) => String::new(),
                (_, text) => {
                    return Err(ParseError(format!("found '{text}', expected: ',', ')' or identifier")));
                }
            };
            if !values.contains(&value) {
                values.push(value);
            }
            match self.next(true) {
                (Token::Comma, _) => {}
                (Token::Close, _) => return Ok(values),
                (_, text) => return Err(ParseError(format!("found '{text}', expected: ',' or ')'"))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selects_as_upstream() {
        let labels = json!({"app": "web", "tier": "a", "n": "5", "e": ""});
        for (text, want) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier in (a,b)", true),
            ("app!=web", false),
            ("tier notin (b)", true),
            ("none notin (b)", true),
            ("!none", true),
            ("!app", false),
            ("n>4,n<6", true),
            ("app>4", false),
            ("e=", true),
            ("e in ()", true),
            ("e in (x,)", true),
            ("in in (in)", false),
            ("x in (a", false),
        ] {
            let got = Selector::parse(text).map(|s| s.matches(&labels)).unwrap_or(false);
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn prints_canonically() {
        let s = Selector::parse("z notin (b,a), !y , x==1,w").expect("parses");
        assert_eq!(s.to_string(), "w,x==1,!y,z notin (a,b)");
    }

    #[test]
    fn label_selectors() {
        let s = Selector::from_label_selector(&json!({
            "matchLabels": {"a": "1"},
            "matchExpressions": [{"key": "b", "operator": "Exists"}]
        }))
        .expect("valid");
        assert!(s.matches(&json!({"a": "1", "b": ""})));
        assert!(!s.matches(&json!({"a": "1"})));
        assert!(Selector::from_label_selector(&Value::Null).expect("valid").is_nothing());
        assert!(Selector::from_label_selector(&json!({})).expect("valid").is_empty());
    }
}
