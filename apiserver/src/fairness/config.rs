//! The schemas and levels in force, read from their objects, and the conditions that say which schemas dangle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use proto::schema::Mask;
use proto::view::{View, text_at};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::allocate::{Wish, allocate};
use super::level::{Level, Limits, Spec};
use super::queues::Mode;
use super::schema::{Schema, uid};
use super::{Fairness, metrics};
use crate::auth::UserInfo;
use crate::bootstrap::flow_control;
use crate::engine::meta;
use crate::registry::Local;
use crate::server::request_info::RequestInfo;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
const CATCH_ALL: &str = "catch-all";
/// How often seats are lent anew.
const ADJUST: Duration = Duration::from_secs(10);
/// How long changes are gathered.
const SETTLE: Duration = Duration::from_millis(10);

/// What is in force.
pub(super) struct Config {
    /// In the order they are tried.
    schemas: Vec<Arc<Schema>>,
    pub(super) catch_all: Arc<Schema>,
    pub(super) levels: BTreeMap<String, Arc<Level>>,
    /// Seats of all levels.
    sum: usize,
}

/// The objects as they are known.
#[derive(Default)]
pub(super) struct Objects {
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Default, Clone)]
struct Known {
    schemas: BTreeMap<String, Arc<Value>>,
    levels: BTreeMap<String, Arc<Value>>,
}

fn name(object: &Value) -> &str {
    text_at(object, &["metadata", "name"])
}

#[cfg(test)]
fn named(objects: Vec<Value>) -> BTreeMap<String, Arc<Value>> {
    objects.into_iter().map(|object| (name(&object).to_owned(), Arc::new(object))).collect()
}

/// A schema whose condition is not as it should be.
struct Dangling {
    name: String,
    level: String,
    is_dangling: bool,
}

impl Config {
    /// The mandatory objects alone.
    pub(super) fn mandatory(seats: usize) -> Self {
        Config::new(&Known::default(), &BTreeMap::new(), seats, 0.0).0
    }

    /// The suggested objects.
    #[cfg(test)]
    pub(super) fn defaults(seats: usize) -> Self {
        let known = Known {
            schemas: named(flow_control::flow_schemas()),
            levels: named(flow_control::priority_levels()),
        };
        Config::new(&known, &BTreeMap::new(), seats, 0.0).0
    }

    /// The schema of a request.
    pub(super) fn schema_of(&self, info: &RequestInfo, user: &UserInfo) -> &Arc<Schema> {
        self.schemas.iter().find(|schema| schema.matches(info, user)).unwrap_or(&self.catch_all)
    }

    /// The configuration of these objects; levels go on where they were.
    fn new(
        known: &Known,
        before: &BTreeMap<String, Arc<Level>>,
        seats: usize,
        now: f64,
    ) -> (Self, Vec<Dangling>) {
        let mut known = known.clone();
        for (kind, objects) in
            [("PriorityLevelConfiguration", &mut known.levels), ("FlowSchema", &mut known.schemas)]
        {
            for name in ["exempt", CATCH_ALL] {
                if let Some(object) = flow_control::mandatory(kind, name) {
                    objects.entry(name.to_owned()).or_insert_with(|| Arc::new(object));
                }
            }
        }
        let levels = levels(&known, before, seats, now);
        let mut dangling = Vec::new();
        let mut schemas = Vec::new();
        for object in known.schemas.values() {
            let named = text_at(object, &["spec", "priorityLevelConfiguration", "name"]);
            let level = levels.get(named).filter(|level| !level.state.lock().is_quiescing);
            dangling.extend(condition(object, named, level.is_none()));
            if let Some(level) = level {
                let level_uid = known.levels.get(named).map_or(uid(&Value::Null), |object| uid(object));
                let precedence = View::root(object).get("spec").int("matchingPrecedence");
                let schema = Arc::new(Schema::new(object, level.clone(), level_uid));
                schemas.push((precedence, schema));
            }
        }
        // By name they are in order already.
        schemas.sort_by_key(|(precedence, _)| *precedence);
        let schemas: Vec<Arc<Schema>> = schemas.into_iter().map(|(_, schema)| schema).collect();
        let catch_all = match schemas.iter().find(|schema| schema.name == CATCH_ALL) {
            Some(schema) => schema.clone(),
            None => {
                let object = flow_control::mandatory("FlowSchema", CATCH_ALL).unwrap_or_default();
                let level = levels.get(CATCH_ALL).cloned().unwrap_or_else(|| Arc::new(last_resort(seats)));
                Arc::new(Schema::new(&object, level, uid(&Value::Null)))
            }
        };
        let sum = levels.values().map(|level| level.state.lock().limits.nominal).sum();
        let config = Config { schemas, catch_all, levels, sum };
        config.adjust(now);
        (config, dangling)
    }

    /// Lends seats by what was wanted lately.
    pub(super) fn adjust(&self, now: f64) {
        let mut wishes = Vec::new();
        let mut left = self.sum as i64;
        let (mut least, mut wanted) = (0, 0);
        for level in self.levels.values() {
            let seen = level.set.lock().demand.take(now);
            let mut state = level.state.lock();
            state.demand.update(&seen);
            let most = state.demand.most;
            if level.is_exempt() {
                state.limits.current = state.limits.least.max(most);
                left -= state.limits.current as i64;
                continue;
            }
            let own = state.limits.least.max(state.limits.nominal.min(most));
            let target = state.demand.smoothed.max(own as f64);
            least += state.limits.least as i64;
            wanted += own as i64;
            let wish = Wish { target, least: own as f64, most: state.limits.most as f64 };
            wishes.push((level, own, wish));
        }
        let mut fraction = 0.0;
        let list: Vec<Wish> = wishes.iter().map(|(_, _, wish)| *wish).collect();
        let shares = if left > wanted { allocate(self.sum, &list) } else { None };
        for (at, (level, own, _)) in wishes.iter().enumerate() {
            let mut state = level.state.lock();
            let kept = state.limits.least;
            state.limits.current = if left <= least {
                kept
            } else if left <= wanted {
                let part = (left - least) as f64 / (wanted - least) as f64;
                kept + ((own - kept) as f64 * part).round() as usize
            } else if let Some((shares, fair)) = &shares {
                fraction = *fair;
                shares[at].round() as usize
            } else {
                state.limits.current
            };
        }
        metrics::FAIR.with(&[]).set(fraction);
        for level in self.levels.values() {
            let state = level.state.lock();
            let target =
                wishes.iter().find(|(own, ..)| own.name == level.name).map(|(_, _, wish)| wish.target);
            metrics::adjusted(&level.name, &state.demand, target.unwrap_or_default(), state.limits.current);
            level.set.lock().configure(now, state.spec.mode, state.limits.current);
        }
    }
}

fn last_resort(seats: usize) -> Level {
    let spec = Spec { mode: Mode::Reject, shares: 1, lendable: 0, borrowing: None };
    Level::new(CATCH_ALL, spec, Limits::new(&spec, 1, seats))
}

fn levels(
    known: &Known,
    before: &BTreeMap<String, Arc<Level>>,
    seats: usize,
    now: f64,
) -> BTreeMap<String, Arc<Level>> {
    let mut specs: BTreeMap<&str, Spec> = BTreeMap::new();
    for (name, object) in &known.levels {
        match Spec::new(object) {
            Some(spec) => drop(specs.insert(name, spec)),
            None => tracing::warn!(name, "a PriorityLevelConfiguration is broken, and ignored"),
        }
    }
    // What is no longer wanted stays until it is idle.
    let leaving = before
        .iter()
        .filter(|(name, level)| !specs.contains_key(name.as_str()) && !level.set.lock().is_idle());
    let leaving: Vec<(&String, &Arc<Level>, Spec)> =
        leaving.map(|(name, level)| (name, level, level.state.lock().spec)).collect();
    let all = specs.values().chain(leaving.iter().map(|(_, _, spec)| spec));
    let sum: u64 = all.map(|spec| u64::from(spec.shares)).sum();
    let mut levels = BTreeMap::new();
    let kept = leaving.iter().map(|(name, level, spec)| (name.as_str(), Some(*level), *spec, true));
    let wanted = specs.iter().map(|(name, spec)| (*name, before.get(*name), *spec, false));
    for (name, old, spec, is_quiescing) in wanted.chain(kept) {
        let mut limits = Limits::new(&spec, sum, seats);
        metrics::limits(name, &limits);
        let level = match old.filter(|level| level.fits(&spec)) {
            Some(level) => {
                let mut state = level.state.lock();
                limits.current = state.limits.current;
                (state.spec, state.limits, state.is_quiescing) = (spec, limits, is_quiescing);
                drop(state);
                level.set_widest(&spec, limits.nominal);
                level.set.lock().configure(now, spec.mode, limits.current);
                level.clone()
            }
            None => Arc::new(Level::new(name, spec, limits)),
        };
        levels.insert(name.to_owned(), level);
    }
    levels
}

/// The change that a schema's condition needs.
fn condition(object: &Value, level: &str, is_dangling: bool) -> Option<Dangling> {
    let wanted = made_condition(level, is_dangling);
    let conditions = View::root(object).get("status").get("conditions").items();
    let own = conditions.iter().find(|own| own.text("type") == "Dangling");
    let is_right = own.is_some_and(|own| {
        ["status", "reason", "message"].iter().all(|field| own.raw(field) == &wanted[*field])
    });
    let has_uid = !text_at(object, &["metadata", "uid"]).is_empty();
    (has_uid && !is_right).then(|| Dangling {
        name: name(object).to_owned(),
        level: level.to_owned(),
        is_dangling,
    })
}

fn made_condition(level: &str, is_dangling: bool) -> Value {
    let references =
        format!("This FlowSchema references the PriorityLevelConfiguration object named \"{level}\"");
    let (status, reason, rest) = match is_dangling {
        true => ("True", "NotFound", "but there is no such object"),
        false => ("False", "Found", "and it exists"),
    };
    json!({"type": "Dangling", "status": status, "reason": reason, "message": format!("{references} {rest}")})
}

/// Puts the condition into a FlowSchema.
fn with_condition(object: &Value, wanted: &Dangling, now: Timestamp) -> Value {
    let mut object = object.clone();
    let mut condition = made_condition(&wanted.level, wanted.is_dangling);
    condition["lastTransitionTime"] = json!(meta::time(now));
    let mut conditions: Vec<Value> = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|own| own["type"] == "Dangling") {
        Some(own) => *own = condition,
        None => conditions.push(condition),
    }
    proto::view::set_at(&mut object, &["status", "conditions"], Value::Array(conditions));
    object
}

impl Fairness {
    /// Follows the objects and the demand, for ever.
    pub async fn run(self: Arc<Self>, local: Arc<dyn Local>) {
        for resource in [LEVELS, SCHEMAS] {
            let fairness = self.clone();
            let observer = move |old: Option<&Value>, new: Option<&Value>, _: i64| {
                fairness.note(resource, old, new);
            };
            local.subscribe(GROUP, resource, Mask::ALL, Box::new(observer));
        }
        let mut adjust = tokio::time::interval(ADJUST);
        loop {
            tokio::select! {
                () = self.objects.changed.notified() => {
                    tokio::time::sleep(SETTLE).await;
                    let dangling = self.digest();
                    self.tell(&*local, dangling).await;
                }
                _ = adjust.tick() => {
                    let config = self.config.read().clone();
                    config.adjust(self.now());
                    let idle = |level: &Arc<Level>| level.state.lock().is_quiescing && level.set.lock().is_idle();
                    if config.levels.values().any(idle) {
                        self.digest();
                    }
                }
            }
        }
    }

    fn note(&self, resource: &str, old: Option<&Value>, new: Option<&Value>) {
        let mut known = self.objects.known.lock();
        let objects = if resource == LEVELS { &mut known.levels } else { &mut known.schemas };
        match (old, new) {
            (_, Some(new)) => drop(objects.insert(name(new).to_owned(), Arc::new(new.clone()))),
            (Some(old), None) => drop(objects.remove(name(old))),
            (None, None) => return,
        }
        drop(known);
        self.objects.changed.notify_one();
    }

    fn digest(&self) -> Vec<Dangling> {
        let known = self.objects.known.lock().clone();
        let before = self.config.read().clone();
        let (config, dangling) = Config::new(&known, &before.levels, self.seats, self.now());
        *self.config.write() = Arc::new(config);
        dangling
    }

    async fn tell(&self, local: &dyn Local, dangling: Vec<Dangling>) {
        for wanted in dangling {
            let now = Timestamp::now();
            let mut change = |current: &Value| Ok(with_condition(current, &wanted, now));
            let told = local.update(GROUP, SCHEMAS, "status", "", &wanted.name, &mut change).await;
            if let Err(status) = told
                && !status.is_not_found()
            {
                tracing::warn!(name = wanted.name, %status, "setting the condition of a FlowSchema");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_without_level_dangles() {
        let schema = |condition: Value| json!({"metadata": {"name": "a", "uid": "u"}, "status": {"conditions": [condition]}});
        let good = schema(made_condition("x", false));
        assert!(condition(&good, "x", false).is_none());
        let wanted = condition(&good, "x", true).expect("wrong");
        let changed = with_condition(&good, &wanted, Timestamp::UNIX_EPOCH);
        assert_eq!(changed["status"]["conditions"][0]["reason"], "NotFound");
        assert_eq!(changed["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert!(condition(&changed, "x", true).is_none());
    }

    #[test]
    fn unused_seats_are_lent() {
        let config = Config::defaults(600);
        let current = |config: &Config, name: &str| config.levels[name].state.lock().limits.current;
        let sum: usize = config.levels.values().map(|level| level.state.lock().limits.current).sum();
        assert!(sum.abs_diff(config.sum) <= config.levels.len(), "{sum} {}", config.sum);
        // Much is wanted of one level, nothing of the others: they keep what they don't lend.
        let before = current(&config, "workload-low");
        config.levels["workload-low"].set.lock().demand.set(0.0, 500.0);
        config.adjust(10.0);
        assert!(current(&config, "workload-low") > before.max(245));
        assert_eq!(current(&config, "system"), 50);
        assert_eq!(current(&config, "exempt"), 0);
    }

    #[test]
    fn a_level_in_use_stays_until_it_is_idle() {
        let mut known = Known { schemas: BTreeMap::new(), levels: named(flow_control::priority_levels()) };
        let (config, _) = Config::new(&known, &BTreeMap::new(), 100, 0.0);
        let level = config.levels["system"].clone();
        let ticket = super::super::queues::Ticket {
            schema: config.catch_all.clone(),
            flow: super::super::queues::Flow::None,
        };
        let work = super::super::queues::Work { seats: 1, after: 0, extra: Duration::ZERO };
        let super::super::queues::Start::Execute(token) = level.set.lock().start(0.0, work, ticket) else {
            panic!("there is room");
        };
        known.levels.remove("system");
        let (config, _) = Config::new(&known, &config.levels, 100, 1.0);
        assert!(config.levels["system"].state.lock().is_quiescing);
        level.set.lock().finish(2.0, &token, 0.0);
        level.set.lock().release(2.0, token);
        let (config, _) = Config::new(&known, &config.levels, 100, 3.0);
        assert!(!config.levels.contains_key("system"));
    }
}
