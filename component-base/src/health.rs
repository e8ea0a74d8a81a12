//! Health endpoints: named checks behind `/healthz`, `/livez` and `/readyz`, in upstream's text form.

use std::fmt::Write;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::metrics::{self, Family, Type};

static CHECK: Family = Family::apart(
    "kubernetes_healthcheck",
    "[STABLE] This metric records the result of a single healthcheck.",
    Type::Gauge,
    &["name", "type"],
);
static CHECKS: Family = Family::apart(
    "kubernetes_healthchecks_total",
    "[STABLE] This metric records the results of all healthcheck.",
    Type::Counter,
    &["name", "status", "type"],
);

static INDICATORS: [&Family; 2] = [&CHECK, &CHECKS];

/// What `/metrics/slis` answers: how the checks went, each time that they were asked for together.
pub fn indicators() -> String {
    metrics::render_apart(&INDICATORS)
}

/// Forgets how they went (`DELETE /metrics/slis`).
pub fn reset_indicators() {
    INDICATORS.iter().for_each(|family| family.reset());
}

/// The result of a check; the text goes to the log and to those who may ask for the single check.
pub type Outcome = Result<(), String>;

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/healthz`.
    Healthz,
    /// `/livez`.
    Livez,
    /// `/readyz`.
    Readyz,
}

/// All endpoints.
pub const ALL: &[Endpoint] = &[Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz];

impl Endpoint {
    fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }
}

#[derive(Clone)]
struct Check {
    name: String,
    endpoints: Vec<Endpoint>,
    run: Arc<dyn Fn() -> Outcome + Send + Sync>,
}

/// The checks of a daemon; clones share them.
#[derive(Clone, Default)]
pub struct Health(Arc<RwLock<Vec<Check>>>);

/// The answer of an endpoint.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, 404 or 500.
    pub code: u16,
    /// Plain text.
    pub body: String,
}

impl Health {
    /// One check, `ping`, on all endpoints.
    pub fn new() -> Self {
        let health = Self::default();
        health.add("ping", ALL, || Ok(()));
        health
    }

    /// Adds a check to some endpoints, in place of one of the same name.
    pub fn add(
        &self,
        name: impl Into<String>,
        endpoints: &[Endpoint],
        run: impl Fn() -> Outcome + Send + Sync + 'static,
    ) {
        let name = name.into();
        let mut checks = self.0.write();
        checks.retain(|check| check.name != name);
        checks.push(Check { name, endpoints: endpoints.to_vec(), run: Arc::new(run) });
    }

    /// Answers a path like `/livez` or `/livez/ping`; none if it isn't a health path.
    pub fn answer(&self, path: &str, query: &str) -> Option<Answer> {
        let mut parts = path.strip_prefix('/')?.splitn(2, '/');
        let first = parts.next()?;
        let endpoint = *ALL.iter().find(|endpoint| endpoint.name() == first)?;
        let checks: Vec<Check> =
            self.0.read().iter().filter(|check| check.endpoints.contains(&endpoint)).cloned().collect();
        Some(match parts.next() {
            None | Some("") => answer_all(endpoint.name(), &checks, query),
            Some(name) => match checks.iter().find(|check| check.name == name) {
                Some(check) => match (check.run)() {
                    Ok(()) => Answer { code: 200, body: "ok".into() },
                    Err(why) => Answer { code: 500, body: format!("internal server error: {why}\n") },
                },
                None => Answer { code: 404, body: "404 page not found\n".into() },
            },
        })
    }
}

fn answer_all(endpoint: &str, checks: &[Check], query: &str) -> Answer {
    let pairs: Vec<(&str, &str)> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(key, _)| !key.is_empty())
        .collect();
    let excluded: Vec<&str> =
        pairs.iter().filter(|(key, _)| *key == "exclude").map(|(_, value)| *value).collect();
    let mut text = String::new();
    let mut failed = Vec::new();
    for check in checks {
        let name = &check.name;
        if excluded.contains(&&**name) {
            let _ = writeln!(text, "[+]{name} excluded: ok");
            continue;
        }
        let outcome = (check.run)();
        let (value, status) = if outcome.is_ok() { (1.0, "success") } else { (0.0, "error") };
        CHECK.with(&[name, endpoint]).set(value);
        CHECKS.with(&[name, status, endpoint]).inc();
        match outcome {
            Ok(()) => {
                let _ = writeln!(text, "[+]{name} ok");
            }
            Err(why) => {
                // The reason stays out: these endpoints are public.
                let _ = writeln!(text, "[-]{name} failed: reason withheld");
                failed.push(format!("{name}: {why}"));
            }
        }
    }
    let mut unknown: Vec<String> = excluded
        .iter()
        .filter(|name| checks.iter().all(|check| check.name != **name))
        .map(|name| format!("{name:?}"))
        .collect();
    unknown.sort();
    if !unknown.is_empty() {
        let _ = writeln!(
            text,
            "warn: some health checks cannot be excluded: no matches for {}",
            unknown.join(",")
        );
    }
    if !failed.is_empty() {
        tracing::info!(failed = failed.join(", "), "{endpoint} check failed");
        let _ = writeln!(text, "{endpoint} check failed");
        return Answer { code: 500, body: text };
    }
    if pairs.iter().any(|(key, _)| *key == "verbose") {
        let _ = writeln!(text, "{endpoint} check passed");
        return Answer { code: 200, body: text };
    }
    Answer { code: 200, body: "ok".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_in_upstreams_form() {
        let health = Health::new();
        health.add("leaderElection", &[Endpoint::Healthz], || Err("lost".into()));
        let body = |path, query| health.answer(path, query).map(|answer| (answer.code, answer.body));
        assert_eq!(body("/livez", ""), Some((200, "ok".into())));
        assert_eq!(body("/livez", "verbose"), Some((200, "[+]ping ok\nlivez check passed\n".into())));
        let failed = "[+]ping ok\n[-]leaderElection failed: reason withheld\nhealthz check failed\n";
        assert_eq!(body("/healthz", ""), Some((500, failed.into())));
        let excluded = "[+]ping ok\n[+]leaderElection excluded: ok\nhealthz check passed\n";
        assert_eq!(body("/healthz", "verbose&exclude=leaderElection"), Some((200, excluded.into())));
        assert_eq!(body("/healthz/leaderElection", ""), Some((500, "internal server error: lost\n".into())));
        assert_eq!(body("/livez/leaderElection", "").map(|answer| answer.0), Some(404));
        assert_eq!(body("/metrics", ""), None);
        let told = indicators();
        for line in [
            "kubernetes_healthcheck{name=\"leaderElection\",type=\"healthz\"} 0",
            "kubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1",
            "# TYPE kubernetes_healthchecks_total counter",
            "kubernetes_healthchecks_total{name=\"leaderElection\",status=\"error\",type=\"healthz\"} 1",
        ] {
            assert!(told.lines().any(|l| l == line), "{line} is not in\n{told}");
        }
        assert!(told.contains("process_start_time_seconds"));
        assert!(!metrics::render().contains("kubernetes_healthcheck"));
        let unknown = "[+]ping ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\nlivez check passed\n";
        assert_eq!(body("/livez", "exclude=x&verbose=1"), Some((200, unknown.into())));
    }
}
