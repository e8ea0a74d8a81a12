//! Encodings that entries keep for the next reader, and how much memory all of them may take together.
//!
//! Whoever lists everything has everything encoded, which takes more memory than the objects themselves: most of that is never
//! asked for again. So there is a budget for the whole process. Once it is spent, what a list encodes is not kept, and what
//! nobody has used for a while is let go of ([`Forms::tidy`]), until there is room again.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::storage::codec::Media;

/// The budget is this many bytes, or a part of what is stored if that is more.
const BUDGET: usize = 16 << 20;
/// The part: one of so many.
const PART: usize = 4;
/// What one encoding takes besides its bytes.
const OVERHEAD: usize = 64;

/// What all entries of the process keep.
static KEPT: AtomicUsize = AtomicUsize::new(0);
/// What they may keep.
static LIMIT: AtomicUsize = AtomicUsize::new(BUDGET);
/// Told when that is not enough.
static FULL: Notify = Notify::const_new();

/// What an entry keeps in a version besides its stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The whole object.
    Object(Media),
    /// Its row of a Table, with open ages.
    Row,
}

/// How much it matters that an encoding is there for the next reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The next one makes it again.
    IfThereIsRoom,
    /// Many readers are sure to come at once: the watchers of a change.
    ForWatchers,
    /// It can't be made again here, and goes with its entry.
    ForEver,
}

struct Kept {
    version: u8,
    form: Form,
    for_ever: bool,
    bytes: Bytes,
}

impl Kept {
    fn counts(&self) -> usize {
        if self.for_ever { 0 } else { self.bytes.len() + OVERHEAD }
    }
}

/// The encodings that one entry keeps.
#[derive(Default)]
pub(super) struct Forms {
    kept: Vec<Kept>,
    /// Whether any was used since the last time of tidying.
    used: bool,
}

impl Forms {
    /// What is kept for a version (an index among the codec's).
    pub(super) fn find(&mut self, version: usize, form: Form) -> Option<Bytes> {
        let kept = self.kept.iter().find(|kept| usize::from(kept.version) == version && kept.form == form)?;
        self.used = true;
        Some(kept.bytes.clone())
    }

    /// Keeps an encoding, or the one that another reader has made meanwhile: then its bytes are shared, and these go.
    pub(super) fn keep(&mut self, version: usize, form: Form, mut encoded: Vec<u8>, keep: Keep) -> Bytes {
        if let Some(bytes) = self.find(version, form) {
            return bytes;
        }
        let full = KEPT.load(Ordering::Relaxed) > LIMIT.load(Ordering::Relaxed);
        if full && keep != Keep::ForEver {
            FULL.notify_one();
        }
        if full && keep == Keep::IfThereIsRoom {
            return encoded.into();
        }
        encoded.shrink_to_fit();
        let bytes = Bytes::from(encoded);
        let for_ever = keep == Keep::ForEver;
        let kept = Kept { version: version as u8, form, for_ever, bytes: bytes.clone() };
        KEPT.fetch_add(kept.counts(), Ordering::Relaxed);
        self.kept.push(kept);
        self.used = true;
        bytes
    }

    /// Lets go of what was not used since the last time.
    pub(super) fn tidy(&mut self) {
        if !std::mem::take(&mut self.used) {
            KEPT.fetch_sub(self.counts(), Ordering::Relaxed);
            self.kept.retain(|kept| kept.for_ever);
            self.kept.shrink_to_fit();
        }
    }

    /// How many bytes there are.
    pub(super) fn size(&self) -> usize {
        self.kept.iter().map(|kept| kept.bytes.len()).sum()
    }

    fn counts(&self) -> usize {
        self.kept.iter().map(Kept::counts).sum()
    }
}

impl Drop for Forms {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.counts(), Ordering::Relaxed);
    }
}

/// Waits until there is reason to tidy up.
pub(super) async fn full() {
    FULL.notified().await;
}

/// Adapts the budget to how many bytes are stored: whether there is still reason to tidy up.
pub(super) fn adapt(stored: usize) -> bool {
    let limit = BUDGET.max(stored / PART);
    LIMIT.store(limit, Ordering::Relaxed);
    // Room for some time.
    KEPT.load(Ordering::Relaxed) > limit / 4 * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: Form = Form::Object(Media::Json);

    #[test]
    fn what_is_not_used_goes() {
        let mut forms = Forms::default();
        forms.keep(0, OBJECT, b"object".to_vec(), Keep::ForWatchers);
        forms.keep(1, OBJECT, b"converted".to_vec(), Keep::ForEver);
        assert_eq!(forms.keep(0, OBJECT, b"late".to_vec(), Keep::ForWatchers), "object");
        forms.tidy();
        assert!(forms.find(0, OBJECT).is_some() && forms.find(0, Form::Row).is_none());
        forms.tidy();
        assert_eq!(forms.size(), "objectconverted".len(), "was used");
        forms.tidy();
        assert!(forms.find(0, OBJECT).is_none() && forms.find(1, OBJECT).is_some());
    }
}
