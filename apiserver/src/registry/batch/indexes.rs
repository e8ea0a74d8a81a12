//! Texts of indexes, such as `1,3-5,7`.

use proto::field::quote;

/// An interval, both ends included.
type Interval = (i64, i64);

/// How many indexes there are; each must be below the number of completions.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut last, mut total) = (None, 0);
    for part in text.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn interval(text: &str, completions: i64) -> Result<Interval, String> {
    let index = |text: &str| {
        let Some(index) = number(text) else {
            return Err(format!("cannot convert string to integer for index: {}", quote(text)));
        };
        if index >= completions {
            return Err(format!("too large index: {}", quote(text)));
        }
        Ok(index)
    };
    let parts: Vec<&str> = text.split('-').collect();
    match parts[..] {
        [only] => index(only).map(|only| (only, only)),
        [first, last] => {
            let (first, last) = (index(first)?, index(last)?);
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
            Ok((first, last))
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(text)
        )),
    }
}

/// An integer as Go reads it: with a sign, if any.
fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// An index that is in both, if any. What is malformed is passed over.
pub(super) fn overlap(completed: &str, failed: &str, completions: i64) -> Result<(), String> {
    if completed.is_empty() || failed.is_empty() {
        return Ok(());
    }
    let intervals = |text: &str| {
        let parts = text.split(',').filter_map(|part| interval(part, completions).ok());
        parts.collect::<Vec<Interval>>()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let (mut c, mut f) = (completed.iter().peekable(), failed.iter().peekable());
    while let (Some((first, last)), Some((other_first, other_last))) = (c.peek(), f.peek()) {
        if first <= other_last && other_first <= last {
            let index = first.max(other_first);
            return Err(format!("failedIndexes and completedIndexes overlap at index: {index}"));
        }
        if first <= other_first {
            c.next();
        } else {
            f.next();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let cases = [
            ("", Ok(0)),
            ("0", Ok(1)),
            ("0,2-4", Ok(4)),
            ("1,0", Err("non-increasing order, previous: 1, current: 0")),
            ("3-1", Err("non-increasing order, previous: 3, current: 1")),
            ("5", Err("too large index: \"5\"")),
            ("a", Err("cannot convert string to integer for index: \"a\"")),
            ("", Ok(0)),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
        ];
        for (text, want) in cases {
            assert_eq!(count(text, 5), want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn overlaps() {
        assert_eq!(overlap("0-2,4", "3", 5), Ok(()));
        assert_eq!(
            overlap("0-2", "1,3", 5),
            Err("failedIndexes and completedIndexes overlap at index: 1".to_owned())
        );
        assert!(overlap("x,0-2", "y,2", 5).is_err());
    }
}
