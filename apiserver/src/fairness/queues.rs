//! The requests of one level: those that run, those that wait in queues, and who is next.
//!
//! Fair queuing by virtual time, for requests that occupy several seats: the virtual clock runs with the rate of seats per
//! active queue. A queue remembers when, on that clock, its next request would start if each active queue had its fair
//! share; the queue whose first request would *finish* first is served. Upstream's design document is
//! `keps/sig-api-machinery/1040-priority-and-fairness`.
//!
//! Nothing here reads a clock: every call brings the time, in seconds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::deal::deal;
use super::demand::Integrator;
use super::schema::Schema;
use crate::auth::UserInfo;

/// The service time that is assumed before it is known, in seconds.
const ASSUMED: f64 = 0.003;

/// What a request costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// Seats while it runs.
    pub(super) seats: usize,
    /// Seats for a while after.
    pub(super) after: usize,
    /// That while.
    pub(super) extra: Duration,
}

impl Work {
    /// The seats that are taken for it.
    pub(super) fn most(&self) -> usize {
        self.seats.max(self.after)
    }

    /// Seat-seconds.
    fn total(&self) -> f64 {
        self.seats as f64 * ASSUMED + self.after as f64 * self.extra.as_secs_f64()
    }
}

/// What distinguishes the flows of a schema.
#[derive(Clone)]
pub(super) enum Flow {
    None,
    User(Arc<UserInfo>),
    Namespace(Box<str>),
}

impl Flow {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Flow::None => "",
            Flow::User(user) => &user.name,
            Flow::Namespace(namespace) => namespace,
        }
    }
}

/// Under which schema a request comes, and of which flow it is.
#[derive(Clone)]
pub(super) struct Ticket {
    pub(super) schema: Arc<Schema>,
    pub(super) flow: Flow,
}

/// How requests beyond the limit are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They run.
    Exempt,
    /// They are sent away.
    Reject,
    /// They wait.
    Queue {
        /// Queues.
        queues: usize,
        /// Queues that a flow may use.
        hand: usize,
        /// Requests that a queue may hold.
        length: usize,
    },
}

/// A running request's place.
#[derive(Debug)]
pub(super) struct Token {
    slot: usize,
    queue: Option<usize>,
    work: Work,
}

/// The answer to a request.
pub(super) enum Start {
    Execute(Token),
    /// It has this number, and will be called.
    Wait(u64, oneshot::Receiver<Token>),
    /// Why not.
    Reject(&'static str),
}

/// A request in a queue.
pub(super) struct Queued {
    id: u64,
    pub(super) ticket: Ticket,
    pub(super) work: Work,
    pub(super) arrived: f64,
    arrived_virtual: f64,
    turn: oneshot::Sender<Token>,
}

/// A request that runs.
pub(super) struct Running {
    pub(super) ticket: Ticket,
    pub(super) work: Work,
    pub(super) arrived: f64,
    pub(super) started: f64,
    pub(super) queue: Option<usize>,
}

/// One queue.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Queued>,
    pub(super) executing: usize,
    pub(super) seats: usize,
    /// When its next request starts on the virtual clock.
    pub(super) next: f64,
    /// Seat-seconds that wait.
    pub(super) work: f64,
    /// Seats that wait.
    pub(super) wanted: usize,
}

impl Queue {
    fn is_active(&self) -> bool {
        self.executing > 0 || !self.waiting.is_empty()
    }

    /// Idle time is not saved up.
    fn forget_the_past(&mut self) {
        if let Some(first) = self.waiting.front() {
            self.next = self.next.max(first.arrived_virtual);
        }
    }
}

/// Totals since the start.
#[derive(Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) dispatched: u64,
    pub(super) rejected: u64,
    pub(super) cancelled: u64,
}

/// The requests of a level.
pub(super) struct QueueSet {
    mode: Mode,
    limit: usize,
    pub(super) queues: Vec<Queue>,
    running: Vec<Option<Running>>,
    free: Vec<usize>,
    pub(super) waiting: usize,
    pub(super) executing: usize,
    pub(super) seats: usize,
    wanted: usize,
    active: usize,
    clock: f64,
    last: f64,
    robin: usize,
    dealt: usize,
    next_id: u64,
    pub(super) totals: Totals,
    pub(super) demand: Integrator,
}

impl QueueSet {
    pub(super) fn new(mode: Mode, limit: usize) -> Self {
        let mut set = QueueSet {
            mode,
            limit,
            queues: Vec::new(),
            running: Vec::new(),
            free: Vec::new(),
            waiting: 0,
            executing: 0,
            seats: 0,
            wanted: 0,
            active: 0,
            clock: 0.0,
            last: 0.0,
            robin: 0,
            dealt: 0,
            next_id: 0,
            totals: Totals::default(),
            demand: Integrator::default(),
        };
        set.resize();
        set
    }

    /// Follows a change of the configuration.
    pub(super) fn configure(&mut self, now: f64, mode: Mode, limit: usize) {
        self.advance(now);
        (self.mode, self.limit) = (mode, limit);
        self.resize();
        self.dispatch(now);
    }

    /// More queues are there at once; those that are too many go when they are empty.
    fn resize(&mut self) {
        let wanted = match self.mode {
            Mode::Queue { queues, .. } => queues,
            _ => 0,
        };
        while self.queues.len() < wanted {
            self.queues.push(Queue::default());
        }
        while self.queues.len() > wanted && self.queues.last().is_some_and(|q| !q.is_active() && q.seats == 0)
        {
            self.queues.pop();
        }
        self.robin = if self.queues.is_empty() { 0 } else { self.robin % self.queues.len() };
    }

    /// Whether nothing runs and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing == 0
    }

    fn advance(&mut self, now: f64) {
        let passed = (now - self.last).max(0.0);
        self.last = self.last.max(now);
        if self.active > 0 {
            let seats = (self.seats + self.wanted).min(self.limit) as f64;
            self.clock += passed * seats / self.active as f64;
        }
    }

    fn fits(&self, seats: usize) -> bool {
        match self.mode {
            Mode::Exempt => true,
            // What is larger than the whole level runs alone.
            _ if seats > self.limit => self.executing == 0,
            _ => self.seats + seats <= self.limit,
        }
    }

    /// A request comes.
    pub(super) fn start(&mut self, now: f64, work: Work, ticket: Ticket) -> Start {
        self.advance(now);
        let Mode::Queue { queues, hand, length } = self.mode else {
            if !self.fits(work.most()) {
                self.totals.rejected += 1;
                return Start::Reject("concurrency-limit");
            }
            return Start::Execute(self.run(now, now, work, ticket, None));
        };
        let hash = if queues > 1 { ticket.schema.hash(ticket.flow.as_str()) } else { 0 };
        let at = self.pick(hash, queues, hand);
        let clock = self.clock;
        let has_turn = self.waiting == 0 && self.seats < self.limit && self.fits(work.most());
        let queue = &mut self.queues[at];
        if self.seats >= self.limit && queue.waiting.len() >= length {
            self.totals.rejected += 1;
            return Start::Reject("queue-full");
        }
        if !queue.is_active() {
            queue.next = clock;
            self.active += 1;
        }
        if has_turn {
            // Nobody else is in line.
            self.robin = at;
            queue.next = queue.next.max(clock) + work.total();
            return Start::Execute(self.run(now, now, work, ticket, Some(at)));
        }
        let (turn, called) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        let metrics = &ticket.schema.metrics;
        metrics.queued_requests.inc();
        metrics.queued_seats.add(work.most() as f64);
        metrics.queue_length.observe(queue.waiting.len() as f64 + 1.0);
        queue.work += work.total();
        queue.wanted += work.most();
        queue.waiting.push_back(Queued { id, ticket, work, arrived: now, arrived_virtual: clock, turn });
        queue.forget_the_past();
        self.waiting += 1;
        self.wanted += work.most();
        self.note_demand(now);
        self.dispatch(now);
        Start::Wait(id, called)
    }

    /// The queue of the flow's hand that has the least work.
    fn pick(&mut self, hash: u64, queues: usize, hand: usize) -> usize {
        let (cards, hand) = deal(hash, queues, hand);
        let offset = self.dealt % hand.max(1);
        self.dealt = self.dealt.wrapping_add(1);
        let cards = (0..hand).map(|n| cards[(offset + n) % hand]);
        // The first of equals.
        cards
            .reduce(|best, card| if self.queues[card].work < self.queues[best].work { card } else { best })
            .unwrap_or(0)
    }

    fn run(&mut self, now: f64, arrived: f64, work: Work, ticket: Ticket, queue: Option<usize>) -> Token {
        let metrics = &ticket.schema.metrics;
        metrics.executing_requests.inc();
        metrics.executing_seats.add(work.most() as f64);
        if let Some(at) = queue {
            self.queues[at].executing += 1;
            self.queues[at].seats += work.most();
        }
        self.executing += 1;
        self.seats += work.most();
        self.totals.dispatched += 1;
        self.note_demand(now);
        let running = Some(Running { ticket, work, arrived, started: now, queue });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.running[slot] = running;
                slot
            }
            None => {
                self.running.push(running);
                self.running.len() - 1
            }
        };
        Token { slot, queue, work }
    }

    fn note_demand(&mut self, now: f64) {
        self.demand.set(now, (self.seats + self.wanted) as f64);
    }

    /// Takes the first request out of a queue's line.
    fn take(&mut self, at: usize, place: usize) -> Option<Queued> {
        let queue = &mut self.queues[at];
        let queued = queue.waiting.remove(place)?;
        queue.work = if queue.waiting.is_empty() { 0.0 } else { queue.work - queued.work.total() };
        queue.wanted -= queued.work.most();
        queue.forget_the_past();
        self.waiting -= 1;
        self.wanted -= queued.work.most();
        let metrics = &queued.ticket.schema.metrics;
        metrics.queued_requests.add(-1.0);
        metrics.queued_seats.add(-(queued.work.most() as f64));
        Some(queued)
    }

    /// Calls those whose turn it is.
    fn dispatch(&mut self, now: f64) {
        while self.waiting > 0 && self.seats < self.limit {
            let Some(at) = self.next_queue() else { return };
            let Some(first) = self.queues[at].waiting.front() else { return };
            if !self.fits(first.work.most()) {
                first.ticket.schema.metrics.no_room.inc();
                return;
            }
            self.robin = at;
            let Some(mut queued) = self.take(at, 0) else { return };
            if queued.turn.is_closed() {
                // It gave up in this moment.
                self.totals.cancelled += 1;
                self.quiet(at);
                continue;
            }
            if queued.work.after > self.limit {
                let total = queued.work.after as f64 * queued.work.extra.as_secs_f64();
                queued.work.after = self.limit.max(1);
                queued.work.extra = Duration::from_secs_f64(total / queued.work.after as f64);
            }
            self.queues[at].next += queued.work.total();
            let token = self.run(now, queued.arrived, queued.work, queued.ticket, Some(at));
            if let Err(token) = queued.turn.send(token) {
                self.finish(now, &token, now);
                self.release(now, token);
            }
        }
    }

    /// The queue whose first request would finish first; equals in turn.
    fn next_queue(&mut self) -> Option<usize> {
        let count = self.queues.len();
        let mut best: Option<(f64, usize)> = None;
        for step in 1..=count {
            let at = (self.robin + step) % count;
            let queue = &self.queues[at];
            let Some(first) = queue.waiting.front() else { continue };
            let finish = queue.next + first.work.total();
            if best.is_none_or(|(least, _)| finish < least) {
                best = Some((finish, at));
            }
        }
        best.map(|(_, at)| at)
    }

    /// A queue may have become idle.
    fn quiet(&mut self, at: usize) {
        if self.queues.get(at).is_some_and(|queue| !queue.is_active()) {
            self.active = self.active.saturating_sub(1);
        }
    }

    /// A waiting request goes away. Whether it was waiting.
    pub(super) fn cancel(&mut self, now: f64, id: u64) -> bool {
        self.advance(now);
        let found = self.queues.iter().enumerate().find_map(|(at, queue)| {
            queue.waiting.iter().position(|queued| queued.id == id).map(|place| (at, place))
        });
        let Some((at, place)) = found else { return false };
        self.take(at, place);
        self.quiet(at);
        self.totals.rejected += 1;
        self.totals.cancelled += 1;
        self.note_demand(now);
        true
    }

    /// A request is answered; its seats may be taken a little longer: see [`QueueSet::release`].
    pub(super) fn finish(&mut self, now: f64, token: &Token, started: f64) {
        self.advance(now);
        self.executing -= 1;
        if let Some(running) = self.running.get_mut(token.slot).and_then(Option::take) {
            let metrics = &running.ticket.schema.metrics;
            metrics.executing_requests.add(-1.0);
            metrics.executing_seats.add(-(token.work.most() as f64));
            self.free.push(token.slot);
        }
        if let Some(at) = token.queue
            && let Some(queue) = self.queues.get_mut(at)
        {
            queue.executing -= 1;
            // Now its true length is known.
            queue.next -= token.work.seats as f64 * (ASSUMED - (now - started));
            queue.forget_the_past();
            self.quiet(at);
        }
    }

    /// The seats of a finished request are free.
    pub(super) fn release(&mut self, now: f64, token: Token) {
        self.advance(now);
        self.seats -= token.work.most();
        if let Some(queue) = token.queue.and_then(|at| self.queues.get_mut(at)) {
            queue.seats -= token.work.most();
        }
        self.note_demand(now);
        self.dispatch(now);
        self.resize();
    }

    /// The requests that run.
    pub(super) fn running(&self) -> impl Iterator<Item = &Running> {
        self.running.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fairness::config::Config;

    fn ticket(flow: &str) -> Ticket {
        let config = Config::mandatory(10);
        Ticket { schema: config.catch_all.clone(), flow: Flow::Namespace(flow.into()) }
    }

    const ONE: Work = Work { seats: 1, after: 0, extra: Duration::ZERO };

    fn execute(start: Start) -> Token {
        match start {
            Start::Execute(token) => token,
            Start::Wait(id, _) => panic!("{id} must wait"),
            Start::Reject(why) => panic!("{why}"),
        }
    }

    fn wait(start: Start) -> (u64, oneshot::Receiver<Token>) {
        match start {
            Start::Wait(id, turn) => (id, turn),
            _ => panic!("it needn't wait"),
        }
    }

    fn end(set: &mut QueueSet, now: f64, token: Token, started: f64) {
        set.finish(now, &token, started);
        set.release(now, token);
    }

    #[test]
    fn requests_wait_run_and_are_sent_away() {
        let mut set = QueueSet::new(Mode::Queue { queues: 1, hand: 1, length: 1 }, 1);
        let token = execute(set.start(0.0, ONE, ticket("a")));
        let (_, mut turn) = wait(set.start(0.1, ONE, ticket("a")));
        assert!(matches!(set.start(0.2, ONE, ticket("a")), Start::Reject("queue-full")));
        assert!(turn.try_recv().is_err());
        end(&mut set, 1.0, token, 0.0);
        let token = turn.try_recv().expect("its turn");
        let (id, _) = wait(set.start(1.1, ONE, ticket("a")));
        assert!(set.cancel(1.2, id));
        assert!(!set.cancel(1.2, id));
        end(&mut set, 2.0, token, 1.0);
        assert!(set.is_idle() && set.seats == 0 && set.active == 0);
    }

    #[test]
    fn a_large_request_runs_alone() {
        let mut set = QueueSet::new(Mode::Queue { queues: 1, hand: 1, length: 10 }, 4);
        let wide = Work { seats: 10, after: 0, extra: Duration::ZERO };
        let small = execute(set.start(0.0, ONE, ticket("a")));
        let (_, mut turn) = wait(set.start(0.0, wide, ticket("a")));
        let (_, mut behind) = wait(set.start(0.0, ONE, ticket("a")));
        end(&mut set, 0.1, small, 0.0);
        let token = turn.try_recv().expect("alone");
        assert!(behind.try_recv().is_err());
        end(&mut set, 0.2, token, 0.1);
        assert!(behind.try_recv().is_ok());
    }

    /// An elephant with a hundred requests under way does not starve a mouse with two.
    #[test]
    fn flows_have_equal_shares() {
        let mut set = QueueSet::new(Mode::Queue { queues: 8, hand: 3, length: 200 }, 4);
        let schema = ticket("").schema;
        let other = (0..).map(|n| format!("mouse{n}")).find(|name| {
            let hand = |flow: &str| {
                let (cards, hand) = deal(schema.hash(flow), 8, 3);
                cards[..hand].to_vec()
            };
            hand(name).iter().any(|card| !hand("elephant").contains(card))
        });
        let other = other.expect("a name");
        let names = ["elephant", other.as_str()];
        let mut running: Vec<(f64, Token, usize)> = Vec::new();
        let mut lines: Vec<Vec<oneshot::Receiver<Token>>> = vec![Vec::new(), Vec::new()];
        let mut served = [0, 0];
        let submit = |set: &mut QueueSet,
                      now: f64,
                      who: usize,
                      running: &mut Vec<(f64, Token, usize)>,
                      lines: &mut Vec<Vec<oneshot::Receiver<Token>>>| {
            match set.start(now, ONE, ticket(names[who])) {
                Start::Execute(token) => running.push((now, token, who)),
                Start::Wait(_, turn) => lines[who].push(turn),
                Start::Reject(why) => panic!("{why}"),
            }
        };
        for _ in 0..100 {
            submit(&mut set, 0.0, 0, &mut running, &mut lines);
        }
        for _ in 0..6 {
            submit(&mut set, 0.0, 1, &mut running, &mut lines);
        }
        let mut now = 0.0;
        for _ in 0..200 {
            now += 0.1;
            for (started, token, who) in std::mem::take(&mut running) {
                end(&mut set, now, token, started);
                served[who] += 1;
                submit(&mut set, now, who, &mut running, &mut lines);
            }
            for (who, line) in lines.iter_mut().enumerate() {
                for mut turn in std::mem::take(line) {
                    match turn.try_recv() {
                        Ok(token) => running.push((now, token, who)),
                        Err(_) => line.push(turn),
                    }
                }
            }
        }
        assert_eq!(set.seats, running.iter().map(|(_, token, _)| token.work.most()).sum::<usize>());
        let (elephant, mouse) = (served[0] as f64, served[1] as f64);
        // The elephant has three queues, the mouse at least one of its own: it gets no less than a quarter.
        assert!(mouse >= 0.2 * (elephant + mouse), "{served:?}");
    }
}
