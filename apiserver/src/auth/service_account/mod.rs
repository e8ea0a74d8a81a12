//! ServiceAccounts as users: their names, groups and tokens.

pub mod authenticator;
pub mod claims;
mod der;
pub mod discovery;
pub mod issuer;
pub mod jwt;
pub mod keys;
pub mod legacy;

use super::UserInfo;

const USERNAME_PREFIX: &str = "system:serviceaccount:";
/// The group of all ServiceAccounts.
pub const ALL_GROUP: &str = "system:serviceaccounts";
/// Extra key: which credential was used.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Extra keys: what a token is bound to.
pub const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
pub const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
pub const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
pub const NODE_UID: &str = "authentication.kubernetes.io/node-uid";

/// The user name of a ServiceAccount.
pub fn username(namespace: &str, name: &str) -> String {
    format!("{USERNAME_PREFIX}{namespace}:{name}")
}

/// The groups of the ServiceAccounts of a namespace.
pub fn groups(namespace: &str) -> Vec<String> {
    vec![ALL_GROUP.to_owned(), format!("{ALL_GROUP}:{namespace}")]
}

/// Namespace and name of the ServiceAccount that a user name stands for; `None` for any other user.
pub fn split_username(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username.strip_prefix(USERNAME_PREFIX)?.split_once(':')?;
    let valid = proto::content::is_dns1123_label(namespace).is_empty()
        && proto::content::is_dns1123_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

/// What a verified token says about its bearer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub pod: Option<claims::Reference>,
    pub node: Option<claims::Reference>,
    /// The token's own id.
    pub token_id: String,
}

impl Identity {
    /// The user, as authorizers and audit see it.
    pub fn user(&self) -> UserInfo {
        let mut user = UserInfo::new(username(&self.namespace, &self.name), groups(&self.namespace));
        user.uid = self.uid.clone();
        let mut extra = |key: &str, value: String| {
            user.extra.insert(key.to_owned(), vec![value]);
        };
        if let Some(pod) = &self.pod {
            extra(POD_NAME, pod.name.clone());
            extra(POD_UID, pod.uid.clone());
        }
        if let Some(node) = &self.node {
            extra(NODE_NAME, node.name.clone());
            // A pod's node may be gone when the token is made: then only its name is known.
            if !node.uid.is_empty() {
                extra(NODE_UID, node.uid.clone());
            }
        }
        if !self.token_id.is_empty() {
            extra(CREDENTIAL_ID, format!("JTI={}", self.token_id));
        }
        user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_split_only_when_they_are_accounts() {
        assert_eq!(split_username(&username("ns", "bot")), Some(("ns", "bot")));
        for other in
            ["bot", "system:serviceaccount:", "system:serviceaccount:ns", "system:serviceaccount:ns:a:b"]
        {
            assert_eq!(split_username(other), None, "{other}");
        }
    }

    #[test]
    fn extra_tells_what_the_token_is_bound_to() {
        let node = claims::Reference { name: "n".into(), uid: String::new() };
        let identity = Identity {
            namespace: "a".into(),
            name: "b".into(),
            node: Some(node),
            token_id: "t".into(),
            ..Identity::default()
        };
        let user = identity.user();
        assert_eq!(user.name, "system:serviceaccount:a:b");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:a"]);
        assert_eq!(user.extra.keys().collect::<Vec<_>>(), [CREDENTIAL_ID, NODE_NAME]);
        assert_eq!(user.extra[CREDENTIAL_ID], ["JTI=t"]);
    }
}
