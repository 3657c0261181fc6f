//! `ringfence run`: the options as typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use netpolicy::settings::Ca;

use super::docker::WithoutEffect;
use super::policy::PolicyArgs;
use super::values;
use crate::supervisor::forward::Publish;
use crate::supervisor::image::Pull;

/// `ringfence run [OPTIONS] IMAGE [COMMAND]…`
#[derive(Debug, Args)]
#[command(
    override_usage = "ringfence run [OPTIONS] [IMAGE [COMMAND]...]",
    after_help = "\
Example: git worktree add ../fix && ringfence run --worktree --project ../fix --policy gitlab@1 IMAGE AGENT
lets an agent commit and push in a working tree of its own. Run no git in the other ones until it has ended.

Example: ringfence run --ssh-agent --ssh-key ~/.ssh/id_ed25519.pub --allow gitlab.com:22 --project . IMAGE AGENT
lets an agent clone and push over ssh, with one key of your ssh agent, at a server that your known hosts have.

Exit status: the agent's own; 123 the fence ended the run (a helper died, a limit of memory or disk); 124 its time is over;
125 ringfence could not run it; 126/127 as docker; 128+N ended by signal N"
)]
pub(crate) struct RunArgs {
    /// The policy
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Run only if the policy of all layers has this digest (see `ringfence policy show`)
    #[arg(long, value_name = "sha256:…", value_parser = super::digest)]
    pub(crate) expect_digest: Option<String>,
    /// `policy`: what the policy permits; `denied`: nothing; `observe`: every public name, within
    /// ceilings and denials, to learn a policy from
    #[arg(long, alias = "net", value_name = "CONDITION", default_value = "policy", value_parser = values::network)]
    pub(crate) network: Network,
    /// Deny all network, as --network denied does
    #[arg(long, conflicts_with = "network")]
    pub(crate) no_network: bool,
    /// The project directory, mounted at /workspace, which becomes the working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    /// Give the agent the project's git repository too, where that lies outside of DIR: a linked
    /// working tree, a submodule, a part of a larger repository. What git keeps for other working
    /// trees stays unchangeable
    #[arg(long, requires = "project")]
    pub(crate) worktree: bool,
    /// Take image and setup script from the project's .gitlab/duo/agent-config.yml, as a run
    /// without an image does; `ringfence trust` approves them. All words are the command then
    #[arg(long, requires = "project")]
    pub(crate) flow: bool,
    /// A directory or file of this machine for the agent, read-only unless it ends in `:rw`
    #[arg(short = 'v', long = "mount", visible_alias = "volume", value_name = "SRC:DST[:rw]")]
    pub(crate) mounts: Vec<String>,
    /// Keep the agent's home from run to run under this name: logins, history, settings. It belongs
    /// to the project and to the image's repository; `ringfence home` lists and removes homes
    #[arg(long, value_name = "NAME")]
    pub(crate) home: Option<String>,
    /// A container beside the agent, in the same fence, which the agent reaches by this name and at
    /// localhost: a database, a cache. It is there before the agent and goes with it
    #[arg(long, value_name = "NAME=IMAGE")]
    pub(crate) service: Vec<String>,
    /// An environment variable for a service; without a value, the caller's
    #[arg(long, value_name = "NAME:VARIABLE[=VALUE]")]
    pub(crate) service_env: Vec<String>,
    /// An environment variable for the agent; without a value, the caller's
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// A file of environment variables, NAME=VALUE or NAME a line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Let the agent log in, by your ssh agent, at the ssh servers that the policy permits and your
    /// known hosts have. It can then act there as you, as long as the run lasts
    #[arg(long)]
    pub(crate) ssh_agent: bool,
    /// With --ssh-agent: the public key file of the one key that the agent may use, instead of all
    /// that your ssh agent holds
    #[arg(long, value_name = "FILE", requires = "ssh_agent")]
    pub(crate) ssh_key: Vec<PathBuf>,
    /// With --ssh-agent: sign logins at this server (HOST or HOST:PORT) although its ssh does not
    /// bind them to its host key. That server, and anybody who can read its host key, can then have
    /// logins at other servers signed, with every key that the agent may use
    #[arg(long, value_name = "HOST", requires = "ssh_agent")]
    pub(crate) ssh_agent_plain: Vec<String>,
    /// A secret for the agent, from the caller's environment or a file: /run/secrets/NAME, in
    /// memory only
    #[arg(long, value_name = "NAME[=FILE]")]
    pub(crate) secret: Vec<String>,
    /// A file for the agent, in memory: /run/secrets/prompt, named by RINGFENCE_PROMPT
    #[arg(long, value_name = "FILE")]
    pub(crate) prompt: Option<PathBuf>,
    /// Send a value although it looks like a secret: the rule and the place that the refusal names
    #[arg(long, value_name = "RULE@PLACE")]
    pub(crate) allow_secret: Vec<String>,
    /// Give the agent a GitLab token as GITLAB_TOKEN, once the instance (--gitlab, else gitlab.com)
    /// has confirmed its scopes and its end
    #[arg(long, value_name = "NAME", group = "gitlab_token")]
    pub(crate) gitlab_token_env: Option<String>,
    /// Hand over the token that glab has for the instance
    #[arg(long, group = "gitlab_token")]
    pub(crate) gitlab_token_glab: bool,
    /// Revoke that token after the run
    #[arg(long, requires = "gitlab_token")]
    pub(crate) revoke_token: bool,
    /// A path that is shown as it is, although it looks like a secret: below the project, or an
    /// absolute one in a mount
    #[arg(long, value_name = "PATH")]
    pub(crate) unmask: Vec<String>,
    /// Certificate authorities for the agent's TLS clients besides its image's own: a PEM file, or
    /// this machine's
    #[arg(long, value_name = "FILE|system", value_parser = values::authorities)]
    pub(crate) ca: Option<Ca>,
    /// Carry connections from this machine's loopback to a port of the agent; `0:PORT` takes a free
    /// port and prints it, `auto` forwards whatever the agent listens on to free ports. Every user
    /// and program of this machine can connect to them
    #[arg(short = 'p', long, value_name = "[LOCAL:]PORT|auto")]
    pub(crate) publish: Vec<Publish>,
    /// A name for the workflow
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Keep stdin open and send it to the agent
    #[arg(short = 'i', long)]
    pub(crate) interactive: bool,
    /// Give the agent a terminal
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// Show refusals in your terminal's title while the agent has the screen (-t): `auto` or
    /// `never`
    #[arg(long, value_name = "WHEN", default_value = "auto", action = clap::ArgAction::Set, value_parser = values::title)]
    pub(crate) title: bool,
    /// Show refusals as notifications of your terminal too (OSC 9), one in ten seconds at most
    #[arg(long, requires = "tty")]
    pub(crate) notify: bool,
    /// Leave the run to a supervisor in the background, once the agent runs; print the run's id.
    /// `ringfence logs` shows the output, and what is said at the end
    #[arg(short = 'd', long)]
    pub(crate) detach: bool,
    /// Keep the agent's container after its end, stopped, as docker does without --rm. Nothing else
    /// of the run stays: no network, no secret. `ringfence stop` removes it
    #[arg(long, conflicts_with = "rm")]
    pub(crate) keep: bool,
    /// User of the agent's process [default: the project's owner, else the image's]
    #[arg(short = 'u', long, value_name = "USER", value_parser = values::user)]
    pub(crate) user: Option<String>,
    /// Working directory in the container
    #[arg(short = 'w', long, value_name = "DIR", value_parser = values::workdir)]
    pub(crate) workdir: Option<String>,
    /// The program to start instead of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// CPUs that the agent may use [default: 2, or what the engine has]
    #[arg(long, value_name = "N", value_parser = values::cpus)]
    pub(crate) cpus: Option<f64>,
    /// Memory that the agent may use, swap and its tmpfs files included [default: 4GiB]
    #[arg(short = 'm', long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) memory: Option<u64>,
    /// Processes and threads that the agent may have [default: 1024]
    #[arg(long, alias = "pids-limit", value_name = "N", value_parser = values::pids)]
    pub(crate) pids: Option<u64>,
    /// Files that each of its processes may have open [default: 16384]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(64..=1_048_576))]
    pub(crate) open_files: Option<u64>,
    /// Disk that the agent may fill: its container's own layer, and what it adds to writable
    /// mounts; watched, and held by the storage driver where that can [default: 10GiB]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) disk: Option<u64>,
    /// Wall-clock time after which the run is ended (2h, 90s) [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) time: Option<Duration>,
    /// Fetch the image: `missing`, `always` or `never`
    #[arg(long, value_name = "WHEN", default_value = "missing", hide_possible_values = true)]
    pub(crate) pull: Pull,
    /// The OCI runtime of the agent's container, as the engine names it [default: the engine's own]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) runtime: Option<String>,
    /// Make the image read-only; /tmp, /run and /var/tmp are in memory
    #[arg(long)]
    pub(crate) read_only: bool,
    /// A directory in memory, which counts as the agent's memory
    #[arg(long, value_name = "PATH")]
    pub(crate) tmpfs: Vec<String>,
    /// Size of /dev/shm, which counts as the agent's memory [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) shm_size: Option<u64>,
    /// Take from root in the container every capability, the few that installing packages needs
    /// included
    #[arg(long)]
    pub(crate) no_capabilities: bool,
    /// Write the events to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Write ringfence's own words to this file instead of stderr, for `ringfence test`
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) talk: Option<PathBuf>,
    /// Begin with the conditions in this file, for `ringfence test`
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) planned_conditions: Option<PathBuf>,
    /// Print how long each step of the start took
    #[arg(long)]
    pub(crate) timings: bool,
    /// Take nothing from ~/.config/ringfence/run.yml, which holds your options for each project
    #[arg(long)]
    pub(crate) no_defaults: bool,
    /// Check policy, project and options without the engine, print what would be run, and end;
    /// files and variables that the start reads are not looked at
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Options of docker's that change nothing
    #[command(flatten)]
    pub(crate) docker: WithoutEffect,
    /// The agent's image, and its command: what follows the image is the agent's, `--` included.
    /// Your own options for a project, in ~/.config/ringfence/run.yml, may have an image
    #[arg(trailing_var_arg = true, value_name = "IMAGE")]
    pub(crate) words: Vec<String>,
    /// Options among these that come from the user's file of defaults.
    #[arg(skip)]
    pub(crate) defaults: Vec<TakenDefault>,
}

/// An option, or the image with its command, that the user's file of defaults gave.
#[derive(Debug, Clone)]
pub(crate) struct TakenDefault {
    /// The file.
    pub(crate) file: PathBuf,
    /// Line of the file.
    pub(crate) line: u32,
    /// Words, without the values of variables.
    pub(crate) text: String,
}

impl std::fmt::Display for TakenDefault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}  {}", self.file.display(), self.line, self.text)
    }
}

/// Choice of the agent's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Names and ranges that the policy permits.
    Policy,
    /// No network.
    Denied,
    /// Every public name, recorded.
    Observe,
}

impl RunArgs {
    /// Returns the agent's image as it was typed.
    pub(crate) fn image(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Returns the agent's command; empty: the image's.
    pub(crate) fn command(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Tells whether the agent is to have no network at all.
    pub(crate) fn network_denied(&self) -> bool {
        self.no_network || self.network == Network::Denied
    }

    /// Tells whether the agent may reach every public name.
    pub(crate) fn network_observed(&self) -> bool {
        !self.no_network && self.network == Network::Observe
    }
}
