//! The add-ons: kube-proxy, cluster DNS and the cloud-controller-manager's node agent, from the manifests beside this crate.

use crate::api::Api;
use crate::config::Config;
use anyhow::{Context, Result};
use serde_json::Value;

const MANIFESTS: &[(&str, &str)] = &[
    ("kube-proxy", include_str!("../manifests/kube-proxy.yaml")),
    ("cluster-dns", include_str!("../manifests/cluster-dns.yaml")),
    ("node-agent", include_str!("../manifests/node-agent.yaml")),
];

/// Creates or updates every object of every add-on.
pub(crate) async fn run(config: &Config) -> Result<()> {
    let api = Api::super_admin()?;
    for (name, text) in MANIFESTS {
        println!("    {name}");
        for object in objects(text, config).with_context(|| format!("the manifest of {name}"))? {
            api.apply(&object).await?;
        }
    }
    Ok(())
}

/// The objects of a manifest with its `${NAME}`s filled in.
fn objects(text: &str, config: &Config) -> Result<Vec<Value>> {
    let values = [
        ("${IMAGE_KUBE_PROXY}", config.image("kube-proxy")),
        ("${IMAGE_CLUSTER_DNS}", config.image("cluster-dns")),
        ("${IMAGE_CLOUD_CONTROLLER_MANAGER}", config.image("cloud-controller-manager")),
        ("${ENDPOINT}", config.endpoint.clone()),
        ("${POD_CIDR}", config.options.pod_network_cidr.to_string()),
        ("${SERVICE_CIDR}", config.options.service_cidr.to_string()),
        ("${DNS_ADDRESS}", config.service_address(10).to_string()),
        ("${DNS_DOMAIN}", config.options.service_dns_domain.clone()),
    ];
    let mut filled = text.to_string();
    for (name, value) in values {
        filled = filled.replace(name, &value);
    }
    filled.split("\n---\n").map(|document| Ok(serde_saphyr::from_str(document)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_parses_and_is_filled_in() {
        let config = Config::for_init(crate::config::test_options()).unwrap();
        for (name, text) in MANIFESTS {
            let objects = objects(text, &config).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert!(!objects.is_empty());
            for object in objects {
                assert!(object["kind"].is_string(), "{name}: {object}");
                assert!(!object.to_string().contains("${"), "{name}: {object}");
            }
        }
    }
}
