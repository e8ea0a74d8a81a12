//! Reads the configuration again when its file changes.
//!
//! A configuration that can't be read or is wrong leaves the one before in place, as does one whose issuers are not all
//! found within a minute. How requests without credentials are treated never changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use component_base::files::Watcher;
use proto::field::{Error, Path, aggregate};

use super::config::{Anonymous, AuthenticationConfiguration};
use super::validate::validate;
use super::{Issuers, metrics};
use crate::auth::text;

/// How often the file is looked at, even if nothing is told of it.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long it takes until a change is taken for a whole one.
const SETTLED: Duration = Duration::from_millis(100);
/// How long new issuers have to be found.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What follows the file.
pub struct Reload {
    path: PathBuf,
    /// The content that was last dealt with.
    seen: Vec<u8>,
    /// The content in use.
    used: Vec<u8>,
    anonymous: Option<Anonymous>,
    issuers: Arc<Issuers>,
}

/// Why a content is not used.
enum Failure {
    /// It never will be.
    Final(String),
    /// It may be later.
    Passing(String),
}

impl Reload {
    pub(super) fn new(
        path: PathBuf,
        content: Vec<u8>,
        anonymous: Option<Anonymous>,
        issuers: Arc<Issuers>,
    ) -> Self {
        metrics::configured(&content, &[]);
        Reload { path, seen: content.clone(), used: content, anonymous, issuers }
    }

    /// Follows the file for ever.
    pub async fn run(mut self) {
        // The directory tells of files that take the place of others too.
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut watcher = Watcher::new(directory.unwrap_or(std::path::Path::new(".")));
        loop {
            match &mut watcher {
                Some(watcher) => {
                    let _ = tokio::time::timeout(INTERVAL, watcher.changed()).await;
                    tokio::time::sleep(SETTLED).await;
                }
                None => tokio::time::sleep(INTERVAL).await,
            }
            self.look().await;
        }
    }

    /// Uses the file's content if it is a new one.
    pub(super) async fn look(&mut self) {
        let content = match std::fs::read(&self.path) {
            Ok(content) if content == self.seen => return,
            Ok(content) => content,
            Err(error) => {
                tracing::error!(%error, "failed to read authentication config file");
                return metrics::reloaded(false);
            }
        };
        match self.apply(&content).await {
            Ok(()) => {
                tracing::info!("reloaded authentication config");
                metrics::reloaded(true);
                metrics::configured(&content, &self.used);
                self.used.clone_from(&content);
                self.seen = content;
            }
            Err(failure) => {
                metrics::reloaded(false);
                let error = match failure {
                    Failure::Final(error) => {
                        self.seen = content;
                        error
                    }
                    Failure::Passing(error) => error,
                };
                tracing::error!(error, "failed to update authentication config");
            }
        }
    }

    async fn apply(&self, content: &[u8]) -> Result<(), Failure> {
        let config = AuthenticationConfiguration::parse(content).map_err(Failure::Final)?;
        let mut errors = validate(&config, &self.issuers.disallowed);
        if config.anonymous != self.anonymous {
            errors.push(Error::forbidden(&Path::new("anonymous"), "changed from initial configuration file"));
        }
        if !errors.is_empty() {
            return Err(Failure::Final(aggregate(&errors)));
        }
        let issuers = self.issuers.make(&config).map_err(Failure::Passing)?;
        let all = futures::future::join_all(issuers.iter().map(|issuer| issuer.ready()));
        let _ = tokio::time::timeout(TIMEOUT, all).await;
        let errors: Vec<String> = issuers.iter().filter_map(|issuer| issuer.health().err()).collect();
        if !errors.is_empty() {
            return Err(Failure::Passing(text::aggregate(&errors)));
        }
        self.issuers.replace(issuers);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
