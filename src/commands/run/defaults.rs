//! The user's defaults for the project of a run, laid under what was typed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use netpolicy::load::{DefaultItem, ProjectDefaults};

use crate::cli::defaults::{Item, completed};
use crate::cli::run::{RunArgs, TakenDefault};
use crate::cli::{Cli, Command, usage};
use crate::host::open;
use crate::layers::defaults::{self as layer, DefaultsFile};
use crate::term::{self, COULD_NOT_RUN, Failure};

/// Returns the command line with the defaults that the user's file has for its project.
///
/// # Errors
/// When the file cannot be used, or the whole command line is none; both were told.
pub(crate) fn complete(cli: Cli, typed: &[OsString]) -> Result<Cli, ExitCode> {
    let Command::Run(args) = &cli.command else { return Ok(cli) };
    if args.no_defaults {
        return Ok(cli);
    }
    let Some(line) = line(args, typed).map_err(|failure| failure.render())? else { return Ok(cli) };
    let mut cli = usage::read(line.words)?;
    if let Command::Run(args) = &mut cli.command {
        args.defaults = line.taken;
    }
    Ok(cli)
}

/// A command line that the file is part of.
struct Line {
    words: Vec<OsString>,
    taken: Vec<TakenDefault>,
}

fn line(args: &RunArgs, typed: &[OsString]) -> Result<Option<Line>, Failure> {
    let Some(file) = layer::read()? else { return Ok(None) };
    let folder = args.project.as_deref().unwrap_or(Path::new("."));
    // A project that is not there is told where it is opened.
    let Ok(folder) = open::real(folder) else { return Ok(None) };
    match file.of_project(&folder)? {
        Some(project) => of_project(&file, project, &folder, typed).map(Some),
        None => Ok(None),
    }
}

fn of_project(
    file: &DefaultsFile,
    project: &ProjectDefaults,
    folder: &Path,
    typed: &[OsString],
) -> Result<Line, Failure> {
    let items = project.items.iter().map(|item| read(&file.path, item)).collect::<Result<Vec<_>, _>>()?;
    let images = items.iter().filter(|item| matches!(item, Item::Image(_))).count();
    if images > 1 || items.iter().rev().skip(1).any(|item| matches!(item, Item::Image(_))) {
        let what = format!("{}:{}: the image is not the last item", file.path.display(), project.line);
        let hint = "put options first, and the image with its command in one last item";
        return Err(Failure::new(COULD_NOT_RUN, what).hint(hint));
    }
    let (words, taken) = completed(typed, folder, &items)
        .map_err(|error| Failure::new(COULD_NOT_RUN, "cannot read the command line").caused_by(&error))?;
    let taken = taken.into_iter().filter_map(|index| {
        let (item, read) = (project.items.get(index)?, items.get(index)?);
        Some(TakenDefault { file: file.path.clone(), line: item.line, text: shown(&item.text, read) })
    });
    Ok(Line { words, taken: taken.collect() })
}

/// Reads one item's words.
fn read(file: &Path, item: &DefaultItem) -> Result<Item, Failure> {
    let place = format!("{}:{}{}", file.display(), item.line, option_of(&item.text));
    let Some(words) = shlex::split(&item.text) else {
        return Err(Failure::new(COULD_NOT_RUN, format!("{place}: a quote is not closed"))
            .hint("quote words as for a shell"));
    };
    let words = words.iter().map(|word| {
        let path: PathBuf = layer::expanded(word);
        path.into_os_string().into_string().map_err(|_| {
            Failure::new(COULD_NOT_RUN, format!("{place}: the path of your home is no UTF-8"))
                .hint("write the whole path of a file")
        })
    });
    let words = words.collect::<Result<Vec<String>, _>>()?;
    let has_variable = words.iter().any(|word| begins_a_variable(word));
    Item::read(words).map_err(|failure| match has_variable {
        // The reader's words may repeat the value.
        true => Failure::new(COULD_NOT_RUN, format!("{place}: the variable cannot be read"))
            .hint("write one option in an item, and quote a value that has blanks"),
        false => Failure { message: format!("{place}: {}", failure.message), ..failure },
    })
}

/// Returns the option of an item that cannot be used, as an error names it: without its value,
/// which may be a secret.
fn option_of(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '=' | '\'' | '"' | '\\');
    match text.split(ends).next() {
        Some(option) if option.starts_with('-') => format!(": `{option}`"),
        _ => String::new(),
    }
}

/// Tells whether a word gives a variable, or is the option before one: `--env`, `--service-env`, or
/// short options with `-e` among them.
fn begins_a_variable(word: &str) -> bool {
    let option = word.split('=').next().unwrap_or_default();
    let is_short = option.starts_with('-') && !option.starts_with("--");
    matches!(option, "--env" | "--service-env") || (is_short && option.contains('e'))
}

/// Returns an item as it is shown: the value of a variable may be a secret.
fn shown(text: &str, item: &Item) -> String {
    let is_variable = |sets: &BTreeSet<String>| sets.contains("env") || sets.contains("service_env");
    match item {
        Item::Option { sets, .. } if is_variable(sets) => match text.find('=').map(|at| text.split_at(at)) {
            Some((before, rest)) => match matches!(before, "--env" | "--service-env") {
                // `--env=NAME=VALUE`.
                true => format!("{before}={}", hidden(&rest[1..])),
                false => format!("{before}=…"),
            },
            None => text.to_owned(),
        },
        _ => text.to_owned(),
    }
}

/// Returns a variable without its value.
fn hidden(pair: &str) -> String {
    pair.split_once('=').map_or_else(|| pair.to_owned(), |(name, _)| format!("{name}=…"))
}

/// Says what the file added to the command line.
pub(crate) fn tell(args: &RunArgs) {
    if args.defaults.is_empty() {
        return;
    }
    let lines: String = args.defaults.iter().map(|taken| format!("\n{taken}")).collect();
    term::talk(format_args!("options of your own for this project (--no-defaults leaves them out):{lines}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_variable_is_not_shown() {
        let shown = |text: &str| {
            let item = Item::read(shlex::split(text).unwrap()).unwrap();
            shown(text, &item)
        };
        for (text, said) in [
            ("-e KEY=hunter2", "-e KEY=…"),
            ("-eKEY=hunter2", "-eKEY=…"),
            ("-ieKEY=hunter2", "-ieKEY=…"),
            ("--env KEY=hunter2", "--env KEY=…"),
            ("--env=KEY=hunter2", "--env=KEY=…"),
            ("--env 'KEY=hunter 2'", "--env 'KEY=…"),
            ("--env=KEY", "--env=KEY"),
            ("--service-env db:KEY=hunter2", "--service-env db:KEY=…"),
            ("--service-env=db:KEY=hunter2", "--service-env=db:KEY=…"),
            ("-e KEY", "-e KEY"),
            ("--memory 8g", "--memory 8g"),
        ] {
            assert_eq!(shown(text), said);
        }
    }

    #[test]
    fn an_item_that_cannot_be_used_is_named_without_its_value() {
        for text in [
            "-e TOKEN=hunter2 def",
            "-e 'TOKEN=hunter2",
            "-eTOKEN=hunter2 def",
            "--env=TOKEN=hunter2 def",
            "--env 'TOKEN=hunter2",
            "--service-env TOKEN=hunter2 def",
            "--memory 8g -e TOKEN=hunter2 def",
            "'TOKEN=hunter2",
        ] {
            let item = DefaultItem { text: text.to_owned(), line: 4 };
            let told = read(Path::new("run.yml"), &item).expect_err(text).to_string();
            assert!(told.contains("run.yml:4:") && !told.contains("hunter2"), "{text}: {told}");
        }
        // The control.
        let item = DefaultItem { text: "--memory much".to_owned(), line: 4 };
        let told = read(Path::new("run.yml"), &item).expect_err("no size").to_string();
        assert!(told.contains("run.yml:4: `--memory`: invalid value"), "{told}");
    }
}
