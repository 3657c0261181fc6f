//! `ringfence allow`, `deny`, `net`: changes to a running workflow.

use clap::Args;

use super::policy::PolicyArgs;

/// Option for workflows that this machine did not make.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct RecordArgs {
    /// Act on a workflow that this machine has no record of: it was started elsewhere, or the state
    /// folder is lost
    #[arg(long)]
    pub(crate) without_record: bool,
}

/// `ringfence allow ID HOST[:PORT]`
#[derive(Debug, Args)]
#[command(after_help = "\
The rule is one of the run's layer: ceilings and denials of stronger layers hold. It ends with the run. --save puts
it into a policy file too: what changes is shown, and you are asked. Patterns, private addresses and access to this
machine are never saved.

Exit status: 0 done, 1 refused by the policy or by you, 125 could not

Examples:
  ringfence allow ID pypi.example
  ringfence allow ID gitlab.example:8443 --save
  ringfence allow ID pypi.example --save ./team.yml --yes")]
pub(crate) struct AllowArgs {
    /// A workflow's id, a unique prefix of it, or its name
    #[arg(value_name = "ID")]
    pub(crate) workflow: String,
    /// Host to permit (port 443 unless given)
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: String,
    /// Put it into a policy file too [default: the run's --policy FILE, else its project's policy]
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<Option<std::path::PathBuf>>,
    /// Save without asking
    #[arg(short, long, requires = "save")]
    pub(crate) yes: bool,
    /// Print the network's new state as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Option for workflows that this machine did not make
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

/// `ringfence deny ID [HOST|CIDR]`
#[derive(Debug, Args)]
#[command(after_help = "\
Connections whose permission went are reset. Without HOST it is `ringfence net ID deny`, which
`ringfence net ID restore` ends; a denial of a host ends when the same host is allowed.

Exit status: 0 done, 1 refused, 125 could not")]
pub(crate) struct DenyArgs {
    /// A workflow's id, a unique prefix of it, or its name
    #[arg(value_name = "ID")]
    pub(crate) workflow: String,
    /// Host to refuse, on every port; without it: everything
    #[arg(value_name = "HOST|CIDR")]
    pub(crate) host: Option<String>,
    /// Print the network's new state as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Option for workflows that this machine did not make
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

/// `ringfence reload ID`
#[derive(Debug, Args)]
#[command(after_help = "\
Reads the organisation's and the user's policy anew, and the run's own: what its command line named, or, with any of
the options below, what they name instead. The project's policy stays what it was at the start. Rules, ceilings and the
budget of names change; a change to anything else (resolvers, proxy, limits) needs a new run, and nothing is done.
Connections whose permission went are reset. Live rules and conditions stay.

Exit status: 0 done, 1 refused by the policy, 125 could not

Examples:
  ringfence reload ID
  ringfence reload ID --policy gitlab --policy ./team.yml")]
pub(crate) struct ReloadArgs {
    /// A workflow's id, a unique prefix of it, or its name
    #[arg(value_name = "ID")]
    pub(crate) workflow: String,
    /// The policy
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Print the network's new state as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Option for workflows that this machine did not make
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

/// `ringfence net ID [CONDITION]… [host=NAME]`
#[derive(Debug, Args)]
#[command(after_help = "\
Conditions, for everything or for the names of host=NAME:
  deny                      refuse everything from now on; open connections are reset
  cut                       silence: packets vanish, both ways
  dns=nxdomain|servfail|timeout
                            DNS questions fail like this
  latency=200ms±50ms        answers come so much later (also written 200ms+-50ms)
  bandwidth=1mbit           so much, each way, all connections together
  reset-after=64KiB         a connection is reset after so many bytes
  restore                   ends them: all, or those of host=NAME

Without a condition, the present state is printed.

Exit status: 0 done, 1 refused, 125 could not

Examples:
  ringfence net ID cut
  ringfence net ID latency=300ms±100ms bandwidth=2mbit host=gitlab.com
  ringfence net ID restore")]
pub(crate) struct NetArgs {
    /// A workflow's id, a unique prefix of it, or its name
    #[arg(value_name = "ID")]
    pub(crate) workflow: String,
    /// Conditions to set
    #[arg(value_name = "CONDITION")]
    pub(crate) conditions: Vec<String>,
    /// Print the network's new state as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Option for workflows that this machine did not make
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}
