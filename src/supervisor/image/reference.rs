//! Parts of an image's name: registry, repository, tag or digest, as docker reads it.

/// Registry of names that have none.
const DOCKER_IO: &str = "docker.io";

/// A name that a registry can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Host, with its port where it has one.
    pub(crate) registry: String,
    /// The name without tag and digest, as it was typed.
    pub(crate) name: String,
    /// A digest where there is one, else the tag; never empty, since the engine would fetch every
    /// tag then.
    pub(crate) version: String,
    path: String,
}

impl Reference {
    /// Reads a name; none for what no registry has, such as the engine's ids.
    pub(crate) fn parse(text: &str) -> Option<Reference> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) if digest.contains(':') => (name, Some(digest)),
            Some(_) => return None,
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c));
        let is_id = digest.is_none()
            && tag.is_none()
            && name.len() == 64
            && name.chars().all(|c| c.is_ascii_hexdigit());
        // `sha256:…` is an id; a repository of that name would have to be typed with its registry.
        if name.is_empty()
            || name == "sha256"
            || is_id
            || !plain(name)
            || !plain(digest.or(tag).unwrap_or("latest"))
        {
            return None;
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (DOCKER_IO, name),
        };
        let registry = if registry == "index.docker.io" { DOCKER_IO } else { registry };
        let official = registry == DOCKER_IO && !path.contains('/');
        Some(Reference {
            registry: registry.to_owned(),
            name: name.to_owned(),
            version: digest.or(tag).unwrap_or("latest").to_owned(),
            path: if official { format!("library/{path}") } else { path.to_owned() },
        })
    }

    /// Tells whether no registry was typed.
    pub(super) fn has_no_registry(&self) -> bool {
        !self.name.split_once('/').is_some_and(|(first, _)| is_host(first))
    }

    /// Returns the name with everything that was left out: an engine that reads a short one in its
    /// own way would bring the credentials of one registry to another.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// Returns the full name with tag or digest.
    pub(crate) fn full(&self) -> String {
        let between = if self.version.contains(':') { '@' } else { ':' };
        format!("{}{between}{}", self.full_name(), self.version)
    }

    /// Tells whether both are the same repository of the same registry.
    pub(super) fn is_same_repository(&self, other: &Reference) -> bool {
        self.registry == other.registry && self.path == other.path
    }

    /// Returns the repository, the paths that it is part of, and the registry.
    pub(crate) fn scopes(&self) -> Vec<String> {
        let mut scopes = vec![self.full_name()];
        while let Some((above, _)) = scopes.last().and_then(|scope| scope.rsplit_once('/')) {
            let above = above.to_owned();
            scopes.push(above);
        }
        scopes
    }

    /// Returns the key of the registry in docker's configuration.
    pub(crate) fn server(&self) -> &str {
        if self.registry == DOCKER_IO { "https://index.docker.io/v1/" } else { &self.registry }
    }
}

/// Tells whether an engine could have an image of this name or id. A repository is lower-case parts
/// between slashes, each of which begins and ends with a letter or digit.
pub(crate) fn is_possible_name(text: &str) -> bool {
    let Some(reference) = Reference::parse(text) else {
        let id = text.strip_prefix("sha256:").unwrap_or(text);
        return !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit());
    };
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_part = |part: &str| {
        part.starts_with(is_plain)
            && part.ends_with(is_plain)
            && part.chars().all(|c| is_plain(c) || "._-".contains(c))
    };
    reference.registry.starts_with(|c: char| c.is_ascii_alphanumeric())
        && reference.path.split('/').all(is_part)
}

/// Tells whether a name's first part is a registry's host. No user's or team's name has an
/// upper-case letter, so that one is a host too.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::{Reference, is_possible_name};

    #[test]
    fn a_name_that_no_engine_has_is_told_from_others() {
        let id = "a".repeat(64);
        let digest = format!("debian@sha256:{id}");
        let possible = ["debian", "debian:12", "me/my.agent-1:Dev", "localhost:5000/a__b", "R.example/x"];
        for name in possible.into_iter().chain([id.as_str(), "0a1b2c", "sha256:0a1b", &digest]) {
            assert!(is_possible_name(name), "{name}");
        }
        for name in
            ["", ".", "..", "src/", "/srv", "./a", "a/../b", "Project", "a b", "-a", "a//b", "~/a", "a@b"]
        {
            assert!(!is_possible_name(name), "{name}");
        }
    }

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, registry, name, version) in [
            ("debian", "docker.io", "debian", "latest"),
            ("debian:12", "docker.io", "debian", "12"),
            ("me/agent:dev", "docker.io", "me/agent", "dev"),
            ("index.docker.io/me/agent", "docker.io", "index.docker.io/me/agent", "latest"),
            ("localhost/agent", "localhost", "localhost/agent", "latest"),
            ("localhost:5000/a/b", "localhost:5000", "localhost:5000/a/b", "latest"),
            ("registry.example:443/a:1", "registry.example:443", "registry.example:443/a", "1"),
            (&format!("ghcr.io/a/b:1@{digest}"), "ghcr.io", "ghcr.io/a/b", &digest),
            (&format!("debian@{digest}"), "docker.io", "debian", &digest),
            ("MyCorp/agent", "MyCorp", "MyCorp/agent", "latest"),
            ("Localhost/agent:1", "Localhost", "Localhost/agent", "1"),
        ] {
            let found = Reference::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (found.registry.as_str(), found.name.as_str(), found.version.as_str()),
                (registry, name, version),
                "{text}"
            );
        }
    }

    #[test]
    fn a_full_name_leaves_nothing_to_the_engine() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, full) in [
            ("debian", "docker.io/library/debian:latest".to_owned()),
            ("docker.io/debian:12", "docker.io/library/debian:12".to_owned()),
            ("index.docker.io/me/agent", "docker.io/me/agent:latest".to_owned()),
            ("MyCorp/agent", "MyCorp/agent:latest".to_owned()),
            (&format!("ghcr.io/a/b:1@{digest}"), format!("ghcr.io/a/b@{digest}")),
        ] {
            assert_eq!(Reference::parse(text).unwrap().full(), full, "{text}");
        }
    }

    #[test]
    fn ids_and_nonsense_are_no_names() {
        let id = "a".repeat(64);
        for none in ["", "@", "a b", "a\nb", &format!("sha256:{id}"), &id, "a@b", ":1", "a:ä"] {
            assert_eq!(Reference::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_configurations_key_is_the_registry_but_for_docker_hub() {
        let server = |text| Reference::parse(text).unwrap().server().to_owned();
        assert_eq!(server("debian"), "https://index.docker.io/v1/");
        assert_eq!(server("localhost:5000/a"), "localhost:5000");
        // The engine takes that for a host: the Hub's credentials are not for it.
        assert_eq!(server("MyCorp/agent"), "MyCorp");
    }
}
