//! Warnings: the facts of each, and their words.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use netpolicy::diagnostic::{Diagnostic, render};

use super::Failure;
use super::escape::{indented, lines};
use super::printer::{has_colours, is_quiet, to_stderr};

/// Something that ends nothing, and that a person should know of.
#[derive(Debug)]
pub(crate) enum Warning {
    /// Findings of the policy's loader, which are shown with their lines.
    Policy(Vec<Diagnostic>),
    /// No layer says anything, so that the agent has no network; in the loader's words.
    NoPolicy(Vec<Diagnostic>),
    /// An option of docker's that is taken and changes nothing.
    OptionWithoutEffect {
        /// Its name, without dashes.
        option: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// A variable is passed on by its name, and is not set; the option that asks for it.
    VariableNotSet(String),
    /// A variable is given that ringfence sets itself.
    VariableReplaced(&'static str),
    /// Variables whose values stay in a container that is kept.
    VariablesKept(Vec<String>),
    /// The caller's environment names a proxy, and the policy none.
    ProxyUnused {
        /// The variable.
        variable: &'static str,
        /// The line of a policy that means such a proxy, without credentials.
        write: String,
    },
    /// The caller's environment names a file of certificate authorities that the agent does not
    /// get.
    AuthoritiesUnused {
        /// The variable.
        variable: &'static str,
        /// The file, where its path can be copied as it stands.
        file: Option<String>,
    },
    /// The agent's notice says what held before a change.
    NoticeNotRenewed(Failure),
    /// The agent's connections to this machine's loopback are not carried.
    LoopbackLost(Failure),
    /// The agent's user cannot write its home.
    HomeNotWritable {
        /// The user.
        uid: u32,
        /// The home.
        home: String,
    },
    /// The agent's way to the person's ssh agent is gone.
    SshAgentLost,
    /// The person's ssh agent did not sign some times, and is asked no more.
    SshAgentAskedNoMore,
    /// A login was refused since it names no server.
    SshLoginPlain {
        /// The server, as an option names it.
        server: String,
    },
    /// Files of a directory that is given to the agent.
    Files {
        /// The directory.
        directory: PathBuf,
        /// Their kind.
        finding: Finding,
        /// Number of the files.
        count: u64,
        /// The first few, escaped.
        first: Vec<String>,
    },
    /// A directory was too large to be looked through.
    NotLookedThrough(PathBuf),
    /// The engine's words of itself, or of a container that it made.
    ByEngine {
        /// Subject of the warning: `agent`, or nothing in particular.
        about: Option<String>,
        /// The words.
        words: String,
    },
    /// The engine had another image by the helper image's name.
    HelperImageReplaced {
        /// The name.
        tag: String,
        /// The difference.
        why: String,
    },
    /// The agent's user gets no entry in its passwd file.
    NoAccount(Failure),
    /// The file of events that a person asked for can be changed by others.
    EventsExposed {
        /// The file.
        file: PathBuf,
        /// Reason.
        why: String,
        /// File in which the same events are kept.
        kept: PathBuf,
    },
    /// The page that a person asked for can be changed by others.
    PageExposed {
        /// The file.
        file: PathBuf,
        /// Reason.
        why: String,
    },
    /// The policy that is looked at is not the one that runs began with.
    PolicyChanged {
        /// Its digest.
        now: String,
        /// Digest at the start of a run.
        then: String,
    },
    /// The agent reaches every public name.
    Observing {
        /// Names of the secrets that it is given.
        secrets: Vec<String>,
        /// It is given a project.
        project: bool,
    },
    /// A file of events cannot be written any more.
    EventsUnwritable {
        /// The file.
        file: PathBuf,
        /// The system's words.
        error: String,
    },
    /// Lines of the engine's log are missing.
    EventsLost {
        /// The workflow.
        workflow: String,
        /// The first that is missing.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// The engine has begun to remove this workflow's guard, does not end it, and gives no log.
    EventsOutOfReach(String),
    /// Lines of a log that are no events.
    EventsUnread(usize),
    /// A log that nobody vouches for.
    EventsUnproven {
        /// The log, as a person named it.
        source: String,
        /// Reason.
        why: String,
    },
    /// Ports of this machine lead to the agent's no more.
    ForwardLost(Failure),
    /// The decision log has reached its bound.
    LogFull,
    /// A cover came off a file of the project.
    Uncovered(String),
    /// A note of the decision log, by its own words.
    Noted(String),
    /// A permitted server of this machine takes connections where no container reaches it.
    OnLoopbackOnly {
        /// Its port.
        port: u16,
        /// This machine's address, as containers see it.
        address: IpAddr,
    },
    /// The engine starts no helper that counts the agent's files.
    DiskNotCounted(String),
    /// An agent that was asked to end goes on, and is killed.
    AgentKilled {
        /// Time that it went on, in seconds.
        seconds: u64,
    },
    /// A file of ringfence's in a mounted directory is another one now.
    NonceReplaced(PathBuf),
    /// A file of ringfence's in a mounted directory cannot be removed.
    NonceLeft {
        /// The file.
        file: PathBuf,
        /// The system's words.
        error: String,
    },
    /// A workflow of another machine was removed.
    NotRecordedHere(String),
    /// A workflow that may be supervised from elsewhere.
    WorkflowKept {
        /// The workflow.
        workflow: String,
        /// Reason for which nobody can tell.
        why: String,
    },
    /// An earlier run left something that cannot be removed now.
    LeftFromEarlier(String),
    /// This machine's /etc/resolv.conf names no resolver.
    NoSystemResolver(String),
}

/// Kinds of files in a directory that is given to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Links that lead out of it.
    LinksOut,
    /// Sockets, which work from inside.
    Sockets,
    /// Pipes and device nodes.
    Specials,
    /// Files of other owners that have a name elsewhere too.
    OthersFiles,
}

impl Finding {
    fn words(self, one: bool) -> &'static str {
        match (self, one) {
            (Finding::LinksOut, true) => "link leads out of it, where the agent finds its own image's files",
            (Finding::LinksOut, false) => "links lead out of it, where the agent finds its own image's files",
            (Finding::Sockets, true) => "socket, whose listener the agent can speak to",
            (Finding::Sockets, false) => "sockets, whose listeners the agent can speak to",
            (Finding::Specials, true) => "pipe or device node",
            (Finding::Specials, false) => "pipes or device nodes",
            (Finding::OthersFiles, true) => "file of another owner with a name elsewhere too",
            (Finding::OthersFiles, false) => "files of other owners with names elsewhere too",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Policy(found) | Warning::NoPolicy(found) => f.write_str(render(found).trim_end()),
            Warning::OptionWithoutEffect { option, why } => write!(f, "--{option} changes nothing: {why}"),
            Warning::VariableNotSet(option) => {
                write!(f, "{option}: the variable is not set here, so it is not passed on")
            }
            Warning::VariableReplaced(name) => {
                write!(f, "-e {name}: ringfence sets this variable itself, so the given value does not count")
            }
            Warning::VariablesKept(names) => write!(
                f,
                "--keep: the values of {} stay in the kept container, where everybody who may use the engine can read \
                 them; give a secret by --secret NAME, which goes with the run",
                names.join(", ")
            ),
            Warning::ProxyUnused { variable, write } => write!(
                f,
                "{variable} is set here and not used: the guard connects directly. If this network needs the proxy, \
                 write into the policy: {write}"
            ),
            Warning::AuthoritiesUnused { variable, file } => {
                let file = file.as_deref().unwrap_or("FILE");
                write!(
                    f,
                    "{variable} is set here and not used: if servers show certificates of those authorities, give \
                     them to the agent by `--ca {file}`, or this machine's by `--ca system`"
                )
            }
            Warning::NoticeNotRenewed(failure) => {
                fmt_failure(f, "the change is made, and the agent's notice says what held before", failure)
            }
            Warning::LoopbackLost(failure) => fmt_failure(
                f,
                "the agent does not reach the loopback of this machine; it is tried again",
                failure,
            ),
            Warning::HomeNotWritable { uid, home } => write!(
                f,
                "user {uid} cannot write HOME={home}: take `ENV HOME` out of the image, or give -e HOME=/tmp"
            ),
            Warning::SshAgentLost => f.write_str(
                "the helper between the agent and your ssh agent has ended: nothing more is signed in this run",
            ),
            Warning::SshAgentAskedNoMore => f.write_str(
                "your ssh agent did not sign three logins (declined, without an answer in time, or with SHA-1): it is \
                 asked no more in this run",
            ),
            Warning::SshLoginPlain { server } => write!(
                f,
                "a login of the agent at {server} was not signed: the server's ssh does not bind logins to its host key. \
                 --ssh-agent-plain {server} has such logins signed; that server, and whoever can read its host key, can \
                 then have logins elsewhere signed with your keys"
            ),
            Warning::Files { directory, finding, count, first } => {
                let what = finding.words(*count == 1);
                write!(f, "{}: {count} {what}: {}", directory.display(), first.join(", "))?;
                match count.saturating_sub(first.len() as u64) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Warning::NotLookedThrough(directory) => write!(
                f,
                "{}: too large to be looked through whole for links, sockets and device nodes",
                directory.display()
            ),
            Warning::ByEngine { about: Some(about), words } => write!(f, "{about}: {words}"),
            Warning::ByEngine { about: None, words } | Warning::Uncovered(words) | Warning::Noted(words) => {
                f.write_str(words)
            }
            Warning::HelperImageReplaced { tag, why } => write!(
                f,
                "the engine had another image by the name {tag} ({why}); its own was loaded in its place"
            ),
            Warning::NoAccount(failure) => {
                fmt_failure(f, "the agent's user gets no account of its own", failure)
            }
            Warning::ForwardLost(failure) => {
                fmt_failure(f, "no port is forwarded to the agent any more", failure)
            }
            Warning::AgentKilled { seconds } => {
                write!(f, "the agent was asked to end and went on for {seconds} s, so it is ended (KILL)")
            }
            Warning::EventsExposed { file, why, kept } => write!(
                f,
                "{} can be exchanged or changed ({why}): what is there is no evidence; the same events are kept in {}",
                file.display(),
                kept.display()
            ),
            Warning::PageExposed { file, why } => write!(
                f,
                "{} can be exchanged or changed ({why}): look at it now, or have it written where no agent writes",
                file.display()
            ),
            Warning::PolicyChanged { now, then } => write!(
                f,
                "the policy is not the one that the runs began with: its files say {now} today, and a run began with {then}"
            ),
            Warning::Observing { secrets, project } => fmt_observing(f, secrets, *project),
            Warning::EventsUnwritable { file, error } => {
                write!(f, "events are no longer written to {}: {error}", file.display())
            }
            Warning::EventsLost { workflow, from, to } => write!(
                f,
                "the engine has lost events {from} to {to} of {workflow}: `ringfence events {workflow} --verify` says so too"
            ),
            Warning::EventsOutOfReach(workflow) => write!(
                f,
                "the engine began to remove the guard of {workflow} and gives no log of it: what was not kept before is lost; \
                 `ringfence events {workflow}` shows what was"
            ),
            Warning::EventsUnread(1) => {
                f.write_str("1 line is no event and is not shown; --verify says which")
            }
            Warning::EventsUnread(count) => {
                write!(f, "{count} lines are no events and are not shown; --verify says which")
            }
            Warning::EventsUnproven { source, why } => write!(f, "{source}: {why}"),
            Warning::LogFull => {
                f.write_str("the events of this run have reached their bound, so its network was closed")
            }
            Warning::OnLoopbackOnly { port, address } => write!(
                f,
                "the server on port {port} of this machine listens on 127.0.0.1 only, where the agent does not reach it: permit \
                 host.docker.internal:{port}/loopback, or have it listen on {address} too"
            ),
            Warning::DiskNotCounted(why) => write!(
                f,
                "the engine starts no helper that counts the agent's files, so only its layer's size and what is given of \
                 this machine count as disk: {why}"
            ),
            Warning::NonceReplaced(file) => {
                write!(f, "{} is not what ringfence made any more, so it is left", file.display())
            }
            Warning::NonceLeft { file, error } => write!(f, "cannot remove {}: {error}", file.display()),
            Warning::NotRecordedHere(workflow) => write!(
                f,
                "this machine has no record of workflow {workflow}: its events were not kept here, and nothing was put \
                 back here"
            ),
            Warning::WorkflowKept { workflow, why } => {
                write!(f, "workflow {workflow} is kept: {why}; `ringfence stop {workflow}` removes it")
            }
            Warning::LeftFromEarlier(what) => {
                write!(f, "left from an earlier run: {what}; `ringfence gc` tells more")
            }
            Warning::NoSystemResolver(error) => {
                write!(f, "no resolver in /etc/resolv.conf: {error}")
            }
        }
    }
}

/// Writes what failed, with its causes and its hint.
fn fmt_failure(f: &mut fmt::Formatter<'_>, what: &str, failure: &Failure) -> fmt::Result {
    write!(f, "{what}: {}", failure.message)?;
    failure.causes.iter().try_for_each(|cause| write!(f, "\nbecause: {cause}"))?;
    failure.hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
}

/// Writes what an observed run risks.
fn fmt_observing(f: &mut fmt::Formatter<'_>, secrets: &[String], project: bool) -> fmt::Result {
    let project = if project { ", your project among it" } else { "" };
    f.write_str(
        "this run is observed: the agent reaches every public name, and can send there what it reads",
    )?;
    f.write_str(project)?;
    if secrets.is_empty() {
        return Ok(());
    }
    let (all, them) = (secrets.join(", "), if secrets.len() == 1 { "it" } else { "them" });
    write!(
        f,
        "\nDANGER: it is given {all}: a stranger's words in what it reads can have {them} sent anywhere"
    )?;
    f.write_str("\nhint: observe without secrets, or with ones that may be lost, and revoke those afterwards")
}

impl Warning {
    /// Tells whether `--quiet` leaves it: evidence is lost, less is enforced than was asked for, an
    /// agent has no network for want of a policy, or something is left on this machine that no
    /// later command tells.
    fn is_essential(&self) -> bool {
        match self {
            Warning::NoPolicy(_)
            | Warning::ByEngine { .. }
            | Warning::HelperImageReplaced { .. }
            | Warning::EventsExposed { .. }
            | Warning::PageExposed { .. }
            | Warning::Observing { .. }
            | Warning::PolicyChanged { .. }
            | Warning::EventsUnwritable { .. }
            | Warning::EventsLost { .. }
            | Warning::EventsOutOfReach(_)
            | Warning::EventsUnproven { .. }
            | Warning::LogFull
            | Warning::DiskNotCounted(_)
            | Warning::Uncovered(_)
            | Warning::NonceReplaced(_)
            | Warning::NonceLeft { .. }
            | Warning::NotRecordedHere(_) => true,
            Warning::Policy(_)
            | Warning::OptionWithoutEffect { .. }
            | Warning::VariableNotSet(_)
            | Warning::VariableReplaced(_)
            | Warning::VariablesKept(_)
            | Warning::ProxyUnused { .. }
            | Warning::AuthoritiesUnused { .. }
            | Warning::NoticeNotRenewed(_)
            | Warning::LoopbackLost(_)
            | Warning::HomeNotWritable { .. }
            | Warning::SshAgentLost
            | Warning::SshAgentAskedNoMore
            | Warning::SshLoginPlain { .. }
            | Warning::ForwardLost(_)
            | Warning::Files { .. }
            | Warning::NotLookedThrough(_)
            | Warning::NoAccount(_)
            | Warning::EventsUnread(_)
            | Warning::Noted(_)
            | Warning::OnLoopbackOnly { .. }
            | Warning::AgentKilled { .. }
            | Warning::WorkflowKept { .. }
            | Warning::LeftFromEarlier(_)
            | Warning::NoSystemResolver(_) => false,
        }
    }

    /// The lines as they are written.
    fn rendered(&self, colours: bool) -> String {
        // The loader's findings say themselves that they are warnings, and where.
        if let Warning::Policy(found) | Warning::NoPolicy(found) = self {
            return lines(&render(found));
        }
        let label = if colours { "\u{1b}[33mwarning:\u{1b}[0m" } else { "warning:" };
        format!("ringfence: {label} {}\n", indented(&self.to_string(), 11))
    }
}

/// Warns the person, on stderr; with `--quiet`, of the essential only.
pub(crate) fn warn(warning: Warning) {
    if !is_quiet() || warning.is_essential() {
        to_stderr(&warning.rendered(has_colours()));
    }
}

#[cfg(test)]
mod tests;
