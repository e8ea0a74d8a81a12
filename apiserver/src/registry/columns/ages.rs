//! Ages in cells: written for a time, or left open in a row that is kept and shown again later.

use std::cell::Cell;

use jiff::Timestamp;
use proto::json;
use proto::time::human_age;
use serde_json::Value;

/// Stands around an open age's time in the text of a cell.
const MARK: char = '\u{1}';
/// The mark as JSON has it, and in an [`Open`] row: no JSON text contains this byte.
const PRINTED: &[u8] = b"\\u0001";
const HOLE: u8 = 1;

/// What ages are written as.
pub struct Ages {
    now: Option<Timestamp>,
    /// How many were left open.
    open: Cell<usize>,
}

impl Ages {
    /// As they are at this time.
    pub fn at(now: Timestamp) -> Self {
        Ages { now: Some(now), open: Cell::new(0) }
    }

    /// How long ago a time was.
    pub fn since(&self, then: Timestamp) -> String {
        if let Some(now) = self.now {
            return human_age(then, now);
        }
        self.open.set(self.open.get() + 1);
        format!("{MARK}{}{MARK}", then.as_microsecond())
    }
}

/// JSON text whose ages are open.
#[derive(Debug)]
pub struct Open(Vec<u8>);

impl Open {
    /// What is made with ages left open; `None` if its own texts can't be told from them.
    pub fn new(make: impl FnOnce(&Ages) -> Value) -> Option<Self> {
        let ages = Ages { now: None, open: Cell::new(0) };
        let value = make(&ages);
        let mut text = Vec::new();
        json::encode_any(&value, &mut text);
        let (mut bytes, mut marks, mut at) = (Vec::with_capacity(text.len()), 0, 0);
        while let Some(found) = memchr::memmem::find(&text[at..], PRINTED) {
            bytes.extend_from_slice(&text[at..at + found]);
            bytes.push(HOLE);
            at += found + PRINTED.len();
            marks += 1;
        }
        bytes.extend_from_slice(&text[at..]);
        (marks == 2 * ages.open.get()).then_some(Open(bytes))
    }

    /// The bytes, to keep.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Appends the text of kept bytes as it is at a time.
    pub fn write(mut bytes: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        let mut within = false;
        while let Some(end) = memchr::memchr(HOLE, bytes) {
            let (part, rest) = (&bytes[..end], &bytes[end + 1..]);
            if within {
                age(part, now, out);
            } else {
                out.extend_from_slice(part);
            }
            within = !within;
            bytes = rest;
        }
        out.extend_from_slice(bytes);
    }
}

fn age(then: &[u8], now: Timestamp, out: &mut Vec<u8>) {
    let then = std::str::from_utf8(then).ok().and_then(|text| text.parse().ok());
    let Some(then) = then.and_then(|then| Timestamp::from_microsecond(then).ok()) else { return };
    let mut text = Vec::new();
    json::encode_any(&human_age(then, now).into(), &mut text);
    // It stands within a text: without quotes of its own.
    out.extend_from_slice(&text[1..text.len() - 1]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn open_ages_read_as_written_ones() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (old, future) = (time("2024-01-01T00:00:00Z"), time("2030-01-01T00:00:00.5Z"));
        let row = |ages: &Ages| json!(["<a>", format!("5 ({} ago)", ages.since(old)), ages.since(future), 3]);
        let open = Open::new(row).expect("no text is in the way").into_bytes();
        for now in ["2024-01-01T00:00:07.9Z", "2024-01-03T01:00:00Z", "2030-01-01T00:00:00.4Z"].map(time) {
            let (mut read, mut written) = (Vec::new(), Vec::new());
            Open::write(&open, now, &mut read);
            json::encode_any(&row(&Ages::at(now)), &mut written);
            assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(&written));
        }
    }

    #[test]
    fn texts_with_marks_are_not_kept() {
        for text in ["\u{1}", "\u{1}1\u{1}", "\\u0001"] {
            assert!(Open::new(|ages| json!([text, ages.since(Timestamp::UNIX_EPOCH)])).is_none(), "{text:?}");
        }
    }
}
