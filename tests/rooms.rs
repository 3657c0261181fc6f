//! Rooms of `src/` and which of them may use which: the matrix here is the one that CONTRIBUTING
//! shows, and no room uses another that its line does not name. A room may only use rooms on lines
//! above its own, so there are no circles. The parts of the supervisor have a matrix of their own,
//! held in the same way.

#[path = "support/imports.rs"]
mod imports;
#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use self::sources::{root, sources};

/// The rooms from the ground floor up, each with those that it may use.
const MATRIX: [(&str, &[&str]); 14] = [
    ("term", &[]),
    ("wire", &["term"]),
    ("host", &["term", "wire"]),
    ("inside", &["term", "wire", "host"]),
    ("workspace", &["term", "wire", "host"]),
    ("layers", &["term", "wire", "host"]),
    ("supervisor", &["term", "wire", "host", "workspace", "layers"]),
    ("serve", &["term", "wire", "host", "workspace", "layers", "supervisor"]),
    ("report", &["term", "wire", "host", "supervisor"]),
    ("dashboard", &["term", "wire", "supervisor", "report"]),
    ("scenario", &["term", "wire", "host", "supervisor"]),
    ("doctor", &["term", "wire", "host", "inside", "workspace", "supervisor"]),
    ("cli", &["term", "supervisor"]),
    (
        "commands",
        &[
            "term",
            "wire",
            "host",
            "inside",
            "workspace",
            "layers",
            "supervisor",
            "report",
            "dashboard",
            "scenario",
            "doctor",
            "serve",
            "cli",
        ],
    ),
];

/// The parts of the supervisor from the ground up, each with those that it may use.
const PARTS: [(&str, &[&str]); 21] = [
    ("signals", &[]),
    ("engine", &[]),
    ("spec", &["engine"]),
    ("exec_stream", &["engine"]),
    ("helper_carrier", &["engine", "exec_stream"]),
    ("records", &["spec"]),
    ("live", &["engine", "spec", "records", "exec_stream"]),
    ("forward", &["engine", "spec", "live", "exec_stream"]),
    ("host_loopback", &["engine", "spec", "records", "helper_carrier"]),
    ("ssh_agent", &["engine", "spec", "records", "live", "helper_carrier"]),
    ("streams", &["engine"]),
    ("admission", &["engine", "live"]),
    ("networks", &["engine", "spec"]),
    ("helper_image", &["engine", "spec"]),
    ("image", &["signals", "engine", "spec"]),
    ("mounts", &["engine", "spec"]),
    ("upload", &["engine", "spec", "live"]),
    ("watch", &["engine", "spec"]),
    ("aftermath", &["engine", "spec", "live"]),
    ("inventory", &["engine", "spec", "live", "records", "aftermath"]),
    (
        "run",
        &[
            "signals",
            "engine",
            "spec",
            "live",
            "forward",
            "host_loopback",
            "ssh_agent",
            "streams",
            "networks",
            "helper_image",
            "mounts",
            "upload",
            "watch",
            "records",
            "aftermath",
            "inventory",
        ],
    ),
];

/// Lists the names that follow a path in a text's code, those of a group in braces too. Comments
/// are left out.
fn names_after(text: &str, path: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let name = |rest: &str| -> String {
        rest.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for rest in code.split(path).skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => found.extend(members(group).map(name)),
            None => _ = found.insert(name(rest)),
        }
    }
    found.remove("");
    found
}

/// Splits a group at its own commas: what is in braces further inside belongs to the member before.
fn members(group: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut starts, mut end) = (0, vec![0], group.len());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                end = at;
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    starts.into_iter().filter(move |start| *start < end).map(move |start| &group[start..end])
}

/// Lists the rooms that a text names by a path from the crate.
fn used(text: &str) -> BTreeSet<String> {
    names_after(text, "crate::")
}

/// Lists the parts of the supervisor that a file of it names, by a path from the crate or upwards.
fn used_parts(text: &str, file: &Path) -> BTreeSet<String> {
    let below = file.strip_prefix(root().join("src/supervisor")).expect("a file of the supervisor");
    let depth = below.components().count() - usize::from(below.ends_with("mod.rs"));
    let mut found = names_after(text, "crate::supervisor::");
    found.extend(names_after(text, &"super::".repeat(depth)));
    found.retain(|name| PARTS.iter().any(|(part, _)| part == name));
    found
}

/// Lists the uses that a matrix does not permit. Its lines name only lines above them.
fn unpermitted(
    matrix: &[(&str, &[&str])],
    files_of: impl Fn(&str) -> Vec<PathBuf>,
    used: impl Fn(&str, &Path) -> BTreeSet<String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut above = BTreeSet::new();
    for (room, may_use) in matrix {
        for other in *may_use {
            assert!(above.contains(other), "{room} may use {other}, which is not below it");
        }
        above.insert(*room);
        let files = files_of(room);
        assert!(!files.is_empty(), "there is no {room}");
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source file");
            let bad = used(&text, &file)
                .into_iter()
                .filter(|other| other != room && !may_use.contains(&other.as_str()));
            wrong.extend(bad.map(|other| format!("{} uses {other}", file.display())));
        }
    }
    wrong
}

#[test]
fn no_room_uses_another_that_its_line_does_not_name() {
    let wrong = unpermitted(&MATRIX, |room| sources(root().join("src").join(room)), |text, _| used(text));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_part_of_the_supervisor_uses_another_that_its_line_does_not_name() {
    let folder = root().join("src/supervisor");
    let files_of = |part: &str| match folder.join(part) {
        folder if folder.is_dir() => sources(folder),
        file => vec![file.with_extension("rs")],
    };
    let wrong = unpermitted(&PARTS, files_of, used_parts);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_part_of_the_supervisor_is_in_the_matrix() {
    let entries = root().join("src/supervisor").read_dir().expect("the supervisor");
    let there: BTreeSet<String> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| path.file_stem().map(|name| name.to_string_lossy().into_owned()))
        .filter(|name| name != "mod")
        .collect();
    assert_eq!(there, PARTS.iter().map(|(part, _)| (*part).to_owned()).collect());
}

#[test]
fn every_folder_is_a_room_of_the_matrix() {
    let folders: BTreeSet<String> = root()
        .join("src")
        .read_dir()
        .expect("the sources")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let rooms: BTreeSet<String> = MATRIX.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(folders, rooms);
}

/// Reads the table of CONTRIBUTING under a head.
fn shown(head: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let lines = text.lines().skip_while(|line| *line != head).skip(2);
    lines
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', ""));
            Some((cells.next()?, cells.next()?))
        })
        .collect()
}

/// Makes of a matrix the table that CONTRIBUTING is to show.
fn table(matrix: &[(&str, &[&str])]) -> BTreeMap<String, String> {
    let cell = |may_use: &[&str]| if may_use.is_empty() { "none".to_owned() } else { may_use.join(", ") };
    matrix.iter().map(|(room, may_use)| ((*room).to_owned(), cell(may_use))).collect()
}

#[test]
fn contributing_shows_the_same_matrices() {
    assert_eq!(shown("| room | may use |"), table(&MATRIX));
    assert_eq!(shown("| part of the supervisor | may use |"), table(&PARTS));
}

#[test]
fn a_use_is_found_wherever_it_stands() {
    let text = "use crate::host::open;\n// crate::doctor\nfn f() { crate::term::talk(crate::wire::x()) }\n";
    assert_eq!(used(text), BTreeSet::from(["host", "term", "wire"].map(str::to_owned)));
    assert!(used("use super::x;\n/// [`crate::cli`]\n").is_empty());
    let file = |name: &str| root().join("src/supervisor").join(name);
    let group = "use crate::supervisor::{engine::{self, Engine}, live,\n    run as x};\n";
    assert_eq!(
        used_parts(group, &file("live.rs")),
        BTreeSet::from(["engine", "live", "run"].map(str::to_owned))
    );
    let up = "use super::super::watch::Watch;\nuse super::live;\n";
    assert_eq!(used_parts(up, &file("run/start.rs")), BTreeSet::from(["watch".to_owned()]));
    assert_eq!(used_parts("use super::run;\n", &file("live.rs")), BTreeSet::from(["run".to_owned()]));
    assert_eq!(used_parts("use super::run;\n", &file("watch/mod.rs")), BTreeSet::from(["run".to_owned()]));
}

/// The files that write to stdout and stderr, and why each does.
const WRITERS: [(&str, &str); 7] = [
    ("src/term/printer.rs", "the printer"),
    ("src/inside/output.rs", "what runs in containers writes to the engine's log streams"),
    (
        "src/inside/init/main.rs",
        "the agent's first program is a crate of its own, and runs in the agent's container",
    ),
    ("src/supervisor/streams/mod.rs", "the agent's own stdout and stderr pass unchanged"),
    ("src/supervisor/run/detached.rs", "the run's id goes by a pipe to the `ringfence run -d` that waits"),
    ("src/term/screen.rs", "a view has the whole screen, and talk waits"),
    ("src/commands/logs.rs", "asks whether the streams are terminals, and writes nothing"),
];

/// Macros and handles that write to stdout or stderr, or may.
const WRITES: [&str; 7] = ["print!", "println!", "eprint!", "eprintln!", "dbg!", "stdout()", "stderr()"];

/// The lines of a source file, without comments and the tests at its end, that write.
fn writing(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let writes = |line: &str| {
        WRITES.iter().any(|word| {
            // `fold_stdout()` and `sprint!` are other names; `tokio::io::stdout()` is a handle too.
            line.match_indices(word).any(|(at, _)| !line[..at].ends_with(is_name))
        })
    };
    code.lines().filter(|line| !line.trim_start().starts_with("//") && writes(line)).collect()
}

#[test]
fn only_the_printer_prints() {
    let mut wrong = Vec::new();
    for file in sources(root().join("src")) {
        let path = file.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        let of_tests = path.ends_with("tests.rs") || path.contains("/tests/") || path.contains("_for_tests");
        let text = std::fs::read_to_string(&file).expect("a source file");
        let writes = writing(&text);
        if let Some((_, why)) = WRITERS.iter().find(|(writer, _)| *writer == path) {
            assert!(!writes.is_empty(), "{path} writes nothing any more: {why}");
        } else if !of_tests {
            wrong.extend(writes.into_iter().map(|line| format!("{path}: {}", line.trim())));
        }
    }
    assert!(wrong.is_empty(), "write by `term`, or `inside::output` in containers:\n{}", wrong.join("\n"));
}

#[test]
fn what_prints_is_found() {
    for line in [
        "    println!(\"x\");",
        "std::eprint!(\"x\")",
        "let mut out = std::io::stdout().lock();",
        "tokio::io::stderr().write_all(b)",
        "Some(why) => eprintln!(),",
    ] {
        assert_eq!(writing(line).len(), 1, "{line}");
    }
    for line in ["// println!()", "sprintln!()", "error.use_stderr()", "command.stderr(Stdio::null())"] {
        assert!(writing(line).is_empty(), "{line}");
    }
    assert!(writing("fn f() {}\n#[cfg(test)]\nmod tests {\n  eprintln!()\n}\n").is_empty());
}

/// The lines of a source file, without comments, that name `tracing`.
fn tracing_in(text: &str) -> Vec<&str> {
    let names = |line: &str| {
        ["tracing::", "tracing_subscriber", "use tracing", "#[instrument"]
            .iter()
            .any(|word| line.contains(word))
    };
    text.lines().filter(|line| !line.trim_start().starts_with("//") && names(line)).collect()
}

/// Fields of diagnostics are numbers and words of the program, since only typed functions record
/// them.
#[test]
fn diagnostics_are_recorded_by_typed_functions_alone() {
    let mut wrong = Vec::new();
    let mut own = 0;
    for file in sources(root().join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let found = tracing_in(&text).len();
        if file.starts_with(root().join("src/term/trace")) {
            own += found;
        } else if found > 0 {
            wrong.push(file.display().to_string());
        }
    }
    assert!(own > 0, "src/term/trace has no diagnostics any more");
    assert!(wrong.is_empty(), "record by `term::trace`: {wrong:?}");
    assert_eq!(tracing_in("    tracing::info!(path, \"x\");\n// tracing::info!\n").len(), 1);
}

/// The arguments of a macro, up to its closing bracket.
fn until_closed(call: &str) -> &str {
    let mut depth = 0;
    let end = call.find(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth < 0
    });
    &call[..end.unwrap_or(call.len())]
}

/// Fields that a diagnostic may have. Their types are numbers, truth values and `&'static str`.
const FIELDS: [&str; 9] =
    ["name", "status", "ms", "missing", "upstream", "outcome", "asked", "change", "made"];

#[test]
fn diagnostics_have_only_fields_of_the_list() {
    let mut found = BTreeSet::new();
    for file in sources(root().join("src/term/trace")) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in code.split("(target: \"").skip(1) {
            let arguments = until_closed(call).split_once(',').map_or("", |(_, rest)| rest);
            let fields = arguments.split(',').filter(|part| !part.contains('"') && !part.trim().is_empty());
            found.extend(fields.map(|part| part.split('=').next().unwrap_or_default().trim().to_owned()));
        }
    }
    let known = BTreeSet::from(FIELDS.map(str::to_owned));
    assert_eq!(found, known);
}
