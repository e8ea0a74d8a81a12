//! Expressions of webhooks and policies at work: the variables of a write, and answers of the authorizer.

use std::sync::Arc;

use cel::cost::MATCH_CONDITIONS_BUDGET;
use cel::kube::admission::{Compiler, Expression, Scope, Wanted};
use cel::library::authorizer::{self as checks, Decision, Request};
use parking_lot::Mutex;
use proto::status::Status;
use proto::{fields, labels};
use serde_json::Value;

use super::Review;
use super::form::Form;
use super::step::{items, text};
use crate::auth::{self, Attributes, UserInfo};
use crate::registry::{Endpoint, Local};

/// Answers of the authorizer to one user.
///
/// Evaluation can't wait. So a question without an answer gets a refusal for the time being; when it has been asked, the
/// expressions are evaluated once more.
pub(super) struct Authority {
    user: Arc<UserInfo>,
    answers: Mutex<Vec<(Request, Decision)>>,
    open: Mutex<Vec<Request>>,
}

impl Authority {
    pub(super) fn new(user: &Arc<UserInfo>) -> Arc<Self> {
        Arc::new(Authority { user: user.clone(), answers: Mutex::default(), open: Mutex::default() })
    }

    /// Evaluates until all questions to the authorizer have their answers.
    pub(super) async fn settle<T>(&self, local: &Arc<dyn Local>, evaluate: impl Fn() -> T) -> T {
        loop {
            let result = evaluate();
            let open = std::mem::take(&mut *self.open.lock());
            if open.is_empty() {
                return result;
            }
            for request in open {
                let decision = self.ask(local, &request).await;
                self.answers.lock().push((request, decision));
            }
        }
    }

    async fn ask(&self, local: &Arc<dyn Local>, request: &Request) -> Decision {
        let failed = |error: String| Decision { error: Some(error), ..Decision::default() };
        let field_selector = match fields::Selector::parse(&request.field_selector) {
            Ok(selector) => selector,
            Err(error) => return failed(error.to_string()),
        };
        let label_selector = match labels::Selector::parse(&request.label_selector) {
            Ok(selector) => selector,
            Err(error) => return failed(error.to_string()),
        };
        let user = match &request.service_account {
            None => self.user.clone(),
            Some((namespace, name)) => Arc::new(UserInfo::new(
                format!("system:serviceaccount:{namespace}:{name}"),
                ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
            )),
        };
        let attributes = Attributes {
            user,
            verb: request.verb.clone(),
            resource_request: request.path.is_none(),
            group: request.group.clone(),
            version: if request.path.is_none() { "*".to_owned() } else { String::new() },
            resource: request.resource.clone(),
            subresource: request.subresource.clone(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            path: request.path.clone().unwrap_or_default(),
            field_selector,
            label_selector,
        };
        let verdict = local.services().authorizer.authorize(&attributes).await;
        let allowed = verdict.decision == auth::Decision::Allow;
        Decision { allowed, reason: verdict.reason, error: None }
    }
}

impl checks::Authorizer for Authority {
    fn authorize(&self, request: &Request) -> Decision {
        if let Some((_, decision)) = self.answers.lock().iter().find(|(known, _)| known == request) {
            return decision.clone();
        }
        let mut open = self.open.lock();
        if !open.contains(request) {
            open.push(request.clone());
        }
        Decision::default()
    }
}

/// What a write looks like to the expressions of a webhook or policy that sees it as this version.
pub(super) struct Seen {
    pub(super) object: Value,
    old: Value,
    request: Value,
}

impl Seen {
    pub(super) async fn new(endpoint: &Arc<Endpoint>, review: &Review) -> Result<Seen, Status> {
        let object = Form::of(endpoint, review, &review.object).show(&review.object).await?;
        let old = Form::of(endpoint, review, &review.old).show(&review.old).await?;
        let request = super::webhook::request(endpoint, review);
        Ok(Seen { object, old, request })
    }

    /// What expressions may refer to; without an authority not to the authorizer.
    pub(super) fn given<'a>(
        &'a self,
        review: &Review,
        namespace: &'a Value,
        params: &'a Value,
        authority: Option<&Arc<Authority>>,
    ) -> Vec<(&'static str, cel::Value<'a>)> {
        let mut given = vec![
            ("object", cel::Value::json(&self.object)),
            ("oldObject", cel::Value::json(&self.old)),
            ("request", cel::Value::json(&self.request)),
            ("namespaceObject", cel::Value::json(namespace)),
            ("params", cel::Value::json(params)),
        ];
        if let Some(authority) = authority {
            let own = Request {
                group: review.group().to_owned(),
                resource: review.resource().to_owned(),
                subresource: review.subresource.clone(),
                namespace: review.namespace.clone(),
                name: review.name.clone(),
                ..Request::default()
            };
            given.push(("authorizer", checks::authorizer(authority.clone())));
            given.push(("authorizer.requestResource", checks::request_resource(authority.clone(), own)));
        }
        given
    }
}

/// The match conditions of a webhook.
#[derive(Default)]
pub(super) struct Conditions(Vec<Expression>);

impl std::fmt::Debug for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(Expression::text)).finish()
    }
}

impl Conditions {
    /// Compiles a list of conditions.
    pub(super) fn of_webhook(list: &Value) -> Self {
        if items(list).is_empty() {
            return Conditions::default();
        }
        Conditions::parse(list, &Compiler::new(false))
    }

    /// Compiles a list of conditions that may refer to what the compiler knows.
    pub(super) fn parse(list: &Value, compiler: &Compiler) -> Self {
        let compile = |item: &Value| compiler.compile(text(&item["expression"]), Wanted::Bool);
        Conditions(items(list).iter().map(compile).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a write is one that is meant; if that fails, it's an error or not meant.
    pub(super) fn are_met<'a>(&'a self, scope: &Scope<'a>, fails_open: bool) -> Result<bool, String> {
        if self.is_empty() {
            return Ok(true);
        }
        let matched = scope.is_matched(&self.0, MATCH_CONDITIONS_BUDGET);
        if fails_open { Ok(matched.unwrap_or(false)) } else { matched }
    }

    /// Whether a write is one that a webhook is meant for.
    pub(super) async fn are_met_by(
        &self,
        local: &Arc<dyn Local>,
        endpoint: &Arc<Endpoint>,
        review: &Review,
        fails_open: bool,
    ) -> Result<bool, Status> {
        if self.is_empty() {
            return Ok(true);
        }
        let seen = Seen::new(endpoint, review).await?;
        let authority = Authority::new(&review.user);
        let evaluate = || {
            let given = seen.given(review, &Value::Null, &Value::Null, Some(&authority));
            self.are_met(&Scope::new(given, []), fails_open)
        };
        authority.settle(local, evaluate).await.map_err(|error| review.forbidden(error))
    }
}
