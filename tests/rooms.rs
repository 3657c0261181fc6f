//! Rooms of `src/` and which of them may use which: the matrix here is the one that CONTRIBUTING
//! shows, and no room uses another that its line does not name. A room may only use rooms on lines
//! above its own, so there are no circles. Nor does any file outside `supervisor/engine/` ask which
//! engine it is: the dialect there says what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms from the ground floor up, each with those that it may use.
const MATRIX: [(&str, &[&str]); 10] = [
    ("term", &[]),
    ("wire", &["term"]),
    ("host", &["term", "wire"]),
    ("inside", &["term", "wire", "host"]),
    ("workspace", &["term", "wire", "host"]),
    ("layers", &["term", "wire", "host"]),
    ("supervisor", &["term", "wire", "host", "workspace", "layers"]),
    ("doctor", &["term", "wire", "host", "inside", "workspace", "supervisor"]),
    ("cli", &["term", "supervisor"]),
    ("commands", &["term", "wire", "host", "inside", "workspace", "layers", "supervisor", "doctor", "cli"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All source files below a folder.
fn sources(folder: PathBuf) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![folder]);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(path.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The rooms that a text names by a path from the crate, comments left out.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let parts = code.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>());
    parts
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .filter(|name: &String| !name.is_empty())
        .collect()
}

#[test]
fn no_room_uses_another_that_its_line_does_not_name() {
    let mut wrong = Vec::new();
    let mut above = BTreeSet::new();
    for (room, may_use) in MATRIX {
        for other in may_use {
            assert!(above.contains(other), "{room} may use {other}, which is not below it");
        }
        above.insert(room);
        let files = sources(root().join("src").join(room));
        assert!(!files.is_empty(), "there is no room {room}");
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source file");
            let bad =
                used(&text).into_iter().filter(|other| other != room && !may_use.contains(&other.as_str()));
            wrong.extend(bad.map(|other| format!("{} uses {other}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
    // The agent's first program is a crate of its own.
    let rooms: BTreeSet<String> =
        MATRIX.iter().map(|(room, _)| (*room).to_owned()).chain(["init".to_owned()]).collect();
    assert_eq!(folders, rooms);
}

#[test]
fn contributing_shows_the_same_matrix() {
    let text = std::fs::read_to_string(root().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let lines = text.lines().skip_while(|line| *line != "| room | may use |").skip(2);
    let shown: BTreeMap<String, String> = lines
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', ""));
            Some((cells.next()?, cells.next()?))
        })
        .collect();
    let expected: BTreeMap<String, String> = MATRIX
        .iter()
        .map(|(room, may_use)| {
            ((*room).to_owned(), if may_use.is_empty() { "none".to_owned() } else { may_use.join(", ") })
        })
        .collect();
    assert_eq!(shown, expected);
}

/// Words of code that asks which engine it is. Clippy holds that nobody asks `/version` and `/info`
/// anew, and a dialect's `Title` can only be shown, so nobody parses a version.
const WORDS_OF_ENGINES: [&str; 12] = [
    "Product",
    "SystemVersion",
    "SystemVersionComponents",
    "ServerVersion",
    "server_version",
    "api_version",
    "security_options",
    "cgroup_version",
    "is_podman",
    "is_docker",
    "is_rootless",
    "engine.version",
];

/// The words of engines in a text's code, comments left out.
fn words_of_engines(text: &str) -> Vec<&'static str> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let stands_in = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            !line[..at].ends_with(part_of_name) && !line[at + word.len()..].starts_with(part_of_name)
        })
    };
    WORDS_OF_ENGINES.into_iter().filter(|word| code.iter().any(|line| stands_in(line, word))).collect()
}

#[test]
fn only_the_dialect_asks_which_engine_it_is() {
    let own = root().join("src/supervisor/engine");
    let (mut wrong, mut in_own) = (Vec::new(), BTreeSet::new());
    for file in sources(root().join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let found = words_of_engines(&text);
        if file.starts_with(&own) {
            in_own.extend(found);
        } else {
            wrong.extend(found.into_iter().map(|word| {
                format!("{} has `{word}`: make what differs a field of engine::dialect", file.display())
            }));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The control: what is looked for is found where it may be.
    assert!(["SystemVersion", "security_options", "cgroup_version"].iter().all(|word| in_own.contains(word)));
}

#[test]
fn words_of_engines_are_found_in_code_alone() {
    let text = "use a::Product;\n// security_options\nif info.security_options.is_some() && engine.version.len() > 1 {}\n";
    assert_eq!(words_of_engines(text), ["Product", "security_options", "engine.version"]);
    assert!(words_of_engines("/// Product\nlet by_product = of_product(is_podman_machine);\n").is_empty());
}

#[test]
fn a_use_is_found_wherever_it_stands() {
    let text = "use crate::host::open;\n// crate::doctor\nfn f() { crate::term::talk(crate::wire::x()) }\n";
    assert_eq!(used(text), BTreeSet::from(["host", "term", "wire"].map(str::to_owned)));
    assert!(used("use super::x;\n/// [`crate::cli`]\n").is_empty());
}
