//! Clients that nobody here wrote, beside kubectl: helm and the Python client.

use anyhow::{Context, Result};
use e2e::{Cluster, contains, root, same, text};

pub(crate) fn helm(cluster: &Cluster) -> Result<()> {
    // Both ways that helm has of writing objects.
    for (release, how) in [("pond", "--server-side=true"), ("lake", "--server-side=false")] {
        lifecycle(cluster, release, how).with_context(|| format!("helm {how}"))?;
    }
    cluster.kubectl(&["delete", "crd", "frogs.e2e.example.com"]).map(drop)
}

fn lifecycle(cluster: &Cluster, release: &str, how: &str) -> Result<()> {
    let chart = root().join("e2e/chart").display().to_string();
    let helm = |arguments: &[&str]| {
        let mut command = cluster.program("helm");
        // Caches of its own, not those of whoever runs the test.
        command.envs([
            ("HELM_CACHE_HOME", "/run/e2e-helm"),
            ("HELM_CONFIG_HOME", "/run/e2e-helm"),
            ("HELM_DATA_HOME", "/run/e2e-helm"),
        ]);
        text(command.args(arguments).output()?).with_context(|| format!("helm {}", arguments.join(" ")))
    };
    let page = || {
        let address = cluster.kubectl(&["get", "service", release, "-o", "jsonpath={.spec.clusterIP}"])?;
        cluster.first().sh(&format!("curl -sS --fail --max-time 5 http://{address}/"))
    };
    let mark = |hook: &str| {
        let name = format!("{release}-{hook}");
        cluster.kubectl(&["get", "configmap", &name, "-o", "jsonpath={.data.revision}"])
    };
    contains(&helm(&["install", release, &chart, how, "--wait", "--timeout=90s"])?, "STATUS: deployed")?;
    same("page", page()?.as_str(), "hello")?;
    same("pre-install", mark("pre-install")?.as_str(), "1")?;
    contains(&cluster.kubectl(&["get", "frogs", "-o", "name"])?, &format!("frog.e2e.example.com/{release}"))?;
    contains(&helm(&["test", release, "--timeout=60s"])?, "Phase:          Succeeded")?;
    contains(&helm(&["list"])?, release)?;
    contains(
        &helm(&[
            "upgrade",
            release,
            &chart,
            how,
            "--wait",
            "--timeout=90s",
            "--set",
            "greeting=goodbye,replicas=2",
        ])?,
        "has been upgraded",
    )?;
    same("page", page()?.as_str(), "goodbye")?;
    same("post-upgrade", mark("post-upgrade")?.as_str(), "2")?;
    contains(&helm(&["get", "values", release])?, "greeting: goodbye")?;
    contains(&helm(&["rollback", release, "1", how, "--wait", "--timeout=90s"])?, "Rollback was a success")?;
    same("page", page()?.as_str(), "hello")?;
    // A rollback runs the hooks as they were rendered for the revision that it returns to.
    same("pre-rollback", mark("pre-rollback")?.as_str(), "1")?;
    same(
        "replicas",
        cluster.kubectl(&["get", "deployment", release, "-o", "jsonpath={.spec.replicas}"])?.as_str(),
        "1",
    )?;
    contains(&helm(&["history", release])?, "Rollback to 1")?;
    contains(&helm(&["uninstall", release, "--wait", "--timeout=90s"])?, "uninstalled")?;
    same("post-delete", mark("post-delete")?.as_str(), "1")?;
    contains(&cluster.kubectl_fails(&["get", "deployment", release])?, "not found")?;
    same("left", cluster.kubectl(&["get", "secrets", "-l", "owner=helm", "-o", "name"])?.as_str(), "")?;
    let marks = ["pre-install", "post-upgrade", "pre-rollback", "post-delete"]
        .map(|hook| format!("{release}-{hook}"));
    let delete = ["delete", "configmap"].into_iter().chain(marks.iter().map(String::as_str));
    cluster.kubectl(&delete.collect::<Vec<_>>()).map(drop)
}

pub(crate) fn python(cluster: &Cluster) -> Result<()> {
    let mut command = cluster.first().command("python3");
    command.env("KUBECONFIG", "/etc/kubernetes/admin.conf").env("PYTHONPATH", "/opt/keelson/python");
    let output = command.arg(root().join("e2e/clients.py")).output()?;
    contains(&text(output)?, "all held")
}
