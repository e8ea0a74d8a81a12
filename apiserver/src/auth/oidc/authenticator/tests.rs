use super::*;
use crate::auth::oidc::jwks::Document;
use crate::auth::oidc::keyset::KeySet;
use crate::auth::oidc::verifier::Verifier;
use crate::auth::service_account::{discovery, jwt, keys};
use serde_json::{Value, json};

const NOW: i64 = 1_000_000;

struct Fixture {
    key: keys::PrivateKey,
    authenticator: JwtAuthenticator,
}

fn fixture(edit: impl FnOnce(&mut Value)) -> Fixture {
    let mut config = json!({"issuer": {"url": "https://issuer", "audiences": ["me"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": "o:"}}});
    edit(&mut config);
    let config: JwtConfig = serde_json::from_value(config).unwrap();
    let key = keys::tests::p256();
    let documents = discovery::documents("https://issuer", "", "host", &[key.public().clone()]).unwrap();
    let document: Document = serde_json::from_slice(&documents.key_set).unwrap();
    let accepted = Accepted {
        issuer: config.issuer.url.clone(),
        audiences: config.issuer.audiences.clone(),
        algorithms: Arc::new(["RS256".to_owned(), "ES256".to_owned()]),
    };
    let (expressions, errors) = compile(&config, &Path::default(), &[]);
    assert!(errors.is_empty(), "{errors:?}");
    let keys = KeySet::fixed(document.keys().unwrap());
    let authenticator = JwtAuthenticator {
        issuer_hash: String::new(),
        lookup: Lookup::found(Verifier { accepted, keys }),
        mapping: Mapping { config, expressions },
        resolver: None,
    };
    Fixture { key, authenticator }
}

impl Fixture {
    fn token(&self, more: Value) -> String {
        let mut claims = json!({"iss": "https://issuer", "aud": "me", "sub": "ann", "exp": NOW});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        jwt::sign(&self.key, &claims).unwrap()
    }

    async fn user(&self, more: Value) -> Result<UserInfo, String> {
        let token = self.token(more);
        let time = Timestamp::from_second(NOW).unwrap();
        self.authenticator.check(&Jwt::parse(&token).unwrap(), time).await
    }

    async fn error(&self, more: Value) -> String {
        self.user(more).await.map(|user| format!("{user:?}")).unwrap_err()
    }
}

#[tokio::test]
async fn tokens_are_checked() {
    let fixture = fixture(|_| {});
    assert_eq!(
        fixture.user(json!({"jti": "id"})).await.unwrap(),
        UserInfo {
            name: "o:ann".into(),
            extra: [("authentication.kubernetes.io/credential-id".to_owned(), vec!["JTI=id".to_owned()])]
                .into(),
            ..UserInfo::default()
        }
    );
    for fine in [
        json!({"aud": ["x", "me"]}),
        json!({"exp": NOW as f64 + 0.5}),
        json!({"nbf": NOW + 60}),
        json!({"nbf": null}),
    ] {
        assert!(fixture.user(fine.clone()).await.is_ok(), "{fine}");
    }
    for (claims, error) in [
        (json!({"aud": "you"}), "oidc: verify token: oidc: expected audience \"me\" got [\"you\"]"),
        (json!({"aud": null}), "oidc: verify token: oidc: expected audience \"me\" got [\"\"]"),
        (
            json!({"aud": 1}),
            "oidc: verify token: oidc: failed to unmarshal claims: json: cannot unmarshal number into Go value of type []string",
        ),
        (
            json!({"exp": NOW - 1}),
            "oidc: verify token: oidc: token is expired (Token Expiry: 1970-01-12 13:46:39 +0000 UTC)",
        ),
        (
            json!({"exp": "x"}),
            "oidc: verify token: oidc: failed to unmarshal claims: json: cannot unmarshal string into Go value of type json.Number",
        ),
        (
            json!({"nbf": NOW + 61}),
            "oidc: verify token: oidc: current time 1970-01-12 13:46:40 +0000 UTC before the nbf (not before) time: 1970-01-12 13:47:41 +0000 UTC",
        ),
        (
            json!({"nonce": 1}),
            "oidc: verify token: oidc: failed to unmarshal claims: json: cannot unmarshal number into Go value of type string",
        ),
        (json!({"_claim_names": {"g": "s"}}), "oidc: verify token: oidc: source does not exist"),
        (
            json!({"_claim_names": {"g": ""}}),
            "oidc: verify token: oidc: failed to obtain source from claim name",
        ),
        (
            json!({"sub": 1}),
            "oidc: verify token: oidc: failed to unmarshal claims: json: cannot unmarshal number into Go value of type string",
        ),
    ] {
        assert_eq!(fixture.error(claims).await, error);
    }
}

#[tokio::test]
async fn tokens_of_others_are_left_to_others() {
    let fixture = fixture(|_| {});
    let ask = async |token: &str| fixture.authenticator.authenticate(token).await;
    for token in [
        "",
        "a.b.c",
        "...",
        "e30.e30.",
        &fixture.token(json!({"iss": "https://other"})),
        &fixture.token(json!({"iss": 1})),
    ] {
        assert!(matches!(ask(token).await, Ok(None)), "{token}");
    }
    // Another's signature under the issuer's name.
    let forged = Fixture { key: keys::tests::p256(), ..self::fixture(|_| {}) }.token(json!({}));
    let error = ask(&forged).await.err().unwrap().0;
    assert_eq!(error, "oidc: verify token: failed to verify signature: failed to verify id token signature");
    let unsigned = forged.rsplit_once('.').unwrap().0.to_owned() + ".";
    assert!(ask(&unsigned).await.is_err());
    // What the token is signed with must be allowed.
    let claims = fixture.token(json!({}));
    let claims = claims.split('.').nth(1).unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{claims}.");
    assert_eq!(
        ask(&none).await.err().unwrap().0,
        "oidc: verify token: oidc: id token signed with unsupported algorithm, expected [\"RS256\" \"ES256\"] got \"none\""
    );
}

#[tokio::test]
async fn a_changed_token_is_no_token() {
    let fixture = fixture(|_| {});
    let token = fixture.token(json!({}));
    let time = Timestamp::from_second(NOW).unwrap();
    let is_good = async |token: &str| match Jwt::parse(token) {
        Some(jwt) => fixture.authenticator.check(&jwt, time).await.is_ok(),
        None => false,
    };
    assert!(is_good(&token).await);
    for at in 0..token.len() {
        assert!(!is_good(&token[..at]).await, "{at}");
        for other in ["A", "_", ".", "=", "\u{e9}", ""] {
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(changed == token || !is_good(&changed).await, "{changed}");
        }
    }
}

#[tokio::test]
async fn google_needs_no_scheme() {
    let fixture = fixture(|c| c["issuer"]["url"] = json!("https://accounts.google.com"));
    for issuer in ["accounts.google.com", "https://accounts.google.com"] {
        assert!(fixture.user(json!({"iss": issuer})).await.is_ok());
        let token = fixture.token(json!({"iss": issuer}));
        assert_eq!(untrusted_issuer(&Jwt::parse(&token).unwrap()).unwrap(), "https://accounts.google.com");
    }
    assert!(fixture.user(json!({})).await.is_err());
}

#[tokio::test]
async fn claims_become_users() {
    let fixture = fixture(|c| {
        c["claimMappings"] = json!({"username": {"claim": "email", "prefix": ""}, "groups": {"claim": "roles", "prefix": "r:"}, "uid": {"claim": "id"}});
        c["claimValidationRules"] = json!([{"claim": "hd", "requiredValue": "x"}]);
    });
    let claims = |more: Value| {
        let mut claims = json!({"email": "a@b", "id": "7", "hd": "x"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    let user = fixture.user(claims(json!({"roles": ["a", "b"], "email_verified": true}))).await.unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("a@b", "7"));
    assert_eq!(user.groups, ["r:a", "r:b"]);
    assert_eq!(fixture.user(claims(json!({"roles": "a"}))).await.unwrap().groups, ["r:a"]);
    assert!(fixture.user(claims(json!({}))).await.unwrap().groups.is_empty());
    for (more, error) in [
        (
            json!({"email": 1}),
            "oidc: parse username claims \"email\": json: cannot unmarshal number into Go value of type string",
        ),
        (json!({"email_verified": false}), "oidc: email not verified"),
        (
            json!({"email_verified": "true"}),
            "oidc: parse 'email_verified' claim: json: cannot unmarshal string into Go value of type bool",
        ),
        (
            json!({"roles": {"a": 1}}),
            "oidc: parse groups claim \"roles\": json: cannot unmarshal object into Go value of type string",
        ),
        (
            json!({"id": 7}),
            "oidc: parse uid claim \"id\": json: cannot unmarshal number into Go value of type string",
        ),
        (json!({"hd": "y"}), "oidc: required claim hd value does not match. Got = y, want = x"),
        (
            json!({"hd": ["x"]}),
            "oidc: parse claim hd: json: cannot unmarshal array into Go value of type string",
        ),
    ] {
        assert_eq!(fixture.error(claims(more)).await, error);
    }
    assert_eq!(
        fixture.error(json!({"id": "7"})).await,
        "oidc: parse username claims \"email\": claim not present"
    );
    assert_eq!(
        fixture.error(json!({"email": "a@b", "id": "7"})).await,
        "oidc: required claim hd not present in ID token"
    );
}

#[tokio::test]
async fn expressions_make_users() {
    let fixture = fixture(|c| {
        c["claimMappings"] = json!({"username": {"expression": "claims.sub + '@' + claims.org"},
            "groups": {"expression": "claims.roles"}, "uid": {"expression": "claims.id"},
            "extra": [{"key": "a.io/teams", "valueExpression": "claims.?teams.orValue([])"}]});
        c["claimValidationRules"] =
            json!([{"expression": "claims.exp - claims.iat <= 100.0", "message": "too long"}]);
        c["userValidationRules"] = json!([{"expression": "!user.username.startsWith('system:')", "message": "reserved"},
            {"expression": "user.groups.all(g, g != 'bad') && size(user.extra) < 3", "message": "bad"}]);
    });
    let claims = |more: Value| {
        let mut claims = json!({"org": "x", "roles": ["a", ""], "id": "7", "iat": NOW - 50});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    let user = fixture.user(claims(json!({"teams": ["t"]}))).await.unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann@x", "7"));
    assert_eq!(
        (user.groups, user.extra),
        (vec!["a".to_owned()], [("a.io/teams".to_owned(), vec!["t".to_owned()])].into())
    );
    assert!(fixture.user(claims(json!({"roles": null}))).await.unwrap().groups.is_empty());
    for (more, error) in [
        (
            json!({"org": 1}),
            "oidc: error evaluating username claim expression: expression 'claims.sub + '@' + claims.org' resulted in error: no such overload",
        ),
        (
            json!({"roles": 1}),
            "oidc: error evaluating group claim expression: expression must return a string or a list of strings",
        ),
        (
            json!({"id": 1}),
            "oidc: error evaluating uid claim expression: uid claim expression must return a string",
        ),
        (
            json!({"teams": {}}),
            "oidc: error evaluating extra claim expression: claims.?teams.orValue([]): expression must return a string or a list of strings",
        ),
        (
            json!({"iat": NOW - 101}),
            "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.iat <= 100.0' failed: too long",
        ),
        (
            json!({"sub": "system:a"}),
            "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('system:')' failed: reserved",
        ),
        (
            json!({"roles": "bad"}),
            "oidc: error evaluating user info validation rule: validation expression 'user.groups.all(g, g != 'bad') && size(user.extra) < 3' failed: bad",
        ),
    ] {
        assert_eq!(fixture.error(claims(more)).await, error);
    }
    let empty = self::fixture(|c| c["claimMappings"]["username"] = json!({"expression": "claims.sub"}));
    assert_eq!(
        empty.error(json!({"sub": ""})).await,
        "oidc: empty username via CEL expression is not allowed"
    );
    let typed = self::fixture(|c| c["claimMappings"]["username"] = json!({"expression": "claims.n"}));
    assert_eq!(
        typed.error(json!({"n": 1})).await,
        "oidc: error evaluating username claim expression: username claim expression must return a string"
    );
}

#[tokio::test]
async fn nothing_is_accepted_before_the_issuer_is_found() {
    let Fixture { key, authenticator } = fixture(|_| {});
    let config = &authenticator.mapping.config;
    let started = JwtAuthenticator::start(config, &vec!["ES256".to_owned()].into(), &[]).unwrap();
    let token = Fixture { key, authenticator: fixture(|_| {}).authenticator }.token(json!({}));
    assert_eq!(started.authenticate(&token).await.err().unwrap().0, "oidc: authenticator not initialized");
    assert!(
        started
            .health()
            .unwrap_err()
            .starts_with("oidc: authenticator for issuer \"https://issuer\" is not healthy: ")
    );
    let start = |edit: &dyn Fn(&mut JwtConfig), algorithm: &str, disallowed: &[String]| {
        let mut config = config.clone();
        edit(&mut config);
        JwtAuthenticator::start(&config, &vec![algorithm.to_owned()].into(), disallowed).err().unwrap()
    };
    assert_eq!(start(&|_| {}, "HS256", &[]), "oidc: unsupported signing alg: \"HS256\"");
    assert!(
        start(&|_| {}, "RS256", &["https://issuer".to_owned()])
            .contains("URL must not overlap with disallowed issuers")
    );
    let egress = start(&|c| c.issuer.egress_selector_type = "cluster".into(), "RS256", &[]);
    assert_eq!(egress, "oidc: egress lookup required with egress selector type \"cluster\"");
}
