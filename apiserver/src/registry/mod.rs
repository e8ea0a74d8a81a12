//! A kind is data: the rows that tell the one engine how each resource is stored and served.
//!
//! Invariants:
//! - A [`Storage`] row owns one key prefix in etcd; any number of [`Endpoint`] rows serve it in their versions.
//! - Hooks are plain functions over hub-version trees. They are pure but for [`Hooks::begin`], whose effects can be
//!   reverted. Engine-owned metadata (uid, creationTimestamp, resourceVersion, managedFields) is not theirs.
//! - A [`Registry`] is an immutable snapshot; custom resources publish a new one through [`Shared`].

mod builtin;
pub(crate) mod callback;
mod checks;
pub(crate) mod columns;
mod context;
mod declarative;
mod defaults;
mod deprecated;
mod gates;
mod hooks;
mod kind;
#[cfg(test)]
mod listing;
mod rows;
mod settings;
mod snapshot;
mod strategy;
mod warnings;

mod admissionregistration;
mod apiextensions;
mod apiregistration;
pub(crate) mod apps;
mod autoscaling;
mod batch;
pub(crate) mod certificates;
mod coordination;
pub(crate) mod core;
mod discovery;
mod events;
mod flowcontrol;
mod internal;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
mod scheduling;
mod storage;
mod storagemigration;

pub use builtin::{builtin, enabled_by_default, install};

pub(crate) use checks::standard_finalizer;
pub use columns::ages::{Ages, Open};
pub use context::{Ctx, Local, Observer, Services, TokenIssuer, Update};
pub use gates::Disabled;
pub use hooks::{Ask, Begin, Compute, Create, Hooks, Reservation};
pub use rows::{
    Backing, Column, Connect, Conversion, Endpoint, ExternalConversion, Handler, Name, Scale, ScaleSelector,
    Selectable, Storage, Subresource, Verbs, names,
};
pub use settings::Settings;
pub use snapshot::{Builder, Registry, Served, Shared};
