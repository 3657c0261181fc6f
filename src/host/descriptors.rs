//! Descriptors that the caller had open, and that a program which stays must not keep: a pipe that
//! stays open keeps its reader waiting.

use std::os::fd::RawFd;
use std::sync::OnceLock;

/// Lists the descriptors of this process, on Linux and macOS.
const LIST: &str = "/dev/fd";

static INHERITED: OnceLock<Vec<RawFd>> = OnceLock::new();

/// Notes the descriptors that are open now, but for the standard ones. The call must come before
/// this program opens any that it keeps.
pub(crate) fn note_inherited() {
    INHERITED.get_or_init(open_now);
}

/// Closes the descriptors that were noted. Nothing of this program uses them: what is named as
/// `/dev/fd/N` on the command line is read from a descriptor of its own.
pub(crate) fn close_inherited() {
    for descriptor in INHERITED.get().into_iter().flatten() {
        // One that is closed already is what is wanted.
        let _ = nix::unistd::close(*descriptor);
    }
}

fn open_now() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir(LIST) else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    let numbers: Vec<RawFd> = numbers.filter(|number| *number > 2).collect();
    // The list had a descriptor of its own, which is closed by now.
    let is_open = |number: &RawFd| std::fs::symlink_metadata(format!("{LIST}/{number}")).is_ok();
    numbers.into_iter().filter(is_open).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn open_descriptors_are_listed_without_the_lists_own() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(open_now().contains(&file.as_raw_fd()));
        assert!(open_now().iter().all(|number| *number > 2));
    }
}
