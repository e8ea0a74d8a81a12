//! The `process_*` family, read from /proc when scraped.

use std::fs;
use std::sync::OnceLock;

use super::{Exposition, Type};

/// Clock ticks per second: fixed by the kernel's user-space ABI on every architecture served.
const TICKS: f64 = 100.0;
const PAGE: f64 = 4096.0;

/// Writes what can be read; a line that can't be is left out.
pub(super) fn collect(out: &mut Exposition) {
    let Some(fields) = fields() else { return };
    let field = |i: usize| fields.get(i).copied().unwrap_or(0.0);
    let mut gauge = |name: &str, help: &str, kind: Type, value: f64| {
        out.head(name, help, kind);
        out.sample(name, &[], value);
    };
    gauge(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        Type::Counter,
        (field(10) + field(11)) / TICKS,
    );
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        gauge("process_open_fds", "Number of open file descriptors.", Type::Gauge, entries.count() as f64);
    }
    if let Some(limit) = max_fds() {
        gauge("process_max_fds", "Maximum number of open file descriptors.", Type::Gauge, limit);
    }
    gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", Type::Gauge, field(19));
    gauge("process_resident_memory_bytes", "Resident memory size in bytes.", Type::Gauge, field(20) * PAGE);
    start_of(out, field(18));
}

/// Writes when the process started, alone.
pub(super) fn start(out: &mut Exposition) {
    if let Some(ticks) = fields().and_then(|fields| fields.get(18).copied()) {
        start_of(out, ticks);
    }
}

fn start_of(out: &mut Exposition, ticks: f64) {
    if let Some(boot) = boot_time() {
        let name = "process_start_time_seconds";
        out.head(name, "Start time of the process since unix epoch in seconds.", Type::Gauge);
        out.sample(name, &[], boot + ticks / TICKS);
    }
}

/// The fields of /proc/self/stat after the command's name, which may hold spaces and parentheses.
fn fields() -> Option<Vec<f64>> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0)).collect())
}

fn max_fds() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}

fn boot_time() -> Option<f64> {
    static BOOT: OnceLock<Option<f64>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
    })
}
