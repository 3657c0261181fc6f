//! `ringfence init`: starter files for running an agent in a project.
//!
//! ```text
//!  project ──policy suggest──▶ Suggested ─┐
//!                          --agent NAME ──┴─starter──▶ texts ──create, never overwrite──▶ .ringfence.yml, Dockerfile.ringfence
//! ```

mod starter;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

use self::starter::Starter;
use super::policy::suggest;
use crate::cli::init::InitArgs;
use crate::host::{open, programs};
use crate::layers;
use crate::term::{self, COULD_NOT_RUN, Failure, in_shell};

/// The recipe of the agent's image, in the project's topmost folder.
const DOCKERFILE: &str = "Dockerfile.ringfence";

/// Writes the starter files that are not there yet, and says what to do next.
pub(crate) fn init(args: &InitArgs) -> Result<u8, Failure> {
    let suggested =
        suggest::of_project(&args.project).map_err(|failure| Failure { exit: COULD_NOT_RUN, ..failure })?;
    let starter = starter::starter(args.agent, &suggested.suggestions);
    let files = [(layers::PROJECT, &starter.policy), (DOCKERFILE, &starter.dockerfile)];
    if args.dry_run {
        let document = |(name, text): &(&str, &String)| format!("# ── {name}\n{text}");
        term::print_document(&files.iter().map(document).collect::<Vec<_>>().join("\n"))?;
        return Ok(0);
    }
    write(&args.project, &files)?;
    super::policy::say(&suggested.notes);
    let builder = if programs::command("docker").is_err() && programs::command("podman").is_ok() {
        "podman"
    } else {
        "docker"
    };
    term::talk_lines(next(&args.project, &starter, builder));
    Ok(0)
}

/// Creates the files that are not there. Fails when all are.
fn write(project: &Path, files: &[(&str, &String)]) -> Result<(), Failure> {
    let cannot = || Failure::new(COULD_NOT_RUN, format!("cannot write into {}", project.display()));
    let folder = open::resolve(project)
        .and_then(|end| Ok(end.open(OFlags::RDONLY | OFlags::DIRECTORY)?))
        .map_err(|refused| refused.explain(cannot()))?;
    let mut written = 0;
    for (name, text) in files {
        let shown = project.join(name);
        match create(folder.as_fd(), name, text) {
            Ok(()) => {
                written += 1;
                term::talk(format_args!("wrote {}", shown.display()));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                term::talk(format_args!("{} is there already and stays as it is", shown.display()));
            }
            Err(error) => {
                return Err(Failure::new(COULD_NOT_RUN, format!("cannot write {}", shown.display()))
                    .caused_by(&error)
                    .hint("`ringfence init --dry-run` prints what it would hold"));
            }
        }
    }
    if written > 0 {
        return Ok(());
    }
    Err(Failure::new(COULD_NOT_RUN, "nothing was written: both files are there already")
        .hint("`ringfence init --dry-run` prints what they would hold; or move them away first"))
}

/// Creates one file of the open folder. Neither an existing file nor a link is opened.
fn create(folder: BorrowedFd<'_>, name: &str, text: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = rustix::fs::openat(folder, name, flags, mode)?;
    let written = File::from(file).write_all(text.as_bytes());
    if written.is_err() {
        // A part of a policy is worse than none.
        rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
    }
    written
}

/// Says in three commands what comes next, and where the last one's options can be kept.
fn next(project: &Path, starter: &Starter, builder: &str) -> String {
    let folder = in_shell(&project.to_string_lossy());
    let recipe = in_shell(&project.join(DOCKERFILE).to_string_lossy());
    let (image, key) = (starter.image, starter.key);
    let space = if key.is_empty() { "" } else { " " };
    [
        "Read both files, then:".to_owned(),
        format!("  ringfence trust {folder}"),
        format!("  {builder} build --tag {image} - < {recipe}"),
        format!("  ringfence run -it --project {folder}{space}{key} {image}"),
        "To keep these options for `ringfence run` alone, write them to ~/.config/ringfence/run.yml.\n"
            .to_owned(),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_is_three_commands() {
        let starter = starter::starter(crate::cli::init::AgentKind::Claude, &[]);
        insta::assert_snapshot!(next(Path::new("/home/me/my project"), &starter, "docker"));
    }
}
