//! The cluster itself: nodes, system pods, names, addresses.

use anyhow::{Context, Result, bail};
use e2e::{Cluster, contains, eventually, same};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

pub(crate) fn nodes_are_ready(cluster: &Cluster) -> Result<()> {
    // A node that has just become Ready loses its taints a moment later.
    eventually("both nodes to be Ready and without taints", SOON, || {
        let nodes = cluster.get(&["nodes"])?;
        let nodes = nodes["items"].as_array().context("items")?;
        same("nodes", nodes.len(), 2)?;
        for node in nodes {
            let conditions = node["status"]["conditions"].as_array().context("conditions")?;
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready").context("Ready")?;
            same("Ready", ready["status"].as_str(), Some("True"))?;
            same("version", node["status"]["nodeInfo"]["kubeletVersion"].as_str(), Some("v1.36.2"))?;
            contains(node["spec"]["providerID"].as_str().unwrap_or_default(), "bare-metal://")?;
            if node["spec"]["taints"].as_array().is_some_and(|taints| !taints.is_empty()) {
                bail!("{} is still tainted: {}", node["metadata"]["name"], node["spec"]["taints"]);
            }
        }
        Ok(())
    })
}

pub(crate) fn system_pods_run_without_restarts(cluster: &Cluster) -> Result<()> {
    eventually("the system's pods", SOON, || {
        let pods = cluster.get(&["pods", "-n", "kube-system"])?;
        let pods = pods["items"].as_array().context("items")?;
        let named = |prefix: &str| {
            pods.iter()
                .filter(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().starts_with(prefix))
                .count()
        };
        for (prefix, count) in [
            ("etcd-n1", 1),
            ("kube-apiserver-n1", 1),
            ("kube-controller-manager-n1", 1),
            ("kube-scheduler-n1", 1),
            ("cloud-controller-manager-n1", 1),
            ("kube-proxy-", 2),
            ("node-agent-", 2),
            ("cluster-dns-", 2),
        ] {
            same(prefix, named(prefix), count)?;
        }
        for pod in pods {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            same(name, pod["status"]["phase"].as_str(), Some("Running"))?;
            for container in pod["status"]["containerStatuses"].as_array().context("containerStatuses")? {
                same(&format!("{name} ready"), container["ready"].as_bool(), Some(true))?;
                same(&format!("{name} restarts"), container["restartCount"].as_i64(), Some(0))?;
            }
        }
        Ok(())
    })
}

/// A pod that sleeps, on a node of choice.
pub(crate) fn toolbox(name: &str, node: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}", "labels": {{"app": "{name}"}}}}, "spec": {{
            "nodeSelector": {{"kubernetes.io/hostname": "{node}"}}, "terminationGracePeriodSeconds": 0,
            "containers": [{{"name": "main", "image": "registry.k8s.io/e2e/toolbox:1", "command": ["sleep", "100000"]}}]}}}}"#
    )
}

/// Makes such a pod and waits until it runs.
pub(crate) fn run_toolbox(cluster: &Cluster, name: &str, node: &str) -> Result<()> {
    cluster.apply(&toolbox(name, node))?;
    cluster.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]).map(drop)
}

pub(crate) fn names_resolve(cluster: &Cluster) -> Result<()> {
    run_toolbox(cluster, "names", "n2")?;
    eventually("cluster DNS", SOON, || {
        contains(&cluster.exec("names", "nslookup kubernetes.default.svc.cluster.local")?, "10.96.0.1")
    })?;
    contains(
        &cluster.exec("names", "cat /etc/resolv.conf")?,
        "search default.svc.cluster.local svc.cluster.local cluster.local",
    )?;
    // The short name by the search path, and a name that is none.
    contains(&cluster.exec("names", "ping -c 1 -W 1 kubernetes || true")?, "10.96.0.1")?;
    contains(&cluster.exec("names", "nslookup nobody.default.svc.cluster.local || true")?, "NXDOMAIN")?;
    // Over TCP, which busybox's nslookup can't ask.
    let dns = "\\0\\66\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\12kubernetes\\7default\\3svc\\7cluster\\5local\\0\\0\\1\\0\\1";
    let answer = cluster
        .exec("names", &format!("printf '{dns}' | nc -w 3 10.96.0.10 53 | od -An -tx1 | tr -d ' \\n'"))?;
    contains(&answer, "0a600001")?;
    cluster.kubectl(&["delete", "pod", "names"]).map(drop)
}

pub(crate) fn pods_see_each_others_own_address(cluster: &Cluster) -> Result<()> {
    run_toolbox(cluster, "here", "n1")?;
    run_toolbox(cluster, "there", "n2")?;
    let address = |pod: &str| -> Result<String> {
        Ok(cluster.get(&["pod", pod])?["status"]["podIP"].as_str().context("podIP")?.to_string())
    };
    let (here, there) = (address("here")?, address("there")?);
    // The server says who asked.
    cluster.exec(
        "there",
        r"mkdir -p /www/cgi-bin && printf '#!/bin/sh\necho; echo $REMOTE_ADDR\n' >/www/cgi-bin/who && \
          chmod +x /www/cgi-bin/who && httpd -h /www -p 9000",
    )?;
    let asks = |from: &str, host: &str| {
        cluster.exec(from, &format!("timeout 5 wget -qO- http://{host}:9000/cgi-bin/who"))
    };
    eventually("the other pod", SOON, || contains(&asks("here", &there)?, &format!("{here}]")))?;
    // The same through a Service, where the address of the one who asks stays too.
    cluster.kubectl(&["expose", "pod", "there", "--port=9000"])?;
    eventually("the Service", SOON, || contains(&asks("here", "there")?, &format!("{here}]")))?;
    // A pod that reaches itself through its Service must not see itself: the answer would not find its way.
    same("asking itself answers", asks("there", "there")?.trim().is_empty(), false)?;
    cluster.kubectl(&["delete", "service", "there"])?;
    cluster.kubectl(&["delete", "pod", "here", "there"]).map(drop)
}
