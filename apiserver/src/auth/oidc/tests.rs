use super::*;
use crate::auth::AuthOptions;
use config::OidcFlags;

fn configured(options: &AuthOptions) -> Result<Configured, String> {
    configure(options)
}

#[tokio::test]
async fn flags_make_an_issuer() {
    let flags = OidcFlags {
        issuer_url: "https://127.0.0.1:1".into(),
        client_id: "c".into(),
        username_claim: "sub".into(),
        signing_algs: vec!["RS256".into(), "PS512".into()],
        ..OidcFlags::default()
    };
    let options = AuthOptions { oidc: flags.clone(), ..AuthOptions::default() };
    let made = configured(&options).unwrap();
    assert!(made.anonymous.enabled && made.reload.is_none());
    assert_eq!(made.issuers.current.read().len(), 1);
    assert!(configured(&AuthOptions::default()).unwrap().issuers.is_empty());
    let error = |edit: &dyn Fn(&mut AuthOptions)| {
        let mut options = options.clone();
        edit(&mut options);
        configured(&options).err().unwrap()
    };
    assert_eq!(
        error(&|o| o.oidc.signing_algs = vec!["HS256".into()]),
        "oidc: unsupported signing alg: \"HS256\""
    );
    assert_eq!(
        error(&|o| o.oidc.issuer_url = "http://x".into()),
        "invalid authentication configuration: jwt[0].issuer.url: Invalid value: \"http://x\": URL scheme must be https"
    );
    assert!(error(&|o| o.oidc.ca_file = Some("/nowhere".into())).starts_with("open /nowhere: "));
    let own = error(&|o| o.service_account_issuers = vec!["https://127.0.0.1:1".into()]);
    assert!(own.starts_with("issuer.url: Invalid value: ") && own.contains("disallowed issuers"), "{own}");
}

#[tokio::test]
async fn files_are_configurations() {
    let path = std::env::temp_dir().join(format!("keelson-authentication-{}", uuid::Uuid::new_v4()));
    let options = AuthOptions { authentication_config: Some(path.clone()), ..AuthOptions::default() };
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
    let name = quoted(&path.display().to_string());
    let error = configured(&options).err().unwrap();
    assert!(
        error.starts_with(&format!("failed to load authentication configuration from file {name}: ")),
        "{error}"
    );
    std::fs::write(&path, format!("{head}anonymous: {{enabled: true, conditions: [{{path: /x}}]}}\n"))
        .unwrap();
    let made = configured(&options).unwrap();
    assert!(made.issuers.is_empty() && made.reload.is_some());
    assert_eq!(made.anonymous.conditions[0].path, "/x");
    let given = AuthOptions { anonymous_auth_given: true, ..options.clone() };
    assert_eq!(
        configured(&given).err().unwrap(),
        "anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file"
    );
    std::fs::write(&path, head).unwrap();
    let off = AuthOptions { anonymous_auth: false, ..given };
    assert!(!configured(&off).unwrap().anonymous.enabled);
    std::fs::remove_file(&path).unwrap();
}
