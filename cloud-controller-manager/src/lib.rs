//! The cloud controller manager: upstream's controllers over a [`cloud::CloudProvider`], and the in-tree provider
//! `bare-metal` for plain Linux hosts.
//!
//! The bare-metal provider has two halves. The elected leader decides and writes API objects; every node's agent
//! reads them and executes in its kernel:
//!
//! | decision | where it is written | what the agent does |
//! | --- | --- | --- |
//! | how a node's pods are reached | `bare-metal.keelson.io/routes` on the Node | routes; masquerade for the rest |
//! | a Service's address | `status.loadBalancer` of the Service | |
//! | which node announces it | `bare-metal.keelson.io/announced-by` on the Service | ARP |

pub mod agent;
pub mod app;
pub mod bare_metal;
pub mod cloud;
pub mod controllers;
pub mod objects;
