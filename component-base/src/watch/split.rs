//! Cuts streams of JSON into pieces without holding the whole.

/// Cuts lines out of chunks; a line within one chunk isn't copied.
#[derive(Default)]
pub(super) struct Lines {
    carry: Vec<u8>,
}

impl Lines {
    /// Feeds a chunk; calls `line` for each line that it completes until that returns false.
    pub(super) fn feed(&mut self, mut chunk: &[u8], mut line: impl FnMut(&[u8]) -> bool) -> bool {
        while let Some(end) = chunk.iter().position(|&byte| byte == b'\n') {
            let (head, tail) = chunk.split_at(end);
            chunk = &tail[1..];
            let go_on = if self.carry.is_empty() {
                head.is_empty() || line(head)
            } else {
                self.carry.extend_from_slice(head);
                let go_on = line(&self.carry);
                self.carry.clear();
                // One huge object must not pin its size for the life of the watch.
                self.carry.shrink_to(64 << 10);
                go_on
            };
            if !go_on {
                return false;
            }
        }
        self.carry.extend_from_slice(chunk);
        true
    }
}

/// A part of a list.
#[derive(Debug, PartialEq)]
pub(super) enum Part<'a> {
    /// The value of `metadata`.
    Metadata(&'a [u8]),
    /// One element of `items`.
    Item(&'a [u8]),
}

/// Cuts the elements of `items`, and `metadata`, out of a list's JSON as it arrives.
///
/// It counts brackets and skips strings; it doesn't validate, which the parts' decoders do.
#[derive(Default)]
pub(super) struct ListSplitter {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Past the colon of a member of the outermost object.
    in_value: bool,
    key: Vec<u8>,
    capture: Option<Capture>,
    carry: Vec<u8>,
    complete: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Capture {
    Metadata,
    Item,
}

impl ListSplitter {
    /// Feeds a chunk; calls `part` for each part that it completes.
    pub(super) fn feed(&mut self, chunk: &[u8], mut part: impl FnMut(Part<'_>)) {
        // Where the captured part begins in this chunk, if it isn't in `carry` already.
        let mut start = 0;
        for (i, &byte) in chunk.iter().enumerate() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                } else if byte == b'\\' {
                    self.escaped = true;
                } else if byte == b'"' {
                    self.in_string = false;
                } else if self.depth == 1 && !self.in_value {
                    self.key.push(byte);
                }
                continue;
            }
            match byte {
                b'"' => {
                    self.in_string = true;
                    if self.depth == 1 && !self.in_value {
                        self.key.clear();
                    }
                }
                b':' if self.depth == 1 => self.in_value = true,
                b',' if self.depth == 1 => self.in_value = false,
                b'{' | b'[' => {
                    let capture = match (self.depth, byte) {
                        (1, b'{') if self.key == b"metadata" => Some(Capture::Metadata),
                        (2, b'{') if self.key == b"items" => Some(Capture::Item),
                        _ => None,
                    };
                    if self.capture.is_none() && capture.is_some() {
                        self.capture = capture;
                        start = i;
                    }
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    let done = match self.capture {
                        Some(Capture::Metadata) => self.depth == 1,
                        Some(Capture::Item) => self.depth == 2,
                        None => false,
                    };
                    if done {
                        let kind = self.capture.take();
                        let bytes = if self.carry.is_empty() {
                            &chunk[start..=i]
                        } else {
                            self.carry.extend_from_slice(&chunk[..=i]);
                            &self.carry
                        };
                        part(if kind == Some(Capture::Item) {
                            Part::Item(bytes)
                        } else {
                            Part::Metadata(bytes)
                        });
                        self.carry.clear();
                    }
                    self.complete |= self.depth == 0;
                }
                _ => {}
            }
        }
        if self.capture.is_some() {
            let start = if self.carry.is_empty() { start } else { 0 };
            self.carry.extend_from_slice(&chunk[start..]);
        }
    }

    /// Whether the outermost object has ended.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","x":{"y":"}"}},
        "items":[{"metadata":{"name":"a\"]}","items":[{"z":1}]}},{"metadata":{"name":"b"},"list":[[1],[2]]} , {}]}"#;

    fn split(step: usize) -> (Vec<String>, bool) {
        let mut splitter = ListSplitter::default();
        let mut parts = Vec::new();
        for chunk in LIST.as_bytes().chunks(step) {
            splitter.feed(chunk, |part| {
                parts.push(match part {
                    Part::Metadata(bytes) => format!("M{}", String::from_utf8_lossy(bytes)),
                    Part::Item(bytes) => format!("I{}", String::from_utf8_lossy(bytes)),
                })
            });
        }
        (parts, splitter.is_complete())
    }

    #[test]
    fn lists_split_alike_however_they_arrive() {
        let whole = split(LIST.len());
        assert_eq!(
            whole.0,
            [
                r#"M{"resourceVersion":"7","x":{"y":"}"}}"#,
                r#"I{"metadata":{"name":"a\"]}","items":[{"z":1}]}}"#,
                r#"I{"metadata":{"name":"b"},"list":[[1],[2]]}"#,
                "I{}"
            ]
        );
        for step in 1..LIST.len() {
            assert_eq!(split(step), whole, "in chunks of {step}");
        }
    }

    #[test]
    fn a_list_cut_short_is_seen() {
        let mut splitter = ListSplitter::default();
        splitter.feed(&LIST.as_bytes()[..LIST.len() - 1], |_| {});
        assert!(!splitter.is_complete());
        let mut empty = ListSplitter::default();
        empty.feed(br#"{"metadata":{},"items":null}"#, |part| assert_eq!(part, Part::Metadata(b"{}")));
        assert!(empty.is_complete());
    }

    #[test]
    fn lines_split_alike_however_they_arrive() {
        let text = b"one\ntwo\n\nthree\nrest";
        for step in 1..text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for chunk in text.chunks(step) {
                assert!(lines.feed(chunk, |line| {
                    seen.push(line.to_vec());
                    true
                }));
            }
            assert_eq!(seen, [&b"one"[..], b"two", b"three"], "in chunks of {step}");
        }
    }
}
