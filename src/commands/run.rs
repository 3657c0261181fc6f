//! `ringfence run`: everything that can be checked without the engine is checked here, all of it
//! before the engine is even asked.

use std::os::fd::AsFd;

use netpolicy::policy::Policy;
use netpolicy::settings::Capabilities;

use crate::cli::run::RunArgs;
use crate::host::programs;
use crate::host::{open_files, state, territory};
use crate::layers::record::Record;
use crate::layers::{self, Wanted};
use crate::supervisor::engine::Choice;
use crate::supervisor::image;
use crate::supervisor::run::streams;
use crate::supervisor::run::{RunRequest, runtime};
use crate::supervisor::signals::Signals;
use crate::supervisor::signals::interrupt::until_signal;
use crate::supervisor::spec::limits::Asked;
use crate::supervisor::spec::places::WORKSPACE;
use crate::supervisor::spec::request::AgentRequest;
use crate::supervisor::spec::surface::{self, Surface};
use crate::supervisor::upload::authorities;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowName;
use crate::workspace::identity::{self, Settings, TOKEN};
use crate::workspace::machine::Machine;
use crate::workspace::masks::{self, Plan, Wishes};
use crate::workspace::mounts::{self, Bind};
use crate::workspace::repository;
use crate::workspace::secrets::Handed;
use crate::workspace::survey::Survey;
use crate::workspace::token::{Source, Token};
use crate::workspace::worktree::{self, REPOSITORY, Worktree};

use super::giving::{self, Giving};

/// Repositories of the project may have thousands of packs, with two open files for each, and many
/// systems permit 1,024. Not more than needed: some programs close every number up to their limit
/// when they start.
const OPEN_FILES: u64 = 1 << 16;

/// Runs the agent; its exit status.
pub async fn run(engine_host: Option<&str>, args: RunArgs) -> Result<u8, Failure> {
    open_files::raise_limit(OPEN_FILES);
    let denied = args.network_denied();
    state::is_usable()?;
    if !args.quiet {
        args.docker.told().iter().for_each(crate::term::talk);
    }
    let choice = Choice::of(engine_host)?;
    let Files { binds, tmpfs, owner, worktree } = files(&choice, &args)?;
    // Before the first of the person's own programs is asked for something.
    programs::keep_from(binds.iter().map(|bind| bind.source.clone()));
    let project = binds.iter().find(|bind| bind.target == WORKSPACE);
    let part = worktree.as_ref().and_then(|worktree| worktree.part.as_ref());
    let folder = part.or(project).map(|bind| bind.source.as_path());
    let wanted = Wanted { network_denied: denied, ..super::policy::wanted(&args.policy, folder) };
    let loaded = layers::load(&wanted)?;
    layers::warn(&loaded);
    let mut policy = loaded.policy;
    let unmasked = super::project::unmask(&mut policy, &args.unmask, folder)?;
    check_digest(&policy, args.expect_digest.as_deref())?;
    let runtime = runtime::wanted(policy.container.runtime.as_deref(), args.runtime.as_deref())?;
    let limits = Asked {
        cpus: args.cpus,
        memory: args.memory,
        pids: args.pids,
        open_files: args.open_files,
        disk: args.disk,
        time: args.time,
    };
    let name = args.name.as_deref().map(workflow_name).transpose()?;
    if args.tty && args.interactive && !streams::stdin_is_terminal() {
        return Err(Failure::new(COULD_NOT_RUN, "-t and -i were given, but stdin is no terminal")
            .hint("leave out -t"));
    }
    let Giving { mut env, handed } = giving::gather(&args)?;
    let masks = plans(project, worktree.as_ref(), &super::project::wishes(&policy))?;
    let below = worktree.as_ref().and_then(Worktree::below);
    super::project::check_unmasked(&masks, below, &unmasked)?;
    if !args.quiet {
        masks.iter().enumerate().for_each(|(number, plan)| tell_plan(number, plan));
    }
    let ca = authorities::of_run(args.ca.clone(), policy.container.ca.as_ref())?;
    let source = args.gitlab_token_env.as_deref().map(Source::Variable);
    let token = match source.or(args.gitlab_token_glab.then_some(Source::Glab)) {
        None => None,
        Some(source) => {
            let ca = args.ca.as_ref().or(policy.container.ca.as_ref());
            let token = Token::check(source, args.policy.gitlab.as_deref(), ca, &policy).await?;
            if args.revoke_token {
                token.can_be_revoked()?;
            }
            env.push(token.variable());
            Some(token)
        }
    };
    if args.read_only
        && args.user.is_none()
        && owner.is_some()
        && !env.iter().any(|pair| pair.starts_with("HOME="))
    {
        // No account can be added, and no home be written.
        env.push("HOME=/tmp".to_owned());
    }
    let config = match &worktree {
        Some(worktree) => Some((&worktree.git, "config")),
        None => project.map(|project| (project, ".git/config")),
    };
    settings(config, masks.first(), args.policy.gitlab.as_deref(), &env, &handed).lay_on(&mut env);
    // Until here a signal ends the program by itself: there is nothing to tidy up.
    let mut signals = Signals::new()?;
    let on_the_engine = async {
        let engine = choice.connect().await?;
        if !binds.is_empty() && !engine.local {
            return Err(Failure::new(
                COULD_NOT_RUN,
                format!("--project, --mount: {} may not see this machine's files", engine.host),
            )
            .hint("this version mounts files only for an engine on a local socket"));
        }
        super::gc::quietly(&engine).await;
        crate::doctor::require::refuse_unmet(&engine, &policy).await?;
        let image = image::ready(&engine, args.image(), args.pull, args.quiet).await?;
        Ok((engine, image))
    };
    let (engine, image) = until_signal(&mut signals, on_the_engine).await?;
    let surface = Surface {
        capabilities: if args.no_capabilities {
            Capabilities::None
        } else {
            policy.container.capabilities.unwrap_or(Capabilities::Default)
        },
        read_only: args.read_only,
        tmpfs,
        shm: args.shm_size.unwrap_or(surface::SHM),
    };
    let request = RunRequest {
        name,
        policy,
        layers: Record::of(wanted)?,
        agent: AgentRequest {
            command: args.command().to_vec(),
            entrypoint: args.entrypoint,
            env,
            binds,
            workdir: args.workdir.or_else(|| worktree.as_ref()?.workdir()),
            handed,
            ca,
            user: args.user,
            owner,
            runtime,
            interactive: args.interactive,
            tty: args.tty,
            limits,
            surface,
        },
        masks,
        worktree,
        token_ends: token.as_ref().and_then(|token| token.ends),
        events: args.events,
        timings: args.timings,
        quiet: args.quiet,
    };
    let ended = crate::supervisor::run::run(&engine, &image, request, &mut signals).await;
    if let Some(token) = token.filter(|_| args.revoke_token)
        && let Err(failure) = token.revoke().await
    {
        crate::term::talk_lines(failure);
    }
    ended
}

/// A name that is safe to type, to print and to be a label.
fn workflow_name(text: &str) -> Result<WorkflowName, Failure> {
    text.parse().map_err(|_| {
        Failure::new(COULD_NOT_RUN, format!("--name {text:?} cannot be a workflow's name"))
            .hint("use at most 63 letters, digits, `-`, `_` and `.`, beginning with a letter or digit")
    })
}

/// Who the agent is to git.
fn settings(
    config: Option<(&Bind, &str)>,
    masks: Option<&masks::Plan>,
    gitlab: Option<&str>,
    env: &[String],
    handed: &[Handed],
) -> Settings {
    let mut settings = Settings::default();
    if let Some(plan) = masks {
        settings.for_covers(plan);
    }
    if let Some(config) = config {
        settings.for_project(WORKSPACE, config);
    }
    let has_token = handed.iter().any(|file| file.name == TOKEN)
        || env.iter().any(|pair| pair.split_once('=').is_some_and(|(name, _)| name == TOKEN));
    if has_token && let Some(authority) = identity::authority(gitlab.unwrap_or("https://gitlab.com")) {
        settings.for_instance(authority);
    }
    settings
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

/// What the agent is given of this machine's files: the project and the mounts, and the places in
/// memory.
struct Files {
    binds: Vec<Bind>,
    tmpfs: Vec<String>,
    /// The project's owner, unless that is root.
    owner: Option<String>,
    /// The project as a working tree whose repository lies elsewhere.
    worktree: Option<Worktree>,
}

/// Returns what is laid over the project, and over its repository where that is mounted apart from
/// it.
fn plans(project: Option<&Bind>, worktree: Option<&Worktree>, wishes: &Wishes) -> Result<Vec<Plan>, Failure> {
    let Some(project) = project else { return Ok(Vec::new()) };
    let Some(worktree) = worktree else { return Ok(vec![masks::plan(&project.source, wishes)?]) };
    let mut plans = vec![match worktree.below() {
        Some(part) => masks::plan(&project.source, &wishes.of_part(part))?,
        None => masks::plan(&project.source, wishes)?,
    }];
    if worktree.mirror.is_some() {
        plans.push(masks::plan_repository(&worktree.git.source, &worktree.record, wishes)?);
    }
    plans.iter_mut().for_each(|plan| plan.point(&worktree.pointers));
    Ok(plans)
}

fn tell_plan(number: usize, plan: &Plan) {
    let text = plan.summary();
    if number == 0 {
        return crate::term::talk_lines(text);
    }
    // Of a repository: its paths are below another directory.
    let place =
        format!("ringfence: in {}: ", netpolicy::diagnostic::harmless(&plan.project.to_string_lossy()));
    let lines = text.lines().filter(|line| !line.contains("--unmask PATH"));
    let lines = lines.map(|line| format!("{}\n", line.replacen("ringfence: ", &place, 1)));
    crate::term::talk_lines(lines.collect::<String>());
}

fn files(engine: &Choice, args: &RunArgs) -> Result<Files, Failure> {
    let machine = super::machine::with(engine);
    let project = args.project.as_deref();
    let project = project.map(|given| mounts::project(given, WORKSPACE, &machine)).transpose()?;
    project.iter().try_for_each(count_as_agents)?;
    let worktree = project.as_ref().filter(|_| args.worktree);
    let worktree = worktree.map(|project| Worktree::of(project, &machine)).transpose()?;
    let owner = project.as_ref().map(|project| project.owner).filter(|(user, _)| *user != 0);
    let root = worktree.as_ref().map(|worktree| worktree.root.clone()).or_else(|| project.clone());
    let mut own: Vec<Bind> = project.into_iter().collect();
    if let Some(worktree) = &worktree {
        own = worktree.binds();
        own.iter().try_for_each(count_as_agents)?;
        crate::term::talk(format_args!("{}", worktree.told));
    }
    let project = root;
    let mut binds = Vec::new();
    for given in &args.mounts {
        let bind = mounts::mount(given, project.as_ref(), &machine)?;
        if worktree.is_some() && worktree::is_below_repository(&bind.target) {
            let what = format!("--mount {given}: {REPOSITORY} is where the repository is");
            return Err(Failure::new(COULD_NOT_RUN, what).hint("choose another place in the container"));
        }
        count_as_agents(&bind)?;
        binds.push(bind);
    }
    let memory = args.tmpfs.iter().map(|target| mounts::memory_target(target, project.as_ref()));
    let tmpfs = memory.collect::<Result<Vec<_>, _>>()?;
    binds.splice(0..0, own);
    mounts::all_differ(&binds, &tmpfs)?;
    for bind in binds.iter().filter(|bind| bind.directory) {
        survey(bind, &machine, args.quiet, worktree.is_some())?;
    }
    Ok(Files { binds, tmpfs, worktree, owner: owner.map(|(user, group)| format!("{user}:{group}")) })
}

/// From here on no link in it is followed that leads to another file of the command line.
fn count_as_agents(bind: &Bind) -> Result<(), Failure> {
    let given = bind.given().map_err(|error| {
        Failure::new(COULD_NOT_RUN, format!("cannot look at {}", bind.source.display())).caused_by(&error)
    })?;
    given.into_iter().for_each(territory::add);
    Ok(())
}

/// Tells what is in a directory that a person should know of; a socket of the engine in it ends the
/// run.
fn survey(bind: &Bind, machine: &Machine, quiet: bool, worktree: bool) -> Result<(), Failure> {
    let survey = bind
        .reopen()
        .and_then(|opened| Survey::of(opened, &bind.source, &machine.sockets))
        .map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot look through {}", bind.source.display()))
                .caused_by(&error)
        })?;
    if let Some(socket) = &survey.engine_socket {
        let what =
            format!("{} in {} is the container engine's socket", socket.display(), bind.source.display());
        return Err(
            Failure::new(COULD_NOT_RUN, what).hint("whoever has it has this machine: remove that name")
        );
    }
    if !quiet {
        survey.lines(&bind.source).iter().for_each(|line| crate::term::talk(format_args!("{line}")));
        let root = bind.reopen().ok().filter(|_| bind.target == WORKSPACE && !worktree);
        if let Some(why) = root.and_then(|root| repository::outside(root.as_fd(), &bind.source)) {
            crate::term::talk(format_args!("{why}"));
        }
    }
    Ok(())
}
