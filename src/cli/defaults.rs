//! A command line of `run`, completed by the user's defaults for a project.
//!
//! ```text
//!  items of run.yml ──words──▶ clap, one by one ──▶ options │ image ─┐
//!  words as typed ────────────▶ clap ──▶ which options are given ────┴─▶ one command line, read by clap once more
//! ```
//! An option that is typed takes the place of the same option in the file, lists included. Denials
//! add up: a typed one must not take another away.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::FromArgMatches;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use netpolicy::load::preset_reference;
use netpolicy::settings::Ca;

use super::run::RunArgs;
use super::usage::{command, explain, run_at};
use super::{Cli, Command};
use crate::term::{COULD_NOT_RUN, Failure};

/// Stands for an image while an item is read alone.
const ANY_IMAGE: &str = "image";
/// Options that a file of defaults cannot hold, and the reason.
const REFUSED: &[(&str, &str)] = &[
    ("project", "the folder above the list is the project"),
    ("no_defaults", "leave the list empty instead"),
    ("dry_run", "type it where you want it"),
    ("ssh_agent_plain", "type it where you want it"),
];
/// Options of which one given keeps the others of the file back.
const ALTERNATIVES: &[&[&str]] =
    &[&["network", "no_network"], &["gitlab_token_env", "gitlab_token_glab"], &["quiet", "verbose"]];

/// One item of a file of defaults, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// An option, with the names that clap has for what it sets.
    Option { words: Vec<String>, sets: BTreeSet<String> },
    /// The image and its command.
    Image(Vec<String>),
}

impl Item {
    /// Reads the words of one item.
    ///
    /// # Errors
    /// When the words are no option of `run` and no image, in words.
    pub(crate) fn read(words: Vec<String>) -> Result<Item, Failure> {
        let failure = |what: &str| Failure::new(COULD_NOT_RUN, what);
        match words.first() {
            None => return Err(failure("an item is empty").hint("remove it")),
            Some(first) if !first.starts_with('-') => return Ok(Item::Image(words)),
            Some(_) => {}
        }
        let line = line_with(&[], &words);
        let read = read_run(&line).or_else(|error| match error.kind() {
            ErrorKind::MissingRequiredArgument => with_what_it_needs(&words),
            _ => Err(error),
        });
        let (args, sets) = read.map_err(|error| match error.use_stderr() {
            true => explain(&error, &line[1..]).unwrap_or_else(|| failure(first_line(&error.to_string()))),
            false => failure("this option has no place in a file of defaults").hint("type it"),
        })?;
        if let Some((_, why)) = REFUSED.iter().find(|(name, _)| sets.contains(*name)) {
            return Err(failure("this option has no place in a file of defaults").hint(*why));
        }
        match args.words.as_slice() {
            [image] if image == ANY_IMAGE => {}
            [] => return Err(failure("the option lacks its value").hint("write both in one item")),
            _ => return Err(failure("an item holds one option").hint("begin another item with `- `")),
        }
        if let Some(path) = paths(&args).into_iter().find(|path| path.is_relative()) {
            return Err(failure(&format!("the path `{}` depends on where you are", path.display()))
                .hint("write the whole path, or begin with `~/`"));
        }
        Ok(Item::Option { words, sets })
    }
}

/// Makes a command line of one item's words.
fn line_with(before: &[&str], words: &[String]) -> Vec<OsString> {
    let words = words.iter().map(String::as_str);
    let line = ["ringfence", "run"].into_iter().chain(before.iter().copied()).chain(words).chain([ANY_IMAGE]);
    line.map(OsString::from).collect()
}

/// Reads an option that goes with another one, such as `--revoke-token`. Whether the other one is
/// there is seen when all items are together.
fn with_what_it_needs(words: &[String]) -> Result<(RunArgs, BTreeSet<String>), clap::Error> {
    let (args, mut sets) =
        read_run(&line_with(&["--project", "/", "--gitlab-token-glab", "--ssh-agent"], words))?;
    sets.remove("project");
    sets.remove("gitlab_token_glab");
    sets.remove("ssh_agent");
    Ok((args, sets))
}

/// Lists the files of this machine that an option names.
fn paths(args: &RunArgs) -> Vec<PathBuf> {
    let before = |text: &String, at: char| PathBuf::from(text.split(at).next().unwrap_or_default());
    let policies = args.policy.policies.iter().filter(|policy| preset_reference(policy).is_none());
    let secrets = args.secret.iter().filter_map(|secret| Some(PathBuf::from(secret.split_once('=')?.1)));
    let ca = match &args.ca {
        Some(Ca::File(file)) => Some(PathBuf::from(file)),
        _ => None,
    };
    policies
        .map(PathBuf::from)
        .chain(args.mounts.iter().map(|mount| before(mount, ':')))
        .chain(args.env_file.iter().cloned())
        .chain(args.ssh_key.iter().cloned())
        .chain(secrets)
        .chain(args.prompt.clone())
        .chain(args.events.clone())
        .chain(ca)
        .collect()
}

/// Returns the command line that the typed words and a project's defaults make together, and which
/// of the items are part of it.
///
/// # Errors
/// Those of clap about the typed words.
pub(crate) fn completed(
    typed: &[OsString],
    project: &Path,
    items: &[Item],
) -> Result<(Vec<OsString>, Vec<usize>), clap::Error> {
    let (args, given) = read_run(typed)?;
    // The program's name is not among the words that are looked at.
    let run = typed.get(1..).and_then(run_at).map_or(1, |at| at + 1);
    let (before, after) = typed.split_at((run + 1).min(typed.len()));
    let mut line = before.to_vec();
    if args.project.is_none() {
        line.extend(["--project".into(), project.as_os_str().to_owned()]);
    }
    let (mut taken, mut image) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        match item {
            // With the file's `--flow` a typed image would be a word of the command.
            Item::Option { sets, .. } if sets.contains("flow") && !args.words.is_empty() => {}
            Item::Option { words, sets } if !sets.iter().any(|name| is_given(name, &given)) => {
                line.extend(words.iter().map(OsString::from));
                taken.push(index);
            }
            Item::Image(words) if args.words.is_empty() && !args.flow => {
                image = words.iter().map(OsString::from).collect();
                taken.push(index);
            }
            Item::Option { .. } | Item::Image(_) => {}
        }
    }
    line.extend(after.iter().cloned());
    line.extend(image);
    Ok((line, taken))
}

/// Tells whether the typed options take the place of one of the file's.
fn is_given(name: &str, given: &BTreeSet<String>) -> bool {
    let alternatives = ALTERNATIVES.iter().find(|group| group.contains(&name));
    let taken = given.contains(name) && name != "deny";
    taken || alternatives.is_some_and(|group| group.iter().any(|other| given.contains(*other)))
}

/// Reads a command line of `run`: its options, and the names of those that are given in it.
fn read_run(words: &[OsString]) -> Result<(RunArgs, BTreeSet<String>), clap::Error> {
    let matches = command().try_get_matches_from(words)?;
    let mut given = BTreeSet::new();
    if let Some((_, run)) = matches.subcommand() {
        let is_typed = |id: &&String| {
            run.try_contains_id(id).is_ok() && run.value_source(id) == Some(ValueSource::CommandLine)
        };
        given.extend(OPTIONS.iter().filter(is_typed).cloned());
    }
    match Cli::from_arg_matches(&matches)?.command {
        Command::Run(args) => Ok((*args, given)),
        _ => Err(command().error(ErrorKind::InvalidSubcommand, "the command is not `run`")),
    }
}

/// Names of the options that `run` has. Each item of a file is read by itself, and building all
/// commands for the list takes longer than that.
static OPTIONS: LazyLock<Vec<String>> = LazyLock::new(options);

/// Returns clap's names of the options that `run` has, those of every command included.
fn options() -> Vec<String> {
    let mut all = command();
    // Options of all commands are among those of `run` then.
    all.build();
    let run = all.find_subcommand("run").into_iter();
    let options = run.flat_map(clap::Command::get_arguments).filter(|arg| !arg.is_positional());
    options.map(|arg| arg.get_id().to_string()).collect()
}

/// Returns the first line of clap's message, without its label.
fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::super::usage::parse;
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn item(text: &str) -> Item {
        Item::read(words(text)).unwrap_or_else(|failure| panic!("{text}: {failure}"))
    }

    /// Completes `ringfence TYPED` in `/p`; the words after `run`, joined.
    fn line(typed: &str, items: &[&str]) -> String {
        let typed: Vec<OsString> =
            ["ringfence"].into_iter().chain(typed.split(' ')).map(OsString::from).collect();
        let items: Vec<Item> = items.iter().map(|text| item(text)).collect();
        let (line, _) = completed(&typed, Path::new("/p"), &items).unwrap();
        parse(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let line: Vec<&str> = line.iter().skip(1).map(|word| word.to_str().unwrap()).collect();
        line.join(" ")
    }

    #[test]
    fn the_file_completes_what_is_typed() {
        let items = ["--policy /p.yml", "-it", "--memory 8g", "agent:1 claude --resume"];
        for (typed, whole) in [
            ("run", "run --project /p --policy /p.yml -it --memory 8g agent:1 claude --resume"),
            ("run --", "run --project /p --policy /p.yml -it --memory 8g -- agent:1 claude --resume"),
            (
                "--engine x run -m 1g",
                "--engine x run --project /p --policy /p.yml -it -m 1g agent:1 claude --resume",
            ),
            ("run --project q other:2", "run --policy /p.yml -it --memory 8g --project q other:2"),
            (
                "run --policy /q.yml",
                "run --project /p -it --memory 8g --policy /q.yml agent:1 claude --resume",
            ),
        ] {
            assert_eq!(line(typed, &items), whole);
        }
    }

    #[test]
    fn a_typed_image_is_no_word_of_the_command_in_the_files_flow() {
        let items = ["--flow", "--memory 8g"];
        assert_eq!(line("run other:2 sh", &items), "run --project /p --memory 8g other:2 sh");
        // The controls: no image is typed, or the option is.
        assert_eq!(line("run", &items), "run --project /p --flow --memory 8g");
        let typed = "run --project /p --flow claude";
        assert_eq!(line(typed, &items), "run --memory 8g --project /p --flow claude");
    }

    #[test]
    fn what_is_typed_wins_lists_included_and_denials_add_up() {
        let items = ["-e A=1", "-e B=1", "--allow a.example", "--deny x.example", "--no-network", "image"];
        assert_eq!(
            line("run -e C=1 --deny y.example --network policy", &items),
            "run --project /p --allow a.example --deny x.example -e C=1 --deny y.example --network policy image"
        );
        assert_eq!(
            line(
                "run --verbose --gitlab-token-glab",
                &["--quiet", "--gitlab-token-env T", "--revoke-token", "i"]
            ),
            "run --project /p --revoke-token --verbose --gitlab-token-glab i"
        );
    }

    #[test]
    fn what_is_no_item_is_told() {
        for (text, said) in [
            ("--no-such-option", "unexpected argument"),
            ("--memory", "invalid value 'image' for '--memory <SIZE>'"),
            ("--name", "the option lacks its value"),
            ("--name a --tty image", "an item holds one option"),
            ("--project /q", "no place in a file of defaults"),
            ("--no-defaults", "no place in a file of defaults"),
            ("--policy policy.yml", "depends on where you are"),
            ("-v data:/data", "depends on where you are"),
            ("--secret KEY=key.txt", "depends on where you are"),
            ("--memory much", "invalid value"),
            ("--expose 80", "does not have docker's --expose"),
        ] {
            let told = Item::read(words(text)).expect_err(text).to_string();
            assert!(told.contains(said), "{text}: {told}");
        }
        for text in [
            "--unmask a/b",
            "--worktree",
            "--revoke-token",
            "--policy gitlab@1",
            "--policy gitlab",
            "--ca system",
            "--secret KEY",
            "-itq",
            "agent x",
        ] {
            item(text);
        }
    }
}
