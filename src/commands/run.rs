//! `ringfence run`: everything that can be checked without the engine is checked here, all of it before
//! the engine is even asked.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use netpolicy::policy::Policy;

use crate::cli::run::RunArgs;
use crate::error::{COULD_NOT_RUN, Failure};
use crate::layers::record::Record;
use crate::layers::{self, Wanted};
use crate::supervisor::containers::{Agent, WORKSPACE};
use crate::supervisor::limits::{self, Limits};
use crate::supervisor::run::{Request, runtime};
use crate::supervisor::{engine, image, streams, workflow};
use crate::workspace::masks;
use crate::workspace::token::Token;

use super::giving::{self, Giving};

/// Runs the agent; its exit status.
pub async fn run(engine_host: Option<&str>, args: RunArgs) -> Result<u8, Failure> {
    let denied = args.network_denied();
    let project = args.project.as_deref().map(checked_project).transpose()?;
    let folder = project.as_ref().map(|(path, _)| path.as_path());
    let wanted = Wanted { network_denied: denied, ..super::policy::wanted(&args.policy, folder) };
    let loaded = layers::load(&wanted)?;
    layers::warn(&loaded);
    let mut policy = loaded.policy;
    super::project::unmask(&mut policy, &args.unmask)?;
    check_digest(&policy, args.expect_digest.as_deref())?;
    limits::refuse_what_is_not_kept(&policy)?;
    let runtime = runtime::wanted(policy.container.runtime.as_deref(), args.runtime.as_deref())?;
    let asked = Limits { memory: args.memory, pids: args.pids, time: args.time };
    let limits = asked.within(&policy);
    if let Some(name) = args.name.as_deref().filter(|name| !workflow::valid_name(name)) {
        return Err(Failure::new(COULD_NOT_RUN, format!("--name {name:?} cannot be a workflow's name"))
            .hint("use at most 63 letters, digits, `-`, `_` and `.`, beginning with a letter or digit"));
    }
    if args.tty && args.interactive && !streams::stdin_is_terminal() {
        return Err(Failure::new(COULD_NOT_RUN, "-t and -i were given, but stdin is no terminal")
            .hint("leave out -t"));
    }
    let Giving { mut env, handed } = giving::gather(&args)?;
    if project.is_some() {
        // git refuses a directory that another user owns; the mount is the one that was asked for.
        if !env.iter().any(|pair| pair.starts_with("GIT_CONFIG_COUNT=")) {
            env.push("GIT_CONFIG_COUNT=1".to_owned());
            env.push("GIT_CONFIG_KEY_0=safe.directory".to_owned());
            env.push(format!("GIT_CONFIG_VALUE_0={WORKSPACE}"));
        }
    }
    let masks = folder.map(|folder| masks::plan(folder, &super::project::wishes(&policy))).transpose()?;
    if let Some(plan) = masks.as_ref().filter(|_| !args.quiet) {
        eprint!("{}", plan.summary());
    }
    let token = match &args.gitlab_token_env {
        None => None,
        Some(name) => {
            let ca = args.ca.as_ref().or(policy.container.ca.as_ref());
            let token = Token::check(name, args.policy.gitlab.as_deref(), ca, &policy).await?;
            if args.revoke_token {
                token.can_be_revoked()?;
            }
            env.push(token.variable());
            Some(token)
        }
    };
    let engine = engine::connect(engine_host).await?;
    if project.is_some() && !engine.local {
        return Err(Failure::new(
            COULD_NOT_RUN,
            format!("--project: {} may not see this machine's files", engine.host),
        )
        .hint("this version mounts a project only for an engine on a local socket"));
    }
    super::gc::quietly(&engine).await;
    crate::doctor::require::refuse_unmet(&engine, &policy).await?;
    let image = image::ready(&engine, &args.image, args.pull, args.quiet).await?;
    let (project, user) = match project {
        Some((path, owner)) => (Some(path), args.user.clone().or(owner)),
        None => (None, args.user.clone()),
    };
    let request = Request {
        name: args.name,
        ca: args.ca.or_else(|| policy.container.ca.clone()),
        policy,
        layers: Record::of(wanted)?,
        agent: Agent {
            image,
            command: args.command,
            entrypoint: args.entrypoint,
            env,
            project,
            served: Vec::new(),
            workdir: args.workdir,
            handed: !handed.is_empty(),
            trust: false,
            user,
            runtime,
            interactive: args.interactive,
            tty: args.tty,
            nano_cpus: 0,
            memory: limits.memory(),
            pids: limits.pids(),
        },
        handed,
        masks,
        time: limits.time,
        token_ends: token.as_ref().and_then(|token| token.ends),
        events: args.events,
        cpus: args.cpus,
        timings: args.timings,
        quiet: args.quiet,
    };
    let ended = crate::supervisor::run::run(&engine, request).await;
    if let Some(token) = token.filter(|_| args.revoke_token)
        && let Err(failure) = token.revoke().await
    {
        eprint!("{failure}");
    }
    ended
}

/// A policy that is not the one that was agreed on is none.
fn check_digest(policy: &Policy, expected: Option<&str>) -> Result<(), Failure> {
    let digest = policy.digest();
    match expected {
        Some(expected) if expected != digest => Err(Failure::new(
            COULD_NOT_RUN,
            format!("the policy is {digest}, not {expected} (--expect-digest)"),
        )
        .hint("see what changed: ringfence policy show, ringfence policy diff")),
        _ => Ok(()),
    }
}

/// The project directory, resolved, and its owner as `uid:gid` unless that is root.
pub fn checked_project(given: &Path) -> Result<(PathBuf, Option<String>), Failure> {
    let cannot = |why: &str| Failure::new(COULD_NOT_RUN, format!("--project {}: {why}", given.display()));
    let path = given
        .canonicalize()
        .map_err(|error| cannot("cannot be used").caused_by(&error).hint("give an existing directory"))?;
    let meta = path.metadata().map_err(|error| cannot("cannot be used").caused_by(&error))?;
    if !meta.is_dir() {
        return Err(cannot("it is not a directory"));
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).and_then(|home| home.canonicalize().ok());
    let system = [
        "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/proc", "/root", "/run", "/sbin", "/sys",
        "/usr", "/var", "/var/run", "/var/lib",
    ];
    if system.iter().any(|dir| path == Path::new(dir)) || home.as_deref() == Some(path.as_path()) {
        return Err(cannot("a system or home directory is not given to an agent")
            .hint("give the directory of one project"));
    }
    for private in ["/etc", "/proc", "/sys", "/dev", "/run", "/var/run", "/var/lib/docker"] {
        if path.starts_with(private) {
            return Err(cannot(&format!("nothing under {private} is given to an agent")));
        }
    }
    let owner = (meta.uid() != 0).then(|| format!("{}:{}", meta.uid(), meta.gid()));
    Ok((path, owner))
}
