use super::*;
use serde_json::{Value, json};

fn good() -> Value {
    json!({"issuer": {"url": "https://issuer", "audiences": ["a"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}}})
}

fn with(pointer: &str, value: Value) -> Value {
    let mut config = good();
    let mut at = &mut config;
    for step in pointer.split('.') {
        at = &mut at[step];
    }
    *at = value;
    config
}

fn errors(jwt: &[Value]) -> Vec<String> {
    let config = serde_json::from_value(json!({"jwt": jwt})).unwrap();
    validate(&config, &[]).iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_one_is_fine() {
    assert!(errors(&[good()]).is_empty() && errors(&[]).is_empty());
    let full = json!({
        "issuer": {"url": "https://issuer/", "discoveryURL": "https://discovery/x", "audiences": ["a", "b"],
            "audienceMatchPolicy": "MatchAny", "egressSelectorType": "cluster"},
        "claimValidationRules": [{"claim": "hd", "requiredValue": "x"}, {"expression": "claims.a == 'b'", "message": "m"}],
        "claimMappings": {"username": {"expression": "claims.email_verified ? claims.email : claims.sub"},
            "groups": {"expression": "claims.roles.split(',')"}, "uid": {"claim": "sub"},
            "extra": [{"key": "example.com/x", "valueExpression": "claims.x"}]},
        "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "m"}]});
    assert_eq!(errors(&[full]), Vec::<String>::new());
}

#[test]
fn each_field_is_checked() {
    let url = |url: &str| with("issuer.url", json!(url));
    let discovery = |url: &str| with("issuer.discoveryURL", json!(url));
    let username = |value: Value| with("claimMappings.username", value);
    let extra =
        |key: &str, text: &str| with("claimMappings.extra", json!([{"key": key, "valueExpression": text}]));
    let rule = |value: Value| with("claimValidationRules", json!([value]));
    for (config, error) in [
        (url(""), "jwt[0].issuer.url: Required value"),
        (url("http://x"), "jwt[0].issuer.url: Invalid value: \"http://x\": URL scheme must be https"),
        (
            url("https://u:p@x"),
            "jwt[0].issuer.url: Invalid value: \"https://u:p@x\": URL must not contain a username or password",
        ),
        (
            url("https://x?q"),
            "jwt[0].issuer.url: Invalid value: \"https://x?q\": URL must not contain a query",
        ),
        (
            url("https://x#f"),
            "jwt[0].issuer.url: Invalid value: \"https://x#f\": URL must not contain a fragment",
        ),
        (url(":x"), "jwt[0].issuer.url: Invalid value: \":x\": parse \":x\": missing protocol scheme"),
        (
            discovery("https://issuer/"),
            "jwt[0].issuer.discoveryURL: Invalid value: \"https://issuer/\": discoveryURL must be different from URL",
        ),
        (
            discovery("http://x"),
            "jwt[0].issuer.discoveryURL: Invalid value: \"http://x\": URL scheme must be https",
        ),
        (
            with("issuer.audiences", json!([])),
            "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
        ),
        (with("issuer.audiences", json!([""])), "jwt[0].issuer.audiences[0]: Required value"),
        (
            with("issuer.audienceMatchPolicy", json!("X")),
            "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"X\": audienceMatchPolicy must be empty or MatchAny for single audience",
        ),
        (
            with("issuer.certificateAuthority", json!("x")),
            "jwt[0].issuer.certificateAuthority: Invalid value: \"<omitted>\": data does not contain any valid RSA or ECDSA certificates",
        ),
        (
            with("issuer.egressSelectorType", json!("etcd")),
            "jwt[0].issuer.egressSelectorType: Invalid value: \"etcd\": egress selector must be either controlplane or cluster",
        ),
        (rule(json!({})), "jwt[0].claimValidationRules[0]: Required value: claim or expression is required"),
        (
            rule(json!({"claim": "a", "expression": "true"})),
            "jwt[0].claimValidationRules[0]: Invalid value: \"a\": claim and expression can't both be set",
        ),
        (
            rule(json!({"claim": "a", "message": "m"})),
            "jwt[0].claimValidationRules[0].message: Invalid value: \"m\": may not be specified when claim is set",
        ),
        (
            rule(json!({"expression": "true", "requiredValue": "v"})),
            "jwt[0].claimValidationRules[0].requiredValue: Invalid value: \"v\": may not be specified when expression is set",
        ),
        (
            rule(json!({"expression": "claims.x"})),
            "jwt[0].claimValidationRules[0].expression: Invalid value: \"claims.x\": must evaluate to bool",
        ),
        (
            username(json!({})),
            "jwt[0].claimMappings.username: Required value: claim or expression is required",
        ),
        (
            username(json!({"claim": "sub"})),
            "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        ),
        (
            username(json!({"claim": "sub", "expression": "'a'"})),
            "jwt[0].claimMappings.username: Invalid value: \"\": claim and expression can't both be set",
        ),
        (
            username(json!({"prefix": "p", "expression": "'a'"})),
            "jwt[0].claimMappings.username.prefix: Invalid value: \"p\": may not be specified when expression is set",
        ),
        (
            username(json!({"expression": "claims.email"})),
            "jwt[0].claimMappings.username.expression: Invalid value: \"claims.email\": claims.email_verified must be used in",
        ),
        (
            with("claimMappings.groups", json!({"claim": "g"})),
            "jwt[0].claimMappings.groups.prefix: Required value: prefix is required",
        ),
        (
            with("claimMappings.uid", json!({"claim": "a", "expression": "b"})),
            "jwt[0].claimMappings.uid: Invalid value: \"\": claim and expression can't both be set",
        ),
        (
            with("claimMappings.uid", json!({"expression": "nope"})),
            "jwt[0].claimMappings.uid.expression: Invalid value: \"nope\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope'",
        ),
        (extra("", "'a'"), "jwt[0].claimMappings.extra[0].key: Required value"),
        (
            extra("foo", "'a'"),
            "jwt[0].claimMappings.extra[0].key: Invalid value: \"foo\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            extra("a.io/Foo", "'a'"),
            "jwt[0].claimMappings.extra[0].key: Invalid value: \"a.io/Foo\": must be lowercase",
        ),
        (
            extra("x.k8s.io/a", "'a'"),
            "jwt[0].claimMappings.extra[0].key: Invalid value: \"x.k8s.io/a\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
        ),
        (extra("a.io/a", ""), "jwt[0].claimMappings.extra[0].valueExpression: Required value"),
        (
            with("userValidationRules", json!([{}])),
            "jwt[0].userValidationRules[0].expression: Required value",
        ),
        (
            with("userValidationRules", json!([{"expression": "user.uid"}])),
            "jwt[0].userValidationRules[0].expression: Invalid value: \"user.uid\": must evaluate to bool",
        ),
    ] {
        let found = errors(&[config]);
        assert!(found.len() == 1 && found[0].starts_with(error), "{found:#?}\n{error}");
    }
}

#[test]
fn what_must_be_unique() {
    let twice = |pointer: &str, value: Value| errors(&[with(pointer, json!([value, value]))]);
    assert_eq!(
        twice("claimValidationRules", json!({"claim": "a"})),
        ["jwt[0].claimValidationRules[1].claim: Duplicate value: \"a\""]
    );
    assert_eq!(
        twice("claimValidationRules", json!({"expression": "true"})),
        ["jwt[0].claimValidationRules[1].expression: Duplicate value: \"true\""]
    );
    assert_eq!(
        twice("userValidationRules", json!({"expression": "true"})),
        ["jwt[0].userValidationRules[1].expression: Duplicate value: \"true\""]
    );
    let extra = json!({"key": "a.io/a", "valueExpression": "'a'"});
    assert_eq!(
        twice("claimMappings.extra", extra),
        ["jwt[0].claimMappings.extra[1].key: Duplicate value: \"a.io/a\""]
    );
    let audiences = twice("issuer.audiences", json!("a"));
    assert_eq!(audiences[0], "jwt[0].issuer.audiences[1]: Duplicate value: \"a\"");
    assert_eq!(
        audiences[1],
        "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences"
    );
    let discovered = with("issuer.discoveryURL", json!("https://d"));
    assert_eq!(
        errors(&[discovered.clone(), discovered]),
        [
            "jwt[1].issuer.url: Duplicate value: \"https://issuer\"",
            "jwt[1].issuer.discoveryURL: Duplicate value: \"https://d\""
        ]
    );
    assert_eq!(errors(&vec![json!({}); 65]), ["jwt: Too many: 65: must have at most 64 items"]);
}

#[test]
fn addresses_may_be_used_once_they_are_verified() {
    let fine = |config: &Value| errors(std::slice::from_ref(config)).is_empty();
    let mut config = with("claimMappings.username", json!({"expression": "claims.?email.orValue('')"}));
    assert!(!fine(&config));
    config["claimValidationRules"] = json!([{"expression": "claims.email_verified == true"}]);
    assert!(fine(&config));
    config["claimValidationRules"] = json!([]);
    config["claimMappings"]["extra"] =
        json!([{"key": "a.io/v", "valueExpression": "string(claims.email_verified)"}]);
    assert!(fine(&config));
}

#[test]
fn others_may_not_be_the_server_itself() {
    let jwt: JwtConfig = serde_json::from_value(good()).unwrap();
    let disallowed = ["https://z".to_owned(), "https://issuer".to_owned()];
    let found = compile(&jwt, &Path::default(), &disallowed).1;
    assert_eq!(
        found[0].to_string(),
        "issuer.url: Invalid value: \"https://issuer\": URL must not overlap with disallowed issuers: [https://issuer https://z]"
    );
}

#[test]
fn conditions_need_anonymous_requests() {
    let of = |anonymous: Value| {
        let config = serde_json::from_value(json!({"anonymous": anonymous})).unwrap();
        validate(&config, &[]).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(of(json!({"enabled": true, "conditions": [{"path": "/a"}]})).is_empty());
    assert_eq!(
        of(json!({"enabled": false, "conditions": [{"path": "/a"}]})),
        [
            "anonymous.conditions: Invalid value: [{\"Path\":\"/a\"}]: enabled should be set to true when conditions are defined"
        ]
    );
}
