//! An account for the project's owner in the agent's image: programs look for their user's name and
//! home, and git, ssh and npm fail without.
//!
//! ```text
//!  agent's container, created and not started: /etc/passwd ─▶ is the number there? ─▶ no: a line more, and a home ─▶ its own layer
//! ```
//! Nothing of the image is changed, and nothing is mounted. The runtime finds HOME by that line.

use bollard::query_parameters::{ContainerArchiveInfoOptions, DownloadFromContainerOptions};
use futures_util::StreamExt;

use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::agent::AgentSpec;
use crate::supervisor::spec::home::OF_NO_ACCOUNT;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::supervisor::upload::files::upload;
use crate::term::{COULD_NOT_RUN, Failure};

const PASSWD: &str = "etc/passwd";
/// Failure to read the accounts.
const UNREAD: &str = "cannot read the accounts in the agent's image";
/// No image has a longer one.
const LONGEST: usize = 1 << 20;

/// Gives the agent's user, where that is `UID:GID`, an account, unless the image has one or no
/// accounts at all. Where the image cannot be written, or the person mounts accounts, nothing is
/// added. A home that is mounted stays as it is.
pub(super) async fn give(engine: &Engine, workflow: &Workflow, agent: &AgentSpec) -> Result<(), Failure> {
    let user = agent.user.as_deref().and_then(|user| user.split_once(':'));
    let Some((number, group)) =
        user.and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)))
    else {
        return Ok(());
    };
    let is_mounted = |at: &[&str]| agent.binds.all.iter().any(|bind| at.contains(&bind.target.as_str()));
    if agent.surface.read_only || is_mounted(&["/etc/passwd"]) {
        return Ok(());
    }
    // The engine would give the person's own directory another owner and mode.
    let makes_home = agent.home.is_none() && !is_mounted(&["/home", OF_NO_ACCOUNT]);
    let agent = workflow.object(Role::Agent);
    let Some(accounts) = accounts(engine, &agent).await? else { return Ok(()) };
    let Some(extended) = with_account(&accounts, number, group) else { return Ok(()) };
    let archive = archive(&extended, makes_home.then_some((number, group))).map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot write an account for the project's owner").caused_by(&error)
    })?;
    upload(engine, &agent, "/", archive).await
}

/// The number, and group, of the user that the agent will be; nothing where not even its image
/// tells.
pub(super) async fn number(engine: &Engine, workflow: &Workflow, agent: &AgentSpec) -> Option<String> {
    let user = agent.user.as_deref().unwrap_or(&agent.image.user);
    if user.is_empty() {
        return Some("0:0".to_owned());
    }
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if is_number(name) {
        return Some(match group.filter(|group| is_number(group)) {
            Some(group) => format!("{name}:{group}"),
            None => name.to_owned(),
        });
    }
    let accounts = accounts(engine, &workflow.object(Role::Agent)).await.ok()??;
    number_of(&accounts, name)
}

/// The number and group of an account.
fn number_of(accounts: &str, name: &str) -> Option<String> {
    let fields = |line: &str| match line.split(':').collect::<Vec<_>>()[..] {
        [account, _, user, group, ..] if account == name => {
            Some((user.parse::<u32>().ok()?, group.parse::<u32>().ok()?))
        }
        _ => None,
    };
    accounts.lines().find_map(fields).map(|(user, group)| format!("{user}:{group}"))
}

/// Reads the image's accounts, where it has a plain file of them.
///
/// # Errors
/// When they cannot be read: that an image has none is another thing.
pub(super) async fn accounts(engine: &Engine, agent: &str) -> Result<Option<String>, Failure> {
    let options = DownloadFromContainerOptions { path: format!("/{PASSWD}") };
    let mut chunks = engine.api.download_from_container(agent, Some(options)).boxed();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(error) if engine::is_missing(&error) => return Ok(None),
            Err(error) => return Err(engine::refused(UNREAD, &error)),
        }
        if bytes.len() > LONGEST {
            return Err(Failure {
                causes: vec!["the file is too long".to_owned()],
                ..Failure::new(COULD_NOT_RUN, UNREAD)
            });
        }
    }
    accounts_of(&bytes).map_err(|error| Failure::new(COULD_NOT_RUN, UNREAD).caused_by(&error))
}

/// Reads the accounts out of the engine's archive of one file; none where it is a link.
fn accounts_of(archive: &[u8]) -> std::io::Result<Option<String>> {
    let mut archive = tar::Archive::new(archive);
    let entry = archive.entries()?.next();
    let mut entry = entry.unwrap_or_else(|| Err(std::io::ErrorKind::UnexpectedEof.into()))?;
    if entry.header().entry_type() != tar::EntryType::Regular {
        return Ok(None);
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut entry, &mut text)?;
    // An archive that breaks off ends the entry without a word.
    match text.len() as u64 == entry.size() {
        true => Ok(Some(text)),
        false => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Tells whether the image has something else than a folder at this path, a link for example.
///
/// # Errors
/// When the engine does not say.
pub(super) async fn is_no_folder(engine: &Engine, container: &str, path: &str) -> Result<bool, Failure> {
    let options = ContainerArchiveInfoOptions { path: path.to_owned() };
    match engine.api.get_container_archive_info(container, Some(options)).await {
        Ok(found) => Ok(!is_folder(found.file_mode, &found.link_target, path)),
        Err(error) if engine::is_missing(&error) => Ok(false),
        Err(error) => Err(engine::refused(format!("cannot look at {path} in the agent's image"), &error)),
    }
}

/// Reads what an engine says of a path: the mode in Go's bits, and where a link leads. Docker names
/// a target for links alone. Podman follows links, and names the place it came to of every path.
fn is_folder(mode: u32, target: &str, path: &str) -> bool {
    /// `ModeDir` of Go's `io/fs`.
    const FOLDER: u32 = 1 << 31;
    mode & FOLDER != 0 && (target.is_empty() || target == path)
}

/// The accounts and one more; nothing where the number has one.
fn with_account(accounts: &str, user: u32, group: u32) -> Option<String> {
    let number = |line: &str| line.split(':').nth(2).and_then(|field| field.parse::<u32>().ok());
    if accounts.lines().filter_map(number).any(|found| found == user) {
        return None;
    }
    let taken = accounts.lines().any(|line| line.starts_with("agent:"));
    let name = if taken { "project-owner" } else { "agent" };
    let end = if accounts.is_empty() || accounts.ends_with('\n') { "" } else { "\n" };
    Some(format!("{accounts}{end}{name}:x:{user}:{group}:the project's owner:{OF_NO_ACCOUNT}:/bin/sh\n"))
}

/// Packs the accounts, and a home for its owner where none is mounted.
fn archive(accounts: &str, owner: Option<(u32, u32)>) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut file = tar::Header::new_gnu();
    file.set_mode(0o644);
    file.set_uid(0);
    file.set_gid(0);
    file.set_size(accounts.len() as u64);
    tar.append_data(&mut file, PASSWD, accounts.as_bytes())?;
    if let Some((user, group)) = owner {
        let mut home = tar::Header::new_gnu();
        home.set_entry_type(tar::EntryType::Directory);
        home.set_mode(0o755);
        home.set_uid(user.into());
        home.set_gid(group.into());
        home.set_size(0);
        tar.append_data(&mut home, format!("{}/", OF_NO_ACCOUNT.trim_start_matches('/')), std::io::empty())?;
    }
    tar.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_cannot_be_read_are_not_the_same_as_none() {
        let packed = |kind, content: &[u8]| {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, "passwd", content).unwrap();
            tar.into_inner().unwrap()
        };
        let file = packed(tar::EntryType::Regular, b"ann:x:7:8::/home/ann:/bin/sh\n");
        assert_eq!(accounts_of(&file).unwrap().as_deref(), Some("ann:x:7:8::/home/ann:/bin/sh\n"));
        assert_eq!(accounts_of(&packed(tar::EntryType::Symlink, b"")).unwrap(), None);
        assert!(accounts_of(b"").is_err() && accounts_of(&file[..520]).is_err());
        assert!(accounts_of(&packed(tar::EntryType::Regular, b"\xff\n")).is_err());
    }

    #[test]
    fn a_name_has_the_number_that_the_image_says() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\nbroken:x:a:b\n";
        assert_eq!(number_of(accounts, "node").as_deref(), Some("1000:1001"));
        assert_eq!((number_of(accounts, "broken"), number_of(accounts, "nobody")), (None, None));
    }

    #[test]
    fn a_link_to_a_folder_is_none_in_the_words_of_each_engine() {
        // `drwxr-xr-x`, and `Lrwxrwxrwx`, in Go's bits.
        let (folder, link) = (0o20_000_000_755, 0o1_000_000_777);
        // Docker: the path itself.
        assert!(is_folder(folder, "", "/var/lib"));
        assert!(!is_folder(link, "/run", "/var/run"));
        // Podman: the place that the path leads to.
        assert!(is_folder(folder, "/var/lib", "/var/lib"));
        assert!(!is_folder(folder, "/run", "/var/run"));
        assert!(!is_folder(0o644, "", "/etc/passwd"));
    }

    #[test]
    fn a_number_without_an_account_gets_one() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh";
        assert_eq!(with_account(accounts, 1000, 1000), None);
        let extended = with_account(accounts, 501, 20).unwrap();
        assert_eq!(extended, format!("{accounts}\nagent:x:501:20:the project's owner:/home/agent:/bin/sh\n"));
        assert!(
            with_account("agent:x:7:7::/:/bin/sh\n", 501, 20).unwrap().contains("\nproject-owner:x:501:20:")
        );
    }
}
