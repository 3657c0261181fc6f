//! No file outside `supervisor/engine/` asks which engine it is: the dialect there says what
//! differs.

#[path = "support/sources.rs"]
mod sources;

use std::collections::BTreeSet;

use self::sources::{root, sources};

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

/// Finds the words of engines in a text's code, comments left out.
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
        // It passes an answer of the engine's on, word for word, and decides nothing by it.
        if file.starts_with(root().join("src/serve/answer")) {
            continue;
        }
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
