//! Events as plans decide on them; an executor records them on an object.

/// What happened to the object that a plan is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Whether it calls for attention: type `Warning` instead of `Normal`.
    pub warning: bool,
    /// One CamelCase word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Event {
    /// An event of type `Normal`.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Event { warning: false, reason, message: message.into() }
    }

    /// An event of type `Warning`.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Event { warning: true, reason, message: message.into() }
    }
}
