//! API priority and fairness: which requests are served at once, which wait in which queue, and which are sent away
//! (KEP-1040).
//!
//! A request is matched to a [`schema::Schema`], the first of those in order that fits. The schema names a
//! [`level::Level`], which has a share of the server's seats; unused ones are lent. A level that is full puts requests in queues,
//! picked per flow by shuffle sharding, and serves the queues fairly by virtual time.
//!
//! The way of a request that needn't wait is short: some comparisons of strings, one lock of its level and a few counters.

mod allocate;
mod config;
mod deal;
mod demand;
mod dump;
mod estimate;
mod level;
mod metrics;
mod queues;
mod retry;
mod schema;
mod watches;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HeaderMap, HeaderName};
use parking_lot::RwLock;
use tokio::sync::oneshot;

pub use self::estimate::Stats;
pub use self::watches::Watching;

use self::config::{Config, Objects};
use self::queues::{Flow, Start, Ticket, Token, Work};
use self::schema::{By, Schema};
use self::watches::Watches;
use crate::auth::UserInfo;
use crate::server::query::Query;
use crate::server::request_info::RequestInfo;

const SCHEMA_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
/// No request waits longer in a queue.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A request to be let in.
#[derive(Clone, Copy)]
pub struct Digest<'a> {
    /// What it is about.
    pub info: &'a RequestInfo,
    /// Its parameters.
    pub query: &'a Query,
    /// Who makes it.
    pub user: &'a Arc<UserInfo>,
}

/// Lets requests in.
pub struct Fairness {
    /// Seats in all.
    seats: usize,
    start: Instant,
    stats: Stats,
    watches: Arc<Watches>,
    config: RwLock<Arc<Config>>,
    objects: Objects,
}

impl Fairness {
    /// A server of so many seats, which for now knows the mandatory objects only. [`Fairness::run`] reads the others.
    pub fn new(seats: usize, stats: Stats) -> Arc<Self> {
        let config = RwLock::new(Arc::new(Config::mandatory(seats)));
        let watches = Arc::default();
        Arc::new(Fairness {
            seats,
            start: Instant::now(),
            stats,
            watches,
            config,
            objects: Objects::default(),
        })
    }

    /// Seconds since the start: the clock of all levels.
    fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Waits for the request's turn, for a quarter of the time it has.
    pub async fn enter(self: &Arc<Self>, request: Digest<'_>, time: Duration) -> Result<Seat, Refused> {
        let config = self.config.read().clone();
        let schema = config.schema_of(request.info, request.user).clone();
        let level = &schema.level;
        let work = estimate::work(&self.stats, &self.watches, level.most_seats(), request);
        schema.metrics.estimated.observe(work.most() as f64);
        let namespace = request.info.namespace.as_str();
        let flow = match schema.by {
            By::None => Flow::None,
            By::User => Flow::User(request.user.clone()),
            By::Namespace => Flow::Namespace(namespace.into()),
        };
        let ticket = Ticket { schema: schema.clone(), flow };
        let arrived = self.now();
        let started = level.set.lock().start(arrived, work, ticket);
        let token = match started {
            Start::Execute(token) => {
                schema.metrics.waited(true, 0.0, level.is_exempt());
                token
            }
            Start::Reject(reason) => {
                schema.metrics.waited(false, 0.0, level.is_exempt());
                metrics::rejected(&schema, reason);
                return Err(self.refuse(schema));
            }
            Start::Wait(id, turn) => {
                let most = (time / 4).min(LONGEST_WAIT);
                let turn = Waiting { fairness: self, schema: &schema, id, turn: Some(turn), arrived };
                match turn.wait(most).await {
                    Some(token) => token,
                    None => return Err(self.refuse(schema)),
                }
            }
        };
        schema.metrics.dispatched.inc();
        Ok(Seat { fairness: self.clone(), schema, token: Some(token), work, started: self.now() })
    }

    fn refuse(&self, schema: Arc<Schema>) -> Refused {
        let seconds = schema.level.refused(self.start.elapsed().as_secs());
        Refused { schema, seconds }
    }

    /// Notes a watch for as long as the answer lives: writes cost more where many watch.
    pub fn watching(&self, info: &RequestInfo, query: &Query) -> Watching {
        Watches::add(&self.watches, info, query)
    }

    /// The answer to one of the debugging paths.
    pub fn dump(&self, path: &str, query: &str) -> Option<String> {
        dump::answer(self, path, query)
    }
}

/// A request in a queue; if its client goes away, it leaves the queue.
struct Waiting<'a> {
    fairness: &'a Fairness,
    schema: &'a Arc<Schema>,
    id: u64,
    turn: Option<oneshot::Receiver<Token>>,
    arrived: f64,
}

impl Waiting<'_> {
    async fn wait(mut self, most: Duration) -> Option<Token> {
        let turn = self.turn.as_mut()?;
        let token = tokio::time::timeout(most, turn).await;
        let token = token.ok().and_then(Result::ok);
        if token.is_some() {
            self.turn = None;
        }
        let waited = self.fairness.now() - self.arrived;
        self.schema.metrics.waited(token.is_some(), waited, false);
        token
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(mut turn) = self.turn.take() else { return };
        let mut set = self.schema.level.set.lock();
        let now = self.fairness.now();
        if set.cancel(now, self.id) {
            metrics::rejected(self.schema, "time-out");
        } else if let Ok(token) = turn.try_recv() {
            // Its turn came in the same moment.
            set.finish(now, &token, now);
            set.release(now, token);
        }
    }
}

/// A request's place; it is given back when this is dropped.
pub struct Seat {
    fairness: Arc<Fairness>,
    schema: Arc<Schema>,
    token: Option<Token>,
    work: Work,
    started: f64,
}

impl Seat {
    /// The headers that say under which objects the request ran.
    pub fn headers(&self, headers: &mut HeaderMap) {
        mark(&self.schema, headers);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(token) = self.token.take() else { return };
        let now = self.fairness.now();
        self.schema.metrics.executed.observe(now - self.started);
        let level = &self.schema.level;
        let mut set = level.set.lock();
        set.finish(now, &token, self.started);
        if self.work.extra.is_zero() {
            set.release(now, token);
            return;
        }
        drop(set);
        // The watchers have work to do yet.
        let (fairness, schema, extra) = (self.fairness.clone(), self.schema.clone(), self.work.extra);
        let linger = async move {
            tokio::time::sleep(extra).await;
            schema.level.set.lock().release(fairness.now(), token);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(linger)),
            Err(_) => tracing::error!("a request ended outside of the runtime"),
        }
    }
}

/// A request that was sent away.
pub struct Refused {
    schema: Arc<Schema>,
    /// When it may come again, in seconds.
    pub seconds: u64,
}

impl Refused {
    /// The headers that say which objects were in its way.
    pub fn headers(&self, headers: &mut HeaderMap) {
        mark(&self.schema, headers);
    }
}

fn mark(schema: &Schema, headers: &mut HeaderMap) {
    headers.insert(LEVEL_HEADER, schema.level_uid.clone());
    headers.insert(SCHEMA_HEADER, schema.uid.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn fairness() -> Arc<Fairness> {
        Fairness::new(3, Box::new(|_, _| None))
    }

    async fn enter(fairness: &Arc<Fairness>, user: &Arc<UserInfo>, path: &str) -> Result<Seat, Refused> {
        let query = Query::parse(None);
        let info = RequestInfo::new(&Method::GET, path, &query).expect("a path");
        fairness.enter(Digest { info: &info, query: &query, user }, Duration::from_secs(60)).await
    }

    #[tokio::test]
    async fn masters_are_exempt_and_others_wait_for_nothing_in_the_catch_all() {
        let fairness = fairness();
        let anyone = Arc::new(UserInfo::anonymous());
        let master = Arc::new(UserInfo::new("root", ["system:masters".to_owned()]));
        let mut seats = Vec::new();
        for _ in 0..3 {
            seats.push(enter(&fairness, &anyone, "/api/v1/pods/x").await.ok().expect("a seat"));
        }
        let refused = enter(&fairness, &anyone, "/api/v1/pods/x").await.err().expect("full");
        assert_eq!((refused.seconds, refused.schema.name.as_str()), (1, "catch-all"));
        for _ in 0..10 {
            seats.push(enter(&fairness, &master, "/api/v1/pods/x").await.ok().expect("exempt"));
        }
        seats.remove(0);
        assert!(enter(&fairness, &anyone, "/version").await.is_ok());
        let dump =
            fairness.dump("/debug/api_priority_and_fairness/dump_priority_levels", "").expect("a dump");
        assert!(dump.starts_with("PriorityLevelName, ActiveQueues, IsIdle, "), "{dump}");
    }
}
