//! TokenReview and SelfSubjectReview: who someone is.

use futures::future::BoxFuture;
use proto::status::Status;
use serde_json::{Value, json};

use super::{strings, text, user_info};
use crate::auth::authn::with_authenticated_group;
use crate::engine::meta;
use crate::registry::Ctx;

/// Checks a token on behalf of the caller.
pub(super) fn token_review(ctx: &Ctx, mut review: Value) -> BoxFuture<'_, Result<Value, Status>> {
    Box::pin(async move {
        let token = text(&review["spec"]["token"]).to_owned();
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let audiences = strings(&review["spec"]["audiences"]);
        let result = ctx.local.services().tokens.authenticate_token(&token, &audiences).await;
        review["status"] = match result {
            Ok(Some(found)) => {
                let found = with_authenticated_group(found);
                let mut status = json!({ "authenticated": true, "user": user_info(&found.user) });
                if !found.audiences.is_empty() {
                    status["audiences"] = json!(found.audiences);
                }
                status
            }
            Ok(None) => json!({ "error": "invalid bearer token" }),
            Err(rejected) => json!({ "error": rejected.0 }),
        };
        Ok(review)
    })
}

/// Tells callers who they are.
pub(super) fn self_subject_review(ctx: &Ctx, mut review: Value) -> BoxFuture<'_, Result<Value, Status>> {
    Box::pin(async move {
        let now = meta::time(ctx.now);
        review["metadata"] = json!({ "creationTimestamp": now });
        review["status"] = json!({ "userInfo": user_info(&ctx.user) });
        Ok(review)
    })
}
