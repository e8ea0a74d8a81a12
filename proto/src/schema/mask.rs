//! Which fields of an object someone looks at.

use super::Name;

/// Fields that are looked at: a tree of JSON names. What a name holds is looked at whole, unless names below it are told. Lists and
/// maps are passed through: a name below them is a field of their items.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    all: bool,
    fields: Vec<(Name, Mask)>,
}

impl Mask {
    /// Everything.
    pub const ALL: &'static Mask = &Mask { all: true, fields: Vec::new() };

    /// The fields at these paths, such as `spec.containers.image`.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut mask = Mask::default();
        for path in paths {
            let mut at = &mut mask;
            for name in path.split('.') {
                at = at.entry(name);
            }
            at.all = true;
        }
        mask
    }

    /// Looks at what another looks at, too.
    pub fn add(&mut self, other: &Mask) {
        self.all |= other.all;
        for (name, mask) in &other.fields {
            self.entry(name).add(mask);
        }
    }

    fn entry(&mut self, name: &str) -> &mut Mask {
        let known = self.fields.iter().position(|(known, _)| known == name);
        let at = known.unwrap_or_else(|| {
            self.fields.push((Name::Owned(name.to_owned()), Mask::default()));
            self.fields.len() - 1
        });
        &mut self.fields[at].1
    }

    /// Whether everything is looked at.
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// What of a field is looked at; `None`: nothing.
    pub fn field(&self, name: &str) -> Option<&Mask> {
        if self.all {
            return Some(self);
        }
        self.fields.iter().find(|(known, _)| known == name).map(|(_, mask)| mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_at_a_whole_sees_its_parts() {
        let mut mask = Mask::of(["spec.nodeName", "metadata.labels"]);
        assert!(!mask.is_all() && mask.field("status").is_none());
        let spec = mask.field("spec").expect("is looked at");
        assert!(spec.field("nodeName").is_some_and(Mask::is_all) && spec.field("volumes").is_none());
        mask.add(&Mask::of(["spec", "status.phase"]));
        assert!(mask.field("spec").and_then(|spec| spec.field("volumes")).is_some_and(Mask::is_all));
        assert!(mask.field("status").is_some_and(|status| status.field("phase").is_some()));
        mask.add(Mask::ALL);
        assert!(mask.field("anything").is_some_and(Mask::is_all));
    }
}
