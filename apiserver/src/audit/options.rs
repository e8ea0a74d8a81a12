//! The flags of auditing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use component_base::flags::Parsed;
use component_base::tasks::Tasks;

use super::Audit;
use super::backend::{Backend, Truncate};
use super::batch::{self, Batching};
use super::log::{self, Blocking, Log};
use super::policy::Policy;
use super::webhook::Webhook;

/// How a backend gets its events.
#[derive(Debug, Clone)]
struct Delivery {
    mode: String,
    batch: batch::Config,
}

/// What the command line says of auditing.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    policy: Option<PathBuf>,
    log: Option<(log::Config, Delivery)>,
    webhook: Option<(PathBuf, Duration, Delivery)>,
}

impl Delivery {
    fn new(flags: &Parsed, plugin: &str) -> Result<Self, String> {
        let name = |rest: &str| format!("audit-{plugin}-{rest}");
        let mode = flags.str(&name("mode")).to_owned();
        const MODES: [&str; 3] = ["batch", "blocking", "blocking-strict"];
        if !MODES.contains(&mode.as_str()) {
            let modes = MODES.join(",");
            return Err(format!("invalid audit {plugin} mode {mode}, allowed modes are \"{modes}\""));
        }
        let is_batch = mode == "batch";
        let positive = |rest: &str, what: &str| -> Result<usize, String> {
            let value = flags.int(&name(rest));
            match usize::try_from(value) {
                Ok(value) if value > 0 => Ok(value),
                _ if !is_batch => Ok(1),
                _ => Err(format!("invalid audit batch {plugin} {what} {value}, must be a positive number")),
            }
        };
        let (buffer, max_size) =
            (positive("batch-buffer-size", "buffer size")?, positive("batch-max-size", "max batch size")?);
        let throttle = match flags.bool(&name("batch-throttle-enable")) && is_batch {
            true => {
                let rate = flags.float(&name("batch-throttle-qps"));
                if rate <= 0.0 {
                    return Err(format!(
                        "invalid audit batch {plugin} throttle QPS {rate}, must be a positive number"
                    ));
                }
                Some((rate, positive("batch-throttle-burst", "throttle burst")?))
            }
            false => None,
        };
        let (event, whole) =
            (flags.int(&name("truncate-max-event-size")), flags.int(&name("truncate-max-batch-size")));
        if event <= 0 {
            return Err(format!(
                "invalid audit truncate {plugin} max event size {event}, must be a positive number"
            ));
        }
        if whole < event {
            return Err(format!(
                "invalid audit truncate {plugin} max batch size {whole}, must be greater than max event size ({event})"
            ));
        }
        let truncate = flags
            .bool(&name("truncate-enabled"))
            .then(|| Truncate { event: event.unsigned_abs() as usize, batch: whole.unsigned_abs() as usize });
        let max_wait = flags.duration(&name("batch-max-wait")).to_std();
        Ok(Delivery { mode, batch: batch::Config { buffer, max_size, max_wait, throttle, truncate } })
    }
}

impl AuditOptions {
    /// Reads the command line.
    pub fn new(flags: &Parsed) -> Result<Self, String> {
        let path = |name: &str| flags.non_empty(name).map(PathBuf::from);
        let version = |plugin: &str| match flags.str(&format!("audit-{plugin}-version")) {
            "audit.k8s.io/v1" => Ok(()),
            _ => Err("invalid group version, allowed versions are [\"audit.k8s.io/v1\"]".to_owned()),
        };
        let log = match flags.non_empty("audit-log-path") {
            Some(path) => {
                version("log")?;
                let delivery = Delivery::new(flags, "log")?;
                Some((log_config(flags, path)?, delivery))
            }
            None => None,
        };
        let webhook = match path("audit-webhook-config-file") {
            Some(file) => {
                version("webhook")?;
                let delivery = Delivery::new(flags, "webhook")?;
                if delivery.mode != "batch" {
                    return Err("--audit-webhook-mode: requests don't wait for a webhook here, the mode must be batch".to_owned());
                }
                Some((file, flags.duration("audit-webhook-initial-backoff").to_std(), delivery))
            }
            None => None,
        };
        Ok(AuditOptions { policy: path("audit-policy-file"), log, webhook })
    }

    /// The audit, if there is a policy and a backend.
    pub fn build(&self, tasks: &Tasks) -> anyhow::Result<Option<Arc<Audit>>> {
        let Some(file) = &self.policy else {
            if self.log.is_some() || self.webhook.is_some() {
                tracing::info!("No audit policy file provided, no events will be recorded");
            }
            return Ok(None);
        };
        let fail = |why: String| anyhow::anyhow!("loading audit policy file: {why}");
        let text = std::fs::read(file).map_err(|error| {
            fail(format!("failed to read file path {:?}: {error}", file.display().to_string()))
        })?;
        let policy =
            Policy::parse(&text).map_err(|error| fail(format!("{error}: from file {}", file.display())))?;
        let mut backends: Vec<Arc<dyn Backend>> = Vec::new();
        let mut batching = |sink, delivery: &Delivery, name: &str| {
            let (backend, work) = Batching::new(sink, delivery.batch);
            tasks.spawn(name, async move {
                work.await;
                Ok(())
            });
            backends.push(Arc::new(backend));
        };
        if let Some((file, backoff, delivery)) = &self.webhook {
            let webhook =
                Webhook::new(file, *backoff).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))?;
            batching(Arc::new(webhook), delivery, "audit webhook");
        }
        if let Some((config, delivery)) = &self.log {
            let log = Log::open(config.clone())
                .map_err(|error| anyhow::anyhow!("ensureLogFile: {}: {error}", config.path))?;
            if delivery.mode == "batch" {
                batching(Arc::new(log), delivery, "audit log");
            } else {
                let is_strict = delivery.mode == "blocking-strict";
                backends.push(Arc::new(Blocking { log, is_strict, truncate: delivery.batch.truncate }));
            }
        }
        Ok((!backends.is_empty()).then(|| Arc::new(Audit { policy, backends })))
    }
}

fn log_config(flags: &Parsed, path: &str) -> Result<log::Config, String> {
    let format = flags.str("audit-log-format");
    if !matches!(format, "json" | "legacy") {
        return Err(format!("invalid audit log format {format}, allowed formats are \"legacy,json\""));
    }
    let number = |name: &str| {
        let value = flags.int(name);
        u64::try_from(value).map_err(|_| format!("--{name} {value} can't be a negative number"))
    };
    let age = number("audit-log-maxage")?;
    Ok(log::Config {
        path: path.to_owned(),
        is_json: format == "json",
        max_size: number("audit-log-maxsize")?.saturating_mul(1024 * 1024),
        max_backups: usize::try_from(number("audit-log-maxbackup")?).unwrap_or(usize::MAX),
        max_age: u32::try_from(age).unwrap_or(u32::MAX),
        compress: flags.bool("audit-log-compress"),
    })
}
