//! Acting as someone else: reading the `Impersonate-*` headers and checking that each part is allowed.

mod modes;

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use proto::status::Status;

use super::authn::request_header::collect_extra;
use super::service_account::{groups as account_groups, split_username};
use super::text::quoted;
use super::{ANONYMOUS, AUTHENTICATED, Attributes, Authorizer, Decision, UNAUTHENTICATED, UserInfo, authz};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// Who a request is made as.
#[derive(Debug, PartialEq)]
pub struct Acting {
    /// The user.
    pub user: UserInfo,
    /// The verb of constrained impersonation that permits it; empty if `impersonate` itself does.
    pub constraint: &'static str,
}

/// The user to act as, if the headers ask for one and who makes the request may. `constrained`: whether permissions for some
/// requests alone count.
pub async fn impersonated(
    headers: &HeaderMap,
    request: impl FnOnce() -> Attributes,
    constrained: bool,
    authorizer: &dyn Authorizer,
) -> Result<Option<Acting>, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let request = request();
    let mut first = None;
    if constrained {
        match modes::permitted(&wanted, &request, authorizer).await {
            Ok(acting) => return Ok(Some(acting)),
            Err(refusal) => first = refusal,
        }
    }
    for attributes in permissions(&wanted, &request.user) {
        if let Err(refusal) = ask(&attributes, authorizer).await {
            return Err(first.unwrap_or(refusal));
        }
    }
    Ok(Some(Acting { user: completed(wanted), constraint: "" }))
}

async fn ask(attributes: &Attributes, authorizer: &dyn Authorizer) -> Result<(), Status> {
    let verdict = authorizer.authorize(attributes).await;
    match verdict.decision {
        Decision::Allow => Ok(()),
        _ => Err(authz::forbidden(attributes, &verdict.reason)),
    }
}

/// Whether a header belongs to impersonation, and so must not be passed on.
pub fn is_impersonation_header(name: &HeaderName) -> bool {
    matches!(name.as_str(), USER | GROUP | UID) || name.as_str().starts_with(EXTRA_PREFIX)
}

/// What the headers name, literally.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let groups = headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok().map(str::to_owned));
    let mut user = UserInfo::new(text(USER), groups);
    user.uid = text(UID).to_owned();
    collect_extra(headers, EXTRA_PREFIX, &mut user);
    let asks_for_more = !user.groups.is_empty() || !user.uid.is_empty() || !user.extra.is_empty();
    match (user.name.is_empty(), asks_for_more) {
        (false, _) => Ok(Some(user)),
        (true, false) => Ok(None),
        (true, true) => {
            let text = format!("requested {} without impersonating a user name", describe(&user));
            Err(Status::bad_request(text))
        }
    }
}

/// The user as Go prints its struct.
fn describe(user: &UserInfo) -> String {
    let texts = |values: &[String]| {
        let quoted: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        format!("[]string{{{}}}", quoted.join(", "))
    };
    let groups = if user.groups.is_empty() { "[]string(nil)".to_owned() } else { texts(&user.groups) };
    let extra = match user.extra.is_empty() {
        true => "map[string][]string(nil)".to_owned(),
        false => {
            let all = user.extra.iter().map(|(key, values)| format!("{}:{}", quoted(key), texts(values)));
            format!("map[string][]string{{{}}}", all.collect::<Vec<_>>().join(", "))
        }
    };
    let uid = quoted(&user.uid);
    format!("&user.DefaultInfo{{Name:\"\", UID:{uid}, Groups:{groups}, Extra:{extra}}}")
}

/// One permission per part of the identity.
fn permissions(wanted: &UserInfo, requester: &Arc<UserInfo>) -> Vec<Attributes> {
    let core = |resource: &str, namespace: &str, name: &str| Attributes {
        user: requester.clone(),
        verb: "impersonate".to_owned(),
        resource_request: true,
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    let authentication = |resource: &str, subresource: &str, name: &str| Attributes {
        group: AUTHENTICATION_GROUP.to_owned(),
        subresource: subresource.to_owned(),
        ..core(resource, "", name)
    };
    let mut all = vec![match split_username(&wanted.name) {
        Some((namespace, name)) => core("serviceaccounts", namespace, name),
        None => core("users", "", &wanted.name),
    }];
    if !wanted.uid.is_empty() {
        all.push(authentication("uids", "", &wanted.uid));
    }
    all.extend(wanted.groups.iter().map(|group| core("groups", "", group)));
    for (key, values) in &wanted.extra {
        all.extend(values.iter().map(|value| authentication("userextras", key, value)));
    }
    all
}

/// Adds the groups that everyone of this kind is in.
fn completed(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty()
        && let Some((namespace, _)) = split_username(&user.name)
    {
        user.groups = account_groups(namespace);
    }
    if user.name == ANONYMOUS {
        if !user.in_group(UNAUTHENTICATED) {
            user.groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::super::authz::{AlwaysAllow, AlwaysDeny};
    use super::*;
    use http::HeaderValue;

    async fn ask(
        list: &[(&'static str, &'static str)],
        authorizer: &dyn Authorizer,
    ) -> Result<Option<UserInfo>, Status> {
        acting(list, authorizer, false).await
    }

    async fn acting(
        list: &[(&'static str, &'static str)],
        authorizer: &dyn Authorizer,
        constrained: bool,
    ) -> Result<Option<UserInfo>, Status> {
        let headers = list
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value))
            })
            .collect();
        let request = Attributes {
            user: Arc::new(UserInfo::new("root", [])),
            verb: "list".into(),
            resource_request: true,
            resource: "pods".into(),
            ..Attributes::default()
        };
        let acting = impersonated(&headers, || request, constrained, authorizer).await?;
        Ok(acting.map(|acting| acting.user))
    }

    #[tokio::test]
    async fn the_wanted_user() {
        assert_eq!(ask(&[], &AlwaysAllow).await.unwrap(), None);
        let user = ask(&[("Impersonate-User", "ann"), ("Impersonate-Group", "a")], &AlwaysAllow)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(user.groups, ["a", "system:authenticated"]);
        let bot = [("Impersonate-User", "system:serviceaccount:ns:bot")];
        let user = ask(&bot, &AlwaysAllow).await.unwrap().unwrap();
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]
        );
        let user = ask(&[("Impersonate-User", "system:anonymous")], &AlwaysAllow).await.unwrap().unwrap();
        assert_eq!(user.groups, ["system:unauthenticated"]);
        let extra = [("Impersonate-User", "ann"), ("Impersonate-Extra-Scopes", "x")];
        assert_eq!(ask(&extra, &AlwaysAllow).await.unwrap().unwrap().extra["scopes"], ["x"]);
    }

    #[tokio::test]
    async fn refusals() {
        let error = ask(&[("Impersonate-User", "ann")], &AlwaysDeny).await.unwrap_err();
        assert_eq!(
            error.message,
            r#"users "ann" is forbidden: User "root" cannot impersonate resource "users" in API group "" at the cluster scope: Everything is forbidden."#
        );
        let error = ask(&[("Impersonate-Group", "system:masters")], &AlwaysAllow).await.unwrap_err();
        assert_eq!(error.code, 400);
        assert_eq!(
            error.message,
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"system:masters"}, Extra:map[string][]string(nil)} without impersonating a user name"#
        );
        // Constrained modes are tried first, and their refusal is the one that is told.
        let error = acting(&[("Impersonate-User", "ann")], &AlwaysDeny, true).await.unwrap_err();
        assert_eq!(
            error.message,
            r#"pods is forbidden: User "root" cannot impersonate-on:user-info:list resource "pods" in API group "" at the cluster scope: Everything is forbidden."#
        );
    }

    #[test]
    fn every_part_needs_permission() {
        let mut user = UserInfo::new("ann", ["g".to_owned()]);
        user.uid = "u".into();
        user.extra.insert("k".into(), vec!["v".into()]);
        let asked = permissions(&user, &Arc::new(UserInfo::new("root", [])));
        let resources: Vec<_> =
            asked.iter().map(|a| (a.resource.as_str(), a.subresource.as_str(), a.name.as_str())).collect();
        assert_eq!(
            resources,
            [("users", "", "ann"), ("uids", "", "u"), ("groups", "", "g"), ("userextras", "k", "v")]
        );
    }
}
