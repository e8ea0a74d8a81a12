//! kube-proxy.
pub mod nft;
