//! kubectl, unmodified: every command that a user of a new cluster tries.

use crate::cluster::{run_toolbox, toolbox};
use anyhow::{Context, Result};
use e2e::{Cluster, contains, eventually, same};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

pub(crate) fn reads(cluster: &Cluster) -> Result<()> {
    for (arguments, part) in [
        (&["get", "nodes", "-o", "wide"][..], "INTERNAL-IP"),
        (&["get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns"], "cluster-dns-"),
        (&["get", "pods", "-A", "--field-selector=spec.nodeName=n1"], "etcd-n1"),
        (&["get", "service", "kubernetes", "-o", "yaml"], "clusterIP: 10.96.0.1"),
        (&["get", "ns", "-o", "jsonpath={.items[*].metadata.name}"], "kube-system"),
        (&["get", "ns", "-o", "name"], "namespace/default"),
        (&["describe", "node", "n1"], "Allocated resources"),
        (&["describe", "pod", "etcd-n1", "-n", "kube-system"], "Controlled By"),
        (&["explain", "deployment.spec.strategy"], "rollingUpdate"),
        (&["explain", "pod", "--recursive"], "containers"),
        (&["api-resources"], "deployments"),
        (&["api-versions"], "apps/v1"),
        (&["version"], "Server Version: v1.36"),
        (&["cluster-info"], "Kubernetes control plane"),
        (&["get", "--raw", "/readyz?verbose"], "[+]etcd ok"),
        (&["auth", "whoami"], "kubernetes-admin"),
        (&["auth", "can-i", "create", "pods"], "yes"),
    ] {
        contains(&cluster.kubectl(arguments)?, part)?;
    }
    Ok(())
}

pub(crate) fn writes(cluster: &Cluster) -> Result<()> {
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: notes\ndata:\n  a: '1'\n";
    contains(&cluster.apply(manifest)?, "configmap/notes created")?;
    contains(&cluster.apply(manifest)?, "configmap/notes unchanged")?;
    let changed = manifest.replace("a: '1'", "a: '2'");
    contains(&diff(cluster, &changed)?, "+  a: \"2\"")?;
    contains(&cluster.apply(&changed)?, "configmap/notes configured")?;
    cluster.kubectl(&["patch", "configmap", "notes", "--type=merge", "-p", r#"{"data": {"b": "3"}}"#])?;
    cluster.kubectl(&[
        "patch",
        "configmap",
        "notes",
        "--type=json",
        "-p",
        r#"[{"op": "add", "path": "/data/c", "value": "4"}]"#,
    ])?;
    cluster.kubectl(&["patch", "configmap", "notes", "-p", r#"{"data": {"d": "5"}}"#])?;
    cluster.kubectl(&["label", "configmap", "notes", "tier=test"])?;
    cluster.kubectl(&["annotate", "configmap", "notes", "why=test"])?;
    let notes = cluster.get(&["configmap", "notes"])?;
    same("data", notes["data"].clone(), serde_json::json!({"a": "2", "b": "3", "c": "4", "d": "5"}))?;
    same("label", notes["metadata"]["labels"]["tier"].as_str(), Some("test"))?;
    same("annotation", notes["metadata"]["annotations"]["why"].as_str(), Some("test"))?;
    contains(
        &cluster.kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], manifest)?,
        "serverside-applied",
    )?;
    contains(&cluster.kubectl_with(&["replace", "-f", "-"], manifest)?, "replaced")?;
    contains(
        &cluster.kubectl(&["create", "configmap", "other", "--from-literal=x=y", "--dry-run=server"])?,
        "(server dry run)",
    )?;
    contains(&cluster.kubectl_fails(&["get", "configmap", "other"])?, "configmaps \"other\" not found")?;
    let watch = cluster
        .kubectl_command()
        .args(["get", "configmap", "notes", "-w", "--output-watch-events", "--request-timeout=3s"])
        .output()?;
    contains(&String::from_utf8_lossy(&watch.stdout), "ADDED")?;
    cluster.kubectl(&["delete", "configmap", "notes"])?;
    cluster.kubectl(&["wait", "--for=delete", "configmap/notes", "--timeout=10s"]).map(drop)
}

/// `kubectl diff` ends with 1 where there is a difference.
fn diff(cluster: &Cluster, manifest: &str) -> Result<String> {
    use std::io::Write;
    let mut child = e2e::spawn(cluster.kubectl_command().args(["diff", "-f", "-"]))?;
    child.stdin.take().context("stdin")?.write_all(manifest.as_bytes())?;
    let output = child.wait_with_output()?;
    same("kubectl diff's exit code", output.status.code(), Some(1))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn deployments(cluster: &Cluster) -> Result<()> {
    let image = "registry.k8s.io/e2e/toolbox:1";
    cluster.kubectl(&[
        "create",
        "deployment",
        "web",
        "--image",
        image,
        "--replicas=2",
        "--port=80",
        "--",
        "httpd",
        "-f",
        "-p",
        "80",
    ])?;
    let status =
        |cluster: &Cluster| cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    contains(&status(cluster)?, "successfully rolled out")?;
    cluster.kubectl(&["expose", "deployment", "web", "--port=80"])?;
    eventually("endpoints", SOON, || {
        let slices = cluster.get(&["endpointslices", "-l", "kubernetes.io/service-name=web"])?;
        same("endpoints", slices["items"][0]["endpoints"].as_array().map(Vec::len), Some(2))
    })?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=3"])?;
    status(cluster)?;
    cluster.kubectl(&["set", "image", "deployment/web", "toolbox=registry.k8s.io/e2e/missing:1"])?;
    eventually("the pull error", SOON, || {
        contains(&cluster.kubectl(&["get", "pods", "-l", "app=web"])?, "ImagePullBackOff")
    })?;
    contains(&cluster.kubectl(&["rollout", "history", "deployment/web"])?, "REVISION")?;
    contains(&cluster.kubectl(&["rollout", "undo", "deployment/web"])?, "rolled back")?;
    status(cluster)?;
    cluster.kubectl(&["rollout", "restart", "deployment/web"])?;
    status(cluster)?;
    // Orphaned replica sets stay, and a new deployment of the same selector adopts them.
    cluster.kubectl(&["delete", "deployment", "web", "--cascade=orphan"])?;
    contains(&cluster.kubectl(&["get", "rs", "-l", "app=web"])?, "web-")?;
    cluster.kubectl(&[
        "create",
        "deployment",
        "web",
        "--image",
        image,
        "--replicas=1",
        "--port=80",
        "--",
        "httpd",
        "-f",
        "-p",
        "80",
    ])?;
    status(cluster)?;
    cluster.kubectl(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=90s"])?;
    eventually("nothing of the deployment to be left", SOON, || {
        same("left", cluster.kubectl(&["get", "rs,pods", "-l", "app=web", "-o", "name"])?.as_str(), "")
    })?;
    cluster.kubectl(&["delete", "service", "web"]).map(drop)
}

pub(crate) fn pods(cluster: &Cluster) -> Result<()> {
    run_toolbox(cluster, "box", "n2")?;
    same("exec", cluster.exec("box", "hostname")?.trim(), "box")?;
    // `cat file | kubectl exec -i` ends when its input does.
    let piped = cluster.kubectl_with(&["exec", "-i", "box", "--", "cat"], "through the pipe")?;
    same("exec -i", piped.as_str(), "through the pipe")?;
    let code = cluster.kubectl_command().args(["exec", "box", "--", "sh", "-c", "exit 7"]).status()?;
    same("exit code", code.code(), Some(7))?;

    cluster.first().sh("echo 'to be copied' > /tmp/copied-$(hostname)")?;
    cluster.kubectl(&["cp", "/tmp/copied-n1", "box:/tmp/copied"])?;
    same("cp", cluster.exec("box", "cat /tmp/copied")?.trim(), "to be copied")?;
    cluster.first().sh("rm /tmp/copied-n1")?;

    cluster.kubectl(&[
        "run",
        "talker",
        "--image=registry.k8s.io/e2e/toolbox:1",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "echo hello; echo world",
    ])?;
    cluster.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/talker", "--timeout=60s"])?;
    same("logs", cluster.kubectl(&["logs", "talker"])?.as_str(), "hello\nworld\n")?;
    same("logs --tail", cluster.kubectl(&["logs", "talker", "--tail=1"])?.as_str(), "world\n")?;
    contains(&cluster.kubectl(&["logs", "-f", "talker"])?, "hello")?;

    // port-forward, by a request through it.
    cluster.exec("box", "mkdir -p /www && echo forwarded > /www/index.html && httpd -h /www -p 8000")?;
    let mut forward = e2e::spawn(cluster.kubectl_command().args(["port-forward", "pod/box", "18000:8000"]))?;
    let answer = eventually("port-forward", SOON, || {
        contains(&cluster.first().sh("curl -sS --max-time 3 http://127.0.0.1:18000/")?, "forwarded")
    });
    let ended = forward.try_wait()?;
    cluster.first().sh("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q 'port-forward pod/box 1[8]000' && kill ${p#/proc/}; done; true")?;
    forward.wait()?;
    answer?;
    same("port-forward still ran", ended, None)?;
    contains(
        &cluster.kubectl(&["get", "--raw", "/api/v1/namespaces/default/pods/box:8000/proxy/index.html"])?,
        "forwarded",
    )?;
    cluster.kubectl(&["delete", "pod", "box", "talker"]).map(drop)
}

pub(crate) fn nodes(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["cordon", "n2"])?;
    contains(&cluster.kubectl(&["get", "node", "n2"])?, "SchedulingDisabled")?;
    cluster.apply(&toolbox("stuck", "n2"))?;
    eventually("the scheduler's reason", SOON, || {
        contains(&cluster.kubectl(&["describe", "pod", "stuck"])?, "0/2 nodes are available: ")
    })?;
    contains(&cluster.kubectl(&["describe", "pod", "stuck"])?, "1 node(s) were unschedulable")?;
    cluster.kubectl(&["uncordon", "n2"])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/stuck", "--timeout=60s"])?;
    cluster.kubectl(&["taint", "node", "n2", "test=1:NoExecute"])?;
    eventually("the taint to evict the pod", SOON, || {
        contains(&cluster.kubectl_fails(&["get", "pod", "stuck"])?, "not found")
    })?;
    cluster.kubectl(&["taint", "node", "n2", "test-"])?;
    cluster.kubectl(&["label", "node", "n2", "disk=fast"])?;
    contains(&cluster.kubectl(&["get", "nodes", "-l", "disk=fast", "-o", "name"])?, "node/n2")?;
    cluster.kubectl(&["label", "node", "n2", "disk-"]).map(drop)
}

pub(crate) fn access(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "serviceaccount", "reader"])?;
    let token = cluster.kubectl(&["create", "token", "reader"])?;
    let token = format!("--token={}", token.trim());
    let as_reader = |arguments: &[&str]| {
        // Without the administrator's certificate, which would win over the token.
        let server = format!("--server=https://{}:6443", cluster.first().address);
        let mut command = cluster.first().command("/opt/keelson/bin/kubectl");
        command.args([
            "--kubeconfig=/dev/null",
            "--certificate-authority=/etc/kubernetes/pki/ca.crt",
            &server,
            &token,
        ]);
        command.args(arguments).output()
    };
    contains(
        &String::from_utf8_lossy(&as_reader(&["auth", "whoami"])?.stdout),
        "system:serviceaccount:default:reader",
    )?;
    let refused = as_reader(&["get", "pods"])?;
    contains(
        &String::from_utf8_lossy(&refused.stderr),
        "pods is forbidden: User \"system:serviceaccount:default:reader\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
    )?;
    cluster.kubectl(&[
        "create",
        "rolebinding",
        "reader",
        "--clusterrole=view",
        "--serviceaccount=default:reader",
    ])?;
    eventually("the binding to count", SOON, || {
        Ok(same("get pods", as_reader(&["get", "pods"])?.status.success(), true)?)
    })?;
    same(
        "can-i",
        cluster
            .kubectl(&["auth", "can-i", "list", "secrets", "--as=system:serviceaccount:default:reader"])
            .is_err(),
        true,
    )?;
    cluster.kubectl(&["delete", "serviceaccount,rolebinding", "reader"]).map(drop)
}

pub(crate) fn errors(cluster: &Cluster) -> Result<()> {
    let bad = |manifest: &str| -> Result<String> {
        match cluster.kubectl_with(&["create", "-f", "-"], manifest) {
            Ok(text) => anyhow::bail!("accepted: {text}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    };
    for (manifest, part) in [
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: [{name: a, image: b, imagee: c}]}",
            "unknown field \"spec.containers[0].imagee\"",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: []}",
            "spec.containers: Required value",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: Bad}\nspec: {containers: [{name: a, image: b}]}",
            "metadata.name: Invalid value: \"Bad\"",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bad}\nspec: {}",
            "spec.selector: Required value",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 70000}]}",
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad, namespace: nowhere}",
            "namespaces \"nowhere\" not found",
        ),
    ] {
        contains(&bad(manifest)?, part)?;
    }
    contains(
        &cluster.kubectl_fails(&["get", "--raw", "/api/v1/nothing"])?,
        "the server could not find the requested resource",
    )?;
    contains(&cluster.kubectl_fails(&["delete", "namespace", "kube-system"])?, "forbidden").map(drop)
}
