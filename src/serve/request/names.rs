//! Names that clients give and use.

use std::fmt;

use crate::serve::denied::Denied;
use crate::serve::text::shown;

/// The longest name of an object.
const LONGEST: usize = 255;
/// The longest name of an image.
const LONGEST_IMAGE: usize = 512;
/// Registry of names without one, and its name of old, by which engines mean the same.
const HUB: &str = "docker.io";
const OLD_HUB: &str = "index.docker.io";
/// Beginning of the names of ringfence's own objects.
const OWN: &str = "ringfence-";

/// Tells whether a text has the form of an object's name.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=LONGEST).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(plain)
}

/// Tells whether a text can be taken for an id, or the beginning of one.
fn is_like_an_id(text: &str) -> bool {
    (12..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Name or id by which a client means a container, an exec or a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectRef(String);

impl ObjectRef {
    /// Reads one.
    pub(crate) fn read(text: &str) -> Option<ObjectRef> {
        is_name(text).then(|| ObjectRef(text.to_owned()))
    }

    /// Returns the text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name that a client gives to an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemberName(String);

impl MemberName {
    /// Reads a name. A name that can be taken for an id would win over the container that has the
    /// id; ringfence's own names are its own.
    ///
    /// # Errors
    /// With the reason, in the engine's words where the engine has some.
    pub(crate) fn read(text: &str) -> Result<MemberName, Denied> {
        // The engine takes one slash before a name.
        let name = text.strip_prefix('/').unwrap_or(text);
        if name.len() < 2 || !is_name(name) {
            return Err(Denied::plain(
                400,
                format!(
                    "Invalid container name ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
                    shown(text)
                ),
            ));
        }
        free_name("name", name).map(|()| MemberName(name.to_owned()))
    }

    /// Returns the text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Refuses a new name that can be taken for an id, or for one of ringfence's.
pub(crate) fn free_name(field: &str, name: &str) -> Result<(), Denied> {
    if is_like_an_id(name) {
        return Err(Denied::field(
            field,
            format!("{} can be taken for an id; use a name with another letter than a to f", shown(name)),
        ));
    }
    if name.to_ascii_lowercase().starts_with(OWN) {
        return Err(Denied::field(
            field,
            format!("names that begin with `{OWN}` are ringfence's; choose another"),
        ));
    }
    Ok(())
}

/// Tells whether a colon before the last part of a name stands before a port.
fn has_ports_only(text: &str) -> bool {
    let name = text.split('@').next().unwrap_or_default();
    let before = name.rsplit_once('/').map_or("", |(before, _)| before);
    before.split('/').all(|part| match part.rsplit_once(':') {
        Some((_, port)) if !part.ends_with(']') => port.bytes().all(|byte| byte.is_ascii_digit()),
        _ => true,
    })
}

/// Tells whether a text is a digest: `sha256:…`.
fn is_digest(text: &str) -> bool {
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split_once(':').is_some_and(|(algorithm, digits)| {
        algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric()) && is_hex(digits)
    })
}

/// Name, digest or id by which a client means an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ImageRef(String);

impl ImageRef {
    /// Reads one.
    pub(crate) fn read(text: &str) -> Option<ImageRef> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-:/@[]".contains(c);
        let is_one = (1..=LONGEST_IMAGE).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && text.chars().all(plain)
            && text.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
            && text.split_once('@').is_none_or(|(_, digest)| is_digest(digest))
            && has_ports_only(text);
        is_one.then(|| ImageRef(text.to_owned()))
    }

    /// Reads what a pull names: a repository and, apart from it, a tag or digest.
    pub(crate) fn of_pull(repository: &str, tag: Option<&str>) -> Option<ImageRef> {
        let whole = match tag {
            None => repository.to_owned(),
            Some(_) if repository.contains('@') => return None,
            Some(digest) if digest.contains(':') => format!("{repository}@{digest}"),
            Some(tag) => format!("{repository}:{tag}"),
        };
        let has_tag = ImageRef::read(repository)?.tag_or_digest().is_some();
        if tag.is_some() && has_tag { None } else { ImageRef::read(&whole) }
    }

    /// Returns the text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the repository: the text without tag and digest.
    pub(crate) fn repository(&self) -> &str {
        let name = self.0.split('@').next().unwrap_or_default();
        match name.rsplit_once(':') {
            Some((before, tag)) if !tag.contains('/') => before,
            _ => name,
        }
    }

    /// Returns what stands behind the repository.
    pub(crate) fn tag_or_digest(&self) -> Option<&str> {
        let rest = &self.0[self.repository().len()..];
        rest.get(1..).filter(|rest| !rest.is_empty())
    }

    /// Returns registry and path, by the rule by which engines find them: the first part of a name
    /// with several parts is a registry where it has a dot or a port, is `localhost`, or has an
    /// upper-case letter. (Engines before Docker 23 refuse a name of the last kind.)
    fn parts(&self) -> (&str, &str) {
        let repository = self.repository();
        let is_host = |first: &str| {
            first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase())
        };
        match repository.split_once('/') {
            Some((first, rest)) if first == OLD_HUB => (HUB, rest),
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (HUB, repository),
        }
    }

    /// Returns the registry that an engine asks for it.
    pub(crate) fn registry(&self) -> &str {
        self.parts().0
    }

    /// Returns the repository with its registry, so that an engine has nothing to find out; none
    /// where the registry's name cannot be written so that every engine takes it for one.
    pub(crate) fn written_out(&self) -> Option<String> {
        let (registry, path) = self.parts();
        let registry = registry.to_ascii_lowercase();
        if !registry.contains(['.', ':']) && registry != "localhost" {
            return None;
        }
        let official = if registry == HUB && !path.contains('/') { "library/" } else { "" };
        Some(format!("{registry}/{official}{path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_id_and_not_ringfences() {
        for good in ["web", "shop-web-1", "a1", "0123456789a", "feedc0ffee12x", "/web", "abcdefabcdef-1"] {
            assert!(MemberName::read(good).is_ok(), "{good}");
        }
        assert_eq!(MemberName::read("/web").unwrap().as_str(), "web");
        let ids = ["0123456789ab".to_owned(), "ABCDEFabcdef".to_owned(), "a".repeat(64), "a".repeat(13)];
        for bad in ids.iter().map(String::as_str).chain([
            "ringfence-1",
            "Ringfence-x",
            "",
            "a",
            "//web",
            "-a",
            "a b",
            "a/b",
            "ä1",
            "a\0",
            ".a",
            "a:b",
        ]) {
            assert_eq!(MemberName::read(bad).unwrap_err().status, 400, "{bad}");
        }
        assert!(MemberName::read(&"x".repeat(256)).is_err());
    }

    #[test]
    fn an_image_has_the_registry_that_the_engine_would_ask() {
        for (text, registry, repository, behind) in [
            ("debian", "docker.io", "debian", None),
            ("debian:12", "docker.io", "debian", Some("12")),
            ("library/debian:12", "docker.io", "library/debian", Some("12")),
            ("127.0.0.1:5000/x", "127.0.0.1:5000", "127.0.0.1:5000/x", None),
            ("localhost/x:1", "localhost", "localhost/x", Some("1")),
            ("r.example/a/b@sha256:00", "r.example", "r.example/a/b", Some("sha256:00")),
            ("r.example/a:1@sha256:00", "r.example", "r.example/a", Some("1@sha256:00")),
            ("[::1]:5000/x:1", "[::1]:5000", "[::1]:5000/x", Some("1")),
            ("INTRANET/x", "INTRANET", "INTRANET/x", None),
            ("intraNet/x:1", "intraNet", "intraNet/x", Some("1")),
            ("index.docker.io/debian", "docker.io", "index.docker.io/debian", None),
            ("host:5000", "docker.io", "host", Some("5000")),
        ] {
            let image = ImageRef::read(text).unwrap();
            assert_eq!(
                (image.registry(), image.repository(), image.tag_or_digest()),
                (registry, repository, behind),
                "{text}"
            );
        }
        for bad in ["", "a b", "../x", "a//b", "/a", "a/", "a?x=1", "a#", "http://x/y", "a\n", "-a", "a%2e"] {
            assert_eq!(ImageRef::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_that_is_written_out_leaves_nothing_to_find_out() {
        for (text, written) in [
            ("debian:12", Some("docker.io/library/debian")),
            ("docker.io/debian", Some("docker.io/library/debian")),
            ("Docker.io/debian", Some("docker.io/library/debian")),
            ("index.docker.io/a/b", Some("docker.io/a/b")),
            ("a/b", Some("docker.io/a/b")),
            ("localhost/x", Some("localhost/x")),
            ("R.example:5000/a/b@sha256:00", Some("r.example:5000/a/b")),
            // In lower case it would be a path of another registry's.
            ("INTRANET/x", None),
            ("LOCALhost/x", Some("localhost/x")),
        ] {
            let image = ImageRef::read(text).unwrap();
            assert_eq!(image.written_out().as_deref(), written, "{text}");
            if let Some(written) = written {
                let again = ImageRef::read(written).unwrap();
                assert_eq!(again.registry(), image.registry().to_ascii_lowercase(), "{text}");
            }
        }
    }

    #[test]
    fn a_pull_names_one_image() {
        let of = |name: &str, tag: Option<&str>| ImageRef::of_pull(name, tag).map(|image| image.0);
        assert_eq!(of("debian", Some("12")).as_deref(), Some("debian:12"));
        assert_eq!(of("debian:12", None).as_deref(), Some("debian:12"));
        assert_eq!(of("debian", Some("sha256:00")).as_deref(), Some("debian@sha256:00"));
        for (name, tag) in
            [("debian:12", "13"), ("debian@sha256:00", "x"), ("debian", "a b"), ("debian", "../x")]
        {
            assert_eq!(of(name, Some(tag)), None, "{name} {tag}");
        }
    }
}
