use super::*;
use crate::auth::oidc::jwks;

fn parsed(content: &str) -> AuthenticationConfiguration {
    AuthenticationConfiguration::parse(content.as_bytes()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn only_good_contents_are_used() {
    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\n";
    let path = std::env::temp_dir().join(format!("keelson-authentication-{}", uuid::Uuid::new_v4()));
    // An address at which nobody listens.
    let jwt = "jwt: [{issuer: {url: 'https://127.0.0.1:1', audiences: [a]}, claimMappings: {username: {claim: sub, prefix: ''}}}]\n";
    let first = format!("{HEAD}{jwt}anonymous: {{enabled: true}}\n");
    let config = parsed(&first);
    let algorithms: Vec<String> = jwks::ALGORITHMS.iter().map(|name| (*name).to_owned()).collect();
    let issuers =
        Arc::new(Issuers::start(&config, algorithms.into(), vec!["https://own".to_owned()]).unwrap());
    let mut reload = Reload::new(path.clone(), first.clone().into_bytes(), config.anonymous, issuers.clone());
    let mut look = async |content: &str| {
        std::fs::write(&path, content).unwrap();
        reload.look().await;
        (reload.seen == content.as_bytes(), reload.used == content.as_bytes())
    };
    assert_eq!(look(&first).await, (true, true));
    // Wrong for ever: dealt with, and not used.
    for wrong in [
        "x".to_owned(),
        format!("{HEAD}jwt: [{{}}]\nanonymous: {{enabled: true}}\n"),
        format!("{HEAD}{jwt}anonymous: {{enabled: false}}\n"),
        format!("{HEAD}{jwt}"),
        first.replace("https://127.0.0.1:1", "https://own"),
    ] {
        assert_eq!(look(&wrong).await, (true, false), "{wrong}");
    }
    assert!(!issuers.is_empty());
    // An issuer that can't be found may be found later.
    assert_eq!(look(&format!("{first}# again\n")).await, (false, false));
    assert_eq!(look(&format!("{HEAD}anonymous: {{enabled: true}}\n")).await, (true, true));
    assert!(issuers.is_empty());
    std::fs::remove_file(&path).unwrap();
    reload.look().await;
    assert!(issuers.is_empty() && !reload.used.is_empty());
}
