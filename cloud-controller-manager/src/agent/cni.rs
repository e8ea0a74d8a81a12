//! The CNI configuration: pods on a bridge, addresses from the node's own networks, no masquerade by the plugin.
//!
//! `ipMasq` stays off since it would also rewrite the source of traffic to other nodes' pods.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::{Value, json};

/// Where and how to write it.
pub(super) struct Settings {
    pub(super) path: Option<PathBuf>,
    pub(super) bridge: String,
    pub(super) mtu: i64,
}

impl Settings {
    /// Writes the configuration for these networks unless it is there. Without networks it stays as it is.
    pub(super) fn write(&self, nets: &[IpNet]) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if nets.is_empty() {
            return Ok(());
        }
        let text = format!("{:#}\n", self.plan(nets));
        if fs::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        replace(path, &text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
        tracing::info!(path = %path.display(), "Wrote the CNI configuration");
        Ok(())
    }

    /// Removes the configuration, if it is there.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => anyhow::bail!("{}: {e}", path.display()),
            _ => Ok(()),
        }
    }

    fn plan(&self, nets: &[IpNet]) -> Value {
        let ranges: Vec<Value> = nets.iter().map(|net| json!([{ "subnet": net.to_string() }])).collect();
        let default =
            |net: &IpNet| json!({ "dst": if matches!(net, IpNet::V4(_)) { "0.0.0.0/0" } else { "::/0" } });
        let routes: Vec<Value> = nets.iter().map(default).collect();
        let mut bridge = json!({
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": { "type": "host-local", "ranges": ranges, "routes": routes },
        });
        if self.mtu > 0 {
            bridge["mtu"] = self.mtu.into();
        }
        json!({
            "cniVersion": "1.0.0",
            "name": "keelson",
            "plugins": [bridge, { "type": "portmap", "capabilities": { "portMappings": true } }],
        })
    }
}

/// Readers see the old file or the new one, never a part.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // The runtime reads *.conf, *.conflist and *.json only.
    let draft = path.with_extension("tmp");
    let mut file = fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_the_nodes_networks() {
        let settings = Settings { path: None, bridge: "cni0".into(), mtu: 1450 };
        let plan = settings.plan(&["10.1.2.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()]);
        let bridge = &plan["plugins"][0];
        assert_eq!((bridge["ipMasq"].clone(), bridge["mtu"].clone()), (json!(false), json!(1450)));
        assert_eq!(
            bridge["ipam"]["ranges"],
            json!([[{ "subnet": "10.1.2.0/24" }], [{ "subnet": "fd00:1::/64" }]])
        );
        assert_eq!(bridge["ipam"]["routes"], json!([{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]));
    }
}
