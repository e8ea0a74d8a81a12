//! One line of a log: `<RFC 3339 time> <stdout|stderr> <F|P> <text>`.

/// Which output a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A parsed line. The text of a full line ends in a newline; a partial one continues in the next.
#[derive(Debug, PartialEq)]
pub struct Line<'a> {
    /// When it was written, as it stands in the file.
    pub time: &'a str,
    /// Where to.
    pub stream: Stream,
    /// What was written.
    pub text: &'a [u8],
    /// Whether the next line continues it.
    pub partial: bool,
}

/// The line isn't in the format.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// Parses one line, its newline included.
pub fn parse(line: &[u8]) -> Result<Line<'_>, Malformed> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = parts.next().filter(|t| !t.is_empty()).ok_or(Malformed("timestamp is not found"))?;
    let time = std::str::from_utf8(time).map_err(|_| Malformed("unexpected timestamp format"))?;
    let stream = match parts.next().ok_or(Malformed("stream type is not found"))? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return Err(Malformed("unexpected stream type")),
    };
    let tags = parts.next().ok_or(Malformed("log tag is not found"))?;
    let partial = tags.split(|b| *b == b':').next() == Some(b"P");
    let mut text = parts.next().ok_or(Malformed("log content is not found"))?;
    if partial {
        text = text.strip_suffix(b"\n").unwrap_or(text);
    }
    Ok(Line { time, stream, text, partial })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_parse() {
        let line = parse(b"2024-01-01T00:00:00.1Z stdout F hello world\n").unwrap();
        assert_eq!((line.stream, line.text, line.partial), (Stream::Stdout, &b"hello world\n"[..], false));
        let line = parse(b"2024-01-01T00:00:00.1Z stderr P hel\n").unwrap();
        assert_eq!((line.stream, line.text, line.partial), (Stream::Stderr, &b"hel"[..], true));
        assert!(parse(b"2024-01-01T00:00:00.1Z stdout F \n").unwrap().text == b"\n");
        assert!(parse(b"garbage\n").is_err());
    }
}
