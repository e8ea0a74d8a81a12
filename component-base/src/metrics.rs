//! Metrics in the Prometheus text format.
//!
//! A metric is a `static` [`Family`]; it joins the exposition when first used or [`register`]ed. Values are
//! read when scraped; nothing runs in between. [`Collector`]s compute families at scrape time.

use std::fmt::Write;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use indexmap::{Equivalent, IndexMap};
use parking_lot::{Mutex, RwLock};
use proto::go;

mod process;

/// The media type of the exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// What a family's series are.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by upper bound.
    Histogram(&'static [f64]),
}

/// A metric with its labels: a set of series.
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Type,
    labels: &'static [&'static str],
    series: RwLock<IndexMap<Values, Arc<Series>, BuildHasherDefault<DefaultHasher>>>,
    registered: AtomicBool,
}

/// The values of a series' labels, in the order of the labels' names.
type Values = Box<[Box<str>]>;

/// Values that are looked for: nothing is copied for that.
struct Wanted<'a>(&'a [&'a str]);

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Values> for Wanted<'_> {
    fn equivalent(&self, values: &Values) -> bool {
        values.iter().map(|value| &**value).eq(self.0.iter().copied())
    }
}

/// One series of a family.
pub struct Series {
    /// The value of a counter or gauge; the sum of a histogram. Bits of an `f64`.
    value: AtomicU64,
    /// Observations per bucket, the last one unbounded.
    buckets: Box<[AtomicU64]>,
    bounds: &'static [f64],
}

static FAMILIES: Mutex<Vec<&'static Family>> = Mutex::new(Vec::new());
static COLLECTORS: Mutex<Vec<Collector>> = Mutex::new(Vec::new());

/// Writes families computed at scrape time.
pub type Collector = Box<dyn Fn(&mut Exposition) + Send + Sync>;

impl Family {
    /// A family without series.
    pub const fn new(
        name: &'static str,
        help: &'static str,
        kind: Type,
        labels: &'static [&'static str],
    ) -> Self {
        Self::made(name, help, kind, labels, false)
    }

    const fn made(
        name: &'static str,
        help: &'static str,
        kind: Type,
        labels: &'static [&'static str],
        registered: bool,
    ) -> Self {
        let series = RwLock::new(IndexMap::with_hasher(BuildHasherDefault::new()));
        Self { name, help, kind, labels, series, registered: AtomicBool::new(registered) }
    }

    /// A family of counters.
    pub const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(name, help, Type::Counter, labels)
    }

    /// A family of gauges.
    pub const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(name, help, Type::Gauge, labels)
    }

    /// A family of histograms.
    pub const fn histogram(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Self {
        Self::new(name, help, Type::Histogram(bounds), labels)
    }

    /// A family that is kept out of the exposition: [`render_apart`] alone writes it.
    pub const fn apart(
        name: &'static str,
        help: &'static str,
        kind: Type,
        labels: &'static [&'static str],
    ) -> Self {
        // As if it had been registered: so nothing registers it.
        Self::made(name, help, kind, labels, true)
    }

    /// The series with these label values, in the order of the labels' names. Keep it where it is hot.
    pub fn with(&'static self, values: &[&str]) -> Arc<Series> {
        debug_assert_eq!(values.len(), self.labels.len(), "labels of {}", self.name);
        if !self.registered.load(Relaxed) {
            register(self);
        }
        if let Some(series) = self.series.read().get(&Wanted(values)) {
            return series.clone();
        }
        let values: Values = values.iter().map(|&value| value.into()).collect();
        self.series.write().entry(values).or_insert_with(|| Arc::new(Series::new(self.kind))).clone()
    }

    /// Drops the series with these label values.
    pub fn remove(&self, values: &[&str]) {
        self.series.write().swap_remove(&Wanted(values));
    }

    /// Forgets the series, as upstream does: a family without labels keeps its only one. What something still counts with stays, and
    /// begins anew unless it is a gauge, which goes on to tell what is.
    pub(crate) fn reset(&self) {
        if self.labels.is_empty() {
            return;
        }
        self.series.write().retain(|_, series| {
            let held = Arc::strong_count(series) > 1;
            if held && !matches!(self.kind, Type::Gauge) {
                series.set(0.0);
                series.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
            }
            held
        });
    }

    fn write(&self, out: &mut Exposition) {
        let series = self.series.read();
        if series.is_empty() {
            return;
        }
        out.head(self.name, self.help, self.kind);
        let mut sorted: Vec<_> = series.iter().collect();
        sorted.sort_unstable_by_key(|(values, _)| *values);
        for (values, series) in sorted {
            let labels: Vec<(&str, &str)> =
                self.labels.iter().copied().zip(values.iter().map(|value| &**value)).collect();
            match self.kind {
                Type::Counter | Type::Gauge => out.sample(self.name, &labels, series.get()),
                Type::Histogram(bounds) => series.write_histogram(out, self.name, &labels, bounds),
            }
        }
    }
}

impl Series {
    fn new(kind: Type) -> Self {
        let bounds = match kind {
            Type::Histogram(bounds) => bounds,
            _ => &[],
        };
        let buckets = match kind {
            Type::Histogram(_) => (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            _ => Box::default(),
        };
        Self { value: AtomicU64::new(0f64.to_bits()), buckets, bounds }
    }

    /// Adds to the value.
    pub fn add(&self, by: f64) {
        let _ = self.value.fetch_update(Relaxed, Relaxed, |bits| Some((f64::from_bits(bits) + by).to_bits()));
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.value.store(value.to_bits(), Relaxed);
    }

    /// The value; the sum of a histogram.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.value.load(Relaxed))
    }

    /// Counts an observation.
    pub fn observe(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.add(value);
    }

    /// Counts a length of time, in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// Counts the time since `start`.
    pub fn observe_since(&self, start: Instant) {
        self.observe_duration(start.elapsed());
    }

    fn write_histogram(&self, out: &mut Exposition, name: &str, labels: &[(&str, &str)], bounds: &[f64]) {
        let mut total = 0;
        let bucket_name = format!("{name}_bucket");
        for (i, bucket) in self.buckets.iter().enumerate() {
            total += bucket.load(Relaxed);
            let bound = bounds.get(i).map_or("+Inf".to_owned(), |bound| go::float(*bound));
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            out.sample(&bucket_name, &labels, total as f64);
        }
        out.sample(&format!("{name}_sum"), labels, self.get());
        out.sample(&format!("{name}_count"), labels, total as f64);
    }
}

/// The text being written.
#[derive(Default)]
pub struct Exposition {
    text: String,
    skip: Vec<String>,
    skipping: bool,
}

impl Exposition {
    /// Starts a family.
    pub fn head(&mut self, name: &str, help: &str, kind: Type) {
        self.skipping = self.skip.iter().any(|skipped| skipped == name);
        if self.skipping {
            return;
        }
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram(_) => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes one line of the family last started.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        if self.skipping {
            return;
        }
        self.text.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
            let _ = write!(self.text, "{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", go::float(value));
    }
}

/// Adds a family to the exposition, once.
pub fn register(family: &'static Family) {
    if !family.registered.swap(true, Relaxed) {
        let mut families = FAMILIES.lock();
        let at = families.partition_point(|other| other.name < family.name);
        families.insert(at, family);
    }
}

/// Adds a collector to the exposition.
pub fn collect_with(collector: impl Fn(&mut Exposition) + Send + Sync + 'static) {
    COLLECTORS.lock().push(Box::new(collector));
}

static DISABLED: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Leaves the named families out from now on (`--disabled-metrics`).
pub fn disable(names: &[String]) {
    DISABLED.write().extend_from_slice(names);
}

/// The whole exposition.
pub fn render() -> String {
    let mut out = Exposition { skip: DISABLED.read().clone(), ..Default::default() };
    for family in FAMILIES.lock().iter() {
        family.write(&mut out);
    }
    for collector in COLLECTORS.lock().iter() {
        collector(&mut out);
    }
    process::collect(&mut out);
    out.text
}

/// Forgets the series of all families in the exposition (`DELETE /metrics`).
pub fn reset() {
    FAMILIES.lock().iter().for_each(|family| family.reset());
}

/// What is answered then.
pub const RESET: &str = "metrics reset\n";

/// An exposition of families that are kept apart, and of the process's start.
pub fn render_apart(families: &[&'static Family]) -> String {
    let mut out = Exposition { skip: DISABLED.read().clone(), ..Default::default() };
    families.iter().for_each(|family| family.write(&mut out));
    process::start(&mut out);
    out.text
}

/// `count` bounds from `start`, each `factor` times the one before.
pub const fn exponential<const N: usize>(start: f64, factor: f64) -> [f64; N] {
    let mut bounds = [start; N];
    let mut i = 1;
    while i < N {
        bounds[i] = bounds[i - 1] * factor;
        i += 1;
    }
    bounds
}

/// Prometheus' default bounds for seconds.
pub const DEFAULT_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_render_in_the_text_format() {
        static COUNT: Family = Family::counter("test_total", "[ALPHA] Tests.", &["name", "code"]);
        static TIME: Family = Family::histogram("test_seconds", "Time.", &[], &[0.1, 1.0]);
        COUNT.with(&["a\"b", "200"]).inc();
        COUNT.with(&["a\"b", "200"]).add(2.0);
        TIME.with(&[]).observe(0.1);
        TIME.with(&[]).observe(5.0);
        let text = render();
        for line in [
            "# HELP test_total [ALPHA] Tests.",
            "# TYPE test_total counter",
            "test_total{name=\"a\\\"b\",code=\"200\"} 3",
            "test_seconds_bucket{le=\"0.1\"} 1",
            "test_seconds_bucket{le=\"1\"} 1",
            "test_seconds_bucket{le=\"+Inf\"} 2",
            "test_seconds_sum 5.1",
            "test_seconds_count 2",
            "# TYPE process_resident_memory_bytes gauge",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn numbers_have_exponents_where_gos_have() {
        static TIME: Family = Family::histogram("long_seconds", "Time.", &[], &[0.000_01, 2_000_000.0]);
        let series = TIME.with(&[]);
        series.buckets[0].store(1_000_000, Relaxed);
        series.buckets[1].store(234_567, Relaxed);
        series.set(100_000.0);
        let mut out = Exposition::default();
        TIME.write(&mut out);
        let samples: Vec<&str> = out.text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "long_seconds_bucket{le=\"1e-05\"} 1e+06",
                "long_seconds_bucket{le=\"2e+06\"} 1.234567e+06",
                "long_seconds_bucket{le=\"+Inf\"} 1.234567e+06",
                "long_seconds_sum 100000",
                "long_seconds_count 1.234567e+06",
            ]
        );
    }

    #[test]
    fn a_reset_forgets_what_is_labelled() {
        static COUNT: Family = Family::counter("reset_total", "Resets.", &["name"]);
        static ALL: Family = Family::counter("reset_all_total", "Resets.", &[]);
        static NOW: Family = Family::gauge("reset_now", "Resets.", &["name"]);
        let (held, now) = (COUNT.with(&["held"]), NOW.with(&["held"]));
        held.add(2.0);
        now.set(3.0);
        COUNT.with(&["gone"]).inc();
        ALL.with(&[]).inc();
        for family in [&COUNT, &ALL, &NOW] {
            family.reset();
        }
        held.inc();
        let mut out = Exposition::default();
        for family in [&COUNT, &ALL, &NOW] {
            family.write(&mut out);
        }
        let samples: Vec<&str> = out.text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            ["reset_total{name=\"held\"} 1", "reset_all_total 1", "reset_now{name=\"held\"} 3"]
        );
    }
}
