//! The kubelet's settings: defaults, then the configuration file, then files beside it, then flags.

mod file;
mod flags;

pub use file::KubeletConfiguration;
pub use flags::{CADVISOR_FLAGS, FIELDS, KUBELET};

use anyhow::{Context, bail};
use component_base::flags::Parsed;
use serde_json::Value;
use std::path::{Path, PathBuf};

const KINDS: &[(&str, &str)] = &[("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration")];

/// Numbers that mean their default when they are zero, as in upstream's type they aren't pointers.
const ZERO_IS_DEFAULT: &[&str] = &[
    "port",
    "registryBurst",
    "eventBurst",
    "nodeLeaseDurationSeconds",
    "maxPods",
    "maxOpenFiles",
    "kubeAPIBurst",
];
/// Texts and durations that mean what they say even when empty or zero.
const EMPTY_IS_MEANT: &[&str] = &["resolvConf", "cpuCFSQuotaPeriod", "containerLogMonitorInterval"];

/// Reads the configuration that the flags ask for.
pub fn load(flags: &Parsed) -> anyhow::Result<KubeletConfiguration> {
    let mut value = Value::Object(Default::default());
    if let Some(path) = flags.non_empty("config") {
        let (read, _) = component_base::config::load::<Value>(Path::new(path), KINDS)?;
        // A path in the file is relative to the file.
        value = read;
        absolute_paths(&mut value, Path::new(path));
    }
    if let Some(dir) = flags.non_empty("config-dir") {
        for path in drop_ins(Path::new(dir))? {
            let (read, _) = component_base::config::load::<Value>(&path, KINDS)?;
            merge(&mut value, read);
        }
    }
    drop_defaults(&mut value);
    flags::apply(flags, &mut value);
    let config: KubeletConfiguration =
        serde_json::from_value(value).map_err(|e| anyhow::anyhow!("failed to load kubelet config: {e}"))?;
    check(&config)?;
    Ok(config)
}

fn absolute_paths(value: &mut Value, file: &Path) {
    let Some(dir) = file.parent().and_then(|d| std::path::absolute(d).ok()) else { return };
    for name in ["staticPodPath", "tlsCertFile", "tlsPrivateKeyFile", "resolvConf"] {
        if let Some(Value::String(path)) = value.get_mut(name)
            && !path.is_empty()
            && !path.starts_with('/')
        {
            *path = dir.join(&*path).to_string_lossy().into_owned();
        }
    }
}

/// Files named `*.conf`, in the order of their names.
fn drop_ins(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut files: Vec<_> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "conf")).collect();
    files.sort();
    Ok(files)
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Generated files state every field, at zero where nothing was chosen.
fn drop_defaults(value: &mut Value) {
    let Value::Object(map) = value else { return };
    map.retain(|key, value| match value {
        Value::String(text) => {
            EMPTY_IS_MEANT.contains(&key.as_str()) || !matches!(text.as_str(), "" | "0s" | "0")
        }
        Value::Number(n) => n.as_i64() != Some(0) || !ZERO_IS_DEFAULT.contains(&key.as_str()),
        Value::Object(_) => {
            drop_defaults(value);
            true
        }
        _ => true,
    });
}

/// Refuses what can't be granted, rather than pretend.
fn check(config: &KubeletConfiguration) -> anyhow::Result<()> {
    let refuse =
        |wrong: bool, what: &str| if wrong { bail!("invalid configuration: {what}") } else { Ok(()) };
    refuse(config.cgroup_driver != "cgroupfs", "cgroupDriver: only \"cgroupfs\" is supported")?;
    refuse(config.cpu_manager_policy != "none", "cpuManagerPolicy: only \"none\" is supported")?;
    refuse(config.memory_manager_policy != "None", "memoryManagerPolicy: only \"None\" is supported")?;
    refuse(config.topology_manager_policy != "none", "topologyManagerPolicy: only \"none\" is supported")?;
    refuse(!config.static_pod_url.is_empty(), "staticPodURL: static pods are read from files only")?;
    refuse(config.read_only_port != 0, "readOnlyPort: the read-only port is not supported")?;
    refuse(config.run_once, "runOnce: not supported")?;
    let high_low = config.image_gc_low_threshold_percent >= config.image_gc_high_threshold_percent;
    refuse(
        high_low,
        &format!(
            "imageGCLowThresholdPercent (--image-gc-low-threshold) {} must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) {}",
            config.image_gc_low_threshold_percent, config.image_gc_high_threshold_percent
        ),
    )?;
    for server in &config.cluster_dns {
        refuse(
            server.parse::<std::net::IpAddr>().is_err(),
            &format!("clusterDNS: {server:?} is not an address"),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn zeros_of_a_generated_file_are_defaults() {
        let mut value = json!({
            "syncFrequency": "0s", "healthzPort": 0, "port": 0, "clusterDomain": "", "resolvConf": "",
            "authentication": { "webhook": { "cacheTTL": "0s", "enabled": true } },
        });
        drop_defaults(&mut value);
        assert_eq!(
            value,
            json!({
                "healthzPort": 0, "resolvConf": "", "authentication": { "webhook": { "enabled": true } },
            })
        );
        let config: KubeletConfiguration = serde_json::from_value(value).unwrap();
        assert_eq!(config.sync_frequency.to_std().as_secs(), 60);
        assert_eq!((config.port, config.healthz_port), (10250, 0));
    }

    #[test]
    fn an_unknown_field_is_named() {
        let e = serde_json::from_value::<KubeletConfiguration>(json!({ "nonsense": 1 })).unwrap_err();
        assert!(e.to_string().contains("unknown field `nonsense`"));
    }
}
