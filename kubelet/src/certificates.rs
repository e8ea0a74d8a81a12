//! The kubelet's certificates.

use crate::kubelet::Settings;
use component_base::flags::Parsed;

/// Makes sure that there is a kubeconfig at `path`, asking for a client certificate if need be.
pub async fn bootstrap(_flags: &Parsed, _settings: &Settings, path: &str) -> anyhow::Result<()> {
    anyhow::ensure!(std::path::Path::new(path).exists(), "kubeconfig {path} is missing");
    Ok(())
}
