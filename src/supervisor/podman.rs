//! Where Podman's Docker API says something else than Docker's.

use super::engine::{Engine, Product};

/// What an init says that cannot start its program: `ERROR (catatonit:2): failed to exec pid1: No such file or directory`.
const INIT: (&str, &str) = ("ERROR (catatonit:", ": failed to exec pid1: ");

/// docker's exit status for a command that could not be started. Docker's init ends with it; Podman's ends with 1, and what
/// happened is only in its words. An agent that prints them itself changes nothing but its own status.
pub async fn status(engine: &Engine, status: i64, last_words: impl AsyncFnOnce() -> Vec<String>) -> i64 {
    if engine.product != Product::Podman || status != 1 {
        return status;
    }
    last_words().await.last().and_then(|line| not_started(line)).unwrap_or(status)
}

fn not_started(line: &str) -> Option<i64> {
    let (_, why) = line.trim().strip_prefix(INIT.0)?.split_once(INIT.1)?;
    match why {
        "No such file or directory" => Some(127),
        "Permission denied" | "Is a directory" | "Exec format error" => Some(126),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::not_started;

    #[test]
    fn the_words_of_an_init_are_told_from_those_of_a_program() {
        assert_eq!(
            not_started("ERROR (catatonit:6): failed to exec pid1: No such file or directory"),
            Some(127)
        );
        assert_eq!(not_started("ERROR (catatonit:2): failed to exec pid1: Permission denied"), Some(126));
        assert_eq!(not_started("ERROR: No such file or directory"), None);
    }
}
