//! Who an object is.

/// An object's namespace, name and revision, in one text: there are many objects. What was deleted and made anew
/// under its name is to this program a change like any other, so uids aren't kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    text: Box<str>,
    /// Where the first two end.
    ends: [u32; 2],
}

impl Identity {
    /// Of these three.
    pub fn new(namespace: &str, name: &str, resource_version: &str) -> Self {
        let mut end = 0;
        let ends = [namespace, name].map(|part| {
            end += part.len() as u32;
            end
        });
        Identity { text: [namespace, name, resource_version].concat().into(), ends }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.part(0, self.ends[0])
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.part(self.ends[0], self.ends[1])
    }

    /// Its revision.
    pub fn resource_version(&self) -> &str {
        self.part(self.ends[1], self.text.len() as u32)
    }

    fn part(&self, from: u32, to: u32) -> &str {
        self.text.get(from as usize..to as usize).unwrap_or_default()
    }
}

/// Implements [`watch::Object`](component_base::watch::Object) for what has an `identity`.
macro_rules! object {
    ($type:ty) => {
        impl component_base::watch::Object for $type {
            fn namespace(&self) -> &str {
                self.identity.namespace()
            }
            fn name(&self) -> &str {
                self.identity.name()
            }
            fn uid(&self) -> &str {
                ""
            }
            fn resource_version(&self) -> &str {
                self.identity.resource_version()
            }
        }
    };
}
pub(super) use object;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        for parts in [["ns", "name", "12"], ["", "name", "1"], ["", "", ""]] {
            let [namespace, name, revision] = parts;
            let identity = Identity::new(namespace, name, revision);
            let read = [identity.namespace(), identity.name(), identity.resource_version()];
            assert_eq!(read, parts);
        }
    }
}
