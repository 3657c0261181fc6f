//! The layers of policy on this machine, from their files to one policy.
//!
//! ```text
//!  /etc/ringfence/policy.yml          organisation ─┐
//!  ~/.config/ringfence/policy.yml     user ─────────┤  file: owner, mode, size      netpolicy::load
//!  --policy, --allow, --deny          run ──────────┼──────────────────────────────▶ load_layers ──▶ Policy
//!  PROJECT/.ringfence.yml             project ──────┘  trust: approved digest
//!  PROJECT/.gitlab/duo/agent-config.yml ┘
//! ```
//! A layer whose file is there and cannot be used is an error, never a layer left out.

pub(crate) mod defaults;
mod file;
pub(crate) mod flow;
mod organisation;
pub(crate) mod record;
pub(crate) mod trust;

use std::path::{Path, PathBuf};

use netpolicy::diagnostic::{Diagnostic, Severity, render};
use netpolicy::load::{self, LayerSource, Loaded};
use netpolicy::policy::{Ceiling, Layer, Policy};
use serde::{Deserialize, Serialize};

pub(crate) use self::file::read_any;
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure, Warning};

/// The organisation's policy. Its path is fixed: a user who could name another file could do
/// without this policy.
pub(crate) const ORGANISATION: &str = "/etc/ringfence/policy.yml";
const NO_POLICY: &str = "no-policy";
/// A project's policy, in its topmost folder.
pub(crate) const PROJECT: &str = ".ringfence.yml";
/// File of a project that GitLab's own agents read; its `network_policy` counts as the project's
/// policy.
const AGENT_CONFIG: &str = ".gitlab/duo/agent-config.yml";

/// Policy options of a command line.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// `--policy`.
    pub(crate) policies: Vec<String>,
    /// `--allow`.
    pub(crate) allow: Vec<String>,
    /// `--deny`.
    pub(crate) deny: Vec<String>,
    /// `--gitlab`.
    pub(crate) gitlab: Option<String>,
    /// The project's folder, whose policy is a layer too.
    pub(crate) project: Option<PathBuf>,
    /// `--network denied`.
    pub(crate) network_denied: bool,
    /// `--network observe`.
    #[serde(default)]
    pub(crate) network_observed: bool,
}

/// Reads and merges all layers.
pub(crate) fn load(wanted: &Wanted) -> Result<Loaded, Failure> {
    load_under(Path::new(ORGANISATION), wanted)
}

/// Reads and merges all layers, with the organisation's policy in this file.
fn load_under(organisation: &Path, wanted: &Wanted) -> Result<Loaded, Failure> {
    let mut sources = Vec::new();
    let present = file::present(organisation).map_err(|failure| organisation::explain(failure, organisation));
    if let Some(path) = present? {
        sources.push(LayerSource::files(Layer::Organisation, vec![path]));
    }
    if let Some(path) = user_file().map(|path| file::present(&path)).transpose()?.flatten() {
        sources.push(LayerSource::files(Layer::User, vec![path]));
    }
    let run = LayerSource {
        allow: wanted.allow.clone(),
        deny: wanted.deny.clone(),
        gitlab: wanted.gitlab.clone(),
        ..LayerSource::files(Layer::Run, wanted.policies.clone())
    };
    let run_says_something =
        !(run.policies.is_empty() && run.allow.is_empty() && run.deny.is_empty()) || run.gitlab.is_some();
    sources.push(run);
    if let Some(folder) = &wanted.project {
        sources.extend(project_source(folder)?);
    }
    let nothing_given =
        sources.len() == 1 && !run_says_something && !wanted.network_denied && !wanted.network_observed;

    let mut of_organisation = Vec::new();
    let mut read = |layer: Layer, path: &str| {
        if layer == Layer::Organisation {
            of_organisation.push(path.to_owned());
        }
        file::read(layer, path, wanted.project.as_deref())
    };
    let loaded = load::load_layers(&sources, crate::host::clock::today(), &mut read);
    let mut loaded = loaded.map_err(|errors| {
        let file = errors.iter().find_map(|error| of_organisation.iter().find(|file| **file == error.file));
        match file {
            Some(file) => organisation::explain(unusable(&errors), Path::new(file)),
            None => unusable(&errors),
        }
    })?;
    if nothing_given {
        loaded.warnings.push(no_policy());
    }
    loaded.policy.network_denied = wanted.network_denied;
    loaded.policy.network_observed = wanted.network_observed;
    Ok(loaded)
}

/// Refuses an observed run that a layer forbids.
///
/// # Errors
/// When one does.
pub(crate) fn check_observing(policy: &Policy) -> Result<(), Failure> {
    match &policy.observing_forbidden {
        Some(origin) if policy.network_observed => {
            let (layer, place) = (origin.layer, origin.place());
            let what = format!("--network observe: the {layer}'s policy forbids it ({place})");
            Err(Failure::new(COULD_NOT_RUN, what)
                .hint("run without it; `ringfence policy learn` learns from refusals too"))
        }
        _ if policy.network_observed && policy.proxy.is_some() => {
            let what = "--network observe: the policy has a proxy, which resolves names anew, so that nothing holds it to \
                        the addresses that were checked";
            Err(Failure::new(COULD_NOT_RUN, what)
                .hint("observe where names are reached directly, or learn from runs without it"))
        }
        _ => Ok(()),
    }
}

/// Returns the ceilings that hold a project's policy in every run: the organisation's and the
/// user's.
pub(crate) fn ceilings() -> Result<Vec<Ceiling>, Failure> {
    Ok(load(&Wanted { network_denied: true, ..Wanted::default() })?.policy.ceilings)
}

/// Returns the layer of a project, when it has a policy of its own or one that GitLab reads.
pub(crate) fn project_source(folder: &Path) -> Result<Option<LayerSource>, Failure> {
    let own = file::present(&folder.join(PROJECT))?;
    let agent_config = file::present(&folder.join(AGENT_CONFIG))?;
    if own.is_none() && agent_config.is_none() {
        return Ok(None);
    }
    Ok(Some(LayerSource {
        root: Some(folder.display().to_string()),
        approved: trust::approved(folder)?.map(|approval| approval.digest),
        agent_config,
        ..LayerSource::files(Layer::Project, own.into_iter().collect())
    }))
}

/// Loads one project's layer by itself, as a person looks at it before approving.
pub(crate) fn load_alone(source: LayerSource, project: &Path) -> Result<Loaded, Failure> {
    let mut read = |layer: Layer, path: &str| file::read(layer, path, Some(project));
    load::load_layers(&[source], crate::host::clock::today(), &mut read).map_err(|errors| unusable(&errors))
}

/// Returns the files that are read without being named: the organisation's and the user's policy,
/// and the user's defaults, whether they are there or not.
pub(crate) fn fixed_files() -> Vec<PathBuf> {
    std::iter::once(PathBuf::from(ORGANISATION)).chain(user_file()).chain(defaults::defaults_file()).collect()
}

/// Returns the user's policy in `$XDG_CONFIG_HOME` or `~/.config`, on every system.
pub(crate) fn user_file() -> Option<PathBuf> {
    Some(state::base("XDG_CONFIG_HOME", ".config")?.join("ringfence/policy.yml"))
}

fn no_policy() -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: NO_POLICY,
        message: "no policy is given, so nothing is permitted; --policy and --allow permit".to_owned(),
        file: "ringfence".to_owned(),
        line: 0,
        column: 0,
        length: 0,
        source_line: String::new(),
        hint: None,
    }
}

/// Joins all errors of all files in one failure.
pub(crate) fn unusable(errors: &[Diagnostic]) -> Failure {
    let mut failure = Failure::new(COULD_NOT_RUN, "the policy cannot be used");
    failure.causes = errors.iter().map(|error| render(std::slice::from_ref(error))).collect();
    let missing = |error: &Diagnostic| error.code == "unreadable" && error.message.contains("No such file");
    if errors.iter().any(missing) {
        failure = failure.hint("give the path of a policy file, or the name of a preset such as `gitlab`");
    } else if errors.iter().any(|error| error.code == "unknown-preset") {
        failure = failure.hint("give a file by a path with its extension: ./policy.yml");
    }
    failure
}

/// Warnings on stderr; notes are for `policy check`.
pub(crate) fn warn(loaded: &Loaded) {
    say(loaded, |found| found.severity == Severity::Warning);
}

/// Warns that there is no policy, where the rest is beside the question.
pub(crate) fn warn_of_nothing(loaded: &Loaded) {
    say(loaded, |found| found.code == NO_POLICY);
}

fn say(loaded: &Loaded, which: fn(&Diagnostic) -> bool) {
    let warnings = loaded.warnings.iter().filter(|found| which(found)).cloned();
    let (nothing, others): (Vec<Diagnostic>, Vec<Diagnostic>) =
        warnings.partition(|found| found.code == NO_POLICY);
    for warning in [Warning::NoPolicy(nothing), Warning::Policy(others)] {
        if !matches!(&warning, Warning::NoPolicy(found) | Warning::Policy(found) if found.is_empty()) {
            crate::term::warn(warning);
        }
    }
}
