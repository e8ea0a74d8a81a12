//! Text to tokens, as the ANTLR lexer of cel-go's grammar makes them: the longest match wins.

use crate::source::{Issues, Source};

/// The kinds of tokens. The operators' texts are in [`Token::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Eof,
    Symbol,
    In,
    True,
    False,
    Null,
    Float,
    Int,
    Uint,
    String,
    Bytes,
    Ident,
    EscapedIdent,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) text: &'a str,
    /// In characters.
    pub(crate) offset: u32,
}

impl Token<'_> {
    pub(crate) fn is(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }

    /// The token as syntax errors show it.
    pub(crate) fn display(&self) -> String {
        let text = if self.kind == TokenKind::Eof { "<EOF>" } else { self.text };
        format!("'{}'", text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r"))
    }
}

const SYMBOLS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":",
    "+", "*", "/", "%",
];

/// The tokens of a source, the last of them [`TokenKind::Eof`]. What is no token is reported and skipped.
pub(crate) fn tokens<'a>(source: &'a Source, issues: &mut Issues) -> Vec<Token<'a>> {
    let text = source.text();
    let (mut at, mut offset) = (0, 0u32);
    let mut tokens = Vec::new();
    while at < text.len() {
        let rest = &text[at..];
        let skipped = blank(rest);
        let (length, kind) = if skipped > 0 { (skipped, None) } else { token(rest) };
        let piece = &rest[..length];
        match kind {
            Some(kind) if skipped == 0 => tokens.push(Token { kind, text: piece, offset }),
            None if skipped == 0 => {
                let message = format!("Syntax error: token recognition error at: '{piece}'");
                issues.report(source.location(offset), message);
            }
            _ => {}
        }
        at += length;
        offset += piece.chars().count() as u32;
    }
    tokens.push(Token { kind: TokenKind::Eof, text: "", offset });
    tokens
}

/// The length of the white space or comment at the start of `text`.
fn blank(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    text.len() - text.trim_start_matches(['\t', ' ', '\r', '\n', '\u{c}']).len()
}

/// The length and kind of the token at the start of `text`; without a kind, the length of what is no token.
fn token(text: &str) -> (usize, Option<TokenKind>) {
    let bytes = text.as_bytes();
    let string = string_prefix(bytes);
    if let Some((prefix, raw, kind)) = string {
        match quoted(&bytes[prefix..], raw) {
            Ok(length) => return (prefix + length, Some(kind)),
            // A letter that begins no string begins a name.
            Err(_) if prefix > 0 => {}
            Err(length) => return (char_end(text, length), None),
        }
    }
    match bytes[0] {
        b'0'..=b'9' => number(bytes),
        b'.' if bytes.get(1).is_some_and(u8::is_ascii_digit) => number(bytes),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
            let length = bytes.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b'_').count();
            let kind = match &text[..length] {
                "in" => TokenKind::In,
                "true" => TokenKind::True,
                "false" => TokenKind::False,
                "null" => TokenKind::Null,
                _ => TokenKind::Ident,
            };
            (length, Some(kind))
        }
        b'`' => {
            let inner = |c: &&u8| c.is_ascii_alphanumeric() || b"_.-/ ".contains(c);
            let length = 1 + bytes[1..].iter().take_while(inner).count();
            match bytes.get(length) {
                Some(b'`') if length > 1 => (length + 1, Some(TokenKind::EscapedIdent)),
                _ => (char_end(text, length), None),
            }
        }
        _ => match SYMBOLS.iter().find(|symbol| text.starts_with(**symbol)) {
            Some(symbol) => (symbol.len(), Some(TokenKind::Symbol)),
            // Half of an operator is refused together with what follows it.
            None => (char_end(text, usize::from(matches!(bytes[0], b'&' | b'|' | b'='))), None),
        },
    }
}

/// The end of the character that begins at or contains byte `at`.
fn char_end(text: &str, at: usize) -> usize {
    (at + 1..text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len())
}

fn number(bytes: &[u8]) -> (usize, Option<TokenKind>) {
    let digits = |from: usize| bytes[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    if bytes.starts_with(b"0x") {
        let hex = bytes[2..].iter().take_while(|c| c.is_ascii_hexdigit()).count();
        if hex > 0 {
            let end = 2 + hex;
            return match bytes.get(end) {
                Some(b'u' | b'U') => (end + 1, Some(TokenKind::Uint)),
                _ => (end, Some(TokenKind::Int)),
            };
        }
    }
    let mut end = digits(0);
    let mut kind = TokenKind::Int;
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
        kind = TokenKind::Float;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = if end + 1 + sign <= bytes.len() { digits(end + 1 + sign) } else { 0 };
        if exponent > 0 {
            end += 1 + sign + exponent;
            kind = TokenKind::Float;
        }
    }
    match bytes.get(end) {
        Some(b'u' | b'U') if kind == TokenKind::Int => (end + 1, Some(TokenKind::Uint)),
        _ => (end, Some(kind)),
    }
}

/// The length of a string's prefix, whether it is raw, and its kind.
fn string_prefix(bytes: &[u8]) -> Option<(usize, bool, TokenKind)> {
    let is_quote = |at: usize| matches!(bytes.get(at), Some(b'"' | b'\''));
    let is_raw = |at: usize| matches!(bytes.get(at), Some(b'r' | b'R'));
    let is_bytes = matches!(bytes.first(), Some(b'b' | b'B'));
    match () {
        () if is_quote(0) => Some((0, false, TokenKind::String)),
        () if is_raw(0) && is_quote(1) => Some((1, true, TokenKind::String)),
        () if is_bytes && is_quote(1) => Some((1, false, TokenKind::Bytes)),
        () if is_bytes && is_raw(1) && is_quote(2) => Some((2, true, TokenKind::Bytes)),
        () => None,
    }
}

/// The length of the quoted text at the start of `bytes`, or else the position of the first wrong byte.
fn quoted(bytes: &[u8], raw: bool) -> Result<usize, usize> {
    let quote = bytes[0];
    let triple = [quote; 3];
    if bytes.starts_with(&triple) {
        let mut at = 3;
        loop {
            match bytes.get(at) {
                // A lone pair of quotes is an empty string.
                None => return Ok(2),
                Some(_) if bytes[at..].starts_with(&triple) => return Ok(at + 3),
                Some(b'\\') if !raw => match escape(&bytes[at..]) {
                    Some(length) => at += length,
                    None => return Ok(2),
                },
                Some(_) => at += 1,
            }
        }
    }
    let mut at = 1;
    loop {
        match bytes.get(at) {
            None | Some(b'\n' | b'\r') => return Err(at),
            Some(c) if *c == quote => return Ok(at + 1),
            Some(b'\\') if !raw => match escape(&bytes[at..]) {
                Some(length) => at += length,
                None => return Err(at + wrong_in_escape(&bytes[at..])),
            },
            Some(_) => at += 1,
        }
    }
}

/// The length of the escape sequence at the start of `bytes`.
fn escape(bytes: &[u8]) -> Option<usize> {
    let hex = |count: usize| {
        let digits = bytes.get(2..2 + count)?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(2 + count)
    };
    match bytes.get(1)? {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => Some(2),
        b'x' | b'X' => hex(2),
        b'u' => hex(4),
        b'U' => hex(8),
        b'0'..=b'3' => {
            let digits = bytes.get(2..4)?;
            digits.iter().all(|c| (b'0'..=b'7').contains(c)).then_some(4)
        }
        _ => None,
    }
}

fn wrong_in_escape(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'x' | b'X' | b'u' | b'U') => {
            2 + bytes[2..].iter().take_while(|c| c.is_ascii_hexdigit()).count()
        }
        Some(b'0'..=b'3') => 2 + bytes[2..].iter().take_while(|c| (b'0'..=b'7').contains(*c)).count(),
        _ => 1,
    }
}
