//! Input that makes no sense gets the answer that upstream gives: its code, reason, text and field paths.

use crate::cluster::toolbox;
use anyhow::{Context, Result};
use e2e::{Cluster, contains, eventually, same};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// The administrator's identity as curl takes it, in files on the first node.
const ADMIN: &str = "--cert /run/e2e-admin.crt --key /run/e2e-admin.key";
const ADMIN_FILES: &str = "for part in crt:certificate key:key; do /opt/keelson/bin/kubectl config view --raw \
    --kubeconfig=/etc/kubernetes/admin.conf -o jsonpath=\"{.users[0].user.client-${part#*:}-data}\" | \
    base64 -d >/run/e2e-admin.${part%%:*}; done";

/// A raw request: the status code and the answer. Over HTTP/1.1, because the curl of Debian 12 drops answers over HTTP/2 that
/// come before it has sent all of a body; kubectl speaks HTTP/2 in all other tests.
fn request(cluster: &Cluster, path: &str, curl: &str) -> Result<(u16, Value)> {
    let node = cluster.first();
    let text = node.sh(&format!(
        "curl -sS --http1.1 --max-time 20 --cacert /etc/kubernetes/pki/ca.crt -w '\\n%{{http_code}}' {curl} 'https://{}:6443{path}'",
        node.address
    ))?;
    let (body, code) = text.rsplit_once('\n').context("no status code")?;
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.into()));
    Ok((code.trim().parse()?, body))
}

/// Checks a refusal: the code, and the Status with its reason and message.
fn refused(answer: (u16, Value), code: u16, reason: &str, message: &str) -> Result<()> {
    let (got, status) = answer;
    same(&format!("code of {status}"), got, code)?;
    same("kind", status["kind"].as_str(), Some("Status"))?;
    same("status", status["status"].as_str(), Some("Failure"))?;
    same("code", status["code"].as_u64(), Some(code.into()))?;
    same("reason", status["reason"].as_str().unwrap_or_default(), reason)?;
    contains(status["message"].as_str().unwrap_or_default(), message)
}

pub(crate) fn bodies(cluster: &Cluster) -> Result<()> {
    cluster.first().sh(ADMIN_FILES)?;
    let maps = "/api/v1/namespaces/default/configmaps";
    let json = "-H 'Content-Type: application/json'";
    let send = |path: &str, more: &str| request(cluster, path, &format!("{ADMIN} {more}"));
    refused(
        send(maps, &format!("{json} -d '{{\"kind\": \"ConfigMap\", '"))?,
        400,
        "BadRequest",
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({\"kind\": \"ConfigMap\", )",
    )?;
    refused(
        send(maps, &format!("{json} -d '{{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"data\": 5}}'"))?,
        400,
        "BadRequest",
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type map[string]string",
    )?;
    refused(
        send(
            maps,
            &format!(
                "{json} -d '{{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {{\"name\": \"x\"}}}}'"
            ),
        )?,
        400,
        "BadRequest",
        "Secret in version \"v1\" cannot be handled as a ConfigMap",
    )?;
    refused(
        send(maps, "-H 'Content-Type: text/plain' -d hello")?,
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    )?;
    // More than a request may be, and more than a ConfigMap may be.
    let huge = |bytes: usize| {
        cluster.first().sh(&format!(
            "(printf '{{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {{\"name\": \"big\"}}, \"data\": {{\"a\": \"'; \
             head -c {bytes} /dev/zero | tr '\\0' a; printf '\"}}}}') >/run/e2e-huge.json"
        ))?;
        let answer = send(maps, &format!("{json} --data-binary @/run/e2e-huge.json"));
        cluster.first().sh("rm /run/e2e-huge.json").and(answer)
    };
    refused(huge(4_000_000)?, 413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")?;
    refused(
        huge(2_500_000)?,
        422,
        "Invalid",
        "ConfigMap \"big\" is invalid: []: Too long: may not be more than 1048576 bytes",
    )?;

    cluster.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: patched}, data: {a: '1'}}")?;
    let patched = format!("{maps}/patched");
    let patch =
        |kind: &str, body: &str| send(&patched, &format!("-X PATCH -H 'Content-Type: {kind}' -d '{body}'"));
    for (kind, body, code, reason, message) in [
        (
            "application/json-patch+json",
            r#"[{"op": "remove", "path": "/data/none"}]"#,
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        ),
        (
            "application/json-patch+json",
            r#"[{"op": "test", "path": "/data/a", "value": "2"}]"#,
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        ),
        (
            "application/json-patch+json",
            r#"{"op": "remove"}"#,
            400,
            "BadRequest",
            "cannot unmarshal object into Go value of type",
        ),
        (
            "application/merge-patch+json",
            r#"[1]"#,
            400,
            "BadRequest",
            "cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            "application/strategic-merge-patch+json",
            r#"{"data": "#,
            400,
            "BadRequest",
            "unexpected end of JSON input",
        ),
        (
            "application/strategic-merge-patch+json",
            r#"{"$patch": "explode"}"#,
            500,
            "",
            "unknown patch type: explode in map",
        ),
        ("application/magic+json", "{}", 415, "UnsupportedMediaType", "415: Unsupported Media Type"),
    ] {
        refused(patch(kind, body)?, code, reason, message).with_context(|| format!("{kind} {body}"))?;
    }
    same("data", cluster.get(&["configmap", "patched"])?["data"]["a"].as_str(), Some("1"))?;
    refused(
        send(&format!("{maps}?limit=x"), "")?,
        400,
        "BadRequest",
        "strconv.ParseInt: parsing \"x\": invalid syntax",
    )?;
    refused(
        send(&format!("{maps}?labelSelector=a,,=b"), "")?,
        400,
        "BadRequest",
        "found ',', expected: identifier after ','",
    )?;
    refused(
        send(&format!("{maps}?fieldSelector=data.a=1"), "")?,
        400,
        "BadRequest",
        "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    )?;
    refused(
        send(&format!("{maps}?resourceVersion=x"), "")?,
        400,
        "BadRequest",
        "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
    )?;
    refused(
        send(&patched, "-X POST -d '{}'")?,
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )?;
    cluster.kubectl(&["delete", "configmap", "patched"]).map(drop)
}

pub(crate) fn identities(cluster: &Cluster) -> Result<()> {
    let pods = "/api/v1/pods";
    for wrong in [
        "-H 'Authorization: Bearer wrong'",
        "-H 'Authorization: Bearer abcdef.0123456789abcdef'",
        // A well-formed token of somebody else's issuer.
        "-H 'Authorization: Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJodHRwczovL2V4YW1wbGUuY29tIn0.AAAA'",
    ] {
        refused(request(cluster, pods, wrong)?, 401, "Unauthorized", "Unauthorized")?;
    }
    // Two certificates of the cluster's CA for the same administrator: one is good, one was good until now.
    cluster.first().sh(
        "cd /run && openssl req -newkey rsa:2048 -nodes -keyout e2e-old.key -subj /O=system:masters/CN=old -out e2e-old.csr 2>/dev/null && \
         for days in 0 1; do openssl x509 -req -in e2e-old.csr -CA /etc/kubernetes/pki/ca.crt -CAkey /etc/kubernetes/pki/ca.key -CAcreateserial \
           -CAserial /run/e2e-old.srl -days $days -extfile <(echo extendedKeyUsage=clientAuth) -out e2e-old-$days.crt 2>/dev/null; done; sleep 2",
    )?;
    let with =
        |days: u32| request(cluster, pods, &format!("--cert /run/e2e-old-{days}.crt --key /run/e2e-old.key"));
    same("the good certificate", with(1)?.0, 200)?;
    refused(with(0)?, 401, "Unauthorized", "Unauthorized")?;
    cluster.first().sh("rm /run/e2e-old*")?;
    refused(
        request(cluster, pods, "")?,
        403,
        "Forbidden",
        "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope",
    )
}

pub(crate) fn manifests(cluster: &Cluster) -> Result<()> {
    for (manifest, part) in [
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: [{name: a, image: b, imagee: c}]}",
            "strict decoding error: unknown field \"spec.containers[0].imagee\"",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: []}",
            "spec.containers: Required value",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: Bad}\nspec: {containers: [{name: a, image: b}]}",
            "metadata.name: Invalid value: \"Bad\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: [{name: a, image: b}, {name: a, image: b}], restartPolicy: Perhaps}",
            "* spec.containers[1].name: Duplicate value: \"a\"\n* spec.restartPolicy: Unsupported value: \"Perhaps\": supported values: ",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bad}\nspec: {template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: b}]}}}",
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
        (
            "apiVersion: v9\nkind: ConfigMap\nmetadata: {name: bad}",
            "no matches for kind \"ConfigMap\" in version \"v9\"",
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad\n",
            "error parsing STDIN: error converting YAML to JSON",
        ),
    ] {
        let error = cluster.kubectl_with(&["create", "-f", "-"], manifest).err().context(manifest)?;
        contains(&format!("{error:#}"), part)?;
    }
    contains(
        &cluster.kubectl_with(
            &["create", "--validate=ignore", "-f", "-"],
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: lenient}, dataa: {}}",
        )?,
        "created",
    )?;
    contains(
        &cluster.kubectl_with(
            &["apply", "--validate=warn", "-f", "-"],
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: lenient}, dataa: {}}",
        )?,
        "configured",
    )?;
    cluster.kubectl(&["delete", "configmap", "lenient"]).map(drop)
}

pub(crate) fn flags(cluster: &Cluster) -> Result<()> {
    for (arguments, part) in [
        ("kubelet --max-podz=5", "unknown flag: --max-podz"),
        (
            "kubelet --max-pods=many",
            "invalid argument \"many\" for \"--max-pods\" flag: strconv.ParseInt: parsing \"many\": invalid syntax",
        ),
        ("kubelet --config=/nowhere.yaml", "/nowhere.yaml"),
        ("kube-proxy --proxy-mode=magic --kubeconfig=/dev/null", "magic"),
        ("kube-proxy --nonsense", "unknown flag: --nonsense"),
        ("cloud-controller-manager --cloud-provider=sky", "sky"),
    ] {
        let output = cluster
            .first()
            .command("bash")
            .args(["-c", &format!("timeout 10 /opt/keelson/bin/{arguments}")])
            .output()?;
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        same(&format!("{arguments} ended with: {said}"), output.status.code(), Some(1))?;
        contains(&said, part)?;
    }
    Ok(())
}

/// A folder of static pods in which most files are broken still gives the pods of those that are not.
pub(crate) fn static_pods(cluster: &Cluster) -> Result<()> {
    let node = cluster.network.node("n2")?;
    let good = toolbox("good", "n2");
    node.sh(&format!(
        "mkdir -p /etc/kubernetes/manifests && cd /etc/kubernetes/manifests && head -c 1000 /dev/urandom >noise.yaml && \
         printf '{{\"apiVersion\": \"v1\", \"kind\": \"Pod\", ' >half.json && : >empty.yaml && mkdir -p folder.yaml && \
         printf 'apiVersion: v1\\nkind: Pod\\nmetadata: {{name: no-containers}}\\nspec: {{}}\\n' >invalid.yaml && \
         printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {{name: x}}\\n' >other.yaml && cat >good.json <<'EOF'\n{good}\nEOF"
    ))?;
    eventually("the good static pod", SOON, || {
        let pod = cluster.get(&["pod", "good-n2"])?;
        same("phase", pod["status"]["phase"].as_str(), Some("Running"))?;
        same("owner", pod["metadata"]["ownerReferences"][0]["name"].as_str(), Some("n2"))
    })?;
    contains(&cluster.kubectl_fails(&["get", "pod", "no-containers-n2"])?, "not found")?;
    node.sh("curl -sS --fail http://127.0.0.1:10248/healthz")?;
    // Its mirror comes back when deleted; the file alone ends the pod.
    let uid = cluster.get(&["pod", "good-n2"])?["metadata"]["uid"].clone();
    cluster.kubectl(&["delete", "pod", "good-n2"])?;
    eventually("a new mirror", SOON, || {
        same("the old uid", cluster.get(&["pod", "good-n2"])?["metadata"]["uid"] == uid, false)
    })?;
    node.sh("rm -r /etc/kubernetes/manifests/*")?;
    eventually("the static pod to end", SOON, || {
        contains(&cluster.kubectl_fails(&["get", "pod", "good-n2"])?, "not found")
    })
}

/// A network that can't be set up holds the pod back, with the reason; once it is mended the pod comes up.
pub(crate) fn a_broken_cni(cluster: &Cluster) -> Result<()> {
    let node = cluster.network.node("n2")?;
    node.sh(
        r#"echo '{"cniVersion": "1.0.0", "name": "broken", "plugins": [{"type": "no-such-plugin"}]}' >/etc/cni/net.d/00-broken.conflist"#,
    )?;
    let outcome = (|| {
        // containerd reads the folder on its own time.
        std::thread::sleep(Duration::from_secs(2));
        cluster.apply(&toolbox("offline", "n2"))?;
        eventually("the sandbox's error", SOON, || {
            let events = cluster.kubectl(&["describe", "pod", "offline"])?;
            contains(&events, "FailedCreatePodSandBox")?;
            contains(&events, "no-such-plugin")
        })
    })();
    node.sh("rm /etc/cni/net.d/00-broken.conflist")?;
    outcome?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/offline", "--timeout=90s"])?;
    cluster.kubectl(&["delete", "pod", "offline"]).map(drop)
}

pub(crate) fn a_missing_image(cluster: &Cluster) -> Result<()> {
    let missing = toolbox("imageless", "n1").replace("toolbox:1", "missing:1");
    cluster.apply(&missing)?;
    eventually("the pull to fail", SOON, || {
        let pod = cluster.get(&["pod", "imageless"])?;
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        same("reason", waiting["reason"].as_str(), Some("ImagePullBackOff"))?;
        contains(
            waiting["message"].as_str().unwrap_or_default(),
            "Back-off pulling image \"registry.k8s.io/e2e/missing:1\"",
        )
    })?;
    let events = cluster.kubectl(&["describe", "pod", "imageless"])?;
    contains(&events, "Failed to pull image \"registry.k8s.io/e2e/missing:1\"")?;
    contains(&events, "Error: ErrImagePull")?;
    // The image may be changed, and then the pod runs.
    cluster.kubectl(&["set", "image", "pod/imageless", "main=registry.k8s.io/e2e/toolbox:1"])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/imageless", "--timeout=60s"])?;
    cluster.kubectl(&["delete", "pod", "imageless"]).map(drop)
}
