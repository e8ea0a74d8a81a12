//! Names of images.

/// The name isn't one of an image.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("couldn't parse image name {0:?}: invalid reference format")]
pub struct Invalid(String);

/// An image's repository and what follows it.
#[derive(Debug, PartialEq)]
pub struct Name<'a> {
    /// Host and path as written.
    pub repository: &'a str,
    /// The tag as written.
    pub tag: Option<&'a str>,
    /// The digest.
    pub digest: Option<&'a str>,
}

/// Takes a name apart.
pub fn parse(name: &str) -> Result<Name<'_>, Invalid> {
    let invalid = || Invalid(name.to_string());
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    let slash = rest.rfind('/').map_or(0, |i| i + 1);
    let (repository, tag) = match rest[slash..].find(':') {
        Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
        None => (rest, None),
    };
    let path_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let mut parts = repository.split('/').peekable();
    let host = match repository.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => parts.next(),
        _ => None,
    };
    let host_char = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    let host_ok = host.is_none_or(|h| h.bytes().all(host_char));
    let edge = |p: &str| {
        p.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && p.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric())
    };
    let path_ok = parts.peek().is_some() && parts.all(|p| edge(p) && p.bytes().all(path_char));
    let tag_ok = tag.is_none_or(|t| {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        !t.is_empty() && t.len() <= 128 && t.bytes().all(ok) && !t.starts_with(['.', '-'])
    });
    let digest_ok = digest.is_none_or(|d| {
        d.split_once(':')
            .is_some_and(|(_, hex)| hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    if host_ok && path_ok && tag_ok && digest_ok {
        Ok(Name { repository, tag, digest })
    } else {
        Err(invalid())
    }
}

/// The name with the tag it stands for.
pub fn with_default_tag(name: &str) -> Result<String, Invalid> {
    let parsed = parse(name)?;
    let bare = parsed.tag.is_none() && parsed.digest.is_none();
    Ok(if bare { format!("{name}:latest") } else { name.to_string() })
}

/// The repository with its registry written out, which credentials are looked up by.
pub fn registry_path(repository: &str) -> String {
    match repository.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => repository.to_string(),
        Some(_) => format!("docker.io/{repository}"),
        None => format!("docker.io/library/{repository}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let n = parse("localhost:5000/a/b:v1").unwrap();
        assert_eq!((n.repository, n.tag), ("localhost:5000/a/b", Some("v1")));
        assert_eq!(with_default_tag("busybox").unwrap(), "busybox:latest");
        assert_eq!(with_default_tag("h.io/a:1").unwrap(), "h.io/a:1");
        let digest = format!("a@sha256:{}", "0".repeat(64));
        assert_eq!(with_default_tag(&digest).unwrap(), digest);
        for bad in ["", "Nope", "a b", "a:", "a/:x", "-a", "a//b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(registry_path("busybox"), "docker.io/library/busybox");
    }
}
