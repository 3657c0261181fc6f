//! The address of an engine, as `DOCKER_HOST` has it, and how it is reached.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::host::open;
use crate::term::{COULD_NOT_RUN, Failure};

/// `1` has plain TCP to other machines accepted.
const PLAIN: &str = "RINGFENCE_ALLOW_PLAIN_TCP";
/// The port of an engine with TLS, and without.
const PORT: (u16, u16) = (2376, 2375);

/// Address of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A socket on this machine.
    Unix(PathBuf),
    /// A port, in the clear.
    Plain(HostPort),
    /// A port, encrypted and proven by certificates.
    Tls(HostPort, TlsFiles),
    /// A machine that `ssh` reaches, which has docker's client.
    Ssh {
        /// The user there, if it is not ssh's own choice.
        user: Option<String>,
        /// The machine, as ssh's configuration knows it.
        host: String,
        /// Its port, if it is not ssh's own choice.
        port: Option<u16>,
    },
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// A name or an address, the latter without brackets.
    pub(crate) host: String,
    /// The TCP port.
    pub(crate) port: u16,
}

/// Certificates in PEM, each if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// Authorities of the engine; none: this machine's, for `https://` that names none.
    pub(crate) ca: Option<PathBuf>,
    /// Certificate that the client shows, where the engine asks for one.
    pub(crate) cert: Option<PathBuf>,
    /// Its key.
    pub(crate) key: Option<PathBuf>,
}

/// Authorities that may vouch for an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authority {
    /// `ca.pem` alone, which must be there: it was asked for. So does docker's client.
    Named,
    /// `ca.pem` if there is one, else those of this machine.
    Any,
}

/// Files in a directory of docker's client that prove an engine.
pub(super) const CERTIFICATES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

impl TlsFiles {
    /// The files that docker's client looks for in a directory. One that is there counts, whether
    /// it can be read or not: to take an unreadable one for none would let more pass.
    pub(super) fn in_directory(directory: &Path, authority: Authority) -> Result<Self, Failure> {
        let file = |name: &str| {
            let path = directory.join(name);
            match open::open(&path) {
                Ok(_) => Ok(Some(path)),
                Err(refused) if refused.is_missing() => Ok(None),
                Err(refused) => Err(unreadable(&path).caused_by(&refused)),
            }
        };
        let [ca, cert, key] = CERTIFICATES;
        let ca = file(ca)?;
        if ca.is_none() && authority == Authority::Named {
            let mut failure = unreadable(&directory.join("ca.pem"));
            failure
                .causes
                .push("it is not there, and without it any authority of this machine would do".to_owned());
            return Err(failure);
        }
        Ok(TlsFiles { ca, cert: file(cert)?, key: file(key)? })
    }
}

fn unreadable(path: &Path) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("the engine's TLS needs {}, which cannot be read", path.display()))
        .hint("DOCKER_CERT_PATH, or the context's folder, holds ca.pem of the engine's authority, and cert.pem and key.pem where the engine asks for them")
}

/// Tells whether plain TCP to other machines was accepted. `0` and `false` are no consent.
pub(super) fn plain_accepted(variable: &dyn Fn(&str) -> Option<String>) -> bool {
    variable(PLAIN).as_deref() == Some("1")
}

impl Address {
    /// An address as typed; the variables of docker's client say whether a port speaks TLS.
    pub(crate) fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let named = variable("DOCKER_CERT_PATH").map(PathBuf::from);
        let asked = variable("DOCKER_TLS_VERIFY").is_some();
        let tls = || {
            if !asked && !text.starts_with("https://") {
                return Ok(None);
            }
            let authority = if asked || named.is_some() { Authority::Named } else { Authority::Any };
            let directory = named
                .clone()
                .or_else(|| variable("DOCKER_CONFIG").map(PathBuf::from))
                .or_else(|| Some(Path::new(&variable("HOME")?).join(".docker")))
                .unwrap_or_default();
            TlsFiles::in_directory(&directory, authority).map(Some)
        };
        Self::with_tls(text, tls, plain_accepted(variable))
    }

    /// An address, with what proves it where it is a port.
    pub(super) fn with_tls(
        text: &str,
        tls: impl FnOnce() -> Result<Option<TlsFiles>, Failure>,
        plain: bool,
    ) -> Result<Self, Failure> {
        // A password that somebody put there is not repeated.
        let shown = match text.split_once("://").zip(text.rsplit_once('@')) {
            Some(((scheme, _), (_, machine))) => format!("{scheme}://…@{machine}"),
            None => text.to_owned(),
        };
        let cannot = |why: &str| {
            Failure::new(COULD_NOT_RUN, format!("`{shown}` cannot be an engine's address: {why}")).hint(
                "unix:///path, tcp://host:port, ssh://[user@]host[:port], or the name of a docker context",
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| cannot("it has no `://`"))?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Address::Unix(PathBuf::from(rest))),
            "unix" => Err(cannot("a socket is given by its whole path")),
            "tcp" | "http" | "https" => {
                let rest = rest.trim_end_matches('/');
                if rest.contains(['/', '@']) {
                    return Err(cannot("a port has neither path nor user"));
                }
                let (host, port) = host_and_port(rest).ok_or_else(|| cannot("host and port are unclear"))?;
                match tls()? {
                    Some(files) => Ok(Address::Tls(HostPort { host, port: port.unwrap_or(PORT.0) }, files)),
                    None => {
                        let at = HostPort { host, port: port.unwrap_or(PORT.1) };
                        if plain || at.is_loopback() {
                            Ok(Address::Plain(at))
                        } else {
                            Err(in_the_clear(&at))
                        }
                    }
                }
            }
            "ssh" => {
                let (user, machine) = match rest.trim_end_matches('/').rsplit_once('@') {
                    Some((user, machine)) => (Some(user), machine),
                    None => (None, rest.trim_end_matches('/')),
                };
                if machine.contains('/') {
                    return Err(cannot(
                        "a path on the other machine is not supported: ssh starts docker's client there",
                    ));
                }
                if user.is_some_and(|user| user.is_empty() || user.contains(':')) {
                    return Err(cannot("ssh asks for a password itself, and a user has a name"));
                }
                let (host, port) =
                    host_and_port(machine).ok_or_else(|| cannot("host and port are unclear"))?;
                Ok(Address::Ssh { user: user.map(str::to_owned), host, port })
            }
            "npipe" => Err(cannot("named pipes are not supported by this version")),
            "fd" => Err(cannot("that is where a daemon listens, not where it is reached")),
            _ => Err(cannot(&format!("`{scheme}` is unknown"))),
        }
    }

    /// Tells whether the engine's socket is on this machine. The engine behind it may still live in
    /// a virtual machine.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Address::Unix(_))
    }
}

/// Refuses a connection in the clear: a person who can read or change what goes to an engine owns
/// everything that the engine runs.
fn in_the_clear(at: &HostPort) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("tcp://{at} is another machine, and nothing proves or hides what goes there"))
        .hint(format!(
            "have the engine speak TLS (DOCKER_TLS_VERIFY=1, DOCKER_CERT_PATH), or use ssh://; {PLAIN}=1 accepts it as it is"
        ))
}

impl HostPort {
    /// Tells whether the address is this very machine.
    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let plausible = !host.is_empty()
        && !host.starts_with('-')
        && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'));
    let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0));
    match port {
        Some(None) => None,
        port => plausible.then(|| (host.to_owned(), port.flatten())),
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Plain(at) | Address::Tls(at, _) => write!(f, "tcp://{at}"),
            Address::Ssh { user, host, port } => {
                write!(
                    f,
                    "ssh://{}{host}",
                    user.as_ref().map(|user| format!("{user}@")).unwrap_or_default()
                )?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, Failure> {
        Address::with_tls(text, || Ok(None), false)
    }

    #[test]
    fn addresses_are_what_docker_takes() {
        for good in [
            "unix:///var/run/docker.sock",
            "tcp://127.0.0.1:2375",
            "tcp://[::1]:2375",
            "ssh://lab",
            "ssh://me@lab.example:2222",
        ] {
            assert_eq!(parse(good).unwrap().to_string(), good);
        }
        assert_eq!(parse("tcp://localhost").unwrap().to_string(), "tcp://localhost:2375");
        let tls = Address::with_tls("tcp://far.example", || Ok(Some(TlsFiles::default())), false).unwrap();
        assert_eq!(tls.to_string(), "tcp://far.example:2376");
    }

    #[test]
    fn what_is_no_address_says_why() {
        let shown: Vec<String> = [
            "docker.sock",
            "unix://relative",
            "tcp://",
            "tcp://localhost:0",
            "tcp://localhost:99999",
            "tcp://::1",
            "tcp://localhost/path",
            "ssh://lab/run/docker.sock",
            "ssh://me:secret@lab",
            "ssh://-oProxyCommand=x",
            "ssh://",
            "npipe:////./pipe/docker_engine",
            "fd://",
            "gopher://x",
        ]
        .map(|bad| parse(bad).unwrap_err().message)
        .into();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn in_the_clear_goes_to_this_machine_alone() {
        for far in ["tcp://192.0.2.1:2375", "http://far.example:2375", "tcp://localhost.example:2375"] {
            assert!(parse(far).unwrap_err().message.contains("nothing proves"), "{far}");
            assert!(Address::with_tls(far, || Ok(None), true).is_ok());
        }
    }

    /// An address by these variables.
    fn by(text: &str, variables: &[(&str, &str)]) -> Result<Address, Failure> {
        Address::parse(text, &|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn only_a_clear_yes_accepts_the_clear() {
        let far = "tcp://far.example:2375";
        for no in ["0", "false", "no", "true", ""] {
            assert!(by(far, &[("RINGFENCE_ALLOW_PLAIN_TCP", no)]).is_err(), "{no}");
        }
        assert!(matches!(by(far, &[("RINGFENCE_ALLOW_PLAIN_TCP", "1")]), Ok(Address::Plain(_))));
    }

    #[test]
    fn an_authority_that_is_not_there_is_not_replaced_by_all_of_the_machines() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let far = "tcp://far.example:2376";
        let verify = ("DOCKER_TLS_VERIFY", "1");
        for variables in
            [vec![verify, ("DOCKER_CERT_PATH", "/nonexistent/certs")], vec![verify, ("HOME", home)]]
        {
            let failure = by(far, &variables).unwrap_err();
            assert!(failure.message.contains("ca.pem"), "{failure}");
        }
        let asked = by("https://far.example", &[("DOCKER_CERT_PATH", home)]).unwrap_err();
        assert!(asked.message.contains("ca.pem"), "{asked}");
        // Nobody named an authority: that is https as everybody means it.
        let files = match by("https://far.example", &[("HOME", home)]) {
            Ok(Address::Tls(_, files)) => files,
            other => panic!("{other:?}"),
        };
        assert_eq!(files, TlsFiles::default());
        // A loop of links is there, and nobody can read it.
        std::os::unix::fs::symlink("cert.pem", dir.path().join("cert.pem")).unwrap();
        std::fs::write(dir.path().join("ca.pem"), "").unwrap();
        let failure = by(far, &[verify, ("DOCKER_CERT_PATH", home)]).unwrap_err();
        assert!(failure.message.contains("cert.pem"), "{failure}");
        std::fs::remove_file(dir.path().join("cert.pem")).unwrap();
        assert!(matches!(by(far, &[verify, ("DOCKER_CERT_PATH", home)]), Ok(Address::Tls(..))));
        // A socket needs none of it.
        assert!(by("unix:///x.sock", &[verify, ("DOCKER_CERT_PATH", "/nonexistent")]).unwrap().is_local());
    }
}
