//! Mounts besides the project: they are looked through as the project is.
//!
//! ```text
//!  directory ─▶ the same walk, by what was opened and checked ─▶ Plan: covers at its place in the container
//!               a name counts behind the mount's path on this machine and in the container: `-v ~/.aws:/x`
//!  file ──────▶ one look ─▶ refused where it would be covered: a mount of a secret alone is of no use
//! ```
//! `--unmask` with an absolute path is consent. What lies in the project is the project's.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use super::look::{Candidate, Look, Opened, Within, read_and_judge};
use super::names::Treatment;
use super::snapshot::Mark;
use super::walk::{Eye, by_name, patterns, plan_by};
use super::{Plan, Why, Wishes, With, report, secret_folders, showing_nothing_in};
use crate::host::at::{NAME_ONLY, open_below};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::workspace::held;
use crate::workspace::mounts::Bind;

/// The most bytes of a mount that are read for the sake of their content alone. A mount may be a
/// disk of data.
const MOST_BYTES: u64 = 1 << 30;

/// Directories and files that the agent is given.
#[derive(Clone, Copy)]
pub(crate) struct GivenMounts<'a> {
    /// The project, and its repository where that lies elsewhere.
    pub(crate) own: &'a [Bind],
    /// Mounts besides.
    pub(crate) others: &'a [Bind],
}

/// Looks through all mounts besides the project. `shown` are absolute paths that are shown as they
/// are.
///
/// # Errors
/// When a mount cannot be looked through, is a secret itself, or `shown` has a path that shows
/// nothing.
pub(crate) fn plan_mounts(
    given: GivenMounts<'_>,
    wishes: &Wishes,
    shown: &[String],
) -> Result<Vec<Plan>, Failure> {
    let mut plans: Vec<Plan> = Vec::new();
    let mut used = vec![false; shown.len()];
    for bind in given.others {
        let wishes = Wishes { unmask: below_mount(bind, shown, &mut used), ..of_mounts(wishes) };
        let is_shown_whole = wishes.unmask.iter().any(String::is_empty);
        if !is_shown_whole {
            secret_folders::check(bind)?;
        }
        if is_shown_whole || is_of_project(bind, given.own)? {
            continue;
        }
        if !bind.directory {
            check_file(bind, &wishes)?;
        } else if !plans.iter().any(|plan| plan.project == bind.source) {
            let plan = plan_directory(bind, given, &wishes)?;
            if let Some(wish) = showing_nothing_in(std::slice::from_ref(&plan), None, &wishes.unmask)? {
                return Err(shows_nothing(&bind.source.join(wish.trim_start_matches("./"))));
            }
            plans.push(plan);
        }
    }
    match shown.iter().zip(used).find(|(_, used)| !used) {
        Some((path, _)) => Err(shows_nothing(Path::new(path))),
        None => Ok(plans),
    }
}

fn shows_nothing(path: &Path) -> Failure {
    Failure::new(
        COULD_NOT_RUN,
        format!("--unmask {}: nothing that is mounted has this path", report::shown(path)),
    )
    .hint("give the absolute path of what a --mount gives, or a path as seen from the project")
}

/// Keeps of a policy's wishes those that hold outside of the project too: names that are hidden
/// anywhere. A path counts from the project.
fn of_mounts(wishes: &Wishes) -> Wishes {
    let anywhere = wishes.mask.iter().filter(|text| !text.trim_matches('/').contains('/')).cloned();
    Wishes { mask: anywhere.collect(), unmask: Vec::new(), stand_ins: wishes.stand_ins }
}

/// Returns the shown paths that a mount holds, as seen from it; the mount itself is an empty one.
fn below_mount(bind: &Bind, shown: &[String], used: &mut [bool]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, used) in shown.iter().map(Path::new).zip(used) {
        let resolved = path.canonicalize().ok();
        let below = [Some(path), resolved.as_deref()]
            .into_iter()
            .flatten()
            .find_map(|path| path.strip_prefix(&bind.source).ok()?.to_str().map(str::to_owned));
        if let Some(below) = below {
            *used = true;
            found.push(if below.is_empty() { below } else { format!("./{below}") });
        }
    }
    found
}

/// Tells whether the project's own look sees all of a mount. What is mounted over a folder of the
/// project it does not see.
fn is_of_project(bind: &Bind, own: &[Bind]) -> Result<bool, Failure> {
    for project in own.iter().filter(|project| project.directory) {
        let Ok(below) = bind.source.strip_prefix(&project.source) else { continue };
        let root = project.reopen().map_err(|error| cannot(&project.source, &error))?;
        let found = open_below(root.as_fd(), below, NAME_ONLY).and_then(rustix::fs::fstat);
        if found.is_ok_and(|stat| held::identity(&stat) == bind.identity) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn plan_directory(bind: &Bind, given: GivenMounts<'_>, wishes: &Wishes) -> Result<Plan, Failure> {
    let root = bind.reopen().map_err(|error| cannot(&bind.source, &error))?;
    let same = given.others.iter().filter(|other| other.source == bind.source);
    let places = same.map(|other| Path::new(&other.target));
    let overlaps =
        |other: &&Bind| other.source.starts_with(&bind.source) || bind.source.starts_with(&other.source);
    let inside = given.own.iter().filter_map(|own| own.source.strip_prefix(&bind.source).ok());
    let mut eye = Eye::opened(root, &bind.source, wishes)?;
    eye.place = Some(bind.target.clone());
    eye.called = std::iter::once(bind.source.as_path()).chain(places).map(without_root).collect();
    eye.apart = inside.map(Path::to_owned).collect();
    eye.read_only = !given.others.iter().filter(overlaps).any(|other| other.writable);
    eye.budget = Some(AtomicU64::new(MOST_BYTES));
    plan_by(&eye)
}

/// Refuses a file that would be covered: the agent would have nothing of the mount.
fn check_file(bind: &Bind, wishes: &Wishes) -> Result<(), Failure> {
    let opened = bind.reopen().map_err(|error| cannot(&bind.source, &error))?;
    let stat = rustix::fs::fstat(&opened).map_err(|error| cannot(&bind.source, &error.into()))?;
    let (path, name) = (without_root(&bind.source), name_of(bind, wishes)?);
    let candidate = Candidate { path, mark: Mark::of(&stat), name, within: Within::default() };
    match judge_file(&candidate, Opened::of(File::from(opened), &stat)) {
        Look::Cover(With::Itself, why) if bind.writable => Err(refusal(bind, "must not be changed", &why)),
        Look::Cover(with, why) if with != With::Itself => Err(refusal(bind, "is covered", &why)),
        Look::TooLarge => {
            let shown = report::shown(&bind.source);
            crate::term::talk(format_args!("too large to look for secrets in: {shown}"));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Returns what the file's name says, here or in the container.
fn name_of(bind: &Bind, wishes: &Wishes) -> Result<Option<(Treatment, Why)>, Failure> {
    let (here, inside) = (without_root(&bind.source), without_root(Path::new(&bind.target)));
    Ok(by_name(&patterns("mask", &wishes.mask)?, &wishes.mask, &here, std::iter::once(inside)))
}

fn judge_file(candidate: &Candidate, mut opened: Opened) -> Look {
    match &candidate.name {
        Some((Treatment::Empty, why)) => Look::Cover(With::Nothing, vec![why.clone()]),
        _ => read_and_judge(candidate, &mut opened, &mut Vec::new()),
    }
}

fn refusal(bind: &Bind, what: &str, why: &[Why]) -> Failure {
    let shown = report::shown(&bind.source);
    let why: Vec<String> = why.iter().map(ToString::to_string).collect();
    Failure::new(COULD_NOT_RUN, format!("--mount {shown}:{}: it {what} ({})", bind.target, report::few(why)))
        .hint(format!(
            "write --secret NAME={shown} to hand it over as a secret, or --unmask {shown} to show it as it is"
        ))
}

fn without_root(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot look for secrets in {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::workspace::machine::Machine;
    use crate::workspace::mounts::{mount, project};

    /// A directory with a project, a folder `.aws` and a folder of other files.
    fn machine() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::Builder::new().prefix("mounted").tempdir_in("/var/tmp").unwrap();
        let at = dir.path().canonicalize().unwrap();
        for (path, text) in [
            ("project/.env", "TOKEN=x"),
            ("project/shown.env", "TOKEN=x"),
            (".aws/credentials", "[default]\naws_secret_access_key = x\n"),
            (".aws/notes", "plain"),
            ("other/data.json", "{}"),
            ("other/sub/.netrc", "machine x login y password z"),
            ("other/.vscode/tasks.json", "{}"),
            (".ssh/config", "Host x"),
        ] {
            let path = at.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (dir, at)
    }

    struct Case<'a> {
        mounts: &'a [&'a str],
        shown: &'a [&'a str],
        mask: &'a [&'a str],
    }

    /// Returns what is covered in the mounts, or the words of the refusal. `~` is the directory.
    fn covered(at: &Path, case: Case<'_>) -> Result<Vec<String>, String> {
        let machine = Machine::default();
        let full = |text: &&str| text.replace('~', at.to_str().unwrap());
        let own = project(&at.join("project"), "/workspace", &machine).unwrap();
        let mounted = |text: &&str| mount(&full(text), Some(&own), &machine).unwrap();
        let others: Vec<Bind> = case.mounts.iter().map(mounted).collect();
        let own = [own];
        let wishes =
            Wishes { mask: case.mask.iter().map(|text| (*text).to_owned()).collect(), ..Wishes::default() };
        let shown: Vec<String> = case.shown.iter().map(full).collect();
        let given = GivenMounts { own: &own, others: &others };
        let plans = plan_mounts(given, &wishes, &shown).map_err(|failure| failure.to_string())?;
        let of_plan = |plan: &Plan| -> Vec<String> {
            let path = |cover: &super::super::Cover| {
                plan.project.join(&cover.path).strip_prefix(at).unwrap().to_owned()
            };
            plan.covers.iter().map(|cover| path(cover).display().to_string()).collect()
        };
        Ok(plans.iter().flat_map(of_plan).collect())
    }

    fn case<'a>(mounts: &'a [&'a str], shown: &'a [&'a str]) -> Case<'a> {
        Case { mounts, shown, mask: &[] }
    }

    #[test]
    fn a_mount_is_looked_through_and_its_own_path_counts_for_names() {
        let (_dir, at) = machine();
        let found = |mounts, shown| covered(&at, case(mounts, shown)).unwrap();
        assert_eq!(found(&["~/.aws:/x"], &[]), [".aws/credentials"]);
        assert_eq!(found(&["~/other:/x"], &[]), ["other/sub/.netrc"], "nothing to change: nothing to keep");
        assert_eq!(found(&["~/other:/x:rw"], &[]), ["other/.vscode/tasks.json", "other/sub/.netrc"]);
        // By the place in the container.
        fs::write(at.join("other/credentials"), "x").unwrap();
        assert_eq!(found(&["~/other:/home/me/.aws"], &[]), ["other/credentials", "other/sub/.netrc"]);
        assert_eq!(
            found(&["~/other:/x", "~/other:/home/me/.aws"], &[]),
            ["other/credentials", "other/sub/.netrc"]
        );
        let masked =
            Case { mask: &["data.json", "elsewhere/notes"], ..case(&["~/other:/x", "~/.aws:/y"], &[]) };
        assert_eq!(
            covered(&at, masked).unwrap(),
            ["other/data.json", "other/sub/.netrc", ".aws/credentials"]
        );
    }

    #[test]
    fn what_is_in_the_project_is_left_to_its_own_look() {
        let (_dir, at) = machine();
        assert!(covered(&at, case(&["~/project:/x"], &[])).unwrap().is_empty());
        // A folder around it: the project may show files that look like secrets.
        let around = covered(&at, case(&["~/:/x"], &[])).unwrap();
        assert_eq!(around, [".aws/credentials", "other/sub/.netrc"]);
        assert!(covered(&at, case(&["~/project/shown.env:/x"], &[])).unwrap().is_empty());
    }

    #[test]
    fn an_absolute_path_shows_what_a_mount_gives_and_nothing_else() {
        let (_dir, at) = machine();
        let found = |mounts: &[&str], shown: &[&str]| covered(&at, case(mounts, shown));
        assert!(found(&["~/other:/x"], &["~/other/sub/.netrc"]).unwrap().is_empty());
        assert!(found(&["~/other:/x"], &["~/other/sub"]).unwrap().is_empty());
        assert!(found(&["~/other:/x"], &["~/other"]).unwrap().is_empty());
        assert_eq!(found(&["~/other:/x", "~/.aws:/y"], &["~/other"]).unwrap(), [".aws/credentials"]);
        for not_there in ["~/other/.netrc", "~/elsewhere", "~/.aws/credentials"] {
            let refused = found(&["~/other:/x"], &[not_there]).unwrap_err();
            assert!(refused.contains("nothing that is mounted has this path"), "{not_there}: {refused}");
        }
    }

    #[test]
    fn a_mount_of_a_secret_alone_is_refused_and_so_is_a_writable_folder_for_secrets() {
        let (_dir, at) = machine();
        for (mounts, shown, why) in [
            (
                &["~/.aws/credentials:/x"][..],
                "~/.aws/credentials",
                "it is covered (by its name, .aws/credentials)",
            ),
            (&["~/other/data.json:/home/me/.claude.json"], "~/other/data.json", "it is covered"),
            (&["~/.ssh:/x:rw"], "~/.ssh", "no agent may write it"),
            (&["~/.ssh/config:/x:rw"], "~/.ssh/config", "no agent may write it"),
            (&["~/other/.vscode/tasks.json:/x:rw"], "~/other/.vscode/tasks.json", "must not be changed"),
        ] {
            let refused = covered(&at, case(mounts, &[])).unwrap_err();
            assert!(refused.contains(why), "{mounts:?}: {refused}");
            assert!(covered(&at, case(mounts, &[shown])).unwrap().is_empty(), "{mounts:?}");
        }
        for mounts in [&["~/.ssh/config:/x"][..], &["~/.ssh:/x"], &["~/other/data.json:/x:rw"]] {
            assert!(covered(&at, case(mounts, &[])).unwrap().is_empty(), "{mounts:?}");
        }
    }

    #[test]
    fn beyond_its_budget_a_mount_is_judged_by_names_alone() {
        let dir = tempfile::tempdir().unwrap();
        let secret = format!("token = glpat-{}\n", "Jq4TzX0kV2bLw7NmRs3Y");
        for file in ["a.txt", "b.txt", ".npmrc"] {
            fs::write(dir.path().join(file), &secret).unwrap();
        }
        let wishes = Wishes::default();
        let look = |budget: u64| {
            let root = held::open(dir.path()).and_then(held::reopen_directory).unwrap();
            let mut eye = Eye::opened(root, dir.path(), &wishes).unwrap();
            eye.budget = Some(AtomicU64::new(budget));
            let plan = plan_by(&eye).unwrap();
            (plan.covers.len(), plan.seen.beyond_budget)
        };
        assert_eq!(look(1 << 20), (3, 0));
        assert_eq!(look(secret.len() as u64), (2, 1));
        assert_eq!(look(0), (1, 2));
    }
}
