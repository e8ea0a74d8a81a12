//! JSON's tokens, with the texts of Go's scanner for what is wrong.

use std::borrow::Cow;

use super::{Error, MAX_DEPTH};

/// A cursor over a JSON text.
pub(super) struct Lexer<'a> {
    pub(super) data: &'a [u8],
    pub(super) at: usize,
    depth: usize,
}

type Result<T> = std::result::Result<T, Error>;

impl<'a> Lexer<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Lexer { data, at: 0, depth: 0 }
    }

    /// The next byte that isn't white space, not consumed.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.data.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// The first byte of a value.
    pub(super) fn value_start(&mut self) -> Result<u8> {
        match self.peek() {
            Some(byte @ (b'{' | b'[' | b'"' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9')) => Ok(byte),
            other => Err(self.invalid(other, "looking for beginning of value")),
        }
    }

    fn invalid(&self, byte: Option<u8>, context: &str) -> Error {
        let Some(byte) = byte else { return Error::Syntax("unexpected end of JSON input".to_owned()) };
        let quoted = match byte {
            b'\'' => "\\'".to_owned(),
            b'"' => "\"".to_owned(),
            b'\\' => "\\\\".to_owned(),
            0x07 => "\\a".to_owned(),
            0x08 => "\\b".to_owned(),
            0x0c => "\\f".to_owned(),
            b'\n' => "\\n".to_owned(),
            b'\r' => "\\r".to_owned(),
            b'\t' => "\\t".to_owned(),
            0x0b => "\\v".to_owned(),
            0x00..=0x1f | 0x7f => format!("\\x{byte:02x}"),
            0x80..=0x9f => format!("\\u{byte:04x}"),
            0xad => "\\u00ad".to_owned(),
            _ => char::from(byte).to_string(),
        };
        Error::Syntax(format!("invalid character '{quoted}' {context}"))
    }

    /// Enters the object or list at the cursor.
    pub(super) fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::Syntax("exceeded max depth".to_owned()));
        }
        self.at += 1;
        Ok(())
    }

    /// The next key of the object that the cursor is in, with its colon consumed; `None` at the object's end.
    pub(super) fn key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>> {
        match (self.peek(), first) {
            (Some(b'}'), _) => {
                self.at += 1;
                self.depth -= 1;
                return Ok(None);
            }
            (Some(b','), false) => {
                self.at += 1;
                self.peek();
            }
            (_, true) => {}
            (other, false) => return Err(self.invalid(other, "after object key:value pair")),
        }
        match self.peek() {
            Some(b'"') => {}
            other => return Err(self.invalid(other, "looking for beginning of object key string")),
        }
        let key = self.string()?;
        match self.peek() {
            Some(b':') => self.at += 1,
            other => return Err(self.invalid(other, "after object key")),
        }
        Ok(Some(key))
    }

    /// Whether the list that the cursor is in has another item.
    pub(super) fn item(&mut self, first: bool) -> Result<bool> {
        match (self.peek(), first) {
            (Some(b']'), _) => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            (Some(b','), false) => {
                self.at += 1;
                // A bracket after a comma is no value; value_start says so.
                Ok(true)
            }
            (_, true) => Ok(true),
            (other, false) => Err(self.invalid(other, "after array element")),
        }
    }

    /// Checks that only white space is left.
    pub(super) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            other => Err(self.invalid(other, "after top-level value")),
        }
    }

    /// Consumes `true`, `false` or `null`.
    pub(super) fn literal(&mut self, word: &str) -> Result<()> {
        for (index, expected) in word.bytes().enumerate() {
            let found = self.data.get(self.at).copied();
            if found != Some(expected) {
                let context = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(self.invalid(found, &context));
            }
            debug_assert!(index < 5);
            self.at += 1;
        }
        Ok(())
    }

    /// Consumes a number and returns its text.
    pub(super) fn number(&mut self) -> Result<&'a str> {
        let start = self.at;
        if self.data.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.data.get(self.at).copied() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            other => return Err(self.invalid(other, "in numeric literal")),
        }
        if self.data.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.need_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.data.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.data.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.need_digits("in exponent of numeric literal")?;
        }
        Ok(std::str::from_utf8(&self.data[start..self.at]).unwrap_or_default())
    }

    fn need_digits(&mut self, context: &str) -> Result<()> {
        match self.data.get(self.at).copied() {
            Some(b'0'..=b'9') => {
                self.digits();
                Ok(())
            }
            other => Err(self.invalid(other, context)),
        }
    }

    fn digits(&mut self) {
        while matches!(self.data.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    /// Consumes a string. Invalid UTF-8 and lone surrogates become U+FFFD, as in Go.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        self.plain();
        match self.data.get(self.at).copied() {
            Some(b'"') => {
                let text = lossy(&self.data[start..self.at]);
                self.at += 1;
                Ok(text)
            }
            Some(b'\\') => self.escaped(start).map(Cow::Owned),
            other => Err(self.invalid(other, "in string literal")),
        }
    }

    /// Goes to the next byte of a string that doesn't stand for itself.
    fn plain(&mut self) {
        let rest = &self.data[self.at..];
        let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        // Without a branch per byte, this looks at many at once.
        let control = rest[..end].iter().fold(false, |found, &byte| found | (byte < b' '));
        self.at += match control {
            true => rest.iter().position(|&byte| byte < b' ').unwrap_or(end),
            false => end,
        };
    }

    fn escaped(&mut self, start: usize) -> Result<String> {
        let mut text = lossy(&self.data[start..self.at]).into_owned();
        loop {
            let plain = self.at;
            self.plain();
            text.push_str(&lossy(&self.data[plain..self.at]));
            match self.data.get(self.at).copied() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut text)?;
                }
                other => return Err(self.invalid(other, "in string literal")),
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Result<()> {
        let byte = self.data.get(self.at).copied();
        self.at += 1;
        text.push(match byte {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let high = self.hex()?;
                let mut code = u32::from(high);
                if (0xd800..0xdc00).contains(&high) && self.data[self.at..].starts_with(b"\\u") {
                    let back = self.at;
                    self.at += 2;
                    let low = self.hex()?;
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x10000 + ((code - 0xd800) << 10) + (u32::from(low) - 0xdc00);
                    } else {
                        self.at = back;
                    }
                }
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => return Err(self.invalid(other, "in string escape code")),
        });
        Ok(())
    }

    fn hex(&mut self) -> Result<u16> {
        let mut code = 0;
        for _ in 0..4 {
            let byte = self.data.get(self.at).copied();
            let Some(digit) = byte.and_then(|byte| char::from(byte).to_digit(16)) else {
                return Err(self.invalid(byte, "in \\u hexadecimal character escape"));
            };
            code = code << 4 | digit as u16;
            self.at += 1;
        }
        Ok(code)
    }

    /// Skips a value and returns its text.
    pub(super) fn skip(&mut self) -> Result<&'a [u8]> {
        let first = self.value_start()?;
        let start = self.at;
        match first {
            b'{' => {
                self.enter()?;
                let mut first = true;
                while self.key(first)?.is_some() {
                    first = false;
                    self.skip()?;
                }
            }
            b'[' => {
                self.enter()?;
                let mut first = true;
                while self.item(first)? {
                    first = false;
                    self.skip()?;
                }
            }
            b'"' => drop(self.string()?),
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => drop(self.number()?),
        }
        Ok(&self.data[start..self.at])
    }
}

/// Text of bytes; what isn't UTF-8 in them becomes U+FFFD.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    // Much quicker than the lossy way for what is ASCII, as most texts are.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
