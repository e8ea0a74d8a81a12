//! Leader election on a Lease, with client-go's rules.
//!
//! A candidate trusts its own clock only: a lease is free when its record hasn't changed, as seen here, for
//! the lease's duration. A leader that can't renew within the deadline ends its process; one that stops in
//! order gives the lease back.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::time::MicroTime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::backoff::jittered;
use crate::client::known::LEASES;
use crate::client::{Client, Error};
use crate::events::{EventType, ObjectRef, Recorder};
use crate::flags::Parsed;
use crate::health::Outcome;
use crate::metrics::Family;
use crate::tasks::Tasks;

/// How much longer than the retry period a candidate may wait.
const JITTER: f64 = 1.2;
/// How long past its lease a leader may go unrenewed before it reports itself unhealthy.
const TOLERATED: Duration = Duration::from_secs(20);

static MASTER: Family = Family::gauge(
    "leader_election_master_status",
    "[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.",
    &["name"],
);
static SLOW_PATH: Family = Family::counter(
    "leader_election_slowpath_total",
    "[ALPHA] Total number of slow path exercised in renewing leader leases. 'name' is the string used to identify the lease. Please make sure to group by name.",
    &["name"],
);

/// How to elect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether to elect at all.
    pub elect: bool,
    /// How long a lease that isn't renewed lasts.
    pub lease_duration: Duration,
    /// How long the leader tries to renew.
    pub renew_deadline: Duration,
    /// The time between attempts.
    pub retry_period: Duration,
    /// Where the Lease is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
}

impl Options {
    /// Upstream's defaults for a lease of this name.
    pub fn new(name: &str) -> Self {
        Self {
            elect: true,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            namespace: "kube-system".into(),
            name: name.into(),
        }
    }

    /// As the flags of [`LEADER_ELECTION`](crate::flags::groups::LEADER_ELECTION) and
    /// `--leader-elect-resource-name` say.
    pub fn from_flags(flags: &Parsed) -> Self {
        Self {
            elect: flags.bool("leader-elect"),
            lease_duration: flags.duration("leader-elect-lease-duration").to_std(),
            renew_deadline: flags.duration("leader-elect-renew-deadline").to_std(),
            retry_period: flags.duration("leader-elect-retry-period").to_std(),
            namespace: flags.str("leader-elect-resource-namespace").into(),
            name: flags.str("leader-elect-resource-name").into(),
        }
    }

    /// Whether the times fit together.
    pub fn validate(&self) -> anyhow::Result<()> {
        if self.lease_duration <= self.renew_deadline {
            anyhow::bail!("leaseDuration must be greater than renewDeadline");
        }
        if self.renew_deadline <= self.retry_period.mul_f64(JITTER) {
            anyhow::bail!("renewDeadline must be greater than retryPeriod*JitterFactor");
        }
        if self.lease_duration < Duration::from_secs(1) || self.retry_period.is_zero() {
            anyhow::bail!("leaseDuration must be at least one second and retryPeriod greater than zero");
        }
        Ok(())
    }
}

/// What a Lease says about its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    #[serde(skip_serializing_if = "Option::is_none")]
    holder_identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_duration_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acquire_time: Option<MicroTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renew_time: Option<MicroTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_transitions: Option<i64>,
}

impl Record {
    fn holder(&self) -> &str {
        self.holder_identity.as_deref().unwrap_or_default()
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.lease_duration_seconds.unwrap_or(0).max(0) as u64)
    }
}

/// What was last seen of the lease, and when by this process's clock.
#[derive(Default)]
struct Observed {
    record: Record,
    /// The whole object, to write back with what others keep in it.
    lease: Value,
    at: Option<Instant>,
}

/// A candidate; clones share its state.
#[derive(Clone)]
pub struct Elector(Arc<Inner>);

struct Inner {
    client: Client,
    options: Options,
    identity: String,
    recorder: Option<Recorder>,
    observed: Mutex<Observed>,
}

impl Elector {
    /// A candidate under this identity. Events about the lease go to `recorder`.
    pub fn new(
        client: &Client,
        options: Options,
        identity: String,
        recorder: Option<Recorder>,
    ) -> anyhow::Result<Self> {
        options.validate()?;
        let client = client.named("leader-election").unlimited().with_timeout(options.renew_deadline / 2);
        Ok(Self(Arc::new(Inner { client, options, identity, recorder, observed: Mutex::default() })))
    }

    /// Waits until this process leads. From then on a supervised task keeps the lease; losing it ends the
    /// process, and a stop gives it back.
    pub async fn lead(&self, tasks: &Tasks) -> anyhow::Result<()> {
        if !self.0.options.elect {
            return Ok(());
        }
        let (inner, name) = (&self.0, self.0.options.name.as_str());
        tracing::info!(lock = self.lock(), "Attempting to acquire leader lease...");
        MASTER.with(&[name]).set(0.0);
        while !inner.try_acquire().await {
            tokio::time::sleep(jittered(inner.options.retry_period, JITTER)).await;
        }
        MASTER.with(&[name]).set(1.0);
        tracing::info!(lock = self.lock(), "Successfully acquired lease");
        inner.record_event("became leader");
        let (elector, handle) = (self.clone(), tasks.clone());
        tasks.spawn_last("leader election", async move { elector.keep(&handle).await });
        Ok(())
    }

    fn lock(&self) -> String {
        format!("{}/{}", self.0.options.namespace, self.0.options.name)
    }

    async fn keep(&self, tasks: &Tasks) -> anyhow::Result<()> {
        let inner = &self.0;
        loop {
            tokio::select! {
                () = tasks.stopped() => {
                    inner.release().await;
                    inner.record_event("stopped leading");
                    return Ok(());
                }
                () = tokio::time::sleep(inner.options.retry_period) => {}
            }
            let renewed = tokio::time::timeout(inner.options.renew_deadline, async {
                while !inner.try_acquire().await {
                    tokio::time::sleep(inner.options.retry_period).await;
                }
            });
            if renewed.await.is_err() {
                MASTER.with(&[&inner.options.name]).set(0.0);
                anyhow::bail!(
                    "leaderelection lost: lease {} could not be renewed within {:?}",
                    self.lock(),
                    inner.options.renew_deadline
                );
            }
        }
    }

    /// Whether this process holds the lease, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.0.observed.lock().record.holder() == self.0.identity
    }

    /// The holder last seen; empty before the first look.
    pub fn leader(&self) -> String {
        self.0.observed.lock().record.holder().to_owned()
    }

    /// The `leaderElection` health check: a leader that has long failed to renew is unhealthy.
    pub fn check(&self) -> Outcome {
        let observed = self.0.observed.lock();
        let leads = observed.record.holder() == self.0.identity;
        match observed.at {
            Some(at) if leads && at.elapsed() > self.0.options.lease_duration + TOLERATED => {
                Err(format!("failed election to renew leadership on lease {}", self.0.options.name))
            }
            _ => Ok(()),
        }
    }
}

impl Inner {
    async fn try_acquire(&self) -> bool {
        let options = &self.options;
        let now = MicroTime::now();
        let mut record = Record {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(options.lease_duration.as_secs() as i64),
            acquire_time: Some(now),
            renew_time: Some(now),
            lease_transitions: Some(0),
        };
        // The leader writes at once, assuming that nobody else did.
        let held = {
            let observed = self.observed.lock();
            let held =
                observed.record.holder() == self.identity && observed.is_valid() && !observed.lease.is_null();
            held.then(|| (observed.record.clone(), observed.lease.clone()))
        };
        if let Some((old, lease)) = held {
            record.acquire_time = old.acquire_time;
            record.lease_transitions = old.lease_transitions;
            match self.write(lease, record.clone()).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::debug!(err = %error, "Failed to update lease optimistically, falling back to slow path")
                }
            }
        }
        let lease: Value = match self.client.get(&LEASES, &options.namespace, &options.name).await {
            Ok(lease) => lease,
            Err(error) if error.is_not_found() => return self.create(record).await,
            Err(error) => {
                tracing::error!(err = %error, "Error retrieving lease lock");
                return false;
            }
        };
        let old: Record = serde_json::from_value(lease["spec"].clone()).unwrap_or_default();
        let (free, mine) = {
            let mut observed = self.observed.lock();
            if observed.at.is_none() || observed.record != old {
                observed.record = old.clone();
                observed.at = Some(Instant::now());
            }
            observed.lease = lease.clone();
            (old.holder().is_empty() || !observed.is_valid(), old.holder() == self.identity)
        };
        if mine {
            record.acquire_time = old.acquire_time;
            record.lease_transitions = old.lease_transitions;
            SLOW_PATH.with(&[&options.name]).inc();
        } else if free {
            record.lease_transitions = Some(old.lease_transitions.unwrap_or(0) + 1);
        } else {
            tracing::debug!(holder = old.holder(), "Lease is held and has not yet expired");
            return false;
        }
        match self.write(lease, record).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(err = %error, "Failed to update lease");
                false
            }
        }
    }

    async fn create(&self, record: Record) -> bool {
        let lease = json!({
            "apiVersion": LEASES.api_version(),
            "kind": "Lease",
            "metadata": { "name": self.options.name, "namespace": self.options.namespace },
            "spec": record,
        });
        match self.client.create::<Value>(&LEASES, &self.options.namespace, &lease).await {
            Ok(lease) => {
                self.observe(lease, record);
                true
            }
            Err(error) => {
                tracing::error!(err = %error, "Error initially creating lease lock");
                false
            }
        }
    }

    /// Replaces the record in the lease last read; a change by anyone else since then is a conflict.
    async fn write(&self, mut lease: Value, record: Record) -> Result<(), Error> {
        let fields = serde_json::to_value(&record).map_err(|e| Error::Decode(e.to_string()))?;
        match (lease["spec"].as_object_mut(), fields) {
            (Some(spec), Value::Object(fields)) => {
                spec.remove("holderIdentity");
                spec.extend(fields);
            }
            (_, fields) => lease["spec"] = fields,
        }
        let options = &self.options;
        let lease: Value = self.client.update(&LEASES, &options.namespace, &options.name, &lease).await?;
        self.observe(lease, record);
        Ok(())
    }

    fn observe(&self, lease: Value, record: Record) {
        *self.observed.lock() = Observed { record, lease, at: Some(Instant::now()) };
    }

    /// Gives the lease back, so that another candidate needn't wait for it to run out.
    async fn release(&self) {
        let lease: Value = match self.client.get(&LEASES, &self.options.namespace, &self.options.name).await {
            Ok(lease) => lease,
            Err(error) => {
                tracing::error!(err = %error, "error retrieving resource lock");
                return;
            }
        };
        let old: Record = serde_json::from_value(lease["spec"].clone()).unwrap_or_default();
        if old.holder() != self.identity {
            return;
        }
        let now = MicroTime::now();
        let record = Record {
            // Upstream writes an empty holder, not an absent one.
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(now),
            renew_time: Some(now),
            lease_transitions: old.lease_transitions,
        };
        if let Err(error) = self.write(lease, record).await {
            tracing::error!(err = %error, "Failed to release lease");
        }
        MASTER.with(&[&self.options.name]).set(0.0);
    }

    fn record_event(&self, what: &str) {
        if let Some(recorder) = &self.recorder {
            let lease = self.observed.lock().lease["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let about = ObjectRef {
                api_version: LEASES.api_version(),
                kind: "Lease".into(),
                namespace: self.options.namespace.clone(),
                name: self.options.name.clone(),
                uid: lease,
                ..ObjectRef::default()
            };
            recorder.event(&about, EventType::Normal, "LeaderElection", format!("{} {what}", self.identity));
        }
    }
}

impl Observed {
    fn is_valid(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < self.record.duration())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_must_fit_together() {
        let good = Options::new("x");
        assert!(good.validate().is_ok());
        let bad = Options { renew_deadline: Duration::from_secs(15), ..good.clone() };
        assert_eq!(
            bad.validate().unwrap_err().to_string(),
            "leaseDuration must be greater than renewDeadline"
        );
        let bad = Options { retry_period: Duration::from_secs(9), ..good };
        assert_eq!(
            bad.validate().unwrap_err().to_string(),
            "renewDeadline must be greater than retryPeriod*JitterFactor"
        );
    }
}
