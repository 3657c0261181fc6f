//! Entries of a person's known hosts for the servers that a policy permits.
//!
//! ```text
//!  ~/.ssh/known_hosts, /etc/ssh/ssh_known_hosts ─▶ names that are permitted on their port ─▶ the agent's file, read-only
//!     hashed names ─▶ those of the policy's own names that have the hash               └─▶ keys whose sessions are signed for
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use netpolicy::decide::{Decider, Question, Reason, Target};
use netpolicy::floor::Surroundings;
use netpolicy::host::{HostName, HostPattern};
use netpolicy::policy::{Matcher, Policy};
use ring::hmac;

use crate::host::clock;

/// The port of ssh, which is not written.
const SSH: u16 = 22;
/// Lines that are looked at.
const MOST_LINES: usize = 20_000;
/// Names of the policy that each hashed line is compared with.
const MOST_NAMES: usize = 500;

/// A server: its name and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Server {
    /// The name.
    pub(super) name: HostName,
    /// The port.
    port: u16,
}

/// Writes a server as a file of known hosts does.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { name, port } = self;
        if *port == SSH { name.fmt(f) } else { write!(f, "[{name}]:{port}") }
    }
}

impl Server {
    /// Reads a server as a file of known hosts writes it. A pattern and an address are none.
    pub(super) fn parse(written: &str) -> Option<Server> {
        let (name, port) = match written.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once("]:")?;
                (name, port.parse().ok()?)
            }
            None => (written, SSH),
        };
        Some(Server { name: HostName::parse(name).ok()?, port })
    }

    /// Tells whether a rule of a policy permits to connect to it. That the run is observed is not
    /// enough: nobody meant the server.
    pub(super) fn is_permitted(&self, decider: &Decider) -> bool {
        let target = Target::Name(self.name.clone());
        let question = Question::about(&target, clock::today()).port(self.port);
        decider.decide(&Surroundings::default(), &question).reason == Reason::Allowed
    }
}

/// Servers, with their keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownHosts {
    /// The permitted names of a server by its key, as ssh writes it.
    by_key: BTreeMap<Vec<u8>, BTreeSet<Server>>,
    /// Lines for the agent's file.
    lines: BTreeSet<String>,
}

impl KnownHosts {
    /// Reads files of known hosts for the servers that a policy permits.
    pub(crate) fn read(files: &[String], policy: &Policy) -> KnownHosts {
        let permitted = Permitted::new(policy);
        let mut known = KnownHosts::default();
        let mut revoked = BTreeSet::new();
        for line in files.iter().flat_map(|text| text.lines()).take(MOST_LINES) {
            let mut words = line.split_ascii_whitespace();
            let Some(first) = words.next().filter(|word| !word.starts_with('#')) else { continue };
            let is_revoked = first == "@revoked";
            // An authority's certificates are no keys of servers.
            let names = match first.starts_with('@') {
                true => words.next().filter(|_| is_revoked),
                false => Some(first),
            };
            let (Some(names), Some(kind), Some(text)) = (names, words.next(), words.next()) else { continue };
            let Ok(key) = STANDARD.decode(text) else { continue };
            if is_revoked {
                revoked.insert(key);
                continue;
            }
            for server in names.split(',').flat_map(|name| permitted.servers(name)) {
                known.lines.insert(format!("{server} {kind} {}", STANDARD.encode(&key)));
                known.by_key.entry(key.clone()).or_default().insert(server);
            }
        }
        for key in revoked {
            let end = format!(" {}", STANDARD.encode(&key));
            known.lines.retain(|line| !line.ends_with(&end));
            known.by_key.remove(&key);
        }
        known
    }

    /// Returns the server that has a key, by its permitted names.
    pub(super) fn servers_of(&self, key: &[u8]) -> Option<&BTreeSet<Server>> {
        self.by_key.get(key)
    }

    /// Tells whether no server is known and permitted.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Returns the names of the servers.
    pub(crate) fn names(&self) -> BTreeSet<&Server> {
        self.by_key.values().flatten().collect()
    }

    /// Returns the agent's file.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    #[cfg(test)]
    pub(super) fn of_one(name: &str, key: &[u8]) -> KnownHosts {
        let server = BTreeSet::from([Server::parse(name).unwrap()]);
        KnownHosts { by_key: BTreeMap::from([(key.to_owned(), server)]), lines: BTreeSet::new() }
    }
}

/// Servers that a policy permits.
struct Permitted {
    decider: Decider,
    /// Single names of the policy with their ports, those on ssh's own port first.
    single: Vec<Server>,
}

impl Permitted {
    fn new(policy: &Policy) -> Permitted {
        let decider = Decider::new(policy.clone());
        let mut single = BTreeSet::new();
        for rule in &policy.allow {
            if let Matcher::Host(HostPattern::Exact(name)) = &rule.matcher {
                single.extend(rule.ports.iter().map(|port| Server { name: name.clone(), port: *port }));
            }
        }
        let mut single: Vec<Server> = single.into_iter().filter(|one| one.is_permitted(&decider)).collect();
        single.sort_by_key(|server| server.port != SSH);
        single.truncate(MOST_NAMES);
        Permitted { decider, single }
    }

    /// Returns the permitted servers that one word of a file stands for: itself, or those that have
    /// its hash. A pattern stands for none.
    fn servers(&self, word: &str) -> Vec<Server> {
        if let Some(hashed) = word.strip_prefix("|1|") {
            let Some((salt, hash)) = hashed.split_once('|') else { return Vec::new() };
            let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else {
                return Vec::new();
            };
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
            let has_hash =
                |server: &&Server| hmac::verify(&key, server.to_string().as_bytes(), &hash).is_ok();
            return self.single.iter().filter(has_hash).cloned().collect();
        }
        let server = Server::parse(&word.to_ascii_lowercase());
        server.filter(|server| server.is_permitted(&self.decider)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use netpolicy::load::rule_from_command_line;

    use super::*;

    fn policy(allowed: &[&str]) -> Policy {
        let rule = |text: &&str| rule_from_command_line("--allow", text).unwrap().into();
        Policy { allow: allowed.iter().map(rule).collect(), ..Policy::nothing() }
    }

    fn hashed(name: &str) -> String {
        let salt = b"twenty bytes of salt";
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
        let hash = hmac::sign(&key, name.as_bytes());
        format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash))
    }

    #[test]
    fn servers_that_are_permitted_on_their_port_are_known_and_no_others() {
        let policy =
            policy(&["git.test:22", "hashed.test:22", "port.test:2222", "web.test:443", "gone.test:22"]);
        let file = format!(
            "# a comment\ngit.test,192.0.2.7 ssh-ed25519 AAAA a comment\n{} ssh-ed25519 BBBB\n\
             [port.test]:2222 ssh-rsa CCCC\nport.test ssh-rsa DDDD\nweb.test ssh-rsa EEEE\n\
             other.test ssh-rsa FFFF\n@cert-authority *.test ssh-rsa GGGG\n*.test ssh-rsa HHHH\n\
             gone.test ssh-rsa IIII\n@revoked * ssh-rsa IIII\n{} ssh-rsa JJJJ\nbroken\ngit.test ssh-rsa !\n",
            hashed("hashed.test"),
            hashed("other.test"),
        );
        let known = KnownHosts::read(&[file], &policy);
        assert_eq!(
            known.text(),
            "[port.test]:2222 ssh-rsa CCCC\ngit.test ssh-ed25519 AAAA\nhashed.test ssh-ed25519 BBBB\n"
        );
        let servers_of = |key| known.servers_of(&STANDARD.decode(key).unwrap());
        assert_eq!(servers_of("BBBB"), Some(&BTreeSet::from([Server::parse("hashed.test").unwrap()])));
        assert_eq!(servers_of("FFFF"), None);
        assert!(KnownHosts::read(&[known.text()], &Policy::nothing()).is_empty());
        let observed = Policy { network_observed: true, ..Policy::nothing() };
        assert!(KnownHosts::read(&[known.text()], &observed).is_empty());
    }
}
