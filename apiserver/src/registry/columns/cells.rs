//! The texts that cells have in common: ages, lists that are cut short, selectors.

use jiff::Timestamp;
use proto::labels::Selector;
use proto::view::{View, at, int_at, strs, text_at};
use serde_json::Value;

/// An object to make cells of, at some time.
pub(crate) struct Object<'a> {
    pub(crate) value: &'a Value,
    pub(crate) now: Timestamp,
}

impl<'a> Object<'a> {
    pub(crate) fn new(value: &'a Value, now: Timestamp) -> Self {
        Object { value, now }
    }

    pub(crate) fn at(&self, path: &[&str]) -> &'a Value {
        at(self.value, path)
    }

    pub(crate) fn text(&self, path: &[&str]) -> &'a str {
        text_at(self.value, path)
    }

    pub(crate) fn int(&self, path: &[&str]) -> i64 {
        int_at(self.value, path)
    }

    /// The text at a path as a cell, or another text if it is absent.
    pub(crate) fn text_or(&self, path: &[&str], absent: &str) -> Value {
        Value::from(self.at(path).as_str().unwrap_or(absent))
    }

    pub(crate) fn number(&self, path: &[&str]) -> Value {
        Value::from(self.int(path))
    }

    pub(crate) fn count(&self, path: &[&str]) -> Value {
        Value::from(self.view_at(path).len())
    }

    pub(crate) fn view_at(&self, path: &[&str]) -> View<'a> {
        View::root(at(self.value, path))
    }

    pub(crate) fn is_deleted(&self) -> bool {
        !self.at(&["metadata", "deletionTimestamp"]).is_null()
    }

    /// How long ago the object was made.
    pub(crate) fn age(&self) -> Value {
        Value::from(self.since(self.text(&["metadata", "creationTimestamp"])))
    }

    /// How long ago a time was.
    pub(crate) fn since(&self, time: &str) -> String {
        match seconds_of(time) {
            Some(then) => human_duration(self.now.as_second() - then),
            None => "<unknown>".to_owned(),
        }
    }

    /// Names and images of a template's containers, as two cells.
    pub(crate) fn containers(&self, template: &[&str]) -> [Value; 2] {
        let list = self.view_at(template).get("spec").get("containers").items();
        ["name", "image"].map(|field| {
            let texts: Vec<&str> = list.iter().map(|container| container.text(field)).collect();
            Value::from(texts.join(","))
        })
    }

    /// A LabelSelector as text.
    pub(crate) fn selector(&self, path: &[&str]) -> Value {
        Value::from(match Selector::from_label_selector(self.at(path)) {
            Ok(selector) if selector.is_empty() || selector.is_nothing() => "<none>".to_owned(),
            Ok(selector) => selector.to_string(),
            Err(_) => "<error>".to_owned(),
        })
    }
}

/// The seconds of an API time.
pub(crate) fn seconds_of(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// A duration in the one or two units that matter.
pub(crate) fn human_duration(seconds: i64) -> String {
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if hours < 24 * 365 * 2 => format!("{days}d"),
        _ if hours < 24 * 365 * 8 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// A map of labels as `k=v,k=v`.
pub(crate) fn labels(map: &Value) -> Value {
    let entries = View::root(map).entries();
    let texts: Vec<String> = entries.iter().map(|(key, value)| format!("{key}={}", value.str())).collect();
    Value::from(if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") })
}

/// Texts joined by commas, or `<none>`.
pub(crate) fn joined(list: &Value) -> String {
    strs(list).join(",")
}

/// The first few of a list and how many more there are.
pub(crate) fn with_more(list: &[String], most: usize, separator: &str) -> String {
    let shown = list.iter().take(most).cloned().collect::<Vec<_>>().join(separator);
    if list.len() > most { format!("{shown} + {} more...", list.len() - most) } else { shown }
}

/// A number or percentage as text.
pub(crate) fn int_or_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 60, "3h1m"),
            (8 * HOUR + 60, "8h"),
            (47 * HOUR, "47h"),
            (48 * HOUR, "2d"),
            (49 * HOUR, "2d1h"),
            (8 * DAY + HOUR, "8d"),
            (729 * DAY, "729d"),
            (730 * DAY, "2y"),
            (731 * DAY, "2y1d"),
            (3000 * DAY, "8y"),
        ];
        for (seconds, want) in cases {
            assert_eq!(human_duration(seconds), want);
        }
    }
}
