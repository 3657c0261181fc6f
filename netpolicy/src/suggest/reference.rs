//! Target of a reference in a lockfile: URLs with a tool's prefixes, git's short forms, paths.
//!
//! ```text
//!  git+https://…, user@host:path, ../x, https://${USER}@host/… ──read──▶ Remote | Local | Unreadable
//! ```

use crate::target::Endpoint;

/// Target of a reference.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReferenceTarget {
    /// Another machine, by name or address, and the port there.
    Remote(Endpoint),
    /// The project itself, or this machine's files.
    Local,
    /// A text from which no host can be read.
    Unreadable(&'static str),
}

/// Ports of schemes that [`Endpoint`] does not know, since no policy is written with them.
const OTHER_PORTS: &[(&str, u16)] = &[("ftp", 21), ("svn", 3690), ("rsync", 873)];
/// Prefixes of a reference to something local.
const LOCAL: &[&str] = &["file:", "link:", "portal:", "workspace:", "cdrom:", "./", "../", "/", "~/"];

/// Reads one reference. Secrets in it (user, password, query) go no further.
pub(super) fn read(text: &str) -> ReferenceTarget {
    let text = text.trim();
    if text.is_empty() || LOCAL.iter().any(|begin| text.starts_with(begin)) || text == "." {
        return ReferenceTarget::Local;
    }
    match text.split_once("://") {
        Some((scheme, rest)) => url(scheme, rest),
        None => short(text),
    }
}

fn url(scheme: &str, rest: &str) -> ReferenceTarget {
    let scheme = scheme.to_ascii_lowercase();
    // `git+https`, `registry+https`: the last word carries. `svn+ssh` is ssh, and so is `ssh+git`.
    let words: Vec<&str> = scheme.split('+').collect();
    let carrier = if words.contains(&"ssh") { "ssh" } else { words.last().copied().unwrap_or_default() };
    if carrier == "file" {
        return ReferenceTarget::Local;
    }
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or(rest);
    // Variables stand for a user and a password more often than for a host.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        return ReferenceTarget::Unreadable("names no host");
    }
    if host.contains(['$', '{', '}', '%', '<', '>', '*']) {
        return ReferenceTarget::Unreadable("its host is a variable");
    }
    let parsed = match OTHER_PORTS.iter().find(|(other, _)| *other == carrier) {
        Some((_, port)) if !has_port(host) => Endpoint::parse(&format!("tcp://{host}:{port}")),
        Some(_) => Endpoint::parse(&format!("tcp://{host}")),
        None => Endpoint::parse(&format!("{carrier}://{host}")),
    };
    match parsed {
        Ok(endpoint) => ReferenceTarget::Remote(endpoint),
        // The text may hold a secret, and is not repeated.
        Err(_) => ReferenceTarget::Unreadable("names no host that can be read from it"),
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads git's `[user@]host:path`, and forges by their short names.
fn short(text: &str) -> ReferenceTarget {
    let Some((before, _)) = text.split_once(':') else {
        return ReferenceTarget::Unreadable("names no host");
    };
    if let Some((_, host)) = FORGES.iter().find(|(forge, _)| *forge == before) {
        return url("https", host);
    }
    if before.contains(['/', '$', '{']) || before.len() < 2 {
        // A path, and a drive of Windows.
        return ReferenceTarget::Local;
    }
    let host = before.rsplit_once('@').map_or(before, |(_, host)| host);
    url("ssh", host)
}

/// Forges that package managers know by a word: `github:user/repo`.
const FORGES: &[(&str, &str)] = &[
    ("github", "github.com"),
    ("gitlab", "gitlab.com"),
    ("bitbucket", "bitbucket.org"),
    ("gist", "gist.github.com"),
];

#[cfg(test)]
mod tests {
    use super::{ReferenceTarget, read};

    #[test]
    fn references_of_many_tools() {
        for (text, expected) in [
            ("https://a.example/x.tgz#sha", "a.example:443"),
            ("https://${USER}:${PASS}@a.example/x", "a.example:443"),
            ("https://$USER@a.example:8443/$PATH", "a.example:8443"),
            ("git+ssh://git@a.example/x.git#0123", "a.example:22"),
            ("git+ssh://git@a.example:group/x.git", "none"),
            ("ssh+git://git@a.example/x.git", "a.example:22"),
            ("svn+ssh://a.example/x", "a.example:22"),
            ("registry+https://a.example/index", "a.example:443"),
            ("hg+http://a.example/x", "a.example:80"),
            ("git://a.example/x.git", "a.example:9418"),
            ("ftp://a.example/x", "a.example:21"),
            ("git@a.example:group/x.git", "a.example:22"),
            ("a.example:group/x.git", "a.example:22"),
            ("github:user/repo", "github.com:443"),
            ("HTTPS://A.Example./x", "a.example:443"),
            ("https://10.0.0.1/x", "10.0.0.1:443"),
            ("https://a.example?x=https://b.example/", "a.example:443"),
        ] {
            let shown = match read(text) {
                ReferenceTarget::Remote(endpoint) => endpoint.to_string(),
                _ => "none".to_owned(),
            };
            assert_eq!(shown, expected, "{text}");
        }
    }

    #[test]
    fn what_is_local_and_what_says_nothing() {
        for text in ["file:../x", "git+file:///srv/x.git", "../x.git", "/srv/x", "C:/x", "link:./x", "."] {
            assert_eq!(read(text), ReferenceTarget::Local, "{text}");
        }
        for text in ["https://${HOST}/x", "https:///x", "x", "https://<host>/", "gopher://a.example"] {
            assert!(matches!(read(text), ReferenceTarget::Unreadable(_)), "{text}");
        }
    }
}
