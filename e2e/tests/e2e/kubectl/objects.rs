//! Writing: create, apply, diff, edit, patch, replace, label, annotate, delete.

use super::{SLEEP, TOOLBOX, says};
use anyhow::{Context, Result};
use e2e::{Cluster, contains, same};
use serde_json::json;
use std::io::Write;

const NOTES: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: notes\ndata:\n  a: '1'\n";

pub(crate) fn apply_and_diff(cluster: &Cluster) -> Result<()> {
    contains(&cluster.apply(NOTES)?, "configmap/notes created")?;
    contains(&cluster.apply(NOTES)?, "configmap/notes unchanged")?;
    let changed = NOTES.replace("a: '1'", "b: '2'");
    let difference = diff(cluster, &changed)?;
    contains(&difference, "-  a: \"1\"")?;
    contains(&difference, "+  b: \"2\"")?;
    contains(&cluster.apply(&changed)?, "configmap/notes configured")?;
    // What the last apply said and this one does not is removed.
    same("data", cluster.get(&["configmap", "notes"])?["data"].clone(), json!({"b": "2"}))?;
    contains(&cluster.kubectl(&["apply", "view-last-applied", "configmap/notes"])?, "b: \"2\"")?;
    // Another manager's field is a conflict until it is forced.
    let theirs = NOTES.replace("a: '1'", "b: '3'");
    let apply = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let refused = cluster.kubectl_with(&apply, &theirs).err().context("a conflict was applied")?;
    contains(&format!("{refused:#}"), "conflict with \"kubectl-client-side-apply\" using v1: .data.b")?;
    let mut forced = apply.to_vec();
    forced.push("--force-conflicts");
    contains(&cluster.kubectl_with(&forced, &theirs)?, "serverside-applied")?;
    same("data", cluster.get(&["configmap", "notes"])?["data"].clone(), json!({"b": "3"}))?;
    let managed = cluster.kubectl(&["get", "configmap", "notes", "-o", "yaml", "--show-managed-fields"])?;
    contains(&managed, "manager: other")?;
    cluster.kubectl(&["delete", "configmap", "notes"]).map(drop)
}

/// `kubectl diff` ends with 1 where there is a difference.
fn diff(cluster: &Cluster, manifest: &str) -> Result<String> {
    let mut child = e2e::spawn(cluster.kubectl_command().args(["diff", "-f", "-"]))?;
    child.stdin.take().context("stdin")?.write_all(manifest.as_bytes())?;
    let output = child.wait_with_output()?;
    same("kubectl diff's exit code", output.status.code(), Some(1))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn changes(cluster: &Cluster) -> Result<()> {
    contains(&cluster.kubectl_with(&["create", "-f", "-"], NOTES)?, "configmap/notes created")?;
    let twice = cluster.kubectl_with(&["create", "-f", "-"], NOTES).err().context("created twice")?;
    contains(
        &format!("{twice:#}"),
        "Error from server (AlreadyExists): error when creating \"STDIN\": configmaps \"notes\" already exists",
    )?;
    for (kind, patch) in [
        ("merge", r#"{"data": {"b": "2"}}"#),
        ("json", r#"[{"op": "add", "path": "/data/c", "value": "3"}]"#),
        ("strategic", r#"{"data": {"d": "4"}}"#),
    ] {
        contains(
            &cluster.kubectl(&["patch", "configmap", "notes", &format!("--type={kind}"), "-p", patch])?,
            "configmap/notes patched",
        )?;
    }
    cluster.kubectl(&["label", "configmap", "notes", "tier=test"])?;
    contains(
        &cluster.kubectl_fails(&["label", "configmap", "notes", "tier=other"])?,
        "'tier' already has a value (test), and --overwrite is false",
    )?;
    cluster.kubectl(&["annotate", "configmap", "notes", "why=test"])?;
    edit(cluster, "s/a: \"1\"/a: edited/")?;
    let notes = cluster.get(&["configmap", "notes"])?;
    same("data", notes["data"].clone(), json!({"a": "edited", "b": "2", "c": "3", "d": "4"}))?;
    same("label", notes["metadata"]["labels"]["tier"].as_str(), Some("test"))?;
    same("annotation", notes["metadata"]["annotations"]["why"].as_str(), Some("test"))?;
    contains(&cluster.kubectl_with(&["replace", "-f", "-"], NOTES)?, "configmap/notes replaced")?;
    let notes = cluster.get(&["configmap", "notes"])?;
    same("data after replace", notes["data"].clone(), json!({"a": "1"}))?;
    same("labels after replace", notes["metadata"]["labels"].clone(), serde_json::Value::Null)?;
    let uid = notes["metadata"]["uid"].clone();
    cluster.kubectl_with(&["replace", "--force", "-f", "-"], NOTES)?;
    let remade = cluster.get(&["configmap", "notes"])?["metadata"]["uid"].clone();
    same("replace --force made a new object", uid == remade, false)?;
    contains(
        &cluster.kubectl(&[
            "create",
            "configmap",
            "other",
            "--from-literal=x=y",
            "--dry-run=server",
            "-o",
            "yaml",
        ])?,
        "uid:",
    )?;
    contains(&cluster.kubectl_fails(&["get", "configmap", "other"])?, "configmaps \"other\" not found")?;
    cluster.kubectl(&["delete", "configmap", "notes", "--wait=false"])?;
    cluster.kubectl(&["wait", "--for=delete", "configmap/notes", "--timeout=10s"]).map(drop)
}

/// `kubectl edit` with sed in place of an editor.
fn edit(cluster: &Cluster, script: &str) -> Result<()> {
    let output = cluster
        .kubectl_command()
        .env("KUBE_EDITOR", format!("sed -i '{script}'"))
        .args(["edit", "configmap", "notes"])
        .output()?;
    contains(&e2e::text(output)?, "configmap/notes edited")
}

pub(crate) fn custom_resources(cluster: &Cluster) -> Result<()> {
    cluster.apply(
        r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gauges.e2e.example.com}
spec:
  group: e2e.example.com
  scope: Namespaced
  names: {plural: gauges, singular: gauge, kind: Gauge, shortNames: [gg]}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
      additionalPrinterColumns: [{name: Level, type: integer, jsonPath: .spec.level}]
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              required: [level]
              properties:
                level: {type: integer, minimum: 0, maximum: 10, description: How full it is.}
                replicas: {type: integer, default: 1}
            status: {type: object, properties: {replicas: {type: integer}}}
"#,
    )?;
    cluster.kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd/gauges.e2e.example.com",
        "--timeout=30s",
    ])?;
    let gauge = |level: &str| {
        format!(
            "{{apiVersion: e2e.example.com/v1, kind: Gauge, metadata: {{name: g}}, spec: {{level: {level}}}}}"
        )
    };
    contains(&cluster.apply(&gauge("3"))?, "gauge.e2e.example.com/g created")?;
    contains(&cluster.kubectl(&["get", "gg"])?, "NAME   LEVEL\ng      3")?;
    same("the default", cluster.get(&["gauge", "g"])?["spec"]["replicas"].as_i64(), Some(1))?;
    let refused = cluster.apply(&gauge("11")).err().context("11 was accepted")?;
    contains(
        &format!("{refused:#}"),
        "spec.level: Invalid value: 11: spec.level in body should be less than or equal to 10",
    )?;
    cluster.kubectl(&["scale", "gauge/g", "--replicas=4"])?;
    same("scaled", cluster.get(&["gauge", "g"])?["spec"]["replicas"].as_i64(), Some(4))?;
    contains(&cluster.kubectl(&["explain", "gauge.spec.level"])?, "How full it is.")?;
    contains(&says(cluster, &["get", "gauges", "-A"])?, "default")?;
    cluster.kubectl(&["delete", "crd", "gauges.e2e.example.com", "--timeout=30s"])?;
    let gone = cluster.kubectl_fails(&["get", "--raw", "/apis/e2e.example.com/v1/gauges"])?;
    contains(&gone, "the server could not find the requested resource")
}

pub(crate) fn namespaces(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "brief"])?;
    cluster.kubectl(&["create", "-n", "brief", "secret", "generic", "s", "--from-literal=a=b"])?;
    let create = ["create", "-n", "brief", "deployment", "d", "--image", TOOLBOX, "--"];
    cluster.kubectl(&[&create[..], &SLEEP].concat())?;
    cluster.kubectl(&["create", "quota", "-n", "brief", "q", "--hard=pods=1"])?;
    cluster.kubectl(&["delete", "namespace", "brief", "--timeout=90s"])?;
    contains(&cluster.kubectl_fails(&["get", "namespace", "brief"])?, "namespaces \"brief\" not found")?;
    contains(
        &cluster.kubectl_fails(&["delete", "namespace", "kube-system"])?,
        "namespaces \"kube-system\" is forbidden: this namespace may not be deleted",
    )
}
