//! Constrained impersonation (KEP-5284): who may act as whom in which requests. Each mode asks twice: whether the requester may make
//! this very request while acting so, and whether they may act as this user.

use std::sync::Arc;

use proto::content;
use proto::field::{self, Path};
use proto::status::Status;

use super::super::service_account::{NODE_NAME, split_username};
use super::super::{Attributes, Authorizer, MASTERS, UserInfo, authz};
use super::{AUTHENTICATION_GROUP, Acting, ask, completed};

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";
/// What the keys of an associated node's requester are told in; the values would say which node it is.
const KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// From so many checks on, one for all of them is tried first.
const MANY: usize = 4;

/// A way to act as someone else.
struct Mode {
    name: &'static str,
    /// The verb that permits to act as a user.
    verb: &'static str,
    /// Whether it is meant for this user and requester.
    applies: fn(&UserInfo, &UserInfo) -> bool,
}

const ASSOCIATED: &str = "associated-node";

const MODES: [Mode; 4] = [
    Mode {
        name: ASSOCIATED,
        verb: "impersonate:associated-node",
        applies: |wanted, requester| {
            let nodes = requester.extra.get(NODE_NAME).map_or(&[][..], Vec::as_slice);
            only_name(wanted)
                && split_username(&requester.name).is_some()
                && node(&wanted.name).is_some_and(|node| nodes == [node])
        },
    },
    Mode {
        name: "arbitrary-node",
        verb: "impersonate:arbitrary-node",
        applies: |wanted, _| only_name(wanted) && node(&wanted.name).is_some(),
    },
    Mode {
        name: "serviceaccount",
        verb: "impersonate:serviceaccount",
        applies: |wanted, _| only_name(wanted) && split_username(&wanted.name).is_some(),
    },
    Mode {
        name: "user-info",
        verb: "impersonate:user-info",
        applies: |wanted, _| node(&wanted.name).is_none() && split_username(&wanted.name).is_none(),
    },
];

fn only_name(user: &UserInfo) -> bool {
    user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty()
}

/// The node of a node's user name.
fn node(username: &str) -> Option<&str> {
    let name = username.strip_prefix(NODE_PREFIX)?;
    content::is_dns1123_subdomain(name).is_empty().then_some(name)
}

/// Who is acted as by the first mode that permits it; else the first refusal, if any mode applies at all.
pub(super) async fn permitted(
    wanted: &UserInfo,
    request: &Attributes,
    authorizer: &dyn Authorizer,
) -> Result<Acting, Option<Status>> {
    let mut first = None;
    for mode in MODES.iter().filter(|mode| (mode.applies)(wanted, &request.user)) {
        match check(mode, wanted, request, authorizer).await {
            Ok(user) => return Ok(Acting { user, constraint: mode.verb }),
            Err(status) => first = first.or(Some(status)),
        }
    }
    Err(first)
}

async fn check(
    mode: &Mode,
    wanted: &UserInfo,
    request: &Attributes,
    authorizer: &dyn Authorizer,
) -> Result<UserInfo, Status> {
    let requester = match mode.name {
        ASSOCIATED => Arc::new(UserInfo {
            extra: [(KEYS.to_owned(), request.user.extra.keys().cloned().collect())].into(),
            ..UserInfo::clone(&request.user)
        }),
        _ => request.user.clone(),
    };
    let verb = format!("impersonate-on:{}:{}", mode.name, request.verb);
    ask(&Attributes { user: requester.clone(), verb, ..request.clone() }, authorizer).await?;
    let part = |resource: &str, namespace: &str, name: &str| Attributes {
        user: requester.clone(),
        verb: mode.verb.to_owned(),
        resource_request: true,
        group: AUTHENTICATION_GROUP.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    let mut user = wanted.clone();
    let named = match (node(&wanted.name), split_username(&wanted.name)) {
        (Some(name), _) => {
            user.groups = vec![NODES.to_owned()];
            // It stands for any node that the requester is associated with.
            part("nodes", "", if mode.name == ASSOCIATED { "*" } else { name })
        }
        (None, Some((namespace, name))) => part("serviceaccounts", namespace, name),
        (None, None) => part("users", "", &wanted.name),
    };
    ask(&named, authorizer).await?;
    if !wanted.uid.is_empty() {
        ask(&part("uids", "", &wanted.uid), authorizer).await?;
    }
    groups(&wanted.groups, &part, authorizer).await?;
    extra(wanted, &part, authorizer).await?;
    Ok(completed(user))
}

type Part<'p> = &'p (dyn Fn(&str, &str, &str) -> Attributes + Send + Sync);

async fn groups(groups: &[String], part: Part<'_>, authorizer: &dyn Authorizer) -> Result<(), Status> {
    if groups.iter().any(String::is_empty) {
        let why = "impersonating the empty string group is not allowed";
        return Err(authz::forbidden(&part("groups", "", ""), why));
    }
    if groups.iter().any(|group| group == MASTERS) {
        let why = "impersonating the system:masters group is not allowed";
        return Err(authz::forbidden(&part("groups", "", MASTERS), why));
    }
    if groups.len() >= MANY && ask(&part("groups", "", "*"), authorizer).await.is_ok() {
        return Ok(());
    }
    for group in groups {
        ask(&part("groups", "", group), authorizer).await?;
    }
    Ok(())
}

async fn extra(user: &UserInfo, part: Part<'_>, authorizer: &dyn Authorizer) -> Result<(), Status> {
    let of =
        |key: &str, value: &str| Attributes { subresource: key.to_owned(), ..part("userextras", "", value) };
    for (key, values) in &user.extra {
        check_extra(key, values).map_err(|why| authz::forbidden(&of("", ""), &why))?;
    }
    let count = user.extra.values().map(Vec::len).sum::<usize>();
    if count >= MANY && ask(&of("*", "*"), authorizer).await.is_ok() {
        return Ok(());
    }
    for (key, values) in &user.extra {
        for value in values {
            ask(&of(key, value), authorizer).await?;
        }
    }
    Ok(())
}

fn check_extra(key: &str, values: &[String]) -> Result<(), String> {
    let refused = |what: &str| Err(format!("impersonating {what} in extra is not allowed"));
    if key.is_empty() {
        return refused("the empty string key");
    }
    let wrong = content::is_domain_prefixed_path(&Path::new("extra").child("key"), key);
    if !wrong.is_empty() {
        let wrong = field::aggregate(&wrong);
        return Err(format!("impersonating an invalid key in extra is not allowed: {wrong}"));
    }
    if key.chars().any(char::is_uppercase) {
        let key = field::quote(key);
        return Err(format!("impersonating a non-lowercase key in extra is not allowed: {key}"));
    }
    match values {
        [] => refused("empty values"),
        values if values.iter().any(String::is_empty) => refused("the empty string value"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Decision, Rules, Verdict};
    use super::*;
    use futures::future::BoxFuture;
    use parking_lot::Mutex;

    /// Allows by (verb, resource, subresource, name), and remembers what it was asked.
    struct Listed(&'static [(&'static str, &'static str, &'static str, &'static str)], Mutex<Vec<String>>);

    impl Authorizer for Listed {
        fn authorize<'a>(&'a self, asked: &'a Attributes) -> BoxFuture<'a, Verdict> {
            let (verb, resource) = (asked.verb.as_str(), asked.resource.as_str());
            let key = (verb, resource, asked.subresource.as_str(), asked.name.as_str());
            self.1.lock().push(format!("{verb} {resource} {}", asked.name));
            let decision = if self.0.contains(&key) { Decision::Allow } else { Decision::NoOpinion };
            Box::pin(std::future::ready(Verdict { decision, reason: String::new() }))
        }

        fn rules<'a>(&'a self, _: &'a UserInfo, _: &'a str) -> BoxFuture<'a, Rules> {
            Box::pin(std::future::ready(Rules::default()))
        }
    }

    fn request(name: &str, extra: &[(&str, &str)]) -> Attributes {
        let mut user = UserInfo::new(name, []);
        user.extra =
            extra.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect();
        Attributes {
            user: Arc::new(user),
            verb: "list".to_owned(),
            resource_request: true,
            resource: "pods".to_owned(),
            ..Attributes::default()
        }
    }

    #[tokio::test]
    async fn both_the_request_and_the_user_must_be_permitted() {
        const ON: (&str, &str, &str, &str) = ("impersonate-on:user-info:list", "pods", "", "");
        const USER: (&str, &str, &str, &str) = ("impersonate:user-info", "users", "", "ann");
        let by = request("root", &[]);
        let ann = UserInfo::new("ann", []);
        let Ok(acting) = permitted(&ann, &by, &Listed(&[ON, USER], Mutex::default())).await else {
            panic!("allowed");
        };
        assert_eq!((acting.constraint, acting.user.name.as_str()), ("impersonate:user-info", "ann"));
        for (allowed, message) in [
            (
                &[USER][..],
                r#"pods is forbidden: User "root" cannot impersonate-on:user-info:list resource "pods" in API group "" at the cluster scope"#,
            ),
            (
                &[ON][..],
                r#"users.authentication.k8s.io "ann" is forbidden: User "root" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope"#,
            ),
        ] {
            let refused = permitted(&ann, &by, &Listed(allowed, Mutex::default())).await.err().flatten();
            assert_eq!(refused.map(|status| status.message).as_deref(), Some(message));
        }
        let masters = UserInfo::new("ann", [MASTERS.to_owned()]);
        let refused = permitted(&masters, &by, &Listed(&[ON, USER], Mutex::default())).await.err().flatten();
        assert!(refused.is_some_and(|s| s.message.ends_with("the system:masters group is not allowed")));
    }

    #[tokio::test]
    async fn an_agent_may_act_as_its_own_node() {
        let agent = request("system:serviceaccount:ns:agent", &[(NODE_NAME, "n1")]);
        let rules: &[_] = &[
            ("impersonate-on:associated-node:list", "pods", "", ""),
            ("impersonate:associated-node", "nodes", "", "*"),
        ];
        let node = |name: &str| UserInfo::new(format!("{NODE_PREFIX}{name}"), []);
        let Ok(acting) = permitted(&node("n1"), &agent, &Listed(rules, Mutex::default())).await else {
            panic!("allowed");
        };
        assert_eq!(acting.user.groups, [NODES, "system:authenticated"]);
        let asked = Listed(rules, Mutex::default());
        assert!(permitted(&node("n2"), &agent, &asked).await.is_err());
        assert_eq!(*asked.1.lock(), ["impersonate-on:arbitrary-node:list pods "]);
    }

    #[test]
    fn extras_are_checked() {
        let value = ["v".to_owned()];
        assert_eq!(check_extra("example.com/k", &value), Ok(()));
        for (key, values, part) in
            [("", &value[..], "empty string key"), ("K", &value, "non-lowercase"), ("k", &[], "empty values")]
        {
            assert!(
                check_extra(key, values).is_err_and(|why| why.contains(part) || why.contains("invalid key"))
            );
        }
    }
}
