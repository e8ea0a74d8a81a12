//! What becomes of an event: written anew, counted into an earlier one, or dropped.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::time::Duration;

use jiff::Timestamp;
use proto::time::Time;

use super::lru::Lru;
use super::{Happening, event_name, fingerprint};

/// Entries in each cache.
const CACHE: usize = 4096;
/// Different messages of one kind about one object before they are aggregated.
const MAX_SIMILAR: usize = 10;
/// How long after the last one similar events start over.
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);
/// Events about one object that may go at once.
const BURST: f64 = 25.0;
/// Events per second about one object after that.
const RATE: f64 = 1.0 / 300.0;

/// What to do with an event.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Write it under a new name.
    Create { name: String, message: String },
    /// Count it into an event written earlier.
    Count {
        name: String,
        message: String,
        count: i64,
        /// When the first of them happened, should the event have to be written anew.
        first: Time,
    },
    /// Too many about this object.
    Drop,
}

#[derive(Default)]
struct Similar {
    messages: HashSet<u64>,
    last: Option<Timestamp>,
}

#[derive(Default)]
struct Logged {
    count: i64,
    name: String,
    first: Option<Time>,
}

#[derive(Default)]
struct Bucket {
    tokens: Option<f64>,
    last: Option<Timestamp>,
}

/// The memory of one stream of events.
pub(super) struct Correlator {
    similar: Lru<Similar>,
    logged: Lru<Logged>,
    spam: Lru<Bucket>,
    hasher: RandomState,
}

impl Correlator {
    pub(super) fn new() -> Self {
        Self {
            similar: Lru::new(CACHE),
            logged: Lru::new(CACHE),
            spam: Lru::new(CACHE),
            hasher: RandomState::new(),
        }
    }

    /// Decides about an event that happened now.
    pub(super) fn judge(&mut self, event: &Happening, now: Timestamp) -> Verdict {
        let about = &event.about;
        let object = (&about.kind, &about.namespace, &about.name, &about.uid, &about.api_version, event.kind);
        let same_kind = fingerprint(&self.hasher, (object, &event.reason));
        let message = fingerprint(&self.hasher, &event.message);

        let similar = self.similar.entry(same_kind);
        if similar.last.is_none_or(|last| elapsed(last, now) > SIMILAR_WITHIN) {
            similar.messages.clear();
        }
        similar.messages.insert(message);
        similar.last = Some(now);
        let (key, text) = if similar.messages.len() < MAX_SIMILAR {
            (fingerprint(&self.hasher, (same_kind, &about.field_path, message)), event.message.clone())
        } else {
            // Keep the set from growing; which one goes doesn't matter.
            if let Some(any) = similar.messages.iter().next().copied() {
                similar.messages.remove(&any);
            }
            (same_kind, format!("(combined from similar events): {}", event.message))
        };

        let logged = self.logged.entry(key);
        logged.count += 1;
        let verdict = if logged.count > 1 {
            let first = logged.first.unwrap_or(Time::from(now));
            Verdict::Count { name: logged.name.clone(), message: text, count: logged.count, first }
        } else {
            logged.name = event_name(&about.name, now.as_nanosecond());
            logged.first = Some(Time::from(now));
            Verdict::Create { name: logged.name.clone(), message: text }
        };

        let spam = fingerprint(&self.hasher, object);
        if self.spam.entry(spam).take(now) { verdict } else { Verdict::Drop }
    }
}

impl Bucket {
    fn take(&mut self, now: Timestamp) -> bool {
        let passed = self.last.map_or(0.0, |last| elapsed(last, now).as_secs_f64());
        self.last = Some(now);
        let tokens = (self.tokens.unwrap_or(BURST) + passed * RATE).min(BURST);
        let allowed = tokens >= 1.0;
        self.tokens = Some(if allowed { tokens - 1.0 } else { tokens });
        allowed
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{EventType, ObjectRef};
    use super::*;
    use proto::time::MicroTime;

    fn event(message: &str) -> Happening {
        Happening {
            about: ObjectRef {
                name: "p".into(),
                namespace: "n".into(),
                kind: "Pod".into(),
                ..Default::default()
            },
            related: None,
            kind: EventType::Normal,
            reason: "R".into(),
            action: String::new(),
            message: message.into(),
            at: MicroTime::now(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn equal_events_are_counted() {
        let mut correlator = Correlator::new();
        let Verdict::Create { name, .. } = correlator.judge(&event("m"), at(16)) else { panic!() };
        assert_eq!(name, "p.3b9aca000");
        for n in 2..5 {
            let verdict = correlator.judge(&event("m"), at(15 + n));
            assert_eq!(
                verdict,
                Verdict::Count { name: name.clone(), message: "m".into(), count: n, first: Time(at(16)) }
            );
        }
    }

    #[test]
    fn similar_events_are_aggregated_after_ten() {
        let mut correlator = Correlator::new();
        for n in 0..9 {
            assert!(matches!(correlator.judge(&event(&format!("m{n}")), at(n)), Verdict::Create { .. }));
        }
        let Verdict::Create { name, message } = correlator.judge(&event("m9"), at(9)) else { panic!() };
        assert_eq!(message, "(combined from similar events): m9");
        let Verdict::Count { name: again, count: 2, .. } = correlator.judge(&event("m10"), at(10)) else {
            panic!()
        };
        assert_eq!(name, again);
        // After ten quiet minutes they start over.
        assert!(
            matches!(correlator.judge(&event("m11"), at(700)), Verdict::Create { message, .. } if message == "m11")
        );
    }

    #[test]
    fn a_chatty_source_is_silenced_and_slowly_heard_again() {
        let mut correlator = Correlator::new();
        let heard = (0..40).filter(|_| correlator.judge(&event("m"), at(1)) != Verdict::Drop).count();
        assert_eq!(heard, 25);
        assert_eq!(correlator.judge(&event("m"), at(200)), Verdict::Drop);
        assert_ne!(correlator.judge(&event("m"), at(400)), Verdict::Drop);
    }
}
