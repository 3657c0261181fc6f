//! The words of the command line: what a person typed, as data. Nothing here acts.

pub(crate) mod defaults;
pub(crate) mod docker;
pub(crate) mod doctor;
#[cfg(test)]
mod documented;
pub(crate) mod forward;
pub(crate) mod home;
pub(crate) mod init;
pub(crate) mod live;
pub(crate) mod manual;
pub(crate) mod policy;
pub(crate) mod project;
pub(crate) mod run;
pub(crate) mod scenario;
pub(crate) mod serve;
pub(crate) mod usage;
pub(crate) mod values;
pub(crate) mod ways;

use clap::{Args, Parser, Subcommand};

/// Run an AI agent in a container that reaches exactly the names its policy permits.
#[derive(Debug, Parser)]
#[command(
    name = "ringfence",
    version,
    about,
    propagate_version = true,
    after_help = "\
Examples:
  ringfence run --policy policy.yml --project . my-agent:latest agent --goal 'fix the tests'
  ringfence run --allow gitlab.com debian:12 curl -sS https://gitlab.com/api/v4/version
  ringfence policy explain https://gitlab.com/ --policy policy.yml
  ringfence events ID --denied"
)]
pub(crate) struct Cli {
    /// The engine to use: unix:///path, tcp://host:port, ssh://[user@]host, or a docker context
    /// [default: DOCKER_HOST, else the current docker context, else the usual sockets]
    #[arg(long, global = true, value_name = "HOST")]
    pub(crate) engine: Option<String>,
    /// Write errors, and warnings of what is lost or less protected; no summary, no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Write diagnostics: steps, the engine's calls, what fence and guard do; RINGFENCE_LOG chooses
    #[arg(long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Command to run.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One verb, one variant, one file under `commands/`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an agent in its own fence
    Run(Box<run::RunArgs>),
    /// Serve a Docker socket behind which every container is in a fence
    Serve(Box<serve::ServeArgs>),
    /// Run an agent under network conditions, case by case, and judge what it does
    Test(scenario::ScenarioArgs),
    /// List the workflows on the engine; with --all, the runs that are over too
    Ps(PsArgs),
    /// Show the output of an agent that runs, or of a detached run that is over
    Logs(ways::LogsArgs),
    /// Attach the terminal to an agent that runs
    Attach(ways::AttachArgs),
    /// Run a command in the container of an agent that runs
    Exec(ways::ExecArgs),
    /// Wait until runs are over, and print the exit status of each
    #[command(after_help = "\
A run that is over already is told at once. Prints what `ringfence run` ended with: the agent's own status, 123 and 124
where the fence or the time ended the run. Of a run that no supervisor on this machine follows, the agent's own.
Exit status: 0 all are known, 125 not")]
    Wait {
        /// Ids, unique prefixes of ids, or names (of several runs that are over, the latest)
        #[arg(required = true, value_name = "ID")]
        runs: Vec<String>,
    },
    /// End workflows and remove their containers, networks and volumes
    #[command(after_help = "Exit status: 0 all have ended, 125 one could not be ended, or none is meant")]
    Stop {
        /// Ids, unique prefixes of ids, or names
        #[arg(required = true, value_name = "ID")]
        workflows: Vec<String>,
    },
    /// Remove the leftovers of workflows that nobody supervises any more
    #[command(after_help = "Exit status: 0 nothing is left, 125 something could not be removed")]
    Gc {
        /// Remove the shared uplink network too
        #[arg(long)]
        all: bool,
    },
    /// Show the decision log of a workflow, or of a file
    Events(EventsArgs),
    /// Show what runs reached and were refused, by target and rule, as text or one page
    Report(ReportArgs),
    /// Show what a run changed, after its end: references, commits, files, and what was put back
    Review(ReviewArgs),
    /// Permit a host to a running workflow
    Allow(live::AllowArgs),
    /// Refuse a host, or everything, to a running workflow
    Deny(live::DenyArgs),
    /// Reload the policy of a running workflow
    Reload(live::ReloadArgs),
    /// Slow down, break or cut the network of a running workflow, and restore it
    Net(live::NetArgs),
    /// Carry connections from this machine's loopback to ports of a running workflow's agent
    Forward(forward::ForwardArgs),
    /// Check this machine and engine for each risk
    Doctor(doctor::DoctorArgs),
    /// Check and explain policies, offline
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Show a project as an agent would see it
    #[command(subcommand)]
    Project(project::ProjectCommand),
    /// List and remove the homes that `run --home` keeps
    #[command(subcommand)]
    Home(home::HomeCommand),
    /// Approve a project's own policy as it is now
    Trust(policy::TrustArgs),
    /// Write a first policy and Dockerfile for an agent into a project
    Init(init::InitArgs),
    /// Print the completion script of a shell
    #[command(after_help = "\
Examples:
  ringfence completions bash > ~/.local/share/bash-completion/completions/ringfence
  ringfence completions zsh > ~/.zfunc/_ringfence        # with ~/.zfunc in fpath
  ringfence completions fish > ~/.config/fish/completions/ringfence.fish")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: manual::Shell,
    },
    /// Print the man page, or write the pages of all commands, for packagers
    #[command(hide = true)]
    Man {
        /// Folder for ringfence.1 and a page for each command
        #[arg(long, value_name = "DIR")]
        output: Option<std::path::PathBuf>,
    },
    /// Write the helper image of this machine's files, for engines that need it from elsewhere
    #[command(hide = true)]
    HelperImage {
        /// File to write
        #[arg(long, value_name = "FILE")]
        output: std::path::PathBuf,
    },
    /// Run inside the fence's container
    #[command(subcommand, hide = true)]
    Fence(FenceCommand),
    /// Run inside the guard's container
    #[command(subcommand, hide = true)]
    Guard(GuardCommand),
    /// Run inside the container in the host's network
    #[command(subcommand, hide = true)]
    Host(HostCommand),
    /// Run inside the container that counts the agent's files
    #[command(subcommand, hide = true)]
    Disk(DiskCommand),
    /// Run inside the doctor's containers
    #[command(subcommand, hide = true)]
    Probe(doctor::ProbeCommand),
}

/// A command that reads.
#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence ps`.
#[derive(Debug, Args)]
#[command(after_help = "\
--watch shows use against limit, connections and refusals as they happen. Its keys permit one more name (as `ringfence
allow` does, after asking), stop a workflow, and show the line that would permit a refusal; ? lists them.

Exit status: 0 listed, or the view was left; 125 could not

Examples:
  ringfence ps --all
  ringfence ps --watch")]
pub(crate) struct PsArgs {
    /// List the runs of this machine that are over too, as far as they are remembered
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show them on the whole terminal until you quit, with keys to permit names and to stop
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// `ringfence events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 shown; 1 --verify found the log not whole, or another digest; 2 could not; 125 no engine to ask

Examples:
  ringfence events ID --follow
  ringfence events ID --denied
  ringfence events run.jsonl --verify --digest sha256:…")]
pub(crate) struct EventsArgs {
    /// A workflow's id, unique prefix or name (of several that are over, the latest), or an events
    /// file
    #[arg(value_name = "ID|FILE")]
    pub(crate) source: String,
    /// Show refusals only
    #[arg(long)]
    pub(crate) denied: bool,
    /// Keep printing until the workflow ends; takes a run that is alive, no file
    #[arg(long, conflicts_with = "verify")]
    pub(crate) follow: bool,
    /// Check that the log is whole, as far as its chain can tell
    #[arg(long, conflicts_with = "denied")]
    pub(crate) verify: bool,
    /// The last digest, as the run printed it: proves that nothing is missing at the end
    #[arg(long, value_name = "SHA256", requires = "verify", value_parser = digest)]
    pub(crate) digest: Option<String>,
    /// Print the lines as they were written; with --verify, the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence report`.
#[derive(Debug, Args)]
#[command(after_help = "\
With several runs, each after the first shows what none before it had. The page of --html needs no network and no other file.
A log tells of your work: the page is readable by you alone.
Exit status: 0 shown, 2 could not

Examples:
  ringfence report ID
  ringfence report monday.jsonl tuesday.jsonl --html report.html")]
pub(crate) struct ReportArgs {
    /// Workflows' ids, unique prefixes or names, or events files
    #[arg(required = true, value_name = "ID|FILE")]
    pub(crate) sources: Vec<String>,
    /// Write one HTML page to this file instead
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) html: Option<std::path::PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence review`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing in the project decides what is shown: git reads its objects only, with a configuration of ringfence's own.
Exit status: 0 shown, 125 could not")]
pub(crate) struct ReviewArgs {
    /// A run's id, a unique prefix of it, or its name (of several, the latest)
    #[arg(value_name = "ID")]
    pub(crate) run: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads a SHA-256 digest in hexadecimal digits, `sha256:` before it or not.
pub(super) fn digest(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let good = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| digits.to_ascii_lowercase()).ok_or_else(|| "a digest has 64 hexadecimal digits".to_owned())
}

/// Programs that the fence container runs.
#[derive(Debug, Subcommand)]
pub(crate) enum FenceCommand {
    /// Make the fence, prove it, hand its sockets over, hold it
    Hold,
    /// Write the files described on stdin into the volume in memory
    Put,
    /// Replace the agent's notice by the text on stdin
    Notice,
    /// Replace the ruleset by the one described on stdin
    Apply,
    /// Look at what a container that starts has, and let it begin
    Admit,
    /// Dial the agent's ports for the supervisor at the other end of stdin and stdout
    Forward,
    /// Carry connections of the agent's ssh to the supervisor at the other end of stdin and stdout
    SshAgent,
    /// Wait until something listens on a port of 127.0.0.1
    Reach {
        /// The port
        port: u16,
    },
    /// Ask the fence's filter, from another container in the fence
    Ask {
        /// Any address: port 53 of each is the filter's
        address: std::net::Ipv4Addr,
    },
}

/// Programs that the container in the host's network runs.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Print the machine's own addresses, and again when they change
    Watch,
}

/// Programs that the container that counts the agent's files runs.
#[derive(Debug, Subcommand)]
pub(crate) enum DiskCommand {
    /// Print the agent's use of the engine's disk, again and again
    Watch,
}

/// Programs that the guard container runs.
#[derive(Debug, Subcommand)]
pub(crate) enum GuardCommand {
    /// Serve the fence's sockets
    Run,
    /// Carry requests from stdin to the guard, and its answers to stdout
    Control,
    /// Carry connections to the loopback of the supervisor's machine
    Carry,
}
