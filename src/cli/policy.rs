//! `ringfence policy …`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use netpolicy::export::Format as Export;
use netpolicy::host::HostPattern;
use netpolicy::import::Format as Import;
use netpolicy::policy::Layer;

use super::run::Network;
use super::values;

/// Work with policies, offline.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Report every fault in policy files
    #[command(after_help = "\
Each file is looked at by itself. A .ringfence.yml is held to what a project may say.
Exit status: 0 good, perhaps with warnings; 1 not good; 2 could not be read")]
    Check {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
        /// Layer that the files are: organisation, user or run [default: by the file's name]
        #[arg(long, value_name = "LAYER", value_parser = values::layer)]
        layer: Option<Layer>,
        /// Print the diagnostics as JSON
        #[arg(long)]
        json: bool,
    },
    /// Explain whether a target is permitted, and by which rule
    #[command(after_help = "\
Targets: https://host/path, host (port 443), host:port, tcp://addr:port, ssh://host
Exit status: 0 allowed, 1 denied, 2 cannot tell (bad input)")]
    Explain(ExplainArgs),
    /// Print the policy that all layers make together, each line with its origin
    #[command(after_help = "\
The digest is the one that labels, events and --expect-digest carry; --canonical prints the text behind it. For the digest
of a run with --project DIR, give --project DIR here too.
Exit status: 0 shown, 2 could not")]
    Show(ShowArgs),
    /// Run the tests that the policies hold, and print TAP
    #[command(after_help = "\
A test says `allow`, `deny`, `may` or `never`; the last two ask as if a weaker layer permitted the target.
Exit status: 0 all hold, 1 one does not, 2 could not run

Examples:
  ringfence policy test policy.yml
  ringfence policy test organisation.yml --layer organisation --alone --junit tests.xml")]
    Test(TestArgs),
    /// Compare the reach of two policies, by names, ports and ranges
    #[command(after_help = "\
Each file is looked at by itself. A lifted denial and a wider ceiling reach more too: other layers may use them.
Exit status: 0 NEW reaches nothing more, 1 it reaches more, 2 could not run")]
    Diff(DiffArgs),
    /// Print the JSON Schema of a policy file, for editors
    Schema,
    /// Print another program's allowlist as a policy
    #[command(after_help = "\
The policy goes to stdout, what differs from FILE to stderr. What is printed never permits a name that FILE does not.
Exit status: 0 also when something was left out, 2 could not run")]
    Import(ImportArgs),
    /// Print a policy in another program's format
    #[command(after_help = "\
The file goes to stdout, what differs from the policy to stderr: `wider` is what the other program cannot be kept from.
Exit status: 0 also when something differs, 2 could not run")]
    Export(ExportArgs),
    /// Print a policy of the names that a project's own files say it needs
    #[command(after_help = "\
Reads lockfiles and configuration of npm, pnpm, yarn, bun, pip, uv, poetry, Pipenv, PDM, pylock.toml, cargo, go, maven, gradle,
bundler, composer, NuGet, apt and git; runs nothing, and takes nothing but hosts and ports. Read it before you use it: the project wrote it.
Exit status: 0, or 2 could not run")]
    Suggest(SuggestArgs),
    /// Put names that a run was refused into a policy file, after asking
    #[command(after_help = "\
Lists the refused names that a file can permit; you choose by number, or name them with --name. What changes is shown, and
you are asked. Patterns, addresses, private ranges and access to this machine are never written: their lines are shown.
Exit status: 0 written, or nothing to write; 1 you said no; 125 could not

Examples:
  ringfence policy apply ID
  ringfence policy apply run.jsonl ./team.yml
  ringfence policy apply ID .ringfence.yml --name pypi.example --name gitlab.example:8443 --yes")]
    Apply(ApplyArgs),
    /// Print the smallest policy with which runs would have reached what they asked for
    #[command(after_help = "\
Learns names and ports from what runs reached and were refused. Names that look needless are commented out; addresses, private
ranges, this machine and unchecked bytes are never proposed: stderr says what was left out. Read it before you use it: the
names are the agent's.
Exit status: 0 also when something was left out; 1 you said no (--apply); 2 could not

Examples:
  ringfence policy learn ID > policy.yml
  ringfence policy learn first second run.jsonl --wildcard '*.example.com'
  ringfence policy learn ID --apply .ringfence.yml")]
    Learn(LearnArgs),
    /// List the rules that no run needed
    #[command(after_help = "\
A rule was needed when the policy would decide by it about something that a run asked for, reached or not. Without a policy
option, the policy of the runs counts, as long as this machine has the record of it: until the workflow is removed.
Exit status: 0 every rule was needed; 1 one was not; 2 could not

Examples:
  ringfence policy unused ID --policy policy.yml
  ringfence policy unused first.jsonl second.jsonl --policy policy.yml --json")]
    Unused(UnusedArgs),
    /// List the policies that ship with ringfence, or print one
    Presets(PresetsArgs),
}

/// `ringfence policy import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The other program's file
    pub(crate) file: String,
    /// Format of the file [default: the one that it looks like]
    #[arg(long, value_name = "FORMAT", value_parser = words(&Import::ALL, Import::as_str))]
    pub(crate) from: Option<Import>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence policy export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A policy file, or the name of a preset
    pub(crate) file: String,
    /// The format
    #[arg(long, value_name = "FORMAT", value_parser = words(&Export::ALL, Export::as_str))]
    pub(crate) to: Export,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence policy suggest`.
#[derive(Debug, Args)]
pub(crate) struct SuggestArgs {
    /// The project
    #[arg(default_value = ".")]
    pub(crate) dir: std::path::PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence policy presets`.
#[derive(Debug, Args)]
pub(crate) struct PresetsArgs {
    /// Preset to print, as `gitlab` or `gitlab@1`
    pub(crate) name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence policy apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A workflow's id, unique prefix or name, or an events file
    #[arg(value_name = "EVENTS|ID")]
    pub(crate) source: String,
    /// The policy file [default: the run's --policy FILE, else its project's policy]
    pub(crate) file: Option<std::path::PathBuf>,
    /// A refused name to permit; may be given several times
    #[arg(long = "name", value_name = "HOST[:PORT]")]
    pub(crate) names: Vec<String>,
    /// Write without asking; needs --name
    #[arg(short, long, requires = "names")]
    pub(crate) yes: bool,
}

/// `ringfence policy learn`.
#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    /// Workflows' ids, unique prefixes or names, or events files
    #[arg(required = true, value_name = "EVENTS|ID")]
    pub(crate) sources: Vec<String>,
    /// A pattern in the place of the names under it, as `*.example.com`; may be given several times
    #[arg(long = "wildcard", value_name = "PATTERN", value_parser = wildcard)]
    pub(crate) wildcards: Vec<HostPattern>,
    /// Propose names too that one run of several asked for once
    #[arg(long)]
    pub(crate) once: bool,
    /// Put the names into this policy file, after asking
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) apply: Option<std::path::PathBuf>,
    /// Write without asking
    #[arg(short, long, requires = "apply")]
    pub(crate) yes: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence policy unused`.
#[derive(Debug, Args)]
pub(crate) struct UnusedArgs {
    /// Workflows' ids, unique prefixes or names, or events files
    #[arg(required = true, value_name = "EVENTS|ID")]
    pub(crate) sources: Vec<String>,
    /// The policy [default: the words of the runs, with its files as they are now]
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads a pattern of several names.
fn wildcard(text: &str) -> Result<HostPattern, String> {
    let pattern = HostPattern::parse(text).map_err(|error| error.to_string())?;
    // A proposal holds nothing that no policy may hold.
    netpolicy::load::rule_from_flag("--wildcard", text).map_err(|found| found.message)?;
    pattern
        .is_wildcard()
        .then_some(pattern)
        .ok_or_else(|| "it is one name: write `*.NAME` for the names below it".to_owned())
}

/// Reads one of a library's words, and lists them all when it is none.
fn words<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    word: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|value| word(*value))).try_map(move |text| {
        all.iter().copied().find(|value| word(*value) == text).ok_or("it is none of the formats")
    })
}

/// Sources of the policy, besides the organisation's and the user's files.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// A policy file, or the name of a preset; may be given several times
    #[arg(long = "policy", value_name = "NAME|FILE")]
    pub(crate) policies: Vec<String>,
    /// Permit a name (port 443 unless given); host.docker.internal:PORT is a server of this
    /// machine, and with /loopback behind it one that listens on 127.0.0.1 only
    #[arg(long = "allow", value_name = "HOST[:PORT]")]
    pub(crate) allow: Vec<String>,
    /// Refuse a name or a range, whatever else permits it
    #[arg(long = "deny", value_name = "HOST|CIDR")]
    pub(crate) deny: Vec<String>,
    /// Permit a self-managed GitLab, as in https://gitlab.corp.example
    #[arg(long, value_name = "URL")]
    pub(crate) gitlab: Option<String>,
}

/// Layers that count.
#[derive(Debug, Args)]
pub(crate) struct LayerArgs {
    /// Layer that the policy files are: organisation, user or run; the first two stand in the
    /// place of this machine's
    #[arg(long, value_name = "LAYER", default_value = "run", value_parser = values::layer)]
    pub(crate) layer: Layer,
    /// Leave out the organisation's and the user's policy of this machine, and the project in the
    /// current folder
    #[arg(long)]
    pub(crate) alone: bool,
    /// The project whose own policy counts [default: the current folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) project: Option<std::path::PathBuf>,
}

impl Default for LayerArgs {
    fn default() -> Self {
        LayerArgs { layer: Layer::Run, alone: false, project: None }
    }
}

/// `ringfence policy explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Target to explain
    pub(crate) target: String,
    /// The policy
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// The layers
    #[command(flatten)]
    pub(crate) layers: LayerArgs,
    /// The network of the run: `policy`, `denied` or `observe`
    #[arg(long, value_name = "CONDITION", default_value = "policy", value_parser = values::network)]
    pub(crate) network: Network,
    /// Ask the policy's upstreams for the name, and judge each of its addresses
    #[arg(long)]
    pub(crate) resolve: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence policy show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The policy
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// The layers
    #[command(flatten)]
    pub(crate) layers: LayerArgs,
    /// Print the text that is digested and signed
    #[arg(long, conflicts_with = "json")]
    pub(crate) canonical: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence policy test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Policy files or presets, as with --policy
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// The policy
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// The layers
    #[command(flatten)]
    pub(crate) layers: LayerArgs,
    /// The network of the run: `policy`, `denied` or `observe`
    #[arg(long, value_name = "CONDITION", default_value = "policy", value_parser = values::network)]
    pub(crate) network: Network,
    /// Write JUnit XML to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<std::path::PathBuf>,
    /// Print JSON instead of TAP
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence trust`.
#[derive(Debug, Args)]
#[command(after_help = "\
An approval covers the policy as it is, with everything it extends: a change ends it, and the next `ringfence trust`
shows what changed. It gives names only; private addresses, ranges and unchecked bytes are granted by your own policy.
Exit status: 0 approved, or done; 1 you said no; 125 could not")]
pub(crate) struct TrustArgs {
    /// The project's policy, or its folder
    #[arg(value_name = "FILE", default_value = ".ringfence.yml")]
    pub(crate) file: std::path::PathBuf,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Withdraw the approval
    #[arg(long, conflicts_with = "yes")]
    pub(crate) revoke: bool,
    /// List what was approved
    #[arg(long, conflicts_with_all = ["yes", "revoke", "file"])]
    pub(crate) list: bool,
    /// Print the list as JSON
    #[arg(long, requires = "list")]
    pub(crate) json: bool,
}

/// `ringfence policy diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A policy file, or the name of a preset
    pub(crate) old: String,
    /// New policy
    pub(crate) new: String,
    /// Layer that both are: organisation, user or run
    #[arg(long, value_name = "LAYER", default_value = "run", value_parser = values::layer)]
    pub(crate) layer: Layer,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
