//! `ringfence run`.
//!
//! ```text
//!  words ─▶ files ─▶ policy ─▶ secrets, masks, token ─▶ RunRequest ─▶ engine, image ─▶ supervisor::run
//!           everything that can be checked without the engine, before the engine is asked
//! ```

mod background;
mod callers_network;
pub(crate) mod defaults;
mod dry_run;
mod engine;
mod environment;
mod files;
mod flow;
mod image;
pub(super) mod inputs;
mod keep;
mod masks;
mod planned;
mod policy;
mod services;
mod ssh_agent;
mod token;

use std::path::Path;

use crate::commands::save::target;
use netpolicy::policy::Policy;
use netpolicy::settings::Capabilities;

use self::files::Files;
use self::inputs::AgentInputs;
use self::policy::RunPolicy;
use crate::cli::run::RunArgs;
use crate::commands::home::home_name;
use crate::host::{descriptors, open_files, state};
use crate::layers::PROJECT;
use crate::supervisor::engine::Choice;
use crate::supervisor::forward::ForwardRequest;
use crate::supervisor::image::repository;
use crate::supervisor::run::{self as supervised, RunRequest};
use crate::supervisor::signals::Signals;
use crate::supervisor::signals::interrupt::until_signal;
use crate::supervisor::spec::home::{HomeOwner, HomeRequest};
use crate::supervisor::spec::limits::Asked;
use crate::supervisor::spec::request::AgentRequest;
use crate::supervisor::spec::surface::{self, Surface};
use crate::supervisor::streams::{self, Surfaces};
use crate::supervisor::upload::authorities;
use crate::term::{self, COULD_NOT_RUN, Failure, Warning, trace};
use crate::wire::WorkflowName;
use crate::workspace::token::Token;
use crate::workspace::worktree::Worktree;

/// Repositories of the project may have thousands of packs, with two open files for each, and many
/// systems permit 1,024. Not more than needed: some programs close every number up to their limit
/// when they start.
const OPEN_FILES: u64 = 1 << 16;

/// Runs the agent; its exit status. With `-d`, that of the start.
pub(crate) fn dispatch(engine_host: Option<&str>, args: RunArgs) -> Result<u8, Failure> {
    if !args.detach || args.dry_run {
        return super::on_engine(run(engine_host, args));
    }
    if !background::is_supervisor() {
        return super::on_engine(background::start());
    }
    descriptors::note_inherited();
    super::on_engine(run(engine_host, args))
}

async fn run(engine_host: Option<&str>, mut args: RunArgs) -> Result<u8, Failure> {
    open_files::raise_limit(OPEN_FILES);
    state::is_usable()?;
    planned::redirect_talk(&args)?;
    args.docker.warnings().into_iter().for_each(crate::term::warn);
    defaults::tell(&args);
    let choice = Choice::of(engine_host)?;
    let step = trace::step("files and policy");
    let approved = flow::choose(&mut args)?;
    let (mut request, token) = check(&choice, &args).await?;
    drop(step);
    if args.dry_run {
        return dry_run::print(&args, &request);
    }
    // Until here a signal ends the program by itself: there is nothing to tidy up.
    let mut signals = Signals::new()?;
    let (engine, images) = until_signal(&mut signals, engine::ready(&choice, &args, &request)).await?;
    flow::lay_on(approved.as_ref(), &mut request, &images.agent)?;
    let ended = supervised::run(&engine, &images, request, &mut signals).await;
    token::revoke(token.filter(|_| args.revoke_token)).await;
    ended
}

/// Checks everything that can be checked without the engine.
async fn check(choice: &Choice, args: &RunArgs) -> Result<(RunRequest, Option<Token>), Failure> {
    image::check(args)?;
    let forwards = ForwardRequest::take(&args.publish, args.tty)?;
    let files = Files::gather(choice, args)?;
    let policy = RunPolicy::load(args, &files)?;
    let apply = apply(args, files.folder());
    let name = args.name.as_deref().map(workflow_name).transpose()?;
    let home = args.home.as_deref().map(|name| home(name, args, &files)).transpose()?;
    check_terminal(args)?;
    let given = AgentInputs::gather(args)?;
    keep::check(args, &given)?;
    let services = services::gather(args, &policy.policy)?;
    let masks = masks::plan(&files, &policy)?;
    let ca = authorities::of_run(args.ca.clone(), policy.policy.container.ca.as_ref())?;
    let is_given = |name: &str| given.env.iter().any(|pair| pair.split('=').next() == Some(name));
    let variable = |name: &str| std::env::var(name).ok();
    callers_network::unused(&policy.policy, ca.is_some(), variable, is_given)
        .into_iter()
        .for_each(crate::term::warn);
    let token = token::check(args, &policy.policy).await?;
    let mut env = environment::variables(args, &files, &policy.policy, &given, &masks, token.as_ref());
    let ssh_agent = ssh_agent::take(args, &policy.policy, &mut env).await?;
    if policy.policy.is_observed() {
        let mut secrets = inputs::secrets(&env, &given.handed);
        secrets.extend(args.home.as_ref().map(|home| format!("the home {home} with its logins")));
        term::warn(Warning::Observing { secrets, project: files.folder().is_some() });
    }
    let agent = AgentRequest {
        command: args.command().to_vec(),
        entrypoint: args.entrypoint.clone(),
        env,
        binds: files.binds,
        workdir: args.workdir.clone().or_else(|| files.worktree.as_ref().and_then(Worktree::workdir)),
        handed: given.handed,
        ca,
        user: args.user.clone(),
        owner: files.owner,
        runtime: policy.runtime,
        interactive: args.interactive,
        tty: args.tty,
        detached: args.detach,
        keep: args.keep,
        limits: limits(args),
        surface: surface(args, files.tmpfs, &policy.policy),
    };
    let request = RunRequest {
        name,
        policy: policy.policy,
        layers: policy.layers,
        agent,
        shared: false,
        services,
        masks,
        worktree: files.worktree,
        token_ends: token.as_ref().and_then(|token| token.ends),
        home,
        forwards,
        surfaces: surfaces(args),
        ssh_agent,
        apply,
        tells_all: term::is_verbose(),
        planned: planned::read(args)?,
        events: args.events.clone(),
    };
    Ok((request, token))
}

/// Reads a name that is safe to type, to print and to be a label.
fn workflow_name(text: &str) -> Result<WorkflowName, Failure> {
    text.parse().map_err(|_| {
        Failure::new(COULD_NOT_RUN, format!("--name {text:?} cannot be a workflow's name"))
            .hint("use at most 63 letters, digits, `-`, `_` and `.`, beginning with a letter or digit")
    })
}

/// Returns the home that is asked for, with the project and image that it is for.
fn home(name: &str, args: &RunArgs, files: &Files) -> Result<HomeRequest, Failure> {
    let name = home_name(name)?;
    let project = files.folder().map(|folder| match folder.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => {
            let what = format!("--home {name}: the path {} is no UTF-8", folder.display());
            Err(Failure::new(COULD_NOT_RUN, what).hint("give the project a name that is text"))
        }
    });
    let owner = HomeOwner { project: project.transpose()?, image: repository(args.image()) };
    Ok(HomeRequest { name, owner })
}

/// Refuses a terminal that is none.
fn check_terminal(args: &RunArgs) -> Result<(), Failure> {
    if args.tty && args.interactive && !args.detach && !streams::stdin_is_terminal() {
        return Err(Failure::new(COULD_NOT_RUN, "-t and -i were given, but stdin is no terminal")
            .hint("leave out -t"));
    }
    Ok(())
}

/// Returns where refusals are shown while the agent has the screen.
fn surfaces(args: &RunArgs) -> Surfaces {
    let shown = args.tty && !args.detach && term::stdout_has_title();
    Surfaces { title: shown && args.title, notify: shown && args.notify }
}

/// Returns the words behind the id in the command by which refused names are put into the run's
/// policy file; nothing where the run has no such file.
fn apply(args: &RunArgs, project: Option<&Path>) -> Option<String> {
    match target::files(&args.policy.policies).as_slice() {
        [file] => Some(format!(" {}", term::in_shell(file))),
        [] => project?.join(PROJECT).exists().then(String::new),
        _ => None,
    }
}

/// Returns the limits that the command line asks for.
fn limits(args: &RunArgs) -> Asked {
    Asked {
        cpus: args.cpus,
        memory: args.memory,
        pids: args.pids,
        open_files: args.open_files,
        disk: args.disk,
        time: args.time,
    }
}

/// Returns what the agent has of the kernel and its image.
fn surface(args: &RunArgs, tmpfs: Vec<String>, policy: &Policy) -> Surface {
    let capabilities = match args.no_capabilities {
        true => Capabilities::None,
        false => policy.container.capabilities.unwrap_or(Capabilities::Default),
    };
    let shm = args.shm_size.unwrap_or(surface::SHM);
    Surface { capabilities, read_only: args.read_only, tmpfs, shm }
}
