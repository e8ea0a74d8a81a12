//! Looking: get in its forms, describe, explain, discovery.

use super::SOON;
use anyhow::Result;
use e2e::{Cluster, contains, eventually, same};

pub(crate) fn get_and_describe(cluster: &Cluster) -> Result<()> {
    for (arguments, parts) in [
        (&["get", "nodes", "-o", "wide"][..], &["INTERNAL-IP", "containerd://", "control-plane"][..]),
        (
            &["get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns"],
            &["cluster-dns-", "1/1", "Running"],
        ),
        (&["get", "pods", "-A", "--field-selector=spec.nodeName=n1"], &["etcd-n1", "kube-apiserver-n1"]),
        (&["get", "service", "kubernetes", "-o", "yaml"], &["clusterIP: 10.96.0.1", "kind: Service"]),
        (&["get", "service", "kubernetes", "-o", "json"], &["\"clusterIP\": \"10.96.0.1\""]),
        (
            &["get", "ns", "-o", "jsonpath={.items[*].metadata.name}"],
            &["default kube-node-lease kube-public kube-system"],
        ),
        (&["get", "ns", "-o", "name"], &["namespace/default\n"]),
        (&["get", "ns", "-o", "custom-columns=N:.metadata.name,P:.status.phase"], &["N ", "kube-system"]),
        (&["get", "ns", "--sort-by=.metadata.creationTimestamp", "--no-headers"], &["Active"]),
        (&["get", "nodes", "--show-labels"], &["kubernetes.io/hostname=n2"]),
        (
            &["get", "all", "-n", "kube-system"],
            &["daemonset.apps/kube-proxy", "deployment.apps/cluster-dns", "service/kube-dns"],
        ),
        (&["get", "events", "-A"], &["LAST SEEN", "Scheduled"]),
        (&["events", "-n", "kube-system"], &["Created", "Started"]),
        (
            &["describe", "node", "n1"],
            &["Allocated resources", "Non-terminated Pods", "KubeletReady", "bare-metal://n1"],
        ),
        (
            &["describe", "pod", "etcd-n1", "-n", "kube-system"],
            &["Controlled By:  Node/n1", "Liveness:", "etcd-certs"],
        ),
        (&["describe", "service", "kubernetes"], &["Endpoints:", ":6443"]),
        (
            &["describe", "deployment", "cluster-dns", "-n", "kube-system"],
            &["2 desired | 2 updated | 2 total | 2 available"],
        ),
        (&["describe", "ns", "default"], &["No resource quota."]),
        (&["get", "--raw", "/readyz?verbose"], &["[+]etcd ok", "readyz check passed"]),
        (&["get", "--raw", "/livez/ping"], &["ok"]),
        (&["get", "--raw", "/metrics"], &["apiserver_request_total{"]),
    ] {
        let text = cluster.kubectl(arguments)?;
        for part in parts {
            contains(&text, part)?;
        }
    }
    contains(
        &cluster.kubectl_fails(&["get", "pod", "none"])?,
        "Error from server (NotFound): pods \"none\" not found",
    )?;
    contains(
        &cluster.kubectl_fails(&["get", "nonsense"])?,
        "error: the server doesn't have a resource type \"nonsense\"",
    )?;
    contains(
        &cluster.kubectl_fails(&["get", "--raw", "/api/v1/nothing"])?,
        "the server could not find the requested resource",
    )
}

pub(crate) fn discovery_and_explain(cluster: &Cluster) -> Result<()> {
    for (arguments, parts) in [
        (&["api-resources"][..], &["deployments", "customresourcedefinitions", "po  "][..]),
        (
            &["api-resources", "--api-group=apps", "-o", "wide"],
            &["deploy", "create,delete,deletecollection", "all"],
        ),
        (&["api-resources", "--namespaced=false", "-o", "name"], &["nodes\n", "namespaces\n"]),
        (&["api-versions"], &["apps/v1\n", "batch/v1\n", "rbac.authorization.k8s.io/v1\n", "\nv1\n"]),
        (&["version"], &["Server Version: v1.36"]),
        (&["version", "-o", "json"], &["\"gitVersion\": \"v1.36", "\"platform\": \"linux/"]),
        (&["cluster-info"], &["Kubernetes control plane", "CoreDNS"]),
        (
            &["explain", "deployment.spec.strategy"],
            &["GROUP:      apps", "rollingUpdate", "DeploymentStrategy"],
        ),
        (
            &["explain", "pod", "--recursive"],
            &["containers\t<[]Container> -required-", "terminationGracePeriodSeconds"],
        ),
        (&["explain", "hpa", "--api-version=autoscaling/v1"], &["VERSION:    v1", "HorizontalPodAutoscaler"]),
    ] {
        let text = cluster.kubectl(arguments)?;
        for part in parts {
            contains(&text, part)?;
        }
    }
    Ok(())
}

pub(crate) fn watch(cluster: &Cluster) -> Result<()> {
    let watch = cluster.kubectl_background(&[
        "get",
        "configmaps",
        "-w",
        "--output-watch-events",
        "-l",
        "seen=yes",
        "--no-headers",
    ])?;
    cluster.kubectl(&["create", "configmap", "other"])?;
    cluster.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: seen, labels: {seen: 'yes'}}}")?;
    cluster.kubectl(&["patch", "configmap", "seen", "-p", r#"{"data": {"a": "1"}}"#])?;
    // Leaving the selector is a deletion to those who watch it.
    cluster.kubectl(&["label", "configmap", "seen", "seen=no", "--overwrite"])?;
    cluster.kubectl(&[
        "wait",
        "--for=jsonpath={.metadata.labels.seen}=no",
        "configmap/seen",
        "--timeout=10s",
    ])?;
    cluster.kubectl(&["delete", "configmap", "seen", "other"])?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    let printed = watch.stop()?;
    let events: Vec<_> =
        printed.lines().map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect();
    same("events", events, ["ADDED seen 0", "MODIFIED seen 1", "DELETED seen 1"].map(String::from).to_vec())?;
    // A watch by name ends when it is told to.
    eventually("a bounded watch", SOON, || {
        let ends = cluster.kubectl(&["get", "ns", "default", "-w", "--request-timeout=1s"])?;
        contains(&ends, "default")
    })
}
