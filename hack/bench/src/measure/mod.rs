//! The measures, a file per family.

mod crds;
mod idle;
mod lists;
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
type Family = for<'a> fn(&'a Bench, &'a mut Table) -> LocalBoxFuture<'a, Result<()>>;

/// All families by name, in the order they run.
pub(crate) const FAMILIES: &[(&str, Family)] = &[
    ("start", |bench, table| Box::pin(start::measure(bench, table))),
    ("writes", |bench, table| Box::pin(writes::measure(bench, table))),
    ("reads", |bench, table| Box::pin(reads::measure(bench, table))),
    ("lists", |bench, table| Box::pin(lists::measure(bench, table))),
    ("watches", |bench, table| Box::pin(watches::measure(bench, table))),
    ("crds", |bench, table| Box::pin(crds::measure(bench, table))),
    ("scale", |bench, table| Box::pin(scale::measure(bench, table))),
    ("scheduling", |bench, table| Box::pin(scheduling::measure(bench, table))),
    ("idle", |bench, table| Box::pin(idle::measure(bench, table))),
];
