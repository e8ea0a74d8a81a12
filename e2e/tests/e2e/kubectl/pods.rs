//! Pods from the inside: run, exec, attach, cp, logs, port-forward, proxy.

use super::{SLEEP, SOON, TOOLBOX};
use crate::cluster::run_toolbox;
use anyhow::{Context, Result};
use e2e::{Cluster, contains, eventually, same};

pub(crate) fn exec_and_cp(cluster: &Cluster) -> Result<()> {
    run_toolbox(cluster, "box", "n2")?;
    same("exec", cluster.exec("box", "hostname")?.trim(), "box")?;
    // `cat file | kubectl exec -i` ends when its input does, and loses none of it.
    let long = "through the pipe\n".repeat(100_000);
    let piped = cluster.kubectl_with(&["exec", "-i", "box", "--", "cat"], &long)?;
    same("exec -i returned what it was given", piped == long, true)?;
    let code = cluster.kubectl_command().args(["exec", "box", "--", "sh", "-c", "exit 7"]).status()?;
    same("exit code", code.code(), Some(7))?;
    let failing = cluster.kubectl_fails(&["exec", "box", "--", "no-such-program"])?;
    contains(&failing, "no-such-program")?;
    contains(
        &cluster.kubectl_fails(&["exec", "box", "-c", "other", "--", "true"])?,
        "container other is not valid for pod box",
    )?;
    // A terminal, whose size and end the program inside sees. kubectl tells the size once, and containerd drops it when it
    // comes before the program has started.
    let terminal = cluster.kubectl_command();
    let inside = "tty; for try in 1 2 3; do stty size 2>/dev/null && break; sleep 1; done";
    let command = shell_words(&terminal, &["exec", "-it", "box", "--", "sh", "-c", inside]);
    eventually("the terminal's size", SOON, || {
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &format!("stty rows 33 cols 77; {command}"), "/dev/null"]);
        script.env("KUBECONFIG", "/etc/kubernetes/admin.conf");
        let seen = e2e::text(script.output()?)?;
        contains(&seen, "/dev/pts/")?;
        contains(&seen, "33 77")
    })?;

    cluster.first().sh("mkdir -p /var/tmp/copied/deep && echo 'to be copied' >/var/tmp/copied/deep/file")?;
    cluster.kubectl(&["cp", "/var/tmp/copied", "box:/tmp/copied"])?;
    same("cp to", cluster.exec("box", "cat /tmp/copied/deep/file")?.as_str(), "to be copied\n")?;
    cluster.kubectl(&["cp", "default/box:/tmp/copied", "/var/tmp/returned"])?;
    same("cp from", cluster.first().sh("cat /var/tmp/returned/deep/file")?.as_str(), "to be copied\n")?;
    cluster.first().sh("rm -r /var/tmp/copied /var/tmp/returned")?;
    cluster.kubectl(&["delete", "pod", "box"]).map(drop)
}

/// A command as one line for a shell.
fn shell_words(command: &std::process::Command, more: &[&str]) -> String {
    let own =
        std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy());
    let all = own.chain(more.iter().map(|word| (*word).into()));
    all.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}

pub(crate) fn logs_and_attach(cluster: &Cluster) -> Result<()> {
    let run = |name: &str, script: &str| {
        cluster.kubectl(&["run", name, "--image", TOOLBOX, "--restart=Never", "--", "sh", "-c", script])
    };
    run("talker", "for n in 1 2 3 4; do echo line $n; sleep 1; done")?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/talker", "--timeout=60s"])?;
    // Followed from the middle, the log is whole and ends with the container.
    let all = "line 1\nline 2\nline 3\nline 4\n";
    same("logs -f", cluster.kubectl(&["logs", "-f", "talker"])?.as_str(), all)?;
    cluster.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/talker", "--timeout=60s"])?;
    same("logs", cluster.kubectl(&["logs", "talker"])?.as_str(), all)?;
    same("logs --tail", cluster.kubectl(&["logs", "talker", "--tail=1"])?.as_str(), "line 4\n")?;
    same("logs --since", cluster.kubectl(&["logs", "talker", "--since=1s"])?.as_str(), "")?;
    contains(&cluster.kubectl(&["logs", "talker", "--timestamps", "--tail=1"])?, "Z line 4")?;
    contains(
        &cluster.kubectl_fails(&["logs", "-p", "talker"])?,
        "previous terminated container \"talker\" in pod \"talker\" not found",
    )?;
    // The log of the life before.
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: reborn}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: registry.k8s.io/e2e/toolbox:1
      command: [sh, -c, "n=$(cat /d/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n >/d/n; echo life $n; [ $n = 1 ] || sleep 100000"]
      volumeMounts: [{name: d, mountPath: /d}]
  volumes: [{name: d, emptyDir: {}}]
"#,
    )?;
    eventually("the second life", SOON, || {
        same("logs", cluster.kubectl(&["logs", "reborn"])?.as_str(), "life 2\n")
    })?;
    same("logs -p", cluster.kubectl(&["logs", "-p", "reborn"])?.as_str(), "life 1\n")?;
    same(
        "restarts",
        cluster
            .kubectl(&["get", "pod", "reborn", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"])?
            .as_str(),
        "1",
    )?;
    // run -i is create, attach, and delete at the end.
    let asked = cluster.kubectl_with(
        &[
            "run",
            "asker",
            "--image",
            TOOLBOX,
            "-i",
            "--rm",
            "--restart=Never",
            "--quiet",
            "--",
            "sh",
            "-c",
            "read x; echo got $x",
        ],
        "blue\n",
    )?;
    contains(&asked, "got blue")?;
    contains(&cluster.kubectl_fails(&["get", "pod", "asker"])?, "not found")?;
    cluster.kubectl(&[
        "run",
        "open",
        "--image",
        TOOLBOX,
        "--stdin",
        "--attach=false",
        "--",
        "sh",
        "-c",
        "while read x; do echo heard $x; done",
    ])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/open", "--timeout=60s"])?;
    let mut attached = cluster.kubectl_background(&["attach", "-i", "open"])?;
    attached.say("red\n")?;
    eventually("the attached container to hear", SOON, || {
        contains(&cluster.kubectl(&["logs", "open"])?, "heard red")
    })?;
    contains(&attached.stop()?, "heard red")?;
    cluster.kubectl(&["delete", "pod", "talker", "reborn", "open", "--now"]).map(drop)
}

pub(crate) fn port_forward_and_proxy(cluster: &Cluster) -> Result<()> {
    run_toolbox(cluster, "site", "n2")?;
    cluster.exec("site", "mkdir -p /www && echo forwarded >/www/index.html && httpd -h /www -p 8000")?;
    cluster.kubectl(&["expose", "pod", "site", "--port=80", "--target-port=8000"])?;
    let get = |url: &str| cluster.first().sh(&format!("curl -sS --fail --max-time 3 {url}"));
    for target in ["pod/site", "service/site"] {
        let ports = if target == "pod/site" { "18000:8000" } else { "18000:80" };
        let forward = cluster.kubectl_background(&["port-forward", target, ports])?;
        eventually("port-forward", SOON, || contains(&get("http://127.0.0.1:18000/")?, "forwarded"))?;
        // Several at once, and again.
        contains(&get("'http://127.0.0.1:18000/index.html?[1-20]' -Z")?, "forwarded")?;
        contains(&forward.stop()?, "Forwarding from 127.0.0.1:18000 -> 8000")?;
    }
    for path in ["pods/site:8000", "pods/http:site:8000", "services/site:80"] {
        let raw = format!("/api/v1/namespaces/default/{path}/proxy/index.html");
        same(path, cluster.kubectl(&["get", "--raw", &raw])?.as_str(), "forwarded\n")?;
    }
    let proxy = cluster.kubectl_background(&["proxy", "--port=18001"])?;
    eventually("kubectl proxy", SOON, || {
        contains(&get("http://127.0.0.1:18001/api/v1/namespaces/default/pods/site")?, "\"kind\": \"Pod\"")
    })?;
    proxy.stop()?;
    cluster.kubectl(&["delete", "pod,service", "site"]).map(drop)
}

pub(crate) fn debug_and_top(cluster: &Cluster) -> Result<()> {
    run_toolbox(cluster, "patient", "n1")?;
    let debug = ["debug", "patient", "--image", TOOLBOX, "-c", "doctor", "--attach=false", "--"];
    cluster.kubectl(&[&debug[..], &SLEEP].concat())?;
    eventually("the ephemeral container", SOON, || {
        let pod = cluster.get(&["pod", "patient"])?;
        pod["status"]["ephemeralContainerStatuses"][0]["state"]["running"]
            .as_object()
            .context("not running")
            .map(drop)
    })?;
    same(
        "in the pod's network",
        cluster.kubectl(&["exec", "patient", "-c", "doctor", "--", "hostname"])?.trim(),
        "patient",
    )?;
    contains(&cluster.kubectl_fails(&["top", "nodes"])?, "Metrics API not available")?;
    cluster.kubectl(&["delete", "pod", "patient"]).map(drop)
}
