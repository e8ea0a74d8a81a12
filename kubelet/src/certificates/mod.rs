//! The kubelet's certificates: how it proves to the API server which node it is, and to others, who it is.
//!
//! Each is kept with its key in one file, `<directory>/<purpose>-<time>.pem`, and `<purpose>-current.pem`
//! leads to the latest. A new one is asked for by a CertificateSigningRequest before the old one ends.

mod bootstrap;
mod request;
mod store;

pub use bootstrap::bootstrap;
pub use store::{Life, Store};

use anyhow::Context;
use component_base::client::Client;
use request::{Purpose, obtain};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// The name of the certificate for the API server.
pub const CLIENT: &str = "kubelet-client";
/// The name of the certificate for those who ask the kubelet.
pub const SERVER: &str = "kubelet-server";

const RETRY: Duration = Duration::from_secs(60);

/// When to renew: after seven to nine tenths of the life, so that not all nodes do it at once.
fn renewal(life: Life, random: f64) -> i64 {
    let length = (life.until - life.from) as f64;
    life.from + (length * (0.7 + 0.2 * random)).round() as i64
}

async fn wait_until(at: i64) {
    let now = jiff::Timestamp::now().as_second();
    tokio::time::sleep(Duration::from_secs(at.saturating_sub(now).max(0).unsigned_abs())).await;
}

/// Renews the client certificate in time, until the process ends.
pub async fn rotate_client(
    client: Client,
    directory: std::path::PathBuf,
    node: String,
) -> anyhow::Result<()> {
    let store = Store::new(&directory, CLIENT);
    loop {
        let life = store.life().context("read the client certificate")?;
        wait_until(renewal(life, rand::random())).await;
        match obtain(&client, &node, &Purpose::Client).await {
            Ok((certificate, key)) => {
                store.update(&certificate, &key)?;
                client.reload()?;
                tracing::info!("The client certificate was renewed");
            }
            Err(e) => {
                tracing::error!(error = format!("{e:#}"), "Can't renew the client certificate");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Gets the serving certificate and renews it in time, until the process ends. The server reads the file
/// again when it changes.
pub async fn keep_server(
    client: Client,
    directory: std::path::PathBuf,
    node: String,
    names: Vec<String>,
    ips: Vec<IpAddr>,
) -> anyhow::Result<()> {
    let store = Store::new(&directory, SERVER);
    let purpose = Purpose::Server { names, ips };
    loop {
        if let Ok(life) = store.life() {
            wait_until(renewal(life, rand::random())).await;
        }
        match obtain(&client, &node, &purpose).await {
            Ok((certificate, key)) => store.update(&certificate, &key)?,
            Err(e) => {
                tracing::error!(error = format!("{e:#}"), "Can't get a serving certificate");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Waits until a certificate is there.
pub async fn wait_for(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_renewed_late_but_in_time() {
        let life = Life { from: 1000, until: 2000 };
        assert_eq!((renewal(life, 0.0), renewal(life, 1.0)), (1700, 1900));
    }
}
