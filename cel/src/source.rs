//! The text of an expression, places in it, and what is wrong at those places.

use std::fmt;

/// A place in a source: 1-based line and 0-based column, both counted in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The line, or -1 for no place.
    pub line: i32,
    /// The column, or -1 for no place.
    pub column: i32,
}

impl Location {
    /// No place in particular.
    pub const NONE: Location = Location { line: -1, column: -1 };
}

/// The text of an expression.
#[derive(Clone, Debug)]
pub struct Source {
    text: Box<str>,
    /// The offsets, in characters, at which lines after the first begin.
    lines: Vec<u32>,
}

/// Longer lines are not repeated below a message.
const SNIPPET_MAX: usize = 16_384;

impl Source {
    /// A source of this text.
    pub fn new(text: &str) -> Self {
        let lines = text.chars().enumerate().filter(|(_, c)| *c == '\n').map(|(at, _)| at as u32 + 1);
        Source { text: text.into(), lines: lines.collect() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of the character at `offset`.
    pub fn location(&self, offset: u32) -> Location {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = if line == 0 { 0 } else { self.lines[line - 1] };
        Location { line: line as i32 + 1, column: (offset - start) as i32 }
    }

    fn line(&self, number: i32) -> Option<&str> {
        self.text.split('\n').nth(usize::try_from(number - 1).ok()?)
    }
}

/// One thing that is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Where.
    pub location: Location,
    /// What.
    pub message: String,
}

/// What is wrong with an expression. It displays as cel-go prints it: one message per issue, each with the line
/// that it is about and a mark below the place.
#[derive(Clone, Debug)]
pub struct Issues {
    source: Source,
    list: Vec<Issue>,
    dropped: usize,
}

const ISSUES_MAX: usize = 100;

impl Issues {
    pub(crate) fn new(source: &Source) -> Self {
        Issues { source: source.clone(), list: Vec::new(), dropped: 0 }
    }

    pub(crate) fn report(&mut self, location: Location, message: impl Into<String>) {
        if self.list.len() >= ISSUES_MAX {
            self.dropped += 1;
        } else {
            self.list.push(Issue { location, message: message.into() });
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The issues, in the order in which they were found.
    pub fn list(&self) -> &[Issue] {
        &self.list
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Issue> = self.list.iter().collect();
        sorted.sort_by_key(|issue| issue.location);
        for (position, issue) in sorted.into_iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            let Location { line, column } = issue.location;
            write!(f, "ERROR: <input>:{line}:{}: {}", column + 1, issue.message)?;
            let Some(snippet) = self.source.line(line).filter(|line| line.len() <= SNIPPET_MAX) else {
                continue;
            };
            write!(f, "\n | {}\n | ", snippet.replace('\t', " "))?;
            // Characters of more than one byte are taken for wide ones.
            let mut chars = snippet.chars();
            for c in chars.by_ref().take(column.max(0) as usize) {
                f.write_str(if c.len_utf8() > 1 { "\u{ff0e}" } else { "." })?;
            }
            f.write_str(if chars.next().is_some_and(|c| c.len_utf8() > 1) { "\u{ff3e}" } else { "^" })?;
        }
        if self.dropped > 0 {
            write!(f, "\n{} more errors were truncated", self.dropped)?;
        }
        Ok(())
    }
}

impl std::error::Error for Issues {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_point_at_their_place() {
        let source = Source::new("a ==\n 'é' + x");
        let mut issues = Issues::new(&source);
        issues.report(source.location(12), "second");
        issues.report(source.location(0), "first");
        let expected = "ERROR: <input>:1:1: first\n | a ==\n | ^\nERROR: <input>:2:8: second\n |  'é' + x\n | ..\u{ff0e}....^";
        assert_eq!(issues.to_string(), expected);
    }
}
