//! The user's file with the options that `ringfence run` takes for a project (`run.yml`).
//!
//! ```text
//!  version: 1
//!  projects:
//!    ~/shop:                        ──▶ ProjectDefaults (folder, line)
//!      - --policy ~/policies/shop.yml   ──▶ DefaultItem (text, line), in the order of the file
//!      - shop-agent:latest claude
//! ```
//! The reader of the command line says what an item's words mean.

use super::files::version;
use super::shape::{self, Section, list, map, string, wrong_type};
use crate::diagnostic::{Diagnostic, Severity};
use crate::policy::Layer;
use crate::yaml::{self, Findings, Node, Value};

/// The largest file of defaults that is read.
pub const MAX_DEFAULTS: usize = 256 * 1024;

const TOP: Section =
    Section { name: "a file of defaults", keys: &["version", "projects"], not_in_project: &[] };

/// Options and image for the runs in one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectDefaults {
    /// The project's folder as written: absolute, or from `~/`.
    pub folder: String,
    /// Line of the folder.
    pub line: u32,
    /// Parts of the command line.
    pub items: Vec<DefaultItem>,
}

/// One part of a command line: an option with its value, or the image and its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultItem {
    /// The words, quoted as for a shell.
    pub text: String,
    /// Line in the file.
    pub line: u32,
}

/// Reads a file of defaults.
///
/// # Errors
/// All faults of the file.
pub fn read_defaults(file: &str, text: &str) -> Result<Vec<ProjectDefaults>, Vec<Diagnostic>> {
    let mut findings = Findings::default();
    let mut projects = Vec::new();
    let root = yaml::parse(file, text, &mut findings);
    if let Some(root) = root.as_ref().filter(|root| root.kind() != "nothing") {
        let pairs = TOP.pairs(root, Layer::User, &mut findings);
        if !pairs.iter().any(|(word, ..)| *word == "version") && matches!(root.value, Value::Map(_)) {
            let hint = Some("begin the file with `version: 1`".into());
            findings.push(root.place.error("version", "`version` is missing", hint));
        }
        for (word, _, value) in pairs {
            match word {
                "version" => version(value, &mut findings),
                _ => projects = read_projects(value, &mut findings),
            }
        }
    }
    let found = findings.finish(file);
    match found.iter().any(|finding| finding.severity == Severity::Error) {
        true => Err(found),
        false => Ok(projects),
    }
}

fn read_projects(node: &Node, findings: &mut Findings) -> Vec<ProjectDefaults> {
    let pairs = map(node, "`projects` is a mapping of folders to lists of options", findings);
    pairs.iter().filter_map(|(folder, items)| project(folder, items, findings)).collect()
}

fn project(folder: &Node, items: &Node, findings: &mut Findings) -> Option<ProjectDefaults> {
    let text = string(folder, "a project's folder", findings)?;
    if !text.starts_with('/') && !text.starts_with("~/") {
        let hint = Some("write the whole path, or begin with `~/`".into());
        findings.push(folder.place.error("folder", format!("`{text}` depends on where it is read"), hint));
        return None;
    }
    let items = list(items, "a project's defaults are a list of options", findings);
    let items = items.iter().filter_map(|item| default_item(item, findings)).collect();
    Some(ProjectDefaults { folder: text.to_owned(), line: folder.place.line(), items })
}

fn default_item(node: &Node, findings: &mut Findings) -> Option<DefaultItem> {
    let text = match &node.value {
        Value::Map(_) => {
            let hint = Some("quote an item that holds `: `".into());
            findings.push(wrong_type(node, "an item is a text such as `--memory 8g`", hint));
            return None;
        }
        _ => shape::string(node, "a text such as `--memory 8g`", findings)?,
    };
    if text.contains(['\n', '\0']) {
        findings.push(node.place.error("item", "an item is one line", None));
        return None;
    }
    Some(DefaultItem { text: text.to_owned(), line: node.place.line() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
version: 1
projects:
  ~/shop:
    - --policy ~/policies/shop.yml
    - -it
    - shop-agent:latest claude
  /srv/api: []
";

    #[test]
    fn each_project_has_its_items_with_their_lines() {
        let projects = read_defaults("run.yml", GOOD).unwrap();
        let item = |text: &str, line| DefaultItem { text: text.to_owned(), line };
        let project = |folder: &str, line, items| ProjectDefaults { folder: folder.to_owned(), line, items };
        let shop = vec![
            item("--policy ~/policies/shop.yml", 4),
            item("-it", 5),
            item("shop-agent:latest claude", 6),
        ];
        assert_eq!(projects, [project("~/shop", 3, shop), project("/srv/api", 7, vec![])]);
        assert_eq!(read_defaults("run.yml", "").unwrap(), []);
        assert_eq!(read_defaults("run.yml", "version: 1\n").unwrap(), []);
    }

    #[test]
    fn every_fault_is_told_in_its_place() {
        for (text, code, line) in [
            ("projects: {}\n", "version", 1),
            ("version: 2\n", "version", 1),
            ("version: 1\nproject: {}\n", "unknown-key", 2),
            ("version: 1\nprojects: [a]\n", "wrong-type", 2),
            ("version: 1\nprojects:\n  shop: []\n", "folder", 3),
            ("version: 1\nprojects:\n  ~/shop: -it\n", "wrong-type", 3),
            ("version: 1\nprojects:\n  ~/shop:\n    - -e A: b\n", "wrong-type", 4),
            ("version: 1\nprojects:\n  ~/shop:\n    - 5\n", "wrong-type", 4),
            ("version: 1\nprojects:\n  ~/shop:\n    - \"a\\nb\"\n", "item", 4),
            ("version: 1\nprojects:\n  ~/shop: []\n  ~/shop: []\n", "duplicate-key", 4),
            ("version: 1\nprojects: &a {}\n", "anchor", 2),
        ] {
            let found = read_defaults("run.yml", text).expect_err(text);
            assert_eq!((found[0].code, found[0].line), (code, line), "{text}: {found:?}");
        }
    }
}
