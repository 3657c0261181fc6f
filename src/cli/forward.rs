//! `ringfence forward`: the options as typed.

use clap::Args;

use super::live::RecordArgs;
use crate::supervisor::forward::Mapping;

/// `ringfence forward ID [LOCAL:]PORT…`
#[derive(Debug, Args)]
#[command(after_help = "\
Listens on this machine's loopback and carries each connection to the agent's own loopback. It ends
with the run, or with Ctrl-C. Every user and program of this machine can connect to the port.
Exit status: 0 the run ended, 130 Ctrl-C, 125 could not

Examples:
  ringfence forward nightly 3000            # http://localhost:3000, a dev server with hot reload
  ringfence forward nightly 1455            # a sign-in that calls back to localhost:1455
  ringfence forward nightly 8080:80 0:5432  # another port here, and one that is chosen and printed")]
pub(crate) struct ForwardArgs {
    /// A workflow's id, a unique prefix of it, or its name
    #[arg(value_name = "ID")]
    pub(crate) workflow: String,
    /// Port of the agent, and the port of this machine that leads to it: PORT, LOCAL:PORT,
    /// 127.0.0.1:LOCAL:PORT; LOCAL 0 takes a free one
    #[arg(value_name = "[LOCAL:]PORT", required = true)]
    pub(crate) ports: Vec<Mapping>,
    /// Option for workflows that this machine did not make
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}
