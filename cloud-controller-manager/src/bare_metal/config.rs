//! The file that `--cloud-config` names.
//!
//! ```yaml
//! addressPools:
//! - name: default
//!   addresses: [192.168.1.240-192.168.1.250, 192.168.7.0/28]
//! nodes:                       # all optional
//! - name: n1
//!   internalIPs: [192.168.1.11]
//!   zone: rack-1
//! ```

use std::path::Path;

use serde::Deserialize;

use super::pool::{Pools, Range};

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("cloud config {0}: {1}")]
    Read(String, std::io::Error),
    /// It isn't such a file.
    #[error("cloud config: {0}")]
    Parse(String),
    /// A pool that makes no sense.
    #[error("cloud config: addressPools[{pool}]: {reason}")]
    Pool {
        /// Its name.
        pool: String,
        /// What is wrong.
        reason: String,
    },
}

/// The provider's configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// May be given; not needed.
    api_version: String,
    /// May be given; not needed.
    kind: String,
    address_pools: Vec<AddressPool>,
    nodes: Vec<NodeEntry>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct AddressPool {
    name: String,
    addresses: Vec<String>,
    /// Whether services that name no pool may take from it.
    auto_assign: Option<bool>,
}

/// What is known of a machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeEntry {
    /// The node's name.
    pub name: String,
    /// Its addresses inside.
    #[serde(rename = "internalIPs")]
    pub internal_ips: Vec<String>,
    /// Its addresses outside.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// Its zone.
    pub zone: String,
    /// Its region.
    pub region: String,
    /// Its type.
    pub instance_type: String,
}

impl Config {
    /// Reads the file; an empty path is an empty configuration.
    pub fn load(path: &str) -> Result<Self, ConfigError> {
        if path.is_empty() {
            return Ok(Self::default());
        }
        let text =
            std::fs::read_to_string(Path::new(path)).map_err(|e| ConfigError::Read(path.to_owned(), e))?;
        Self::parse(&text)
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        serde_saphyr::from_str(text).map_err(|e| ConfigError::Parse(e.to_string()))
    }

    /// What is known of a node's machine.
    pub fn node(&self, name: &str) -> Option<&NodeEntry> {
        self.nodes.iter().find(|entry| entry.name == name)
    }

    /// The pools, checked.
    pub fn pools(&self) -> Result<Pools, ConfigError> {
        let mut pools = Pools::default();
        for pool in &self.address_pools {
            let fail = |reason: String| ConfigError::Pool { pool: pool.name.clone(), reason };
            if pool.name.is_empty() {
                return Err(fail("name: Required value".into()));
            }
            let ranges = pool.addresses.iter().map(|text| text.parse::<Range>());
            let ranges = ranges.collect::<Result<Vec<_>, _>>().map_err(fail)?;
            if ranges.is_empty() {
                return Err(fail("addresses: Required value".into()));
            }
            pools.add(&pool.name, ranges, pool.auto_assign.unwrap_or(true)).map_err(fail)?;
        }
        Ok(pools)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named() {
        let fault =
            |text| Config::parse(text).and_then(|config| config.pools().map(drop)).unwrap_err().to_string();
        assert!(
            fault("addressPool: []").contains("unknown field `addressPool`"),
            "{}",
            fault("addressPool: []")
        );
        assert_eq!(
            fault("addressPools: [{name: a, addresses: [10.0.0.9-10.0.0.1]}]"),
            "cloud config: addressPools[a]: \"10.0.0.9-10.0.0.1\": the last address is below the first"
        );
        assert_eq!(
            fault("addressPools: [{name: a, addresses: [10.0.0.0/30]}, {name: b, addresses: [10.0.0.3]}]"),
            "cloud config: addressPools[b]: 10.0.0.3-10.0.0.3 overlaps pool \"a\""
        );
        assert!(Config::parse("nodes: [{name: n, internalIPs: [1.2.3.4]}]").is_ok());
    }
}
