//! Who may do what: tokens, roles, impersonation, certificates.

use super::SOON;
use anyhow::Result;
use e2e::{Cluster, contains, eventually, same};

/// Runs kubectl with no identity but the one that `how` gives.
fn as_other(cluster: &Cluster, how: &[&str], arguments: &[&str]) -> Result<String> {
    let server = format!("--server=https://{}:6443", cluster.first().address);
    let mut command = cluster.kubectl_command();
    command.env_remove("KUBECONFIG");
    command.args(["--kubeconfig=/dev/null", "--certificate-authority=/etc/kubernetes/pki/ca.crt", &server]);
    let output = command.args(how).args(arguments).output()?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

pub(crate) fn roles_and_tokens(cluster: &Cluster) -> Result<()> {
    contains(&cluster.kubectl(&["auth", "whoami"])?, "kubernetes-admin")?;
    same("can-i", cluster.kubectl(&["auth", "can-i", "create", "pods"])?.as_str(), "yes\n")?;
    cluster.kubectl(&["create", "serviceaccount", "reader"])?;
    let token = cluster.kubectl(&["create", "token", "reader", "--duration=10m"])?;
    let token = format!("--token={}", token.trim());
    let as_reader = |arguments: &[&str]| as_other(cluster, &[&token], arguments);
    let who = as_reader(&["auth", "whoami"])?;
    contains(&who, "system:serviceaccount:default:reader")?;
    contains(&who, "[system:serviceaccounts system:serviceaccounts:default system:authenticated]")?;
    contains(
        &as_reader(&["get", "pods"])?,
        "Error from server (Forbidden): pods is forbidden: User \"system:serviceaccount:default:reader\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
    )?;
    cluster.kubectl(&[
        "create",
        "rolebinding",
        "reader",
        "--clusterrole=view",
        "--serviceaccount=default:reader",
    ])?;
    eventually("the binding to count", SOON, || {
        contains(&as_reader(&["get", "serviceaccounts"])?, "reader")
    })?;
    let reader = "--as=system:serviceaccount:default:reader";
    same("can-i list pods", cluster.kubectl(&["auth", "can-i", "list", "pods", reader])?.as_str(), "yes\n")?;
    let refused = cluster.kubectl_command().args(["auth", "can-i", "list", "secrets", reader]).output()?;
    same("can-i list secrets", String::from_utf8_lossy(&refused.stdout).as_ref(), "no\n")?;
    contains(&cluster.kubectl(&["auth", "can-i", "--list", reader])?, "pods/log")?;
    // Nobody gives what he does not have.
    contains(
        &cluster.kubectl_fails(&[
            "create",
            "rolebinding",
            "more",
            "--clusterrole=cluster-admin",
            "--user=x",
            reader,
        ])?,
        "forbidden",
    )?;
    cluster.kubectl(&["create", "role", "maker", "--verb=create", "--resource=configmaps"])?;
    contains(&cluster.kubectl(&["describe", "role", "maker"])?, "configmaps")?;
    // A token ends with its account.
    cluster.kubectl(&[
        "delete",
        "serviceaccount,rolebinding,role",
        "reader",
        "maker",
        "--ignore-not-found",
    ])?;
    eventually("the token to end", SOON, || {
        contains(&as_reader(&["get", "pods"])?, "You must be logged in to the server (Unauthorized)")
    })
}

pub(crate) fn certificates(cluster: &Cluster) -> Result<()> {
    let node = cluster.first();
    let request = node.sh(
        "mkdir -p /run/e2e && cd /run/e2e && openssl req -newkey rsa:2048 -nodes -keyout key.pem -subj /O=painters/CN=ann 2>/dev/null | base64 -w 0",
    )?;
    let manifest = |name: &str| {
        format!(
            "{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {{name: {name}}}, spec: {{\
             request: {}, signerName: kubernetes.io/kube-apiserver-client, expirationSeconds: 600, usages: [client auth]}}}}",
            request.trim()
        )
    };
    for name in ["ann", "ann-again"] {
        cluster.apply(&manifest(name))?;
    }
    contains(&cluster.kubectl(&["get", "csr", "ann"])?, "Pending")?;
    contains(&cluster.kubectl(&["certificate", "deny", "ann-again"])?, "denied")?;
    contains(&cluster.kubectl(&["get", "csr", "ann-again"])?, "Denied")?;
    contains(&cluster.kubectl(&["certificate", "approve", "ann"])?, "approved")?;
    eventually("the certificate", SOON, || {
        contains(&cluster.kubectl(&["get", "csr", "ann"])?, "Approved,Issued")?;
        let certificate = cluster.kubectl(&["get", "csr", "ann", "-o", "jsonpath={.status.certificate}"])?;
        node.sh(&format!("echo {certificate} | base64 -d >/run/e2e/cert.pem")).map(drop)
    })?;
    let with = ["--client-certificate=/run/e2e/cert.pem", "--client-key=/run/e2e/key.pem"];
    let who = as_other(cluster, &with, &["auth", "whoami"])?;
    contains(&who, "ann")?;
    contains(&who, "[painters system:authenticated]")?;
    node.sh("rm -r /run/e2e")?;
    cluster.kubectl(&["delete", "csr", "ann", "ann-again"]).map(drop)
}
