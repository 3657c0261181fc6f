//! Completion scripts and man pages by the real program: whole, and of the commands that a person
//! sees.

use std::path::Path;
use std::process::{Command, Output};

/// Commands that are no person's.
const HIDDEN: [&str; 6] = ["fence", "guard", "host", "disk", "probe", "helper-image"];

fn ringfence(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(args).output().expect("the program starts")
}

fn printed(args: &[&str]) -> String {
    let output = ringfence(args);
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Lists the commands that the help of some command shows.
fn commands_below(words: &[&str]) -> Vec<String> {
    let help = printed(&[words, &["--help"]].concat());
    let after = help.split_once("\nCommands:\n").map_or("", |(_, after)| after);
    let rows = after.lines().take_while(|line| !line.is_empty());
    let names = rows.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Runs another program on a file; nothing where this machine lacks the program.
fn by(program: &str, args: &[&str], file: &Path) -> Option<Output> {
    match Command::new(program).args(args).arg(file).env("MANPAGER", "cat").env("LC_ALL", "C.UTF-8").output()
    {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{program}: {error}"),
    }
}

#[test]
fn completion_scripts_have_every_command_and_no_hidden_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let commands = commands_below(&[]);
    assert!(commands.len() > 15 && commands.contains(&"run".to_owned()), "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        let words: Vec<&str> = script
            .split(|c: char| !(c.is_alphanumeric() || c == '-'))
            .filter(|word| !word.is_empty())
            .collect();
        for command in commands.iter().chain(&commands_below(&["policy"])) {
            assert!(words.contains(&command.as_str()), "{shell}: {command}");
        }
        for hidden in HIDDEN {
            let named = [
                format!("ringfence__{hidden}"),
                format!("ringfence__subcmd__{hidden}"),
                format!("'{hidden}:"),
                format!("-a \"{hidden}\""),
            ];
            assert!(!named.iter().any(|name| script.contains(name)), "{shell}: {hidden}");
        }
        let file = dir.path().join(shell);
        std::fs::write(&file, &script).expect("a file");
        if let Some(checked) = by(shell, &["-n"], &file) {
            assert!(checked.status.success(), "{shell}: {checked:?}");
        }
    }
    assert_eq!(ringfence(&["completions", "tcsh"]).status.code(), Some(125));
}

#[test]
fn bash_completes_a_command() {
    let script = printed(&["completions", "bash"]);
    let typed = "COMP_WORDS=(ringfence rev); COMP_CWORD=1; _ringfence ringfence rev ringfence; echo \"${COMPREPLY[@]}\"";
    let output =
        Command::new("bash").args(["--norc", "-c", &format!("{script}\n{typed}")]).output().expect("bash");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "review\n", "{output:?}");
}

#[test]
fn the_man_page_names_every_command_and_each_has_a_page() {
    let page = printed(&["man"]);
    for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SUBCOMMANDS", "EXTRA", "VERSION"] {
        assert!(page.contains(&format!("\n.SH {section}\n")), "{section}:\n{page}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("man1");
    printed(&["man", "--output", folder.to_str().expect("text")]);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    assert_eq!(read("ringfence.1"), page);
    for command in commands_below(&[]) {
        assert!(
            page.contains(&format!("ringfence\\-{}(1)", command.replace('-', "\\-"))),
            "{command}:\n{page}"
        );
        assert!(read(&format!("ringfence-{command}.1")).contains(".SH NAME"), "{command}");
    }
    for command in commands_below(&["policy"]) {
        assert!(read(&format!("ringfence-policy-{command}.1")).contains(".SH SYNOPSIS"), "{command}");
    }
    assert!(read("ringfence-run.1").contains("project"));
    for hidden in HIDDEN {
        assert!(!folder.join(format!("ringfence-{hidden}.1")).exists(), "{hidden}");
    }
    for (program, args) in [("man", &["-l"][..]), ("mandoc", &[])] {
        for name in ["ringfence.1", "ringfence-run.1"] {
            let Some(shown) = by(program, args, &folder.join(name)) else { continue };
            let text = String::from_utf8_lossy(&shown.stdout);
            assert!(shown.status.success() && text.contains("SYNOPSIS"), "{program} {name}: {shown:?}");
        }
    }
}
