//! Tells a row's watchers that there is something new, no more often than telling them all is worth.
//!
//! Waking a watcher costs a wake-up, a TLS record and a packet, whatever it has to say. With a thousand watchers and hundreds of
//! changes a second that alone would take several processors; told of many changes at once, they take a fraction of one. So
//! after each ring there is a pause in proportion to the watchers there are: with few of them, none.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// The pause after waking one watcher.
const PAUSE: Duration = Duration::from_micros(50);
/// Pauses shorter than this are none: timers are no finer.
const SHORTEST: Duration = Duration::from_millis(2);
/// The longest pause: what a change may come late by.
const LONGEST: Duration = Duration::from_millis(100);

/// The bell of one row.
#[derive(Clone)]
pub struct Bell(Arc<Inner>);

struct Inner {
    rung: watch::Sender<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When it may ring again.
    quiet_until: Option<Instant>,
    /// Whether a ring is due at the end of the pause.
    due: bool,
}

impl Bell {
    /// A bell that nobody listens to yet.
    pub fn new() -> Self {
        Bell(Arc::new(Inner { rung: watch::Sender::new(()), state: Mutex::default() }))
    }

    /// Hears the rings from now on.
    pub fn listen(&self) -> watch::Receiver<()> {
        self.0.rung.subscribe()
    }

    /// Rings now, or when the pause after the last ring is over.
    pub fn ring(&self) {
        let pause = PAUSE * self.0.rung.receiver_count() as u32;
        if pause < SHORTEST {
            return self.ring_now();
        }
        let mut state = self.0.state.lock();
        if state.due {
            return;
        }
        let now = Instant::now();
        match state.quiet_until.filter(|until| *until > now) {
            None => {
                state.quiet_until = Some(now + pause.min(LONGEST));
                drop(state);
                self.ring_now();
            }
            Some(until) => {
                state.due = true;
                let bell = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep_until(until).await;
                    let pause = PAUSE * bell.0.rung.receiver_count() as u32;
                    *bell.0.state.lock() =
                        State { quiet_until: Some(Instant::now() + pause.min(LONGEST)), due: false };
                    bell.ring_now();
                });
            }
        }
    }

    /// Rings whatever was rung before.
    pub fn ring_now(&self) {
        self.0.rung.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rings heard by the last of `watchers` while `changes` come a millisecond apart.
    async fn heard(watchers: usize, changes: u32) -> u32 {
        let bell = Bell::new();
        let mut all: Vec<_> = (0..watchers).map(|_| bell.listen()).collect();
        let (mut rings, mut last) = (0, all.pop().expect("a watcher"));
        for _ in 0..changes {
            bell.ring();
            if last.has_changed().expect("the bell is there") {
                last.borrow_and_update();
                rings += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The last change is heard too, after the pause.
        tokio::time::sleep(LONGEST).await;
        rings + u32::from(last.has_changed().expect("the bell is there"))
    }

    #[tokio::test(start_paused = true)]
    async fn rings_at_once_for_few_and_seldom_for_many() {
        assert_eq!(heard(1, 200).await, 200);
        assert_eq!(heard(30, 200).await, 200);
        let many = heard(1000, 200).await;
        assert!((4..=6).contains(&many), "{many} rings in 200 ms for pauses of 50 ms");
        // One change alone is heard at once.
        let bell = Bell::new();
        let all: Vec<_> = (0..1000).map(|_| bell.listen()).collect();
        bell.ring();
        assert!(all[999].has_changed().expect("the bell is there"));
    }
}
