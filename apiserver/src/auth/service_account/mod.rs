//! ServiceAccounts as users: their names, groups and tokens.

const USERNAME_PREFIX: &str = "system:serviceaccount:";
/// The group of all ServiceAccounts.
pub const ALL_GROUP: &str = "system:serviceaccounts";

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
}
