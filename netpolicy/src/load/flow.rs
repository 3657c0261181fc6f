//! The environment that GitLab's `.gitlab/duo/agent-config.yml` gives a flow: its image, and the
//! script that runs before it. `network_policy` of the same file is read as a layer.
//!
//! <https://docs.gitlab.com/user/duo_agent_platform/flows/agent_config_yml/>

use super::shape::{string, wrong_type};
use crate::diagnostic::{Diagnostic, Severity};
use crate::yaml::{self, Findings, Node, Value};

/// The largest file that is read for its environment.
pub const MAX_FLOW: usize = 256 * 1024;
/// The longest name of an image, as GitLab has it.
const MAX_IMAGE: usize = 512;
/// The longest script in bytes. A program's argument holds at most 128 KiB on Linux.
const MAX_SCRIPT: usize = 64 * 1024;

/// Environment of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowEnvironment {
    /// Name of the image as written.
    pub image: Option<String>,
    /// Commands of the script, in their order; each may have several lines.
    pub setup_script: Vec<String>,
    /// Keys that are not taken, with their lines and the reason.
    pub left_out: Vec<LeftOut>,
}

/// A key that ringfence does not take from the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The key.
    pub key: String,
    /// Its line.
    pub line: u32,
    /// Reason, or what does the same.
    pub why: &'static str,
}

/// Reads image and script of GitLab's file.
///
/// # Errors
/// All faults of the file that concern them.
pub fn read_flow(file: &str, text: &str) -> Result<FlowEnvironment, Vec<Diagnostic>> {
    let mut findings = Findings::default();
    let mut flow = FlowEnvironment::default();
    let root = yaml::parse(file, text, &mut findings);
    match root.as_ref().map(|root| (root, &root.value)) {
        Some((_, Value::Map(pairs))) => {
            for (key, value) in pairs {
                entry(key, value, &mut flow, &mut findings);
            }
        }
        Some((root, _)) if root.kind() != "nothing" && !root.is_refused() => {
            findings.push(wrong_type(root, "GitLab's file is a mapping", None));
        }
        _ => {}
    }
    let found = findings.finish(file);
    match found.iter().any(|finding| finding.severity == Severity::Error) {
        true => Err(found),
        false => Ok(flow),
    }
}

fn entry(key: &Node, value: &Node, flow: &mut FlowEnvironment, findings: &mut Findings) {
    let why = match key.as_str() {
        Some("image") => return flow.image = image(value, findings),
        Some("setup_script") => return flow.setup_script = script(value, findings),
        Some("network_policy") => return,
        Some("cache") => "nothing is kept from run to run: `--home NAME` keeps the agent's home",
        _ => "no key that ringfence knows",
    };
    let name = match &key.value {
        Value::Scalar { text, .. } => text.clone(),
        _ => return,
    };
    flow.left_out.push(LeftOut { key: name, line: key.place.line(), why });
}

fn image(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = string(node, "the name of an image", findings)?;
    if text.is_empty() || text.len() > MAX_IMAGE {
        let message = format!("an image's name has 1 to {MAX_IMAGE} characters");
        findings.push(node.place.error("image", message, None));
        return None;
    }
    Some(text.to_owned())
}

/// Reads one command, or a list of commands.
fn script(node: &Node, findings: &mut Findings) -> Vec<String> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Scalar { .. } if node.kind() == "nothing" => &[],
        _ => std::slice::from_ref(node),
    };
    let commands: Vec<String> = items.iter().filter_map(|item| command(item, findings)).collect();
    if commands.iter().map(String::len).sum::<usize>() > MAX_SCRIPT {
        let message = format!("`setup_script` is longer than {} KiB", MAX_SCRIPT / 1024);
        findings.push(node.place.error(
            "too-large",
            message,
            Some("move it to a file of the project".into()),
        ));
    }
    commands
}

fn command(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = string(node, "a command", findings)?;
    if text.contains('\0') {
        findings.push(node.place.error("command", "a command holds no NUL byte", None));
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_and_script_are_taken_and_the_rest_is_told() {
        let text = "\
image: python:3.11-slim
setup_script:
  - apt-get update && apt-get install -y curl
  - |
    cd app
    pip install -r requirements.txt
network_policy: {allowed_domains: [pypi.org]}
cache:
  paths: [.venv]
services: [postgres]
";
        let flow = read_flow("agent-config.yml", text).unwrap();
        assert_eq!(flow.image.as_deref(), Some("python:3.11-slim"));
        assert_eq!(
            flow.setup_script,
            ["apt-get update && apt-get install -y curl", "cd app\npip install -r requirements.txt\n"]
        );
        let left: Vec<(&str, u32)> =
            flow.left_out.iter().map(|left| (left.key.as_str(), left.line)).collect();
        assert_eq!(left, [("cache", 8), ("services", 10)]);
    }

    #[test]
    fn one_command_is_a_script_and_nothing_is_none() {
        let flow = |text: &str| read_flow("f", text).unwrap();
        assert_eq!(flow("setup_script: make deps\n").setup_script, ["make deps"]);
        for text in ["", "setup_script:\n", "setup_script: []\n", "# only a comment\n"] {
            assert_eq!(flow(text), FlowEnvironment::default(), "{text}");
        }
    }

    #[test]
    fn what_is_no_environment_is_told_in_its_place() {
        let long = format!("setup_script: [\"{}\"]\n", "x".repeat(MAX_SCRIPT + 1));
        let name = format!("image: {}\n", "a".repeat(MAX_IMAGE + 1));
        for (text, code) in [
            ("- image\n", "wrong-type"),
            ("image: [a]\n", "wrong-type"),
            ("image: 5\n", "wrong-type"),
            ("image: \"\"\n", "image"),
            ("image: {name: a, entrypoint: [b]}\n", "wrong-type"),
            ("image: a\nimage: b\n", "duplicate-key"),
            ("image: &a b\n", "anchor"),
            ("setup_script: {a: b}\n", "wrong-type"),
            ("setup_script: [[a]]\n", "wrong-type"),
            ("setup_script: [\"a\\0b\"]\n", "command"),
            ("image: [unclosed\n", "yaml"),
            (long.as_str(), "too-large"),
            (name.as_str(), "image"),
        ] {
            let found = read_flow("f", text).expect_err(text);
            assert_eq!(found[0].code, code, "{text}: {found:?}");
        }
    }
}
