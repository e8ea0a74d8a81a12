//! The container runtime interface, version `runtime.v1`.
//!
//! The messages are plain `prost` structs; a field this code never reads is left out, which the wire
//! format permits in both directions. Fields of an enumeration are `i32`, as `prost` keeps them, so
//! that a value from a newer runtime survives.

mod client;
mod container;
mod image;
mod runtime;
mod sandbox;
mod security;

pub use client::{Client, ConnectError, Events};
pub use container::*;
pub use image::*;
pub use runtime::*;
pub use sandbox::*;
pub use security::*;

impl Signal {
    /// The signal whose Kubernetes name (`SIGTERM`, `SIGRTMIN+1`) this is.
    pub fn from_name(name: &str) -> Option<Signal> {
        let plain = name.replace('+', "PLUS").replace('-', "MINUS");
        (0..=64).filter_map(|n| Signal::try_from(n).ok()).find(|s| format!("{s:?}").to_uppercase() == plain)
    }

    /// The Kubernetes name; none for the runtime's default.
    pub fn name(self) -> Option<String> {
        if self == Signal::RuntimeDefault {
            return None;
        }
        let upper = format!("{self:?}").to_uppercase();
        Some(upper.replace("PLUS", "+").replace("MINUS", "-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_names_of_the_pod_api() {
        assert_eq!(Signal::from_name("SIGTERM"), Some(Signal::Sigterm));
        assert_eq!(Signal::from_name("SIGRTMIN+3").and_then(Signal::name).as_deref(), Some("SIGRTMIN+3"));
        assert_eq!(Signal::from_name("SIGWHAT"), None);
    }

    #[test]
    fn a_message_survives_the_wire() {
        use prost::Message;
        let config = PodSandboxConfig {
            hostname: "h".into(),
            annotations: [("a".to_string(), "b".to_string())].into(),
            ..Default::default()
        };
        let bytes = config.encode_to_vec();
        // hostname is field 2, annotations field 7: the numbers of the published interface.
        assert_eq!(&bytes[..3], &[0x12, 1, b'h']);
        assert_eq!(PodSandboxConfig::decode(&bytes[..]).unwrap(), config);
    }
}
