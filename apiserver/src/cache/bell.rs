//! Tells a row's watchers that there is something new, no more often than telling them all is worth.
//!
//! Waking a watcher costs a wake-up, a TLS record and a packet, whatever it has to say. With a thousand watchers and hundreds of
//! changes a second that alone would take several processors; told of many changes at once, they take a fraction of one. So
//! after each round there is a pause in proportion to the watchers there are: with few of them, none. And they are woken in
//! groups: what else there is to do waits for one group's events to be sent, not for all.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// Watchers that are woken at once.
const GROUP: usize = 32;
/// The pause after waking one watcher.
const PAUSE: Duration = Duration::from_micros(50);
/// The longest pause: what a change may come late by.
const LONGEST: Duration = Duration::from_millis(100);

/// The bell of one row; a new one has no listeners.
#[derive(Clone, Default)]
pub struct Bell(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Each with a group of watchers.
    groups: Vec<watch::Sender<()>>,
    /// When the next round may begin.
    quiet_until: Option<Instant>,
    /// Whether a round begins at the end of the pause.
    due: bool,
}

impl Bell {
    /// Hears the rings from now on.
    pub fn listen(&self) -> watch::Receiver<()> {
        let groups = &mut self.0.lock().groups;
        match groups.iter().find(|group| group.receiver_count() < GROUP) {
            Some(group) => group.subscribe(),
            None => {
                let (group, listener) = watch::channel(());
                groups.push(group);
                listener
            }
        }
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.0.lock().listeners()
    }

    /// Rings now, or when the pause after the last round is over.
    pub fn ring(&self) {
        let mut state = self.0.lock();
        if let [] | [_] = state.groups.as_slice() {
            return state.ring_all();
        }
        if state.due {
            return;
        }
        let now = Instant::now();
        let until = state.quiet_until.filter(|until| *until > now);
        match until {
            Some(_) => state.due = true,
            None => state.begin(now),
        }
        drop(state);
        tokio::spawn(self.clone().round(until));
    }

    /// Wakes all groups, one after the other, once it is time.
    async fn round(self, until: Option<Instant>) {
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
            let mut state = self.0.lock();
            state.due = false;
            state.begin(Instant::now());
        }
        for at in 0.. {
            match self.0.lock().groups.get(at) {
                Some(group) => group.send_replace(()),
                None => return,
            }
            tokio::task::yield_now().await;
        }
    }

    /// Rings whatever was rung before.
    pub fn ring_now(&self) {
        self.0.lock().ring_all();
    }
}

impl State {
    fn ring_all(&self) {
        self.groups.iter().for_each(|group| group.send_replace(()));
    }

    /// Begins a round: the next one has its pause. Groups that all have left go.
    fn begin(&mut self, now: Instant) {
        self.groups.retain(|group| group.receiver_count() > 0);
        self.quiet_until = Some(now + (PAUSE * self.listeners() as u32).min(LONGEST));
    }

    fn listeners(&self) -> usize {
        self.groups.iter().map(watch::Sender::receiver_count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rings heard by the last of `watchers` while `changes` come a millisecond apart.
    async fn heard(watchers: usize, changes: u32) -> u32 {
        let bell = Bell::default();
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
        assert_eq!(heard(GROUP, 200).await, 200);
        let many = heard(1000, 200).await;
        assert!((4..=6).contains(&many), "{many} rings in 200 ms for pauses of 50 ms");
        // One change alone is heard at once: by all, with no time in between.
        let bell = Bell::default();
        let mut all: Vec<_> = (0..1000).map(|_| bell.listen()).collect();
        let began = Instant::now();
        bell.ring();
        for listener in &mut all {
            listener.changed().await.expect("the bell is there");
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
