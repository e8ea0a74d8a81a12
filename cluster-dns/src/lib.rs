//! The cluster's DNS server, for clusters that can't pull CoreDNS: the zone of Services and pods by version 1.1 of the
//! Kubernetes DNS specification, everything else forwarded to the node's resolvers.

pub mod answer;
pub mod forward;
pub mod server;
pub mod zone;
