//! `ringfence serve`: the options as typed.

use std::path::PathBuf;

use clap::Args;

use super::policy::PolicyArgs;
use super::values::{cpus, pids, size, time};

/// `ringfence serve`
#[derive(Debug, Args)]
#[command(after_help = "\
Speaks the Docker API at a socket of your own. Every container that a client makes there is in a fence
with this policy, and nothing that a client says takes it out. Containers of one compose project, CI job,
devcontainer or named network share a fence. Ends with Ctrl-C; containers stay in their fences then, and
the next `ringfence serve` at the same socket finds them. A service manager may hand its socket over.
Exit status: 0 Ctrl-C, 125 could not

Examples:
  ringfence serve --policy policy.yml --project ~/src/shop
  DOCKER_HOST=unix://$XDG_RUNTIME_DIR/ringfence/docker.sock docker run --rm debian:12 true
  ringfence serve --socket ~/agents/docker.sock --allow gitlab.com --project .
  ringfence serve --explain             # what is permitted, field by field")]
pub(crate) struct ServeArgs {
    /// Path of the socket [default: $XDG_RUNTIME_DIR/ringfence/docker.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The policy of every container
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Directory below which clients may mount files; may be given several times
    #[arg(long = "project", value_name = "DIR")]
    pub(crate) projects: Vec<PathBuf>,
    /// CPUs of each container, at most
    #[arg(long, value_name = "N", value_parser = cpus)]
    pub(crate) cpus: Option<f64>,
    /// Memory of each container, at most
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<u64>,
    /// Processes of each container, at most
    #[arg(long, value_name = "N", value_parser = pids)]
    pub(crate) pids: Option<u64>,
    /// Time after which a group of containers is ended [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) time: Option<std::time::Duration>,
    /// Begin though the engine or its runtime has known holes, which clients could use
    #[arg(long)]
    pub(crate) accept_known_holes: bool,
    /// Print what is permitted and refused, field by field, and end
    #[arg(long)]
    pub(crate) explain: bool,
}
