//! One file a command: arguments in, effects, an exit status out.

mod ask;
mod attach;
mod completions;
mod doctor;
mod events;
mod exec;
mod forward;
mod gc;
mod home;
mod init;
mod live;
mod logs;
mod machine;
mod man;
mod meant;
pub(crate) mod policy;
mod project;
mod ps;
mod report;
mod review;
mod run;
mod save;
mod scenario;
mod serve;
mod sources;
mod stop;
mod trust;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use crate::cli::home::HomeCommand;
use crate::cli::policy::PolicyCommand;
use crate::cli::{Cli, Command};
#[cfg(target_os = "linux")]
use crate::cli::{FenceCommand, GuardCommand};
#[cfg(target_os = "linux")]
use crate::inside::output::diagnostic;
use crate::term;
use crate::term::trace::{self, Filter};
use crate::term::{COULD_NOT_RUN, Failure, Warning};

/// Carries out what was asked for. Errors become words here and nowhere else. `typed`: the words of
/// the command line, the program's name first.
pub(crate) fn dispatch(cli: Cli, typed: &[OsString], began: Instant) -> ExitCode {
    let cli = match run::defaults::complete(cli, typed) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    if cli.quiet {
        term::be_quiet();
    }
    if cli.verbose {
        term::be_verbose();
    }
    if let Err(failure) = begin_diagnostics(&cli, began) {
        return failure.render();
    }
    let engine = cli.engine.as_deref();
    let result = match cli.command {
        Command::Run(args) => run::dispatch(engine, *args),
        Command::Serve(args) => on_engine(serve::serve(engine, *args)),
        Command::Test(args) => on_engine(scenario::test(engine, args)),
        Command::Ps(args) => on_engine(ps::ps(engine, &args)),
        Command::Logs(args) => on_engine(logs::logs(engine, &args)),
        Command::Attach(args) => on_engine(attach::attach(engine, args)),
        Command::Exec(args) => on_engine(exec::exec(engine, args)),
        Command::Wait { runs } => on_engine(wait::wait(engine, &runs)),
        Command::Stop { workflows } => on_engine(stop::stop(engine, &workflows)),
        Command::Gc { all } => on_engine(gc::gc(engine, all)),
        Command::Events(args) => on_engine(events::events(engine, args)),
        Command::Report(args) => on_engine(report::report(engine, args)),
        Command::Review(args) => review::review(&args),
        Command::Allow(args) => on_engine(live::allow(engine, args)),
        Command::Deny(args) => on_engine(live::deny(engine, args)),
        Command::Reload(args) => on_engine(live::reload(engine, args)),
        Command::Net(args) => on_engine(live::net(engine, args)),
        Command::Forward(args) => on_engine(forward::forward(engine, args)),
        Command::Doctor(args) => on_engine(doctor::doctor(engine, args)),
        Command::Policy(PolicyCommand::Apply(args)) => on_engine(policy::apply(engine, args)),
        Command::Policy(PolicyCommand::Learn(args)) => on_engine(policy::learn(engine, args)),
        Command::Policy(PolicyCommand::Unused(args)) => on_engine(policy::unused(engine, args)),
        Command::Policy(command) => policy::dispatch(command),
        Command::Project(command) => project::dispatch(command),
        Command::Home(HomeCommand::Ls(args)) => home::ls(args.json),
        Command::Home(HomeCommand::Rm { names }) => on_engine(home::rm(engine, &names)),
        Command::Trust(args) => on_engine(trust::trust(engine, &args)),
        Command::Init(args) => init::init(&args),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { output } => man::man(output.as_deref()),
        Command::HelperImage { output } => helper_image(&output),
        #[cfg(target_os = "linux")]
        Command::Fence(_) | Command::Guard(_) | Command::Host(_) | Command::Disk(_) | Command::Probe(_) => {
            in_a_container(cli.command)
        }
        #[cfg(not(target_os = "linux"))]
        Command::Fence(_) | Command::Guard(_) | Command::Host(_) | Command::Disk(_) | Command::Probe(_) => {
            Err(linux_alone())
        }
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => failure.render(),
    }
}

/// Begins the diagnostics that a person asked for. In containers only fence and guard have some,
/// and write them where the supervisor can tell them from everything else.
fn begin_diagnostics(cli: &Cli, began: Instant) -> Result<(), Failure> {
    let write = match &cli.command {
        #[cfg(target_os = "linux")]
        Command::Fence(FenceCommand::Hold) | Command::Guard(GuardCommand::Run) => diagnostic,
        Command::Fence(_) | Command::Guard(_) | Command::Host(_) | Command::Disk(_) | Command::Probe(_) => {
            return Ok(());
        }
        _ => |line: &str| term::talk(line),
    };
    let timed = matches!(&cli.command, Command::Run(args) if args.timings).then_some(began);
    trace::begin(Filter::asked(cli.verbose)?, timed, write);
    Ok(())
}

/// Runs a program of a workflow's container.
#[cfg(target_os = "linux")]
fn in_a_container(command: Command) -> Result<u8, Failure> {
    use crate::cli::doctor::ProbeCommand;
    use crate::cli::{DiskCommand, HostCommand};

    match command {
        Command::Fence(FenceCommand::Hold) => crate::inside::fence::hold(),
        Command::Fence(FenceCommand::Apply) => crate::inside::fence::apply(),
        Command::Fence(FenceCommand::Notice) => crate::inside::fence::notice(),
        Command::Fence(FenceCommand::SshAgent) => crate::inside::fence::ssh_agent(),
        Command::Fence(FenceCommand::Forward) => crate::inside::fence::forward(),
        Command::Fence(FenceCommand::Admit) => crate::inside::fence::admit(),
        Command::Fence(FenceCommand::Put) => crate::inside::fence::put(),
        Command::Fence(FenceCommand::Reach { port }) => crate::inside::fence::reach(port),
        Command::Fence(FenceCommand::Ask { address }) => crate::inside::fence::ask(address),
        Command::Guard(GuardCommand::Run) => crate::inside::guard::run(),
        Command::Guard(GuardCommand::Control) => crate::inside::guard::relay(),
        Command::Guard(GuardCommand::Carry) => crate::inside::guard::carry(),
        Command::Host(HostCommand::Watch) => crate::inside::probe::host_network::watch(),
        Command::Disk(DiskCommand::Watch) => crate::inside::probe::disk_use::watch(),
        Command::Probe(ProbeCommand::Container) => crate::inside::probe::doctor::container(),
        Command::Probe(ProbeCommand::Fence) => crate::inside::probe::doctor::fence(),
        _ => Err(Failure::new(COULD_NOT_RUN, "that is no command of a container")),
    }
    .map(|()| 0)
}

#[cfg(target_os = "linux")]
fn helper_image(output: &std::path::Path) -> Result<u8, Failure> {
    let tag = crate::supervisor::helper_image::write(output)?;
    term::print(&format!("{tag}\n")).map(|()| 0)
}

#[cfg(not(target_os = "linux"))]
fn helper_image(_: &std::path::Path) -> Result<u8, Failure> {
    Err(linux_alone())
}

#[cfg(not(target_os = "linux"))]
fn linux_alone() -> Failure {
    Failure::new(COULD_NOT_RUN, "fence, guard and their image are made on Linux")
}

fn on_engine<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(COULD_NOT_RUN, "cannot start the runtime").caused_by(&error))?;
    let result = runtime.block_on(work);
    // A read of stdin cannot be interrupted; it must not keep the program from ending.
    runtime.shutdown_background();
    result
}

/// Ends a command that goes on after a failure: all failures but the last are told here, and that
/// one where every command's is.
pub(crate) fn all_or_last(mut failures: Vec<Failure>) -> Result<u8, Failure> {
    let last = failures.pop();
    failures.iter().for_each(Failure::tell);
    last.map_or(Ok(0), Err)
}

/// Says what the removal of a workflow without a record on this machine leaves out.
pub(crate) fn tell_what_is_not_kept(found: &crate::supervisor::inventory::WorkflowSummary) {
    if !found.is_recorded() {
        term::warn(Warning::NotRecordedHere(found.id.to_string()));
    }
}

/// Refuses what is about one agent, of a group of containers that clients of `serve` made.
pub(crate) fn refuse_group(found: &crate::supervisor::inventory::WorkflowSummary) -> Result<(), Failure> {
    match found.members().next() {
        None => Ok(()),
        Some(_) => {
            let what = format!("{} is a group of containers of `ringfence serve`, and no run", found.id);
            Err(Failure::new(COULD_NOT_RUN, what)
                .hint("use its socket for them: docker exec, docker logs, docker wait, docker run -p"))
        }
    }
}
