//! get and list.

use http::StatusCode;
use proto::status::Status;
use serde_json::Value;

use super::options::{self, ListOptions};
use super::{Target, missing};
use crate::engine::{At, ListQuery, meta};
use crate::registry::{Compute, Storage};
use crate::server::Response;

impl Target {
    pub(super) async fn get(self) -> Result<Response, Status> {
        let store = self.store()?;
        let at = match self.passed.query.get("resourceVersion").unwrap_or_default() {
            "" => At::Latest,
            "0" => At::Any,
            text => At::NotOlderThan(
                meta::parse_revision(text).map_err(|e| Status::failure(500, "", e.of_option()))?,
            ),
        };
        let entry = store.get(self.namespace(), &self.info().name, at).await?;
        self.render(&store)?.entry(StatusCode::OK, &entry)
    }

    pub(super) async fn list(self) -> Result<Response, Status> {
        let store = self.store()?;
        let options =
            ListOptions::parse(&self.passed.query, &self.served.endpoint, &store.codec.storage, false)?;
        let query = ListQuery {
            namespace: self.info().namespace.clone(),
            at: options.at(),
            limit: options.limit,
            continue_token: options.continue_token,
            selection: options.selection,
        };
        let listed = store.list(&query).await?;
        self.render(&store)?.list(listed, self.gzip())
    }

    /// Objects that are computed, not stored.
    pub(super) async fn computed(self, compute: Compute) -> Result<Response, Status> {
        let endpoint = &self.served.endpoint;
        // A list's name comes from its field selector: it only narrows the list.
        let name = if self.info().verb == "get" { self.info().name.as_str() } else { "" };
        let ctx = self.ctx("get", Value::Null);
        let shape = self.shape(endpoint.clone())?;
        let mut objects = compute(&ctx, name).await?;
        match self.info().verb.as_str() {
            "get" => {
                let found = objects.pop();
                let object =
                    found.ok_or_else(|| Status::not_found(&endpoint.group, &endpoint.resource, name))?;
                shape.object(StatusCode::OK, object)
            }
            "list" => {
                let none = Storage::new("", "", "", "");
                let wanted = options::selection(&self.passed.query, endpoint, &none)?;
                objects.retain(|object| {
                    let field = |path: &str| (path == "metadata.name").then(|| meta::text(object, "name"));
                    wanted.labels.matches(&object["metadata"]["labels"]) && wanted.fields.matches_with(field)
                });
                shape.objects(objects)
            }
            _ => Err(missing()),
        }
    }
}
