//! Requests to a person's ssh agent: which of them an agent in a fence may make.
//!
//! ```text
//!  list identities ──▶ answered here, with the keys of this run
//!  session-bind ─────▶ signed by a server that is known and permitted? ─▶ passed, and its session remembered
//!  sign ─────────────▶ a login at that very session that names its server, with a key of this run? ─▶ passed
//!  anything else ────▶ failure
//! ```
//! A signature of a server's key binds nobody: everybody who holds that key can sign the session of
//! any other server. So the login itself must name the key (`publickey-hostbound-v00@openssh.com`),
//! and no other server takes it. A plain login names no server. It is signed where the person
//! consented to that for the server, and then everybody who holds the server's key can use it
//! elsewhere.

use std::collections::BTreeSet;

use super::host_key;
use super::keys::Keys;
use super::known_hosts::{KnownHosts, Server};
use super::persons_agent::REQUEST_IDENTITIES;
use super::wire::Fields;

/// Request for a signature.
const SIGN_REQUEST: u8 = 13;
/// Request that is named by a string.
const EXTENSION: u8 = 27;
/// The one extension that is passed on.
const SESSION_BIND: &[u8] = b"session-bind@openssh.com";
/// The method whose signed bytes hold the server's key.
const HOSTBOUND: &[u8] = b"publickey-hostbound-v00@openssh.com";
/// The method whose signed bytes name no server.
const PLAIN: &[u8] = b"publickey";
/// A login at a server, of ssh's own messages.
const USERAUTH_REQUEST: u8 = 50;
/// Flags of a signature: RSA with SHA-256, with SHA-512.
const FLAGS: u32 = 2 | 4;
/// Beginning of the kinds of keys whose signature without a flag would be one with SHA-1.
const RSA: &[u8] = b"ssh-rsa";
/// Sessions that one connection may be bound to.
const MOST_SESSIONS: usize = 16;
/// Lengths of a session's number: of the hashes that a key exchange ends with. Servers sign other
/// things too, which are longer.
const SESSION_LENGTHS: [usize; 4] = [20, 32, 48, 64];
/// The longest user's name and name of an algorithm in a login.
const LONGEST_WORD: usize = 255;

/// The judge of one connection's requests.
#[derive(Debug)]
pub(super) struct Filter<'k> {
    known: &'k KnownHosts,
    keys: &'k Keys,
    sessions: Vec<Session<'k>>,
}

/// A session that a permitted server has proven to be its own.
#[derive(Debug)]
struct Session<'k> {
    id: Vec<u8>,
    host_key: Vec<u8>,
    servers: &'k BTreeSet<Server>,
}

/// Judgement of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged<'r, 'k> {
    /// It asks for the list of keys.
    List,
    /// It goes on to the person's agent as it is.
    Pass,
    /// So does a signature, for a login.
    Login(Login<'r, 'k>),
    /// It would be a login, and names no server, without consent to that. It is refused.
    Plain(&'k BTreeSet<Server>),
    /// It is answered by a failure.
    Refused,
}

/// A login for which a signature is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login<'r, 'k> {
    /// The key, as ssh writes it.
    pub(super) key: &'r [u8],
    /// The user's name at the server.
    pub(super) user: &'r str,
    /// The server, by all its permitted names.
    pub(super) servers: &'k BTreeSet<Server>,
    /// The signed bytes hold the server's key, so that no other server takes them.
    names_server: bool,
}

impl<'k> Filter<'k> {
    pub(super) fn new(known: &'k KnownHosts, keys: &'k Keys) -> Filter<'k> {
        Filter { known, keys, sessions: Vec::new() }
    }

    /// Judges a request, without the length before it.
    pub(super) fn judge<'r>(&mut self, request: &'r [u8]) -> Judged<'r, 'k> {
        let Some((kind, rest)) = request.split_first() else { return Judged::Refused };
        let judged = match *kind {
            REQUEST_IDENTITIES if rest.is_empty() => Some(Judged::List),
            EXTENSION => self.bind(Fields::of(rest)).map(|()| Judged::Pass),
            SIGN_REQUEST => self.login(Fields::of(rest)).map(|login| self.of_method(login)),
            _ => None,
        };
        judged.unwrap_or(Judged::Refused)
    }

    /// Judges a login by its method.
    fn of_method<'r>(&self, login: Login<'r, 'k>) -> Judged<'r, 'k> {
        match login.names_server || self.known.takes_plain(login.servers) {
            true => Judged::Login(login),
            false => Judged::Plain(login.servers),
        }
    }

    /// Remembers a session that a permitted server signed.
    fn bind(&mut self, mut fields: Fields<'_>) -> Option<()> {
        if fields.string()? != SESSION_BIND || self.sessions.len() >= MOST_SESSIONS {
            return None;
        }
        let (host_key, id, signature) = (fields.string()?, fields.string()?, fields.string()?);
        let is_forwarding = fields.byte()?;
        fields.end()?;
        let servers = self.known.servers_of(host_key)?;
        let is_session = is_forwarding == 0 && SESSION_LENGTHS.contains(&id.len());
        if !is_session || !host_key::is_signed(host_key, signature, id) {
            return None;
        }
        self.sessions.push(Session { id: id.to_owned(), host_key: host_key.to_owned(), servers });
        Some(())
    }

    /// Reads a request for a signature that is a login at a remembered session.
    fn login<'r>(&self, mut fields: Fields<'r>) -> Option<Login<'r, 'k>> {
        let (key, data, flags) = (fields.string()?, fields.string()?, fields.number()?);
        fields.end()?;
        let mut data = Fields::of(data);
        let id = data.string()?;
        if data.byte()? != USERAUTH_REQUEST {
            return None;
        }
        let (user, service, method) = (data.text()?, data.string()?, data.string()?);
        let has_signature = data.byte()?;
        let algorithm = data.text()?;
        let own_key = data.string()?;
        let session = self.sessions.iter().find(|session| session.id == id)?;
        let is_at_its_server = match method {
            PLAIN => true,
            HOSTBOUND => data.string()? == session.host_key,
            _ => false,
        };
        data.end()?;
        let is_login = service == b"ssh-connection" && has_signature == 1 && own_key == key;
        let is_bounded = user.len() <= LONGEST_WORD && algorithm.len() <= LONGEST_WORD;
        let is_strong = flags & !FLAGS == 0 && (flags != 0 || !Fields::of(key).string()?.starts_with(RSA));
        let is_permitted = is_at_its_server && is_login && is_bounded && is_strong && self.keys.contains(key);
        let (servers, names_server) = (session.servers, method == HOSTBOUND);
        is_permitted.then_some(Login { key, user, servers, names_server })
    }
}

#[cfg(test)]
mod tests {
    use super::super::host_key::tests::ServerKey;
    use super::super::wire::string;
    use super::*;

    /// The number of a session.
    const SESSION: &[u8] = &[7; 32];

    /// A key of the person's, of another kind than any that is known.
    fn key() -> Vec<u8> {
        [string(b"ssh-test"), string(b"the person's public key")].concat()
    }

    fn bind(key: &[u8], id: &[u8], signature: &[u8], forwarding: u8) -> Vec<u8> {
        let parts = [string(SESSION_BIND), string(key), string(id), string(signature)].concat();
        [&[EXTENSION][..], &parts, &[forwarding]].concat()
    }

    /// The end of a login that names this server.
    fn bound(server: &ServerKey) -> Vec<u8> {
        string(&server.public)
    }

    fn data(id: &[u8], method: &[u8], more: &[u8]) -> Vec<u8> {
        let head =
            [&string(id)[..], &[USERAUTH_REQUEST], &string(b"git"), &string(b"ssh-connection")].concat();
        [&head[..], &string(method), &[1], &string(b"ssh-test"), &string(&key()), more].concat()
    }

    fn sign(key: &[u8], data: &[u8], flags: u32) -> Vec<u8> {
        [&[SIGN_REQUEST][..], &string(key), &string(data), &flags.to_be_bytes()].concat()
    }

    fn is_login(judged: &Judged<'_, '_>) -> bool {
        let server = Server::parse("git.test").unwrap();
        matches!(judged, Judged::Login(Login { user: "git", servers, .. }) if servers.contains(&server))
    }

    #[test]
    fn a_login_at_a_permitted_server_is_signed_and_nothing_else_is() {
        let (server, stranger) = (ServerKey::new(1), ServerKey::new(2));
        let (known, keys) = (KnownHosts::of_one("git.test", &server.public), Keys::of(&[&key()]));
        let mut filter = Filter::new(&known, &keys);
        let login = sign(&key(), &data(SESSION, HOSTBOUND, &bound(&server)), 4);
        assert_eq!(filter.judge(&login), Judged::Refused, "no server has proven anything");
        assert_eq!(filter.judge(&[REQUEST_IDENTITIES]), Judged::List);
        let longer = [SESSION, b"x"].concat();
        for refused in [
            bind(&stranger.public, SESSION, &stranger.sign(SESSION), 0),
            bind(&server.public, SESSION, &stranger.sign(SESSION), 0),
            bind(&server.public, SESSION, &server.sign(b"another"), 0),
            bind(&server.public, SESSION, &server.sign(SESSION), 1),
            bind(&server.public, &longer, &server.sign(&longer), 0),
            bind(&server.public, b"", &server.sign(b""), 0),
        ] {
            assert_eq!(filter.judge(&refused), Judged::Refused);
            assert_eq!(filter.judge(&login), Judged::Refused);
        }
        assert_eq!(filter.judge(&bind(&server.public, SESSION, &server.sign(SESSION), 0)), Judged::Pass);
        assert!(is_login(&filter.judge(&login)));
        for refused in [
            sign(&key(), &data(&[8; 32], HOSTBOUND, &bound(&server)), 0),
            sign(&key(), &data(SESSION, HOSTBOUND, &bound(&stranger)), 0),
            sign(&key(), &data(SESSION, HOSTBOUND, b""), 0),
            sign(&key(), &data(SESSION, HOSTBOUND, &[bound(&server), b"more".to_vec()].concat()), 0),
            sign(&key(), &data(SESSION, PLAIN, b"more"), 0),
            sign(&key(), &data(SESSION, b"password", b""), 0),
            sign(&string(b"another key"), &data(SESSION, HOSTBOUND, &bound(&server)), 0),
            sign(&key(), &data(SESSION, HOSTBOUND, &bound(&server)), 1),
            sign(&key(), b"SSHSIG a file or a commit", 0),
            sign(&key(), b"", 0),
        ] {
            assert_eq!(filter.judge(&refused), Judged::Refused);
        }
    }

    /// A holder of a permitted server's key signs the session of another server with it. The
    /// login there is refused: a plain one for want of consent, one that names the other server.
    #[test]
    fn a_session_that_a_server_s_key_signed_for_another_server_is_no_login_there() {
        let (server, elsewhere) = (ServerKey::new(1), ServerKey::new(2));
        let mut known = KnownHosts::of_one("git.test", &server.public);
        let keys = Keys::of(&[&key()]);
        let foreign = [9; 32];
        let bind = bind(&server.public, &foreign, &server.sign(&foreign), 0);
        let plain = sign(&key(), &data(&foreign, PLAIN, b""), 4);
        let names = BTreeSet::from([Server::parse("git.test").unwrap()]);
        {
            let mut filter = Filter::new(&known, &keys);
            assert_eq!(filter.judge(&bind), Judged::Pass);
            assert_eq!(filter.judge(&plain), Judged::Plain(&names));
            let bound = sign(&key(), &data(&foreign, HOSTBOUND, &bound(&elsewhere)), 4);
            assert_eq!(filter.judge(&bound), Judged::Refused);
        }
        // Consent to another server changes nothing, and to this one everything.
        assert!(!known.consent_to_plain("mirror.test"));
        for (name, is_signed) in [("git.test:2222", false), ("git.test", true)] {
            assert_eq!(known.consent_to_plain(name), is_signed);
            let mut filter = Filter::new(&known, &keys);
            filter.judge(&bind);
            assert_eq!(is_login(&filter.judge(&plain)), is_signed);
        }
    }

    #[test]
    fn a_key_that_is_not_lent_signs_nothing() {
        let server = ServerKey::new(1);
        let known = KnownHosts::of_one("git.test", &server.public);
        let bind = bind(&server.public, SESSION, &server.sign(SESSION), 0);
        let login = sign(&key(), &data(SESSION, HOSTBOUND, &bound(&server)), 4);
        for (keys, is_lent) in [(Keys::of(&[&key()]), true), (Keys::of(&[b"another"]), false)] {
            let mut filter = Filter::new(&known, &keys);
            assert_eq!(filter.judge(&bind), Judged::Pass);
            assert_eq!(is_login(&filter.judge(&login)), is_lent);
        }
    }

    #[test]
    fn a_key_of_rsa_signs_without_sha_1() {
        let server = ServerKey::new(1);
        let known = KnownHosts::of_one("git.test", &server.public);
        let key = [string(b"ssh-rsa"), string(b"numbers")].concat();
        let keys = Keys::of(&[&key]);
        let mut filter = Filter::new(&known, &keys);
        filter.judge(&bind(&server.public, SESSION, &server.sign(SESSION), 0));
        let head =
            [&string(SESSION)[..], &[USERAUTH_REQUEST], &string(b"git"), &string(b"ssh-connection")].concat();
        let own = [string(HOSTBOUND), vec![1], string(b"rsa"), string(&key), bound(&server)].concat();
        let data = [&head[..], &own].concat();
        for (flags, is_signed) in [(0, false), (2, true), (4, true), (8, false)] {
            assert_eq!(is_login(&filter.judge(&sign(&key, &data, flags))), is_signed, "{flags}");
        }
    }

    #[test]
    fn no_other_request_is_passed_on() {
        let (known, keys) = (KnownHosts::of_one("git.test", &ServerKey::new(1).public), Keys::of(&[&key()]));
        let mut filter = Filter::new(&known, &keys);
        for kind in (0..=255).filter(|kind| *kind != REQUEST_IDENTITIES) {
            for rest in [&b""[..], b"\0\0\0\0", b"x"] {
                assert_eq!(filter.judge(&[&[kind][..], rest].concat()), Judged::Refused, "{kind}");
            }
        }
        assert_eq!(filter.judge(b""), Judged::Refused);
        assert_eq!(filter.judge(&[REQUEST_IDENTITIES, 0]), Judged::Refused);
        let query = [&[EXTENSION][..], &string(b"query")].concat();
        assert_eq!(filter.judge(&query), Judged::Refused);
    }

    /// OpenSSH's own requests pass. One with a changed byte is refused.
    #[test]
    fn a_login_of_openssh_is_signed_for_each_kind_of_host_key() {
        use base64::Engine as _;
        let lines = include_str!("openssh.txt").lines().filter(|line| !line.starts_with('#'));
        let mut kinds = Vec::new();
        for line in lines {
            let mut words = line.split(' ');
            kinds.push(words.next().unwrap());
            let mut bytes =
                || base64::engine::general_purpose::STANDARD.decode(words.next().unwrap()).unwrap();
            let (bind, sign) = (bytes(), bytes());
            let mut fields = Fields::of(&bind[1..]);
            let host_key = fields.string().and_then(|_| fields.string()).unwrap();
            let known = KnownHosts::of_one("git.test", host_key);
            let keys = Keys::of(&[Fields::of(&sign[1..]).string().unwrap()]);
            let judge = |bind: &[u8], sign: &[u8]| {
                let mut filter = Filter::new(&known, &keys);
                (filter.judge(bind) == Judged::Pass, matches!(filter.judge(sign), Judged::Login(_)))
            };
            assert_eq!(judge(&bind, &sign), (true, true), "{line}");
            for at in (0..bind.len()).step_by(7) {
                let mut changed = bind.clone();
                changed[at] ^= 1;
                assert_eq!(judge(&changed, &sign), (false, false), "{at} of {line}");
            }
        }
        assert_eq!(kinds, ["ed25519", "ecdsa", "rsa"]);
    }

    #[test]
    fn fuzz_requests() {
        let server = ServerKey::new(1);
        let (known, keys) = (KnownHosts::of_one("git.test", &server.public), Keys::of(&[&key()]));
        let good = vec![
            bind(&server.public, SESSION, &server.sign(SESSION), 0),
            sign(&key(), &data(SESSION, HOSTBOUND, &bound(&server)), 4),
        ];
        let words: [&[u8]; 4] = [&string(SESSION), b"\x32", b"\xff\xff\xff\xff", b"ssh-connection"];
        fuzz::run("requests to an ssh agent", &fuzz::bytes(good, &words, 4000), |fuzz::Bytes(request)| {
            let mut filter = Filter::new(&known, &keys);
            // Without a session of a known server nothing is ever signed.
            match filter.judge(&request[..]) {
                Judged::Login(_) | Judged::Plain(_) => {
                    Err(fuzz::proptest::test_runner::TestCaseError::fail("it was signed"))
                }
                _ => Ok(()),
            }
        });
    }
}
