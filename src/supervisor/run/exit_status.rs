//! The agent's exit status, also where its init hides that the command could not be started.

use crate::supervisor::engine::dialect::UnstartableCommand;

/// Words of an init that cannot start its program: `ERROR (catatonit:2): failed to exec pid1: No
/// such file or directory`.
const INIT: (&str, &str) = ("ERROR (catatonit:", ": failed to exec pid1: ");

/// Returns docker's exit status for a command that could not be started, and otherwise the one that
/// the engine told. An agent that prints the init's words itself changes nothing but its own
/// status.
pub(super) async fn of_agent(
    told_by: UnstartableCommand,
    status: i64,
    last_words: impl AsyncFnOnce() -> Vec<String>,
) -> i64 {
    if told_by != UnstartableCommand::IsToldInWords || status != 1 {
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
