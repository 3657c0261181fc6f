//! Entries of a person's known hosts for the servers that a policy permits.
//!
//! ```text
//!  ~/.ssh/known_hosts, /etc/ssh/ssh_known_hosts ─▶ names that are permitted on their port ─▶ the agent's file, read-only
//!     hashed names ─▶ those of the policy's own names that have the hash               └─▶ keys whose sessions are signed for
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use netpolicy::decide::{Decider, Question, Reason, Target};
use netpolicy::floor::Surroundings;
use netpolicy::host::{HostName, HostPattern};
use netpolicy::policy::{Matcher, Policy};
use ring::hmac;

use crate::host::clock;

/// The port of ssh, which is not written.
const SSH: u16 = 22;
/// Decoder of keys, as lenient as there is: a key that is revoked must not be missed.
const KEYS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
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

    /// Reads a server as an option names it: `HOST`, `HOST:PORT`, or as a file of known hosts does.
    fn of_option(named: &str) -> Option<Server> {
        let named = named.to_ascii_lowercase();
        match named.rsplit_once(':').filter(|_| !named.starts_with('[')) {
            Some((name, port)) => {
                Some(Server { name: HostName::parse(name).ok()?, port: port.parse().ok()? })
            }
            None => Server::parse(&named),
        }
    }

    /// Writes it for an option.
    pub(super) fn as_option(&self) -> String {
        let Server { name, port } = self;
        if *port == SSH { name.to_string() } else { format!("{name}:{port}") }
    }

    /// Tells whether a rule of a policy permits to connect to it. That the run is observed is not
    /// enough: nobody meant the server.
    pub(super) fn is_permitted(&self, decider: &Decider) -> bool {
        let target = Target::Name(self.name.clone());
        let question = Question::about(&target, clock::today()).port(self.port);
        decider.decide(&Surroundings::default(), &question).reason == Reason::Allowed
    }
}

/// Lists the names of a server.
pub(super) fn names(servers: &BTreeSet<Server>) -> String {
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Servers, with their keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownHosts {
    /// The permitted names of a server by its key, as ssh writes it.
    by_key: BTreeMap<Vec<u8>, BTreeSet<Server>>,
    /// Lines for the agent's file.
    lines: BTreeSet<String>,
    /// Servers at which logins that name no server are signed too.
    plain: BTreeSet<Server>,
    /// Servers that are not permitted and have a key of one that is.
    same_key: BTreeSet<Server>,
}

impl KnownHosts {
    /// Reads files of known hosts for the servers that a policy permits.
    ///
    /// # Errors
    /// When there are more lines than are looked at: one of the rest may revoke a key.
    pub(crate) fn read(files: &[String], policy: &Policy) -> Result<KnownHosts, String> {
        let permitted = Permitted::new(policy);
        let mut known = KnownHosts::default();
        let (mut revoked, mut others) = (BTreeSet::new(), Vec::new());
        if files.iter().flat_map(|text| text.lines()).nth(MOST_LINES).is_some() {
            return Err(format!("your known hosts have more than {MOST_LINES} lines"));
        }
        for line in files.iter().flat_map(|text| text.lines()) {
            let mut words = line.split_ascii_whitespace();
            let Some(first) = words.next().filter(|word| !word.starts_with('#')) else { continue };
            let is_revoked = first == "@revoked";
            // An authority's certificates are no keys of servers.
            let names = match first.starts_with('@') {
                true => words.next().filter(|_| is_revoked),
                false => Some(first),
            };
            let (Some(names), Some(kind), Some(text)) = (names, words.next(), words.next()) else { continue };
            let Ok(key) = KEYS.decode(text) else { continue };
            if is_revoked {
                revoked.insert(key);
                continue;
            }
            for server in names.split(',').flat_map(|name| permitted.servers(name)) {
                known.lines.insert(format!("{server} {kind} {}", STANDARD.encode(&key)));
                known.by_key.entry(key.clone()).or_default().insert(server);
            }
            others.extend(names.split(',').filter_map(|name| Some((key.clone(), permitted.other(name)?))));
        }
        for key in revoked {
            let end = format!(" {}", STANDARD.encode(&key));
            known.lines.retain(|line| !line.ends_with(&end));
            known.by_key.remove(&key);
        }
        let has_key = |(key, server)| known.by_key.contains_key(&key).then_some(server);
        known.same_key = others.into_iter().filter_map(has_key).collect();
        Ok(known)
    }

    /// Permits logins that name no server at one that is permitted and known, as an option names
    /// it; `false` where it is not.
    pub(crate) fn consent_to_plain(&mut self, named: &str) -> bool {
        let server = Server::of_option(named);
        let server = server.filter(|server| self.by_key.values().any(|servers| servers.contains(server)));
        let is_known = server.is_some();
        self.plain.extend(server);
        is_known
    }

    /// Tells whether logins that name no server are signed at this one.
    pub(super) fn takes_plain(&self, servers: &BTreeSet<Server>) -> bool {
        !self.plain.is_disjoint(servers)
    }

    /// Returns the servers at which logins that name no server are signed too.
    pub(crate) fn plain(&self) -> &BTreeSet<Server> {
        &self.plain
    }

    /// Returns the names that are not permitted and share a key with one that is.
    pub(crate) fn same_key(&self) -> &BTreeSet<Server> {
        &self.same_key
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
        KnownHosts { by_key: BTreeMap::from([(key.to_owned(), server)]), ..KnownHosts::default() }
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

    /// Returns a server in clear that is not permitted.
    fn other(&self, word: &str) -> Option<Server> {
        let server = Server::parse(&word.to_ascii_lowercase())?;
        (!server.is_permitted(&self.decider)).then_some(server)
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
        let known = KnownHosts::read(&[file], &policy).unwrap();
        assert_eq!(
            known.text(),
            "[port.test]:2222 ssh-rsa CCCC\ngit.test ssh-ed25519 AAAA\nhashed.test ssh-ed25519 BBBB\n"
        );
        let servers_of = |key| known.servers_of(&STANDARD.decode(key).unwrap());
        assert_eq!(servers_of("BBBB"), Some(&BTreeSet::from([Server::parse("hashed.test").unwrap()])));
        assert_eq!(servers_of("FFFF"), None);
        assert!(KnownHosts::read(&[known.text()], &Policy::nothing()).unwrap().is_empty());
        let observed = Policy { network_observed: true, ..Policy::nothing() };
        assert!(KnownHosts::read(&[known.text()], &observed).unwrap().is_empty());
    }

    #[test]
    fn a_revoked_key_is_not_missed() {
        let policy = policy(&["git.test:22"]);
        let key = "git.test ssh-rsa AAAA\ngit.test ssh-ed25519 AAAAAA==\n".to_owned();
        let read = |files: &[String]| KnownHosts::read(files, &policy);
        assert_eq!(read(std::slice::from_ref(&key)).unwrap().by_key.len(), 2);
        // However it is written.
        for revoked in ["AAAAAA==", "AAAAAA", "AAAAAB=="] {
            let left = read(&[key.clone(), format!("@revoked * ssh-ed25519 {revoked}\n")]).unwrap();
            assert_eq!(left.text(), "git.test ssh-rsa AAAA\n", "{revoked}");
        }
        assert!(read(&["#\n".repeat(MOST_LINES)]).is_ok());
        assert!(read(&["#\n".repeat(MOST_LINES), "#\n".to_owned()]).is_err());
    }

    #[test]
    fn a_server_with_the_key_of_a_permitted_one_is_told() {
        let file = "git.test,192.0.2.7 ssh-rsa AAAA\ninternal.test,[git.test]:2222 ssh-rsa AAAA\n\
                    other.test ssh-rsa BBBB\n";
        let known = KnownHosts::read(&[file.to_owned()], &policy(&["git.test:22"])).unwrap();
        assert_eq!(names(known.same_key()), "[git.test]:2222, internal.test");
    }

    #[test]
    fn a_server_is_named_by_an_option_as_it_is_told() {
        for (option, written) in [
            ("git.test", "git.test"),
            ("Git.test:2222", "[git.test]:2222"),
            ("[git.test]:2222", "[git.test]:2222"),
        ] {
            let server = Server::of_option(option).unwrap();
            assert_eq!(server.to_string(), written);
            assert_eq!(Server::of_option(&server.as_option()), Some(server));
        }
        for none in ["", "git.test:x", "*.test", "git.test:"] {
            assert_eq!(Server::of_option(none), None, "{none}");
        }
    }
}
