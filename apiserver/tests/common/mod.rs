//! An API server in this process over an etcd of its own.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod webhook;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component_base::daemon::Context;
use component_base::tasks::Tasks;
use component_base::tls::{self, Verifier};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rand::RngExt;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The server, its etcd and an administrator's client.
pub struct Server {
    port: u16,
    pub etcd: apiserver::storage::etcd::Etcd,
    tasks: Tasks,
    child: Child,
    directory: PathBuf,
}

/// Where the programs that tests use are.
pub fn tools() -> PathBuf {
    std::env::var_os("KEELSON_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools"), PathBuf::from)
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    // Below those that the kernel gives to whoever connects: the port must still be free when what listens there is
    // killed and started again.
    let mut ports = std::iter::repeat_with(|| rand::rng().random_range(10_000..30_000));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

impl Server {
    /// Starts both and waits until the server is ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more flags.
    pub async fn start_with(flags: &[String]) -> Self {
        let program = tools().join("bin/etcd");
        assert!(program.exists(), "{} is missing: run `make tools`", program.display());
        let directory = std::env::temp_dir().join(format!("keelson-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let (client_port, peer_port, port) = (free_port(), free_port(), free_port());
        let (client_url, peer_url) =
            (format!("http://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{peer_port}"));
        let child = Command::new(program)
            .arg("--data-dir")
            .arg(directory.join("etcd"))
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .arg("--initial-cluster")
            .arg(format!("default={peer_url}"))
            .arg("--unsafe-no-fsync")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let tokens = file("tokens.csv", "secret,admin,1,system:masters\n");
        let policy = file(
            "audit.yaml",
            "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: RequestResponse, namespaces: [audited]}]}",
        );
        let encryption = file(
            "encryption.yaml",
            "{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{resources: [secrets], providers: [{aesgcm: {keys: [{name: key1, secret: MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=}]}}, {identity: {}}]}]}",
        );
        let key = rcgen::KeyPair::generate().expect("a key");
        let signing = file("sa.key", &key.serialize_pem());
        let mut args = vec![
            format!("--etcd-servers={client_url}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", directory.display()),
            format!("--token-auth-file={tokens}"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={signing}"),
            format!("--service-account-signing-key-file={signing}"),
            "--service-cluster-ip-range=10.96.0.0/12".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--audit-policy-file={policy}"),
            format!("--audit-log-path={}/audit.log", directory.display()),
            format!("--encryption-provider-config={encryption}"),
        ];
        args.extend_from_slice(flags);
        let flags =
            component_base::flags::parse("kube-apiserver", "", apiserver::options::flags::GROUPS, &args)
                .expect("flags");
        let tasks = Tasks::new();
        apiserver::run::run(Context { flags: Arc::new(flags), tasks: tasks.clone() }).await.expect("runs");
        let servers = apiserver::storage::etcd::Servers { urls: vec![client_url], ..Default::default() };
        let etcd = apiserver::storage::etcd::Etcd::connect(&servers).await.expect("a client of etcd");
        let server = Server { port, etcd, tasks, child, directory };
        let ready = async {
            while server.text(Method::GET, "/readyz", "").await.0 != StatusCode::OK {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ready).await.expect("becomes ready");
        server
    }

    /// The events in the audit log.
    pub fn audited(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.join("audit.log")).expect("an audit log");
        text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }

    /// The headers of the answer to a GET.
    pub async fn headers(&self, path: &str) -> HeaderMap {
        let request = self.request(path).body(Full::default()).expect("a request");
        self.exchange(request).await.map(|(_, headers, _)| headers).unwrap_or_default()
    }

    /// The answer to a GET that accepts these types.
    pub async fn accepting(&self, accept: &str, path: &str) -> (u16, HeaderMap, String) {
        let request = Request::get(path).header("host", "localhost").header("authorization", "Bearer secret");
        let request = request.header("accept", accept).body(Full::new(Bytes::new())).expect("a request");
        let (code, headers, text) = self.exchange(request).await.unwrap_or_default();
        (code.as_u16(), headers, text)
    }

    /// The answer to a POST of JSON that accepts these types.
    pub async fn post_accepting(&self, accept: &str, path: &str, body: &Value) -> (u16, String) {
        let request =
            Request::post(path).header("host", "localhost").header("authorization", "Bearer secret");
        let request = request.header("accept", accept).header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body.to_string()))).expect("a request");
        let (code, _, text) = self.exchange(request).await.unwrap_or_default();
        (code.as_u16(), text)
    }

    /// The code and the headers of the answer to a POST.
    pub async fn warned(&self, path: &str, body: &Value) -> (u16, HeaderMap) {
        let request =
            Request::post(path).header("host", "localhost").header("authorization", "Bearer secret");
        let body = Full::new(Bytes::from(body.to_string()));
        let request = request.header("content-type", "application/json").body(body).expect("a request");
        let (code, headers, _) = self.exchange(request).await.unwrap_or_default();
        (code.as_u16(), headers)
    }

    /// Sends a request: the status and the text of the answer.
    pub async fn text(&self, method: Method, path: &str, body: &str) -> (StatusCode, String) {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        self.send(method, path, kind, body).await
    }

    /// Sends a body of some type.
    pub async fn send(&self, method: Method, path: &str, kind: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("authorization", "Bearer secret")
            .header("content-type", kind)
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .expect("a request");
        let answer = self.exchange(request).await;
        answer.map_or((StatusCode::SERVICE_UNAVAILABLE, String::new()), |(status, _, text)| (status, text))
    }

    /// Creates a built-in object as upstream's typed clients do: in protobuf.
    pub async fn post_protobuf(&self, path: &str, object: &Value) -> (u16, String) {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let ty = proto::schema::lookup(group, version, text("kind")).expect("a type");
        let body = Bytes::from(proto::protobuf::encode_object(object, ty));
        let request =
            Request::post(path).header("host", "localhost").header("authorization", "Bearer secret");
        let request = request.header("content-type", "application/vnd.kubernetes.protobuf");
        let answer = self.exchange(request.body(Full::new(body)).expect("a request")).await;
        answer.map_or((503, String::new()), |(status, _, text)| (status.as_u16(), text))
    }

    /// Reads in some form.
    pub async fn accept(&self, path: &str, accept: &str) -> (StatusCode, String) {
        let request = self.request(path).header("accept", accept).body(Full::default());
        let request = request.expect("a request");
        let answer = self.exchange(request).await;
        answer.map_or((StatusCode::SERVICE_UNAVAILABLE, String::new()), |(status, _, text)| (status, text))
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Watch {
        let request = self.request(path).body(Full::default()).expect("a request");
        let response = self.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        Watch { body: response.into_body(), rest: Vec::new() }
    }

    fn request(&self, path: &str) -> http::request::Builder {
        let builder = Request::builder().uri(path).header("host", "localhost");
        builder.header("authorization", "Bearer secret")
    }

    /// One request on a connection of its own.
    async fn send_request(&self, request: Request<Full<Bytes>>) -> Option<http::Response<Incoming>> {
        connect(self.port).await?.send_request(request).await.ok()
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Option<(StatusCode, HeaderMap, String)> {
        let response = self.send_request(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, headers, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Sends JSON with a token, or without one if it is empty, and reads JSON.
    pub async fn bearer(&self, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.header("content-type", "application/json");
        let body = Full::new(Bytes::from(if body.is_null() { String::new() } else { body.to_string() }));
        let answer = self.exchange(request.body(body).expect("a request")).await;
        answer.map_or((503, Value::Null), |(status, _, text)| {
            (status.as_u16(), serde_json::from_str(&text).unwrap_or_default())
        })
    }

    /// Sends JSON and reads JSON.
    pub async fn json(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.text(method, path, &text).await;
        (status.as_u16(), serde_json::from_str(&answer).unwrap_or(Value::Null))
    }

    /// Ends both.
    pub async fn stop(mut self) {
        self.tasks.stop();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A watch under way.
pub struct Watch {
    body: Incoming,
    rest: Vec<u8>,
}

impl Watch {
    /// The next events, as many as are wanted.
    pub async fn take(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        let reading = async {
            while events.len() < count {
                if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = self.rest.drain(..=end).collect();
                    events.push(serde_json::from_slice(&line).expect("an event"));
                    continue;
                }
                let frame = self.body.frame().await.expect("the watch goes on").expect("a frame");
                self.rest.extend(frame.into_data().unwrap_or_default());
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(20), reading).await;
        assert!(done.is_ok(), "{count} events are wanted, these came: {events:?}");
        events
    }
}

/// A connection to the server at a port.
pub async fn connect(port: u16) -> Option<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    let stream = connector().connect(name, stream).await.ok()?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

fn connector() -> TlsConnector {
    let config = tls::client(Verifier::anyone()).expect("versions").with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}
