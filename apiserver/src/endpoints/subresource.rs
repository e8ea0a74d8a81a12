//! POST of objects that are not stored as they are: bindings, evictions, tokens, reviews.

use std::sync::Arc;

use http::StatusCode;
use proto::schema;
use proto::status::Status;
use serde_json::Value;

use super::decode::{self, Expected};
use super::options::WriteOptions;
use super::{Target, answer, negotiate};
use crate::admission::{Operation, Reinvocation, Review};
use crate::audit;
use crate::engine::meta;
use crate::registry::{Create, Endpoint, Name};
use crate::server::Response;

impl Target {
    pub(super) async fn post_to(
        mut self,
        create: Create,
        kind: Option<&(Name, Name, Name)>,
    ) -> Result<Response, Status> {
        let endpoint = self.served.endpoint.clone();
        let options = WriteOptions::parse(&self.passed.query, "CreateOptions", false)?;
        let (group, version, name) = match kind {
            Some((g, v, k)) => (g.as_ref(), v.as_ref(), k.as_ref()),
            None => (endpoint.group.as_ref(), endpoint.version.as_ref(), endpoint.kind.as_ref()),
        };
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let ty = schema::lookup(group, version, name);
        let format = negotiate::input(self.passed.request.headers(), ty.is_none())?;
        let bytes = decode::read(self.take_body()).await?;
        let expected = Expected { api_version: &api_version, kind: name, ty };
        let decoded = decode::object(format, &bytes, expected, options.strictness)?;
        let mut object = decoded.value;
        self.warnings.extend(decoded.warnings);
        audit::current(|record| record.request_object(&object));
        if let Some(ty) = ty {
            schema::default(&mut object, ty);
        }
        if kind.is_none()
            && let Some(default) = endpoint.default
        {
            default(&mut object);
        }
        if !self.info().name.is_empty() && meta::text(&object, "name").is_empty() {
            meta::set(&mut object, "name", self.info().name.as_str());
        }
        if endpoint.namespaced {
            meta::match_namespace(&mut object, self.namespace())?;
        }
        let ctx = self.ctx("create", options.object);
        let mut review = Review {
            operation: Operation::Create,
            endpoint: endpoint.clone(),
            kind: (group.to_owned(), version.to_owned(), name.to_owned()),
            subresource: ctx.subresource.clone(),
            namespace: ctx.namespace.clone(),
            name: ctx.name.clone(),
            user: ctx.user.clone(),
            object,
            old: Arc::new(Value::Null),
            options: Value::clone(&ctx.options),
            dry_run: ctx.dry_run,
            warnings: Vec::new(),
            annotations: Vec::new(),
            reinvocation: Reinvocation::default(),
        };
        let chain = self.app.engine.admission();
        chain.mutate(&mut review).await?;
        chain.validate(&mut review).await?;
        self.warnings.extend(review.warnings);
        let result = create(&ctx, review.object).await?;
        if result.get("kind").and_then(Value::as_str) == Some("Status") {
            return Ok(answer::meta_object(StatusCode::CREATED, self.output, "Status", &result));
        }
        let shown = match kind {
            None => endpoint,
            Some((group, version, kind)) => Arc::new(Endpoint::of_body(group, version, kind)),
        };
        self.shape(shown)?.object(StatusCode::CREATED, result)
    }
}
