//! Rooms of `src/` and which of them may use which: the matrix here is the one that CONTRIBUTING shows, and no room uses
//! another that its line does not name. A room may only use rooms on lines above its own, so there are no circles.

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

#[test]
fn a_use_is_found_wherever_it_stands() {
    let text = "use crate::host::open;\n// crate::doctor\nfn f() { crate::term::talk(crate::wire::x()) }\n";
    assert_eq!(used(text), BTreeSet::from(["host", "term", "wire"].map(str::to_owned)));
    assert!(used("use super::x;\n/// [`crate::cli`]\n").is_empty());
}
