//! Addresses by ssh in a project's configuration of git: where ssh is not permitted and https is,
//! git inside uses https, by settings in its environment alone.
//!
//! ```text
//!  remote.*.url, submodule.*.url: git@HOST:…, ssh://git@HOST/… ─▶ url.https://HOST/.insteadOf
//! ```

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;

use netpolicy::host::HostName;

use super::aftermath::config::{Name, parse};
use super::aftermath::place;
use super::aftermath::record::Was;
use super::mounts::Bind;

/// The most addresses that are looked at.
const MOST: usize = 1000;

/// An account on a host to which git speaks ssh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SshAccount {
    user: String,
    /// The host.
    pub(crate) host: HostName,
}

impl SshAccount {
    /// Returns the settings by which git uses https: name and value of each.
    pub(crate) fn by_https(&self) -> [(String, String); 2] {
        let (user, host) = (&self.user, &self.host);
        let key = format!("url.https://{host}/.insteadOf");
        [(key.clone(), format!("{user}@{host}:")), (key, format!("ssh://{user}@{host}/"))]
    }
}

/// Lists the accounts that a configuration in a mount names. One that cannot be read names none:
/// git would refuse it too.
pub(crate) fn ssh_accounts(mount: &Bind, config: &str) -> BTreeSet<SshAccount> {
    let file = mount.reopen().and_then(|root| place::look(root.as_fd(), Path::new(config)));
    match file {
        Ok(Was::File(file)) => accounts(&file.text.0),
        _ => BTreeSet::new(),
    }
}

fn accounts(config: &[u8]) -> BTreeSet<SshAccount> {
    let entries = parse(config).unwrap_or_default();
    let addresses = entries.iter().filter(|entry| {
        let name = Name::of(&entry.name);
        matches!((name.section, name.key), (b"remote", b"url" | b"pushurl") | (b"submodule", b"url"))
    });
    let texts = addresses.filter_map(|entry| std::str::from_utf8(entry.value.as_deref()?).ok());
    texts.take(MOST).filter_map(account).collect()
}

/// Reads `USER@HOST:PATH` or `ssh://USER@HOST/PATH`. Another port than ssh's own is another server.
fn account(address: &str) -> Option<SshAccount> {
    let authority = match address.strip_prefix("ssh://") {
        Some(rest) => rest.split('/').next()?,
        None if address.contains("://") => return None,
        None => address.split_once(':')?.0,
    };
    let (user, host) = authority.split_once('@')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_user = !user.is_empty() && user.chars().all(plain);
    let host = HostName::parse(host).ok().filter(|_| is_user && host.contains('.'))?;
    Some(SshAccount { user: user.to_owned(), host })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_remotes_and_submodules_and_nothing_else() {
        let config = b"[remote \"o\"]\n\turl = git@gitlab.test:group/project.git\n\tpushurl = ssh://git@other.test/x.git\n\
                       [remote \"p\"]\n\turl = https://web.test/x\n[branch \"x\"]\n\turl = git@not.test:x\n\
                       [submodule \"s\"]\n\turl = git@gitlab.test:sub.git\n\
                       [remote \"q\"]\n\turl = /srv/git@x.test:y\n\turl = ssh://git@port.test:2222/x\n\turl = ev*l@bad.test:x\n\turl = git@local:x\n";
        let found: Vec<String> =
            accounts(config).iter().map(|one| format!("{}@{}", one.user, one.host)).collect();
        assert_eq!(found, ["git@gitlab.test", "git@other.test"]);
        assert!(accounts(b"[remote").is_empty());
    }

    #[test]
    fn https_leads_to_the_same_host() {
        let account = account("git@gitlab.test:group/project.git").unwrap();
        let key = "url.https://gitlab.test/.insteadOf".to_owned();
        let expected =
            [(key.clone(), "git@gitlab.test:".to_owned()), (key, "ssh://git@gitlab.test/".to_owned())];
        assert_eq!(account.by_https(), expected);
    }
}
