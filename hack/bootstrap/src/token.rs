//! Bootstrap tokens: Secrets in kube-system that let a new node ask for its certificate, and clients trust `cluster-info`.

use crate::api::Api;
use crate::certs::public_key_hash;
use crate::cluster::binding;
use crate::config::{Config, kubernetes};
use crate::kubeconfig;
use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use serde_json::{Value, json};
use std::path::Path;

/// The group that tokens of this tool authenticate as.
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Store a new token in the cluster and print it.
    Create {
        /// id.secret; by default a random one.
        token: Option<String>,
        /// How long it lives, in hours; 0 for ever.
        #[arg(long, default_value_t = 24)]
        ttl_hours: u64,
        /// Print the whole command that joins a node with it.
        #[arg(long)]
        print_join_command: bool,
    },
    /// List the cluster's tokens.
    List,
    /// Delete tokens, named by id or whole.
    Delete { tokens: Vec<String> },
    /// Print a random token that no cluster knows.
    Generate,
}

/// Runs a `token` command with the identity of `kubeconfig`.
pub(crate) async fn run(command: Command, kubeconfig: &Path) -> Result<()> {
    match command {
        Command::Generate => println!("{}", generate()),
        Command::Create { token, ttl_hours, print_join_command } => {
            let token = token.unwrap_or_else(generate);
            let api = Api::from_file(kubeconfig)?;
            store(&api, &token, ttl_hours).await?;
            match print_join_command {
                true => println!("{}", join_command(&api, &token).await?),
                false => println!("{token}"),
            }
        }
        Command::List => list(&Api::from_file(kubeconfig)?).await?,
        Command::Delete { tokens } => {
            let api = Api::from_file(kubeconfig)?;
            for token in tokens {
                let id = token.split('.').next().unwrap_or_default();
                let path = format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{id}");
                match api.delete(&path).await? {
                    true => println!("bootstrap token {id:?} deleted"),
                    false => bail!("there is no bootstrap token {id:?}"),
                }
            }
        }
    }
    Ok(())
}

/// A random token: six and sixteen characters, as the API server checks.
pub(crate) fn generate() -> String {
    const ALPHABET: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut random = rand::rng();
    let mut part = |length| {
        (0..length).map(|_| ALPHABET[random.random_range(0..ALPHABET.len())] as char).collect::<String>()
    };
    format!("{}.{}", part(6), part(16))
}

/// Splits a token into id and secret.
pub(crate) fn parse(token: &str) -> Result<(&str, &str)> {
    let valid = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    match token.split_once('.') {
        Some((id, secret)) if id.len() == 6 && secret.len() == 16 && valid(id) && valid(secret) => {
            Ok((id, secret))
        }
        _ => bail!("the token {token:?} was not of the form [a-z0-9]{{6}}.[a-z0-9]{{16}}"),
    }
}

async fn store(api: &Api, token: &str, ttl_hours: u64) -> Result<()> {
    let (id, secret) = parse(token)?;
    let mut data = json!({
        "token-id": id,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": GROUP,
    });
    if ttl_hours > 0 {
        let end = Timestamp::now() + SignedDuration::from_hours(ttl_hours as i64);
        data["expiration"] = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    }
    api.apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "stringData": data,
    }))
    .await
}

async fn list(api: &Api) -> Result<()> {
    let secrets = api
        .get("/api/v1/namespaces/kube-system/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io/token")
        .await?
        .unwrap_or_default();
    println!("{:<26}{:<23}USAGES", "TOKEN", "EXPIRES");
    for secret in secrets["items"].as_array().into_iter().flatten() {
        let field = |name: &str| {
            let text = secret["data"][name]
                .as_str()
                .and_then(|text| BASE64_STANDARD.decode(text).ok())
                .unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        };
        let usages: Vec<&str> = ["authentication", "signing"]
            .into_iter()
            .filter(|usage| field(&format!("usage-bootstrap-{usage}")) == "true")
            .collect();
        let expires =
            Some(field("expiration")).filter(|text| !text.is_empty()).unwrap_or_else(|| "<forever>".into());
        println!(
            "{:<26}{expires:<23}{}",
            format!("{}.{}", field("token-id"), field("token-secret")),
            usages.join(",")
        );
    }
    Ok(())
}

/// init's phase: a token, the RBAC that joining needs, and the public `cluster-info`.
pub(crate) async fn init(config: &Config) -> Result<()> {
    let api = Api::super_admin()?;
    let token = config.options.token.clone().unwrap_or_else(generate);
    store(&api, &token, config.options.token_ttl_hours).await?;
    for (name, role, group) in [
        ("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", GROUP),
        (
            "kubeadm:node-autoapprove-bootstrap",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            GROUP,
        ),
        (
            "kubeadm:node-autoapprove-certificate-rotation",
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            "system:nodes",
        ),
        ("kubeadm:get-nodes", "kubeadm:get-nodes", GROUP),
    ] {
        api.apply(&binding("ClusterRoleBinding", "", name, "ClusterRole", role, &[group])).await?;
    }
    api.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "kubeadm:get-nodes"},
        "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}],
    }))
    .await?;

    let authority = std::fs::read_to_string(kubernetes("pki/ca.crt"))?;
    let info = cluster_info(&config.endpoint, &authority)?;
    api.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": info},
    }))
    .await?;
    let role = "kubeadm:bootstrap-signer-clusterinfo";
    api.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": role, "namespace": "kube-public"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"], "verbs": ["get"]}],
    }))
    .await?;
    let mut anonymous = binding("RoleBinding", "kube-public", role, "Role", role, &[]);
    anonymous["subjects"] =
        json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:anonymous"}]);
    api.apply(&anonymous).await
}

/// The kubeconfig inside `cluster-info`: a server and its CA, and no user.
fn cluster_info(endpoint: &str, authority: &str) -> Result<String> {
    let mut value: Value = serde_saphyr::from_str(&kubeconfig::yaml(endpoint, authority, "", Value::Null)?)?;
    value["clusters"][0]["name"] = "".into();
    value["users"] = Value::Null;
    value["contexts"] = Value::Null;
    value["current-context"] = "".into();
    Ok(serde_saphyr::to_string(&value)?)
}

/// init's last phase.
pub(crate) async fn show_join_command(config: &Config) -> Result<()> {
    let api = Api::super_admin()?;
    let token = match &config.options.token {
        Some(token) => token.clone(),
        None => newest(&api).await?,
    };
    println!("\n    {}\n", join_command(&api, &token).await?);
    Ok(())
}

/// A token of the cluster that authenticates; the phases run in order, so there is one.
async fn newest(api: &Api) -> Result<String> {
    let secrets = api
        .get("/api/v1/namespaces/kube-system/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io/token")
        .await?
        .unwrap_or_default();
    let newest = secrets["items"]
        .as_array()
        .into_iter()
        .flatten()
        .max_by_key(|secret| secret["metadata"]["creationTimestamp"].as_str().unwrap_or_default())
        .context("the cluster has no bootstrap token")?;
    let field = |name: &str| -> Result<String> {
        Ok(String::from_utf8(BASE64_STANDARD.decode(newest["data"][name].as_str().unwrap_or_default())?)?)
    };
    Ok(format!("{}.{}", field("token-id")?, field("token-secret")?))
}

async fn join_command(api: &Api, token: &str) -> Result<String> {
    let info = api
        .get("/api/v1/namespaces/kube-public/configmaps/cluster-info")
        .await?
        .context("cluster-info is missing")?;
    let (server, authority) = read_cluster_info(info["data"]["kubeconfig"].as_str().unwrap_or_default())?;
    Ok(format!(
        "keelsonadm join {} --token {token} --discovery-token-ca-cert-hash {}",
        server.trim_start_matches("https://"),
        public_key_hash(&authority)?
    ))
}

/// The server and the CA (as PEM) that a `cluster-info` kubeconfig names.
pub(crate) fn read_cluster_info(text: &str) -> Result<(String, String)> {
    let value: Value = serde_saphyr::from_str(text).context("cluster-info holds no kubeconfig")?;
    let cluster = value.pointer("/clusters/0/cluster").context("cluster-info names no cluster")?;
    let server = cluster["server"].as_str().context("cluster-info names no server")?;
    let authority = cluster["certificate-authority-data"].as_str().context("cluster-info names no CA")?;
    Ok((server.to_string(), String::from_utf8(BASE64_STANDARD.decode(authority)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_tokens_parse() {
        let token = generate();
        assert!(parse(&token).is_ok(), "{token}");
        for wrong in
            ["", "abc", "abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcdef0123456789abcdef"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cluster_info_can_be_read_back() {
        let text = cluster_info("10.0.0.1:6443", "PEM").unwrap();
        assert_eq!(
            read_cluster_info(&text).unwrap(),
            ("https://10.0.0.1:6443".to_string(), "PEM".to_string())
        );
    }
}
