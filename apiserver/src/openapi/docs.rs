//! Descriptions of types and fields, which the build script collected.

use proto::schema::Type;

use super::names;

/// Lines of a key, a tab and a description, sorted by key. They stay in the program's file until they are looked up.
const DOCS: &str = include_str!(concat!(env!("OUT_DIR"), "/docs.txt"));
/// A type whose descriptions of `apiVersion` and `kind` are everybody's.
const TYPE_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
/// A type whose description of `metadata` is that of every list.
const LIST: &str = "io.k8s.List";

/// What a model is; empty if it has no description.
pub(super) fn of_model(model: &str) -> String {
    find(model).unwrap_or_default()
}

/// What a field of a type is; empty if it has no description.
pub(super) fn of_field(ty: &Type, field: &str) -> String {
    let own = find(&format!("{}#{field}", names::of_type(ty)));
    let of_all = || match field {
        "apiVersion" | "kind" => find(&format!("{TYPE_META}#{field}")),
        "metadata" | "items" if ty.name.ends_with("List") => find(&format!("{LIST}#{field}")),
        _ => None,
    };
    own.or_else(of_all).unwrap_or_default()
}

/// Searches the lines by halves.
fn find(key: &str) -> Option<String> {
    let mut rest = DOCS;
    while !rest.is_empty() {
        let middle = rest.floor_char_boundary(rest.len() / 2);
        let start = rest[..middle].rfind('\n').map_or(0, |end| end + 1);
        let end = rest[start..].find('\n').map_or(rest.len(), |length| start + length);
        let (own, description) = rest[start..end].split_once('\t')?;
        match key.cmp(own) {
            std::cmp::Ordering::Equal => return Some(description.replace("\\n", "\n")),
            std::cmp::Ordering::Less => rest = &rest[..start],
            std::cmp::Ordering::Greater => rest = rest.get(end + 1..).unwrap_or_default(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_found() {
        assert!(DOCS.lines().count() > 3000);
        for line in DOCS.lines() {
            let (key, description) = line.split_once('\t').unwrap();
            assert_eq!(find(key).as_deref(), Some(&*description.replace("\\n", "\n")), "{key}");
        }
        assert_eq!(find("io.k8s.api.core.v1.PodSpec#nothing"), None);
        assert_eq!(find(""), None);
        assert_eq!(find("zzz"), None);
    }

    #[test]
    fn fields_have_descriptions() {
        let ty = proto::schema::lookup("apps", "v1", "Deployment").unwrap();
        assert!(of_field(ty, "spec").contains("desired behavior"));
        assert!(of_field(ty, "apiVersion").starts_with("APIVersion defines the versioned schema"));
        let list = proto::schema::lookup("apps", "v1", "DeploymentList").unwrap();
        assert!(of_field(list, "metadata").starts_with("Standard list metadata"));
        assert!(of_model("io.k8s.api.core.v1.Pod").starts_with("Pod is a collection of containers"));
    }
}
