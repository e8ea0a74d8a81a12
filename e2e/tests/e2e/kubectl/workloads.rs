//! Deployments and their kin: create, expose, scale, roll out, undo; deletion in all three modes.

use super::{SOON, TOOLBOX};
use anyhow::{Context, Result};
use e2e::{Cluster, contains, eventually, same};

fn rolled_out(cluster: &Cluster, name: &str) -> Result<()> {
    contains(
        &cluster.kubectl(&["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"])?,
        "successfully rolled out",
    )
}

fn create(cluster: &Cluster, name: &str, replicas: u32) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    let command = ["--port=80", "--", "sh", "-c", "trap exit TERM; httpd -f -p 80 & wait"];
    let mut arguments = vec!["create", "deployment", name, "--image", TOOLBOX, &replicas];
    arguments.extend(command);
    cluster.kubectl(&arguments)?;
    rolled_out(cluster, name)
}

fn names(cluster: &Cluster, what: &str, selector: &str) -> Result<Vec<String>> {
    let text = cluster.kubectl(&["get", what, "-l", selector, "-o", "name"])?;
    Ok(text.lines().map(String::from).collect())
}

pub(crate) fn deployments(cluster: &Cluster) -> Result<()> {
    create(cluster, "web", 2)?;
    cluster.kubectl(&["expose", "deployment", "web", "--port=80"])?;
    eventually("endpoints", SOON, || {
        let slices = cluster.get(&["endpointslices", "-l", "kubernetes.io/service-name=web"])?;
        same("endpoints", slices["items"][0]["endpoints"].as_array().map(Vec::len), Some(2))
    })?;
    contains(&cluster.kubectl(&["scale", "deployment/web", "--replicas=3"])?, "deployment.apps/web scaled")?;
    rolled_out(cluster, "web")?;
    same("pods", names(cluster, "pods", "app=web")?.len(), 3)?;
    contains(
        &cluster.kubectl_fails(&["scale", "deployment/web", "--current-replicas=7", "--replicas=1"])?,
        "Expected replicas to be 7, was 3",
    )?;
    cluster.kubectl(&["set", "image", "deployment/web", "toolbox=registry.k8s.io/e2e/missing:1"])?;
    eventually("the pull error", SOON, || {
        contains(&cluster.kubectl(&["get", "pods", "-l", "app=web"])?, "ImagePullBackOff")
    })?;
    contains(
        &cluster.kubectl_fails(&["rollout", "status", "deployment/web", "--timeout=2s"])?,
        "timed out waiting for the condition",
    )?;
    let history = cluster.kubectl(&["rollout", "history", "deployment/web"])?;
    contains(&history, "REVISION  CHANGE-CAUSE\n1         <none>\n2         <none>")?;
    contains(&cluster.kubectl(&["rollout", "history", "deployment/web", "--revision=2"])?, "e2e/missing:1")?;
    contains(&cluster.kubectl(&["rollout", "undo", "deployment/web"])?, "deployment.apps/web rolled back")?;
    rolled_out(cluster, "web")?;
    contains(&cluster.kubectl(&["rollout", "history", "deployment/web"])?, "3 ")?;
    cluster.kubectl(&["rollout", "pause", "deployment/web"])?;
    cluster.kubectl(&["set", "env", "deployment/web", "COLOUR=blue"])?;
    cluster.kubectl(&["set", "resources", "deployment/web", "--requests=cpu=10m"])?;
    same("replica sets while paused", names(cluster, "rs", "app=web")?.len(), 2)?;
    cluster.kubectl(&["rollout", "resume", "deployment/web"])?;
    rolled_out(cluster, "web")?;
    contains(&cluster.kubectl(&["exec", "deployment/web", "--", "env"])?, "COLOUR=blue")?;
    let before = names(cluster, "pods", "app=web")?;
    contains(&cluster.kubectl(&["rollout", "restart", "deployment/web"])?, "deployment.apps/web restarted")?;
    rolled_out(cluster, "web")?;
    eventually("all pods to be new", SOON, || {
        let after = names(cluster, "pods", "app=web")?;
        same("old pods", after.iter().filter(|pod| before.contains(pod)).count(), 0)?;
        same("pods", after.len(), 3)
    })?;
    contains(&cluster.kubectl(&["get", "deployment", "web"])?, "3/3     3            3")?;
    cluster.kubectl(&["delete", "service,deployment", "web"]).map(drop)
}

pub(crate) fn deletion(cluster: &Cluster) -> Result<()> {
    let gone = || {
        eventually("nothing of the deployment to be left", SOON, || {
            same("left", names(cluster, "rs,pods", "app=del")?, Vec::new())
        })
    };
    create(cluster, "del", 1)?;
    cluster.kubectl(&["delete", "deployment", "del", "--cascade=background"])?;
    gone()?;
    create(cluster, "del", 1)?;
    cluster.kubectl(&["delete", "deployment", "del", "--cascade=foreground", "--timeout=90s"])?;
    // Whoever waited for the foreground finds nothing any more.
    same("left after the foreground deletion", names(cluster, "rs,pods", "app=del")?, Vec::new())?;
    create(cluster, "del", 1)?;
    let pods = names(cluster, "pods", "app=del")?;
    cluster.kubectl(&["delete", "deployment", "del", "--cascade=orphan"])?;
    let sets = names(cluster, "rs", "app=del")?;
    same("orphaned replica sets", sets.len(), 1)?;
    same(
        "owners",
        cluster.get(&[&sets[0]])?["metadata"]["ownerReferences"].clone(),
        serde_json::Value::Null,
    )?;
    // A new deployment of the same template adopts them as they are.
    create(cluster, "del", 1)?;
    same("pods after adoption", names(cluster, "pods", "app=del")?, pods)?;
    let owner = cluster.get(&[&sets[0]])?["metadata"]["ownerReferences"][0]["name"].clone();
    same("the adopted set's owner", owner.as_str(), Some("del"))?;
    cluster.kubectl(&["delete", "deployment", "del"])?;
    gone()
}

pub(crate) fn other_workloads(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "job", "once", "--image", TOOLBOX, "--", "echo", "done once"])?;
    cluster.kubectl(&["wait", "--for=condition=Complete", "job/once", "--timeout=60s"])?;
    same("the job's log", cluster.kubectl(&["logs", "job/once"])?.as_str(), "done once\n")?;
    contains(&cluster.kubectl(&["get", "job", "once"])?, "Complete   1/1")?;
    cluster.kubectl(&["delete", "job", "once"])?;
    cluster.apply(
        r#"
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: registry.k8s.io/e2e/toolbox:1, command: [sleep, "100000"]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: registry.k8s.io/e2e/toolbox:1, command: [sleep, "100000"]}]
"#,
    )?;
    cluster.kubectl(&["rollout", "status", "statefulset/db", "--timeout=90s"])?;
    cluster.kubectl(&["rollout", "status", "daemonset/everywhere", "--timeout=90s"])?;
    // A member of the set knows the other by its own name.
    eventually("the members' names", SOON, || {
        let address =
            cluster.get(&["pod", "db-1"])?["status"]["podIP"].as_str().context("podIP")?.to_string();
        contains(&cluster.exec("db-0", "nslookup db-1.db.default.svc.cluster.local")?, &address)
    })?;
    let placed = cluster.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=everywhere",
        "--sort-by=.spec.nodeName",
        "-o",
        "jsonpath={.items[*].spec.nodeName}",
    ])?;
    same("a daemon on each node", placed.as_str(), "n1 n2")?;
    cluster.kubectl(&["rollout", "restart", "daemonset/everywhere", "statefulset/db"])?;
    cluster.kubectl(&["rollout", "status", "daemonset/everywhere", "--timeout=90s"])?;
    cluster.kubectl(&["rollout", "status", "statefulset/db", "--timeout=90s"])?;
    contains(&cluster.kubectl(&["rollout", "undo", "daemonset/everywhere"])?, "rolled back")?;
    cluster.kubectl(&["delete", "service/db", "statefulset/db", "daemonset/everywhere"]).map(drop)
}
