//! Ways to an agent that runs, and to what it left: the options as typed.

use clap::Args;
use netpolicy::service::ServiceName;

use super::live::RecordArgs;
use super::values;
use crate::supervisor::streams::DetachKeys;

/// `ringfence logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
After the output comes, on stderr, what the supervisor of a detached run has said: what was refused, what was put back,
why the run ended. Of a run that is over the newest 16 MiB are kept, for 90 days, where it was detached (run -d), and
the newest 4 MiB of each service.
Exit status: 0 shown, 125 could not

Examples:
  ringfence logs --follow ID
  ringfence logs --tail 20 ID
  ringfence logs --service db ID")]
pub(crate) struct LogsArgs {
    /// A run's id, unique prefix of it, or its name (of several that are over, the latest)
    #[arg(value_name = "ID")]
    pub(crate) run: String,
    /// The output of this service instead of the agent's
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<ServiceName>,
    /// Go on until the run is over; with --service, until the service ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show the last lines only
    #[arg(short = 'n', long, value_name = "N", value_parser = lines)]
    pub(crate) tail: Option<u64>,
}

/// Reads a number of lines.
fn lines(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a number of lines; without the option all are shown".to_owned())
}

/// `ringfence attach`.
#[derive(Debug, Args)]
#[command(after_help = "\
Input goes to the agent where it was started with -i; INT, TERM and QUIT do too. The detach keys (where the agent has a
terminal), and the end of the terminal, leave the agent running. The decision log has a line for each attachment.
Exit status: 0 left by the detach keys, 125 could not, else as `ringfence wait` prints it

Example:
  ringfence run -dit --name work --project . IMAGE AGENT && ringfence attach work")]
pub(crate) struct AttachArgs {
    /// A workflow's id, a unique prefix of it, or its name
    #[arg(value_name = "ID")]
    pub(crate) run: String,
    /// Send no input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Keys that leave the agent running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<DetachKeys>,
    /// Option for workflows that this machine did not make
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

/// `ringfence exec`.
#[derive(Debug, Args)]
#[command(
    override_usage = "ringfence exec [OPTIONS] ID COMMAND...",
    after_help = "\
The command has the agent's user, variables, network, limits and filter of system calls. What the agent has put in its
place runs instead of it: do not type secrets into it. The decision log says who ran what, without secrets.
Exit status: the command's own; 125 could not; 126/127 as docker

Examples:
  ringfence exec ID ps aux
  ringfence exec -it ID sh"
)]
pub(crate) struct ExecArgs {
    /// Send stdin to the command
    #[arg(short = 'i', long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// An environment variable besides the agent's; without a value, the caller's
    #[arg(short = 'e', long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Working directory [default: the agent's]
    #[arg(short = 'w', long, value_name = "DIR", value_parser = values::workdir)]
    pub(crate) workdir: Option<String>,
    /// Send a value although it looks like a secret: the rule and the place that the refusal names
    #[arg(long, value_name = "RULE@PLACE")]
    pub(crate) allow_secret: Vec<String>,
    /// Option for workflows that this machine did not make
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// A workflow's id, a unique prefix of it, or its name
    #[arg(value_name = "ID")]
    pub(crate) run: String,
    /// The command: what follows the id is the command's, `--` included
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}
