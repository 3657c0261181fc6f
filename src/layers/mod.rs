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

/// A choice of layers, for looking at a policy as what it is going to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Layer that the files of `--policy` are. Of the organisation and the user they stand in the
    /// place of this machine's.
    pub(crate) of_files: Layer,
    /// Set when the policies of this machine are left out.
    pub(crate) alone: bool,
}

/// The layers of a run.
const OF_A_RUN: Choice = Choice { of_files: Layer::Run, alone: false };

impl Choice {
    /// Tells whether this machine's own file of a layer counts.
    fn counts(&self, layer: Layer, wanted: &Wanted) -> bool {
        !self.alone && (self.of_files != layer || wanted.policies.is_empty())
    }
}

/// Reads and merges all layers.
pub(crate) fn load(wanted: &Wanted) -> Result<Loaded, Failure> {
    load_chosen(wanted, &OF_A_RUN)
}

/// Reads and merges the layers that are chosen.
pub(crate) fn load_chosen(wanted: &Wanted, choice: &Choice) -> Result<Loaded, Failure> {
    load_under(Path::new(ORGANISATION), wanted, choice)
}

/// Returns the sources of the layers that are not the project's.
fn sources(organisation: &Path, wanted: &Wanted, choice: &Choice) -> Result<Vec<LayerSource>, Failure> {
    let mut sources = Vec::new();
    if choice.counts(Layer::Organisation, wanted) {
        let present = file::present(organisation);
        let present = present.map_err(|failure| organisation::explain(failure, organisation))?;
        sources.extend(present.map(|path| LayerSource::files(Layer::Organisation, vec![path])));
    }
    if choice.counts(Layer::User, wanted) {
        let present = user_file().map(|path| file::present(&path)).transpose()?.flatten();
        sources.extend(present.map(|path| LayerSource::files(Layer::User, vec![path])));
    }
    let of_run = choice.of_files == Layer::Run;
    if !of_run && !wanted.policies.is_empty() {
        sources.push(LayerSource::files(choice.of_files, wanted.policies.clone()));
    }
    sources.push(LayerSource {
        allow: wanted.allow.clone(),
        deny: wanted.deny.clone(),
        gitlab: wanted.gitlab.clone(),
        ..LayerSource::files(Layer::Run, if of_run { wanted.policies.clone() } else { Vec::new() })
    });
    Ok(sources)
}

/// Reads and merges the layers that are chosen, with the organisation's policy in this file.
fn load_under(organisation: &Path, wanted: &Wanted, choice: &Choice) -> Result<Loaded, Failure> {
    let mut sources = sources(organisation, wanted, choice)?;
    let run_says_something =
        !(wanted.policies.is_empty() && wanted.allow.is_empty() && wanted.deny.is_empty())
            || wanted.gitlab.is_some();
    if let Some(folder) = &wanted.project {
        sources.extend(project_source(folder)?);
    }
    let nothing_given =
        sources.len() == 1 && !run_says_something && !wanted.network_denied && !wanted.network_observed;

    let mut of_organisation = Vec::new();
    let mut read = |layer: Layer, path: &str| {
        if !choice.counts(layer, wanted) && layer != Layer::Project {
            // A person named it, to look at it as this layer.
            return read_any(path);
        }
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

/// Says of a word that is taken for a preset and is a file here how the file is written. Tells
/// whether there is one.
pub(crate) fn point_at_files(errors: &mut [Diagnostic]) -> bool {
    let mut found = false;
    for error in errors.iter_mut().filter(|error| error.code == "unknown-preset" && error.line == 0) {
        if Path::new(&error.file).is_file() {
            error.hint = Some(format!("`{0}` is a file here: write `./{0}`", error.file));
            found = true;
        }
    }
    found
}

/// Joins all errors of all files in one failure.
pub(crate) fn unusable(errors: &[Diagnostic]) -> Failure {
    let mut failure = Failure::new(COULD_NOT_RUN, "the policy cannot be used");
    let mut errors = errors.to_vec();
    let is_file = point_at_files(&mut errors);
    failure.causes = errors.iter().map(|error| render(std::slice::from_ref(error))).collect();
    let missing = |error: &Diagnostic| error.code == "unreadable" && error.message.contains("No such file");
    if errors.iter().any(missing) {
        failure = failure.hint("give the path of a policy file, or the name of a preset such as `gitlab`");
    } else if !is_file && errors.iter().any(|error| error.code == "unknown-preset") {
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
