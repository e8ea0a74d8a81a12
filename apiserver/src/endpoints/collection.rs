//! deletecollection.

use futures::stream::{self, StreamExt};
use proto::status::Status;

use super::Target;
use super::options::ListOptions;
use crate::engine::ListQuery;
use crate::server::Response;

/// Deletions under way at once (upstream's default).
const WORKERS: usize = 10;

impl Target {
    pub(super) async fn delete_collection(mut self) -> Result<Response, Status> {
        let store = self.store()?;
        let list =
            ListOptions::parse(&self.passed.query, &self.served.endpoint, &store.codec.storage, false)?;
        let options = self.delete_options().await?;
        let query = ListQuery {
            namespace: self.info().namespace.clone(),
            at: list.at(),
            limit: list.limit,
            continue_token: list.continue_token,
            selection: list.selection,
        };
        let listed = store.list(&query).await?;
        let ctx = self.ctx("deletecollection", options.clone());
        let (engine, store_ref, options_ref) = (&self.app.engine, &store, &options);
        let mut deletions = stream::iter(listed.items.clone())
            .map(|entry| {
                let mut ctx = ctx.clone();
                ctx.name = entry.name().to_owned();
                ctx.namespace = entry.namespace().to_owned();
                async move { engine.delete(store_ref, &ctx, options_ref, true).await }
            })
            .buffer_unordered(WORKERS);
        while let Some(done) = deletions.next().await {
            match done {
                Ok(deletion) => self.warnings.extend(deletion.warnings),
                // Somebody else was quicker.
                Err(status) if status.is_not_found() => {}
                Err(status) => return Err(status),
            }
        }
        drop(deletions);
        let gzip = self.gzip();
        self.render(&store)?.list(listed, gzip)
    }
}
