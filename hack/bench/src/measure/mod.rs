//! The measures, a file per family.

mod build;
mod cluster;
mod crds;
mod idle;
mod images;
mod lists;
mod proxy;
mod reads;
mod scale;
mod scheduling;
mod start;
mod watches;
mod writes;

use crate::Bench;
use crate::table::Table;
use anyhow::Result;
use futures::future::LocalBoxFuture;

/// Measures into the table.
type Measure = for<'a> fn(&'a Bench, &'a mut Table) -> LocalBoxFuture<'a, Result<()>>;

/// Measures that belong together.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) measure: Measure,
    /// Whether upstream's programs can be measured in the same way: what is needed of them are the programs alone.
    pub(crate) comparable: bool,
    /// Measured only by name.
    pub(crate) asked_for: bool,
}

macro_rules! family {
    ($name:literal, $module:ident, $about:literal) => {
        Family {
            name: $name,
            about: $about,
            measure: |bench, table| Box::pin($module::measure(bench, table)),
            comparable: true,
            asked_for: false,
        }
    };
}

/// All families, in the order they run.
pub(crate) const FAMILIES: &[Family] = &[
    family!("start", start, "the API server from exec to ready"),
    family!("writes", writes, "creates, beside etcd's own rate"),
    family!("reads", reads, "consistent reads of one object"),
    family!("lists", lists, "large lists in every form, and what memory they take"),
    family!("watches", watches, "1,000 watchers of objects that change"),
    family!("crds", crds, "1,000 custom resource definitions"),
    family!("scale", scale, "the API server with 10,000 pods, its start with 100,000 objects"),
    family!("scheduling", scheduling, "5,000 pods bound on 1,000 nodes"),
    family!("idle", idle, "API server, controller manager and scheduler when nothing happens"),
    family!("proxy", proxy, "kube-proxy with 10,000 Services × 5 endpoints (root)"),
    Family {
        comparable: false,
        ..family!("cluster", cluster, "a cluster of one node: its daemons when idle, pods up and down (root)")
    },
    Family { comparable: false, ..family!("images", images, "the sizes of the image archives") },
    Family {
        comparable: false,
        asked_for: true,
        ..family!(
            "build",
            build,
            "a release build from nothing, which takes many minutes: only when it is named"
        )
    },
];

/// The families for the help text.
pub(crate) fn help() -> String {
    let line = |family: &Family| format!("\n  {:<12}{}", family.name, family.about);
    format!("Families:{}", FAMILIES.iter().map(line).collect::<String>())
}
