//! Tokens of an OpenID Connect issuer, which is in this process.

mod common;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{Server, webhook};
use http::Method;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// A key of the issuer.
struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(id: &str) -> Arc<Key> {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).expect("a key");
        Arc::new(Key { id: id.to_owned(), pair })
    }

    fn public(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let encode = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "x": encode(x), "y": encode(y)})
    }

    fn sign(&self, claims: &Value) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&json!({"alg": "ES256", "kid": self.id})), encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The issuer, whose keys change.
struct Issuer {
    url: String,
    certificate: String,
    key: Arc<Mutex<Arc<Key>>>,
}

impl Issuer {
    async fn start() -> Issuer {
        let key = Arc::new(Mutex::new(Key::new("first")));
        let url = Arc::new(OnceLock::<String>::new());
        let (keys, own) = (key.clone(), url.clone());
        let answer = move |path: &str, _: &[u8]| {
            let url = own.get().cloned().unwrap_or_default();
            let key = keys.lock().clone();
            match path {
                "/.well-known/openid-configuration" => {
                    json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string()
                }
                "/keys" => json!({"keys": [key.public()]}).to_string(),
                "/groups" => {
                    key.sign(&json!({"iss": url, "aud": "me", "exp": now() + 600, "groups": ["far"]}))
                }
                _ => String::new(),
            }
        };
        let (port, certificate) = webhook::serve_texts(answer).await;
        let url = url.get_or_init(|| format!("https://localhost:{port}")).clone();
        Issuer { url, certificate, key }
    }

    /// A token like no other.
    fn token(&self, more: &Value) -> String {
        let key = self.key.lock().clone();
        key.sign(&self.claims(more))
    }

    fn claims(&self, more: &Value) -> Value {
        let id = uuid::Uuid::new_v4().to_string();
        let mut claims = json!({"iss": self.url, "aud": "me", "sub": "ann", "exp": now() + 600, "jti": id, "groups": ["near"]});
        for (name, value) in more.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        claims
    }

    fn configuration(&self, prefix: &str) -> String {
        let issuer = json!({"url": self.url, "audiences": ["me"], "certificateAuthority": self.certificate});
        let mappings = json!({"username": {"claim": "sub", "prefix": prefix}, "groups": {"claim": "groups", "prefix": "g:"},
            "extra": [{"key": "example.com/sub", "valueExpression": "claims.sub"}]});
        let rules = json!([{"expression": "user.username != 'o:root'", "message": "no"}]);
        let jwt = json!([{"issuer": issuer, "claimMappings": mappings, "userValidationRules": rules}]);
        let anonymous = json!({"enabled": true, "conditions": [{"path": "/livez"}]});
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": jwt, "anonymous": anonymous})
            .to_string()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Who the server says that the bearer of a token is.
async fn who(server: &Server, token: &str) -> (u16, Value) {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let (code, answer) = server.bearer(token, Method::POST, REVIEWS, review).await;
    (code, answer["status"]["userInfo"].clone())
}

/// Asks with new tokens until the answer is as wanted.
async fn until(server: &Server, token: impl Fn() -> String, wanted: impl Fn(u16, &Value) -> bool) -> Value {
    for _ in 0..600 {
        let (code, user) = who(server, &token()).await;
        if wanted(code, &user) {
            return user;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it was never as wanted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuers_tokens_are_accepted() {
    let issuer = Issuer::start().await;
    let directory = std::env::temp_dir().join(format!("keelson-oidc-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file: PathBuf = directory.join("authentication.yaml");
    std::fs::write(&file, issuer.configuration("o:")).expect("a file");
    let server = Server::start_with(&[format!("--authentication-config={}", file.display())]).await;

    let user = until(&server, || issuer.token(&json!({})), |code, _| code == 201).await;
    assert_eq!(
        (&user["username"], &user["groups"]),
        (&json!("o:ann"), &json!(["g:near", "system:authenticated"]))
    );
    assert_eq!(user["extra"]["example.com/sub"], json!(["ann"]));
    refuses(&server, &issuer).await;
    keys_change(&server, &issuer).await;
    let far = json!({"groups": null, "_claim_names": {"groups": "s"}, "_claim_sources": {"s": {"endpoint": format!("{}/groups", issuer.url)}}});
    let token = || {
        let mut claims = issuer.claims(&far);
        claims.as_object_mut().expect("claims").remove("groups");
        issuer.key.lock().sign(&claims)
    };
    let user = until(&server, token, |code, _| code == 201).await;
    assert_eq!(user["groups"], json!(["g:far", "system:authenticated"]));

    // Without a token only what the conditions name is served.
    assert_eq!(server.bearer("", Method::GET, "/livez", Value::Null).await.0, 200);
    assert_eq!(server.bearer("", Method::GET, "/version", Value::Null).await.0, 401);

    std::fs::write(&file, issuer.configuration("p:")).expect("a file");
    until(&server, || issuer.token(&json!({})), |_, user| user["username"] == "p:ann").await;
    let (_, metrics) = server.text(Method::GET, "/metrics", "").await;
    for (family, labels) in [
        ("apiserver_authentication_config_controller_automatic_reloads_total", "status=\"success\""),
        ("apiserver_authentication_config_controller_last_config_info", "hash=\"sha256:"),
        ("apiserver_authentication_jwt_authenticator_latency_seconds_count", "result=\"failure\""),
        (
            "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds",
            "result=\"success\"",
        ),
        ("apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info", "hash=\"sha256:"),
    ] {
        let told = metrics.lines().any(|line| line.starts_with(family) && line.contains(labels));
        assert!(told, "{family} {labels}");
    }
    server.stop().await;
    let _ = std::fs::remove_dir_all(&directory);
}

async fn refuses(server: &Server, issuer: &Issuer) {
    let good = issuer.token(&json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(issuer.claims(&json!({"sub": "admin"})).to_string());
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    for token in [
        issuer.token(&json!({"aud": "you"})),
        issuer.token(&json!({"exp": now() - 60})),
        issuer.token(&json!({"nbf": now() + 600})),
        issuer.token(&json!({"sub": ["ann"]})),
        issuer.token(&json!({"sub": "root"})),
        issuer.token(&json!({"iss": "https://elsewhere"})),
        Key::new("first").sign(&issuer.claims(&json!({}))),
        format!("{}.{other}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{none}.{}.", parts[1]),
        "a.b.c".to_owned(),
        "...".to_owned(),
    ] {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let (code, answer) = server.bearer(&token, Method::POST, REVIEWS, review).await;
        assert_eq!(
            (code, &answer["reason"], &answer["message"]),
            (401, &json!("Unauthorized"), &json!("Unauthorized"))
        );
    }
}

async fn keys_change(server: &Server, issuer: &Issuer) {
    let old = std::mem::replace(&mut *issuer.key.lock(), Key::new("second"));
    // The new key is unknown, so the keys are read again.
    assert_eq!(who(server, &issuer.token(&json!({}))).await.0, 201);
    assert_eq!(who(server, &old.sign(&issuer.claims(&json!({})))).await.0, 401);
}
