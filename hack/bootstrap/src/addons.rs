//! The add-ons: kube-proxy, cluster DNS and the cloud-controller-manager's node agent, from the manifests beside this crate.

use crate::api::Api;
use crate::cluster::until;
use crate::config::Config;
use anyhow::{Context, Result, bail};
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

/// Waits until the pods of the system that run on this node, or wait for one, are Ready. Those of other nodes are not waited
/// for: a node may be down when the command is run again.
pub(crate) async fn wait(config: &Config) -> Result<()> {
    let mut workloads = Vec::new();
    for (_, text) in MANIFESTS {
        workloads.extend(
            objects(text, config)?.into_iter().filter(|object| object["spec"]["template"].is_object()),
        );
    }
    until("the add-ons to be Ready", async || {
        let api = Api::super_admin()?;
        for object in &workloads {
            let now = api.find(object).await?.unwrap_or_default();
            let seen = now.pointer("/status/observedGeneration");
            if seen.is_none() || seen != now.pointer("/metadata/generation") {
                bail!("{} was not looked at by its controller", object["metadata"]["name"]);
            }
        }
        let pods = api.get("/api/v1/namespaces/kube-system/pods").await?.unwrap_or_default();
        let here = |pod: &&Value| {
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            (node.is_empty() || node == config.node_name) && pod["metadata"]["deletionTimestamp"].is_null()
        };
        pods["items"].as_array().into_iter().flatten().filter(here).try_for_each(ready)?;
        Ok(Some(()))
    })
    .await
}

/// Says of a pod that is not Ready why, as far as its conditions tell.
fn ready(pod: &Value) -> Result<()> {
    let condition = |kind: &str| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().find(|condition| condition["type"] == kind)
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if condition("Ready").is_some_and(|ready| ready["status"] == "True") {
        return Ok(());
    }
    let why =
        ["PodScheduled", "Ready"].into_iter().filter_map(condition).find(|known| known["status"] != "True");
    let why = why.map(|known| text(&known["message"])).unwrap_or_default();
    bail!("pod {} is {}: {why}", text(&pod["metadata"]["name"]), text(&pod["status"]["phase"]))
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
    use serde_json::json;

    #[test]
    fn a_pod_that_is_not_ready_tells_why() {
        let pod = |conditions: Value| json!({"metadata": {"name": "dns"}, "status": {"phase": "Pending", "conditions": conditions}});
        let why = |conditions: Value| ready(&pod(conditions)).map_err(|error| error.to_string());
        assert_eq!(why(json!([{"type": "Ready", "status": "True"}])), Ok(()));
        let unscheduled =
            json!([{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]);
        assert_eq!(why(unscheduled), Err("pod dns is Pending: 0/1 nodes are available".to_owned()));
        let starting = json!([
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "False", "message": "containers with unready status: [dns]"},
        ]);
        assert_eq!(
            why(starting),
            Err("pod dns is Pending: containers with unready status: [dns]".to_owned())
        );
        assert_eq!(why(json!([])), Err("pod dns is Pending: ".to_owned()));
    }

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
