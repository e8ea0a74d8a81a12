//! The kubelet's API: what runs, logs, and streams into containers.

mod logs;
mod pods;
mod query;
mod stream;

use crate::certificates;
use crate::kubelet::Kubelet;
use crate::run::certificate_directory;
use component_base::flags::Parsed;
use component_base::health::Health;
use component_base::serving::ClientCa;
use component_base::serving::TlsOptions;
use component_base::serving::{Answer, Handler, Options, Router, serve_plain, serve_secure, text};
use component_base::serving::{Attributes, AuthOptions, Delegated};
use component_base::tasks::Tasks;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Serves the API and the health check, as far as they are configured.
pub async fn start(tasks: &Tasks, flags: &Parsed, kubelet: Arc<Kubelet>) -> anyhow::Result<()> {
    let config = kubelet.settings.config.clone();
    let health = Health::new();
    if config.healthz_port != 0 {
        let address = SocketAddr::new(config.healthz_bind_address.parse()?, config.healthz_port);
        serve_plain(tasks, address, Router::standard(&health))?;
    }
    if !config.enable_server {
        return Ok(());
    }
    let directory = certificate_directory(flags, &kubelet.settings.root);
    let issued = certificates::Store::new(&directory, certificates::SERVER).current();
    let bootstrapped =
        config.server_tls_bootstrap && config.tls_cert_file.is_empty() && kubelet.client.is_some();
    let certificate = (!config.tls_cert_file.is_empty())
        .then(|| (PathBuf::from(&config.tls_cert_file), PathBuf::from(&config.tls_private_key_file)));
    let options = Options {
        address: config.address.parse()?,
        port: config.port,
        tls: TlsOptions {
            certificate,
            keep: Some((directory, "kubelet".into())),
            sni: Vec::new(),
            cipher_suites: config.tls_cipher_suites.clone(),
            min_version: config.tls_min_version.clone(),
        },
        reuse_port: false,
        // Upgrades, which streams need, exist in HTTP/1.1 only.
        http1_only: true,
        max_streams: 250,
    };
    let (delegated, router) = (delegated(&kubelet)?, router(&kubelet, &health));
    if !bootstrapped {
        serve_secure(tasks, options, delegated, router)?;
        return Ok(());
    }
    // Someone must approve the certificate first, and the node must be there for that.
    let inner = tasks.clone();
    tasks.spawn("API server", async move {
        certificates::wait_for(&issued).await;
        let tls = TlsOptions { certificate: Some((issued.clone(), issued)), ..options.tls.clone() };
        serve_secure(&inner, Options { tls, ..options }, delegated, router)?;
        Ok(())
    });
    Ok(())
}

fn delegated(kubelet: &Arc<Kubelet>) -> anyhow::Result<Delegated> {
    let config = &kubelet.settings.config;
    let ca = &config.authentication.x509.client_ca_file;
    let client_ca = if ca.is_empty() {
        ClientCa::default()
    } else {
        ClientCa::from_file(ca).map_err(|e| anyhow::anyhow!("unable to load client CA file {ca}: {e}"))?
    };
    let webhook = config.authorization.mode == "Webhook";
    let node = kubelet.settings.node.clone();
    let own = |client: &component_base::client::Client| client.unlimited();
    Ok(Delegated::new(AuthOptions {
        anonymous: config.authentication.anonymous.enabled,
        client_ca,
        tokens: kubelet.client.as_ref().filter(|_| config.authentication.webhook.enabled).map(own),
        token_ttl: config.authentication.webhook.cache_ttl.to_std(),
        access: kubelet.client.as_ref().filter(|_| webhook).map(own),
        allowed_ttl: config.authorization.webhook.cache_authorized_ttl.to_std(),
        denied_ttl: config.authorization.webhook.cache_unauthorized_ttl.to_std(),
        always_allow: if webhook { Vec::new() } else { vec!["*".into(), "/*".into()] },
        attributes: Arc::new(move |request| attributes(request, &node)),
        ..AuthOptions::default()
    }))
}

/// Access to the kubelet is access to parts of its node.
fn attributes(request: &Request<Incoming>, node: &str) -> Vec<Attributes> {
    let verb = match request.method().as_str() {
        "POST" => "create",
        "GET" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    };
    let resource = |subresource: &&str| Attributes::Resource {
        verb: verb.into(),
        group: String::new(),
        version: "v1".into(),
        resource: "nodes".into(),
        subresource: (*subresource).into(),
        name: node.into(),
    };
    subresources(request.uri().path()).iter().map(resource).collect()
}

/// What of the node a path belongs to; any of them is enough.
fn subresources(path: &str) -> Vec<&'static str> {
    let below =
        |root: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    let mut list = Vec::new();
    if below("/pods") || below("/runningpods") {
        list.push("pods");
    } else if below("/healthz") {
        list.push("healthz");
    } else if below("/configz") {
        list.push("configz");
    }
    list.push(match path {
        _ if below("/stats") => "stats",
        _ if below("/metrics") => "metrics",
        _ if below("/logs") => "log",
        _ if below("/checkpoint") => "checkpoint",
        _ if below("/statusz") => "statusz",
        _ if below("/flagz") => "configz",
        _ => "proxy",
    });
    list
}

fn handler<F, Fut>(kubelet: &Arc<Kubelet>, handle: F) -> Handler
where
    F: Fn(Arc<Kubelet>, Request<Incoming>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let kubelet = kubelet.clone();
    Arc::new(move |request| Box::pin(handle(kubelet.clone(), request)))
}

fn router(kubelet: &Arc<Kubelet>, health: &Health) -> Router {
    let config = &kubelet.settings.config;
    let missing = |what: &'static str| {
        move || text(StatusCode::NOT_IMPLEMENTED, format!("{what} are not collected by this kubelet\n"))
    };
    let mut router = Router::standard(health)
        .configz("kubeletconfig", config)
        .route("/pods", handler(kubelet, pods::list))
        .get("/stats/summary", missing("statistics"))
        .get("/metrics/cadvisor", missing("container metrics"))
        .get("/metrics/resource", missing("resource metrics"))
        .get("/metrics/probes", missing("probe metrics"));
    if !config.enable_debugging_handlers {
        let disabled = || text(StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled.\n");
        for path in
            ["/run/", "/exec/", "/attach/", "/portForward/", "/containerLogs/", "/runningpods/", "/logs/"]
        {
            router = router.get(path, disabled);
        }
        return router;
    }
    router = router
        .route("/runningpods/", handler(kubelet, pods::running))
        .route("/containerLogs/", handler(kubelet, logs::container))
        .route("/run/", handler(kubelet, stream::run))
        .route("/exec/", handler(kubelet, stream::exec))
        .route("/attach/", handler(kubelet, stream::attach))
        .route("/portForward/", handler(kubelet, stream::port_forward));
    if config.enable_system_log_handler {
        router = router.route("/logs/", handler(kubelet, logs::system));
    } else {
        router =
            router.get("/logs/", || text(StatusCode::METHOD_NOT_ALLOWED, "logs endpoint is disabled.\n"));
    }
    router
}

#[cfg(test)]
mod tests {
    use super::subresources;

    #[test]
    fn paths_are_parts_of_the_node() {
        for (path, want) in [
            ("/pods", &["pods", "proxy"][..]),
            ("/podsx", &["proxy"]),
            ("/healthz", &["healthz", "proxy"]),
            ("/metrics/cadvisor", &["metrics"]),
            ("/stats/summary", &["stats"]),
            ("/logs/syslog", &["log"]),
            ("/exec/a/b/c", &["proxy"]),
            ("/configz", &["configz", "proxy"]),
        ] {
            assert_eq!(subresources(path), want, "{path}");
        }
    }
}
