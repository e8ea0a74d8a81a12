//! Regular expressions in Go's dialect, on Rust's engine.
//!
//! Both are RE2's children; they differ in that Go's Perl classes and word boundaries are ASCII, and that Go knows no sets of
//! classes: a bracket or an `&&` in a class is just that.

use regex::Regex;

/// Compiles an expression; the error is Go's text.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(&translate(pattern)).map_err(|error| explain(pattern, &error.to_string()))
}

/// The expression as Rust's engine has it.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    // Within a class: how many characters it has so far.
    let mut class: Option<usize> = None;
    while let Some(c) = chars.next() {
        let at = class;
        if let Some(n) = &mut class {
            *n += 1;
        }
        match (c, at) {
            ('\\', _) => match chars.next() {
                Some('Q') if at.is_none() => {
                    let mut text = String::new();
                    while let Some(c) = chars.next() {
                        if c == '\\' && chars.next_if_eq(&'E').is_some() {
                            break;
                        }
                        text.push(c);
                    }
                    out.push_str(&regex::escape(&text));
                }
                Some(escaped) => escape(escaped, at.is_some(), &mut out),
                None => out.push('\\'),
            },
            ('[', None) => {
                out.push('[');
                class = Some(0);
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // First in a class, a closing bracket is a character.
                if chars.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                    class = Some(1);
                }
            }
            ('[', Some(_)) if chars.peek() == Some(&':') => {
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            (']', Some(_)) => {
                out.push(']');
                class = None;
            }
            ('[' | '&' | '~', Some(_)) => {
                out.push('\\');
                out.push(c);
            }
            // At either end of a class, a dash is a character.
            ('-', Some(n)) if n == 0 || chars.peek() == Some(&']') => out.push_str("\\-"),
            (c, _) => out.push(c),
        }
    }
    out
}

fn escape(c: char, in_class: bool, out: &mut String) {
    let class = match c {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => r"\t\n\f\r ",
        'D' => "^0-9",
        'W' => "^0-9A-Za-z_",
        'S' => r"^\t\n\f\r ",
        'b' | 'B' if !in_class => {
            out.push_str(if c == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
            return;
        }
        // Go takes a backslash before any punctuation; Rust before that which means something.
        c if c.is_ascii_punctuation() => {
            out.push_str(&regex::escape(&c.to_string()));
            if in_class && !out.ends_with(&format!("\\{c}")) {
                out.pop();
                out.push('\\');
                out.push(c);
            }
            return;
        }
        c => {
            out.push('\\');
            out.push(c);
            return;
        }
    };
    out.push('[');
    out.push_str(class);
    out.push(']');
}

/// Go's text for what is wrong with an expression.
fn explain(pattern: &str, error: &str) -> String {
    let why = error.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or(error);
    let (text, fragment) = match why {
        "unclosed group" => ("missing closing )", pattern),
        "unopened group" => ("unexpected )", pattern),
        "unclosed character class" => {
            ("missing closing ]", pattern.rfind('[').map_or(pattern, |at| &pattern[at..]))
        }
        "repetition operator missing expression" => {
            let at = pattern.find(['*', '+', '?']).unwrap_or(0);
            ("missing argument to repetition operator", pattern.get(at..at + 1).unwrap_or(pattern))
        }
        "incomplete escape sequence, reached end of pattern prematurely" => {
            return "error parsing regexp: trailing backslash at end of expression: ``".to_owned();
        }
        "unrecognized escape sequence" => ("invalid escape sequence", pattern),
        text if text.starts_with("look-around") => ("invalid or unsupported Perl syntax", "(?"),
        text => (text, pattern),
    };
    format!("error parsing regexp: {text}: `{fragment}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_in_go() {
        let cases = [
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{0661}", false),
            (r"^[\w.-]+$", "a-b.c_1", true),
            (r"^\w$", "é", false),
            (r"^[^\s]+$", "a b", false),
            (r"^[[a]+$", "[a", true),
            (r"^[]a]+$", "]a", true),
            (r"^[a&&b]+$", "a&", true),
            (r"^[[:alpha:]-]+$", "a-", true),
            (r"\ba\b", "x a", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^\Qa.b\E+$", "a.bb", true),
            (r"^(?i)abc$", "ABC", true),
            (r"^[a\-z]$", "-", true),
            (r"^\/[\/\-]$", "/-", true),
            (r"^\p{Greek}+$", "λ", true),
        ];
        for (pattern, text, matches) in cases {
            let compiled = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(compiled.is_match(text), matches, "{pattern} on {text}");
        }
    }

    #[test]
    fn errors_are_gos() {
        let cases = [
            ("a(", "error parsing regexp: missing closing ): `a(`"),
            ("a)", "error parsing regexp: unexpected ): `a)`"),
            ("[a", "error parsing regexp: missing closing ]: `[a`"),
            ("*", "error parsing regexp: missing argument to repetition operator: `*`"),
        ];
        for (pattern, text) in cases {
            assert_eq!(compile(pattern).expect_err("refused"), text);
        }
    }
}
