//! Keys of objects.

/// The keys of one storage row.
#[derive(Debug, Clone)]
pub struct Keys {
    root: String,
}

impl Keys {
    /// Keys below `etcd_prefix` (with or without slashes at its ends) and the row's prefix.
    pub fn new(etcd_prefix: &str, row_prefix: &str) -> Self {
        Keys { root: format!("/{}/{}/", etcd_prefix.trim_matches('/'), row_prefix) }
    }

    /// What all keys of the row start with, with a slash at the end.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The part of a full key below the root.
    pub fn relative<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.root)
    }

    /// The full key of a relative one.
    pub fn full(&self, relative: &str) -> String {
        format!("{}{relative}", self.root)
    }
}

/// The relative key of an object.
pub fn relative(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// The relative prefix of a namespace's keys; of all keys when it is empty.
pub fn namespace_prefix(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!("{namespace}/") }
}

/// The first key after all that start with the prefix.
pub fn end_of(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    // Prefixes end in an ASCII slash, whose successor is `0`; any other ending takes the largest character after it.
    match end.pop() {
        Some('/') => end.push('0'),
        Some(last) => {
            end.push(last);
            end.push(char::MAX);
        }
        None => {}
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_upstream() {
        let keys = Keys::new("/registry", "services/specs");
        assert_eq!(keys.full(&relative("default", "web")), "/registry/services/specs/default/web");
        assert_eq!(keys.relative("/registry/services/specs/a/b"), Some("a/b"));
        assert_eq!(end_of(keys.root()), "/registry/services/specs0");
    }
}
