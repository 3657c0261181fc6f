//! R8: other containers on the engine. An agent reaches none of them from inside the fence; an
//! agent that escapes from its container lands among them and their secrets.

use super::{known, list};
use crate::doctor::facts::{Engine, Learned, Other, Others};
use crate::doctor::row::{Row, Verdict};

/// The most containers that are named for each thing; the others are counted.
const NAMED: usize = 5;

/// Judges R8 and returns its row.
pub(crate) fn row(engine: &Learned<Engine>, others: &Learned<Others>) -> Row {
    let mut row = Row::new("R8", "other containers on the engine");
    if let Ok(engine) = engine {
        for warning in engine.warnings.iter().filter(|text| text.contains("API is accessible")) {
            row.held_against(
                Verdict::Fail,
                format!("the engine warns: {}", warning.trim_start_matches("WARNING: ").trim()),
            );
            row.advise("do not let the engine listen on TCP without TLS: any container may find it there and own the machine");
        }
    }
    let Some(others) = known(&mut row, others) else { return row };
    let there = others.looked_at.len() + others.left_out;
    row.found(match there {
        0 => "no other container runs".to_owned(),
        1 => "1 other container runs".to_owned(),
        more => format!("{more} other containers run"),
    });
    judge(&mut row, others);
    if others.left_out > 0 {
        row.held_against(Verdict::Unknown, format!("{} of them were not looked at", others.left_out));
    }
    row
}

fn judge(row: &mut Row, others: &Others) {
    let with = |detail: fn(&Other) -> Option<String>| -> Vec<String> {
        others.looked_at.iter().filter_map(|one| Some(format!("{} ({})", one.name, detail(one)?))).collect()
    };
    let findings = [
        (
            with(|one| all_of(&one.sockets)),
            "hold an engine's socket and can do anything on its machine",
            "give a container an engine's socket only where you would give it root",
        ),
        (
            with(|one| one.privileged.then(|| "privileged".to_owned())),
            "have every power",
            "run them without --privileged",
        ),
        (
            with(|one| all_of(&one.host_namespaces)),
            "are in namespaces of the host",
            "run them without --network host, --pid host and --ipc host",
        ),
        (
            with(|one| all_of(&one.ports)),
            "publish ports, which every container outside a fence reaches",
            "publish on 127.0.0.1 what only this machine needs (-p 127.0.0.1:8080:80)",
        ),
    ];
    for (who, what, remedy) in findings {
        if who.is_empty() {
            continue;
        }
        let named = list(&who[..who.len().min(NAMED)]);
        let more = who.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        row.held_against(Verdict::Warn, format!("{what}: {named}{more}"));
        row.advise(remedy);
    }
}

fn all_of(items: &[impl AsRef<str>]) -> Option<String> {
    (!items.is_empty()).then(|| list(items))
}
