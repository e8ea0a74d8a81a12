//! Joining: trust the cluster by token and CA hash, then let the kubelet ask for its certificate.

use crate::api::Api;
use crate::certs::public_key_hash;
use crate::cluster::until;
use crate::config::{Config, kubernetes, write};
use crate::{kubeconfig, kubelet, token};
use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Reads `cluster-info` without knowing the server, and believes it only if the token signed it and the CA's key has
/// the given hash. Writes the CA and `bootstrap-kubelet.conf`.
pub(crate) async fn discover(config: &Config) -> Result<()> {
    let token = config.options.token.as_deref().context("join needs --token")?;
    let (id, secret) = token::parse(token)?;
    let hashes = &config.options.discovery_token_ca_cert_hash;
    if hashes.is_empty() && !config.options.discovery_token_unsafe_skip_ca_verification {
        bail!("join needs --discovery-token-ca-cert-hash (or --discovery-token-unsafe-skip-ca-verification)");
    }
    let anonymous = Api::anonymous(&config.endpoint, None)?;
    let key = format!("jws-kubeconfig-{id}");
    let info = until("cluster-info to be signed for this token", async || {
        let info = anonymous.get("/api/v1/namespaces/kube-public/configmaps/cluster-info").await?;
        Ok(info.filter(|info| info["data"][&key].is_string()))
    })
    .await?;
    let text = info["data"]["kubeconfig"].as_str().context("cluster-info holds no kubeconfig")?;
    verify(text, info["data"][&key].as_str().unwrap_or_default(), id, secret)?;
    let (_, authority) = token::read_cluster_info(text)?;
    if !hashes.is_empty() {
        let hash = public_key_hash(&authority)?;
        if !hashes.contains(&hash) {
            bail!("the cluster's CA has the hash {hash}, not {}", hashes.join(" or "));
        }
    }
    // The same answer once more over TLS that this CA vouches for: the token alone could be shared with an impostor.
    let secure = Api::anonymous(&config.endpoint, Some(&authority))?;
    secure
        .get("/api/v1/namespaces/kube-public/configmaps/cluster-info")
        .await
        .context("the API server's certificate is not signed by the CA in cluster-info")?;
    let bootstrap =
        kubeconfig::yaml(&config.endpoint, &authority, "tls-bootstrap-token-user", json!({"token": token}))?;
    write(&kubernetes("pki/ca.crt"), &authority, 0o644)?;
    write(&kubernetes("bootstrap-kubelet.conf"), bootstrap, 0o600)
}

/// Checks the detached JWS (HS256) of the kubeconfig's text.
fn verify(text: &str, signature: &str, id: &str, secret: &str) -> Result<()> {
    let (header, rest) = signature.split_once('.').context("the signature is not a JWS")?;
    let signature = rest.strip_prefix('.').context("the signature is not detached")?;
    let decoded: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header)?)?;
    if decoded["alg"] != "HS256" || decoded["kid"] != id {
        bail!("the signature is not one of token {id}");
    }
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let signed = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(text));
    ring::hmac::verify(&key, signed.as_bytes(), &BASE64_URL_SAFE_NO_PAD.decode(signature)?).map_err(|_| {
        anyhow::anyhow!("cluster-info is not signed by this token: wrong token, or not your cluster")
    })
}

/// Fetches the cluster's kubelet configuration, starts the kubelet and waits for its certificate.
pub(crate) async fn start_kubelet(config: &Config) -> Result<()> {
    let bootstrap = kubernetes("bootstrap-kubelet.conf");
    let api = Api::from_file(&bootstrap)?;
    let shared = until("the kubelet's configuration", async || {
        api.get("/api/v1/namespaces/kube-system/configmaps/kubelet-config").await
    })
    .await?;
    let text = shared["data"]["kubelet"].as_str().context("kubelet-config holds no configuration")?;
    kubelet::write_configuration(config, serde_saphyr::from_str(text)?)?;
    std::fs::create_dir_all(kubernetes("manifests"))?;
    kubelet::run(config, &[format!("--bootstrap-kubeconfig={}", bootstrap.display())])?;
    kubelet::healthy().await?;
    until("the kubelet's certificate", async || Ok(kubernetes("kubelet.conf").exists().then_some(())))
        .await?;
    // The token has done its work here; the kubelet's own certificate takes over.
    let _ = std::fs::remove_file(bootstrap);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_that_signed_verifies() {
        let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"abcdef"}"#);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"0123456789abcdef");
        let tag =
            ring::hmac::sign(&key, format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode("text")).as_bytes());
        let signature = format!("{header}..{}", BASE64_URL_SAFE_NO_PAD.encode(tag));
        assert!(verify("text", &signature, "abcdef", "0123456789abcdef").is_ok());
        assert!(verify("texT", &signature, "abcdef", "0123456789abcdef").is_err());
        assert!(verify("text", &signature, "abcdef", "0123456789abcdeF").is_err());
        assert!(verify("text", &signature, "abcdeg", "0123456789abcdef").is_err());
        assert!(verify("text", "garbage", "abcdef", "0123456789abcdef").is_err());
    }
}
