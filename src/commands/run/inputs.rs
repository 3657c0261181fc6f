//! Variables, secrets by name and a prompt, as the command line gives them to the agent. Literal
//! secrets end the start.

use std::env::VarError;
use std::path::{Path, PathBuf};

use crate::cli::run::RunArgs;
use crate::host::open;
use crate::supervisor::spec::places::SECRETS;
use crate::term::{COULD_NOT_RUN, Failure, Warning};
use crate::workspace::secrets::{Handed, Sent, check, is_secret_variable};

/// The largest environment file that is read.
const LARGEST_ENV_FILE: u64 = 1 << 20;

/// Variables and files that a person gives to the agent.
pub(crate) struct AgentInputs {
    /// `NAME=VALUE`.
    pub(crate) env: Vec<String>,
    /// Files in memory.
    pub(crate) handed: Vec<Handed>,
}

impl AgentInputs {
    /// Reads everything that is given, and refuses secrets in what is given in the clear.
    ///
    /// # Errors
    /// When something cannot be read, or looks like a secret.
    pub(crate) fn gather(args: &RunArgs) -> Result<AgentInputs, Failure> {
        check_standard_input(args)?;
        let mut handed =
            args.secret.iter().map(|given| Handed::secret(given)).collect::<Result<Vec<_>, _>>()?;
        let mut given: Vec<(String, String)> = Vec::new();
        for file in &args.env_file {
            given.extend(lines_of(file)?.into_iter().map(|line| ("env-file".to_owned(), line)));
        }
        given.extend(args.env.iter().map(|pair| ("env".to_owned(), pair.clone())));
        let prompt = args.prompt.as_deref().map(Handed::prompt).transpose()?;
        check(&in_the_clear(args, &given, prompt.as_ref()), &args.allow_secret)?;
        let mut env = Vec::new();
        for (_, pair) in &given {
            env.extend(variable(pair)?);
        }
        if let Some(prompt) = prompt {
            env.push(format!("RINGFENCE_PROMPT={SECRETS}/{}", prompt.name));
            handed.push(prompt);
        }
        let mut names: Vec<&str> = handed.iter().map(|file| file.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Failure::new(COULD_NOT_RUN, format!("--secret {}: it is given twice", twice[0])));
        }
        Ok(AgentInputs { env, handed })
    }
}

/// Names the secrets among what the agent is given.
pub(super) fn secrets(env: &[String], handed: &[Handed]) -> Vec<String> {
    let variables = env.iter().filter_map(|pair| pair.split_once('='));
    let variables = variables.filter(|(name, value)| is_secret_variable(name, value.as_bytes()));
    let files = handed.iter().filter(|file| !file.is_prompt()).map(|file| file.name.clone());
    variables.map(|(name, _)| name.to_owned()).chain(files).collect()
}

/// Lists what the agent is sent in the clear, each with its place on the command line.
fn in_the_clear<'a>(
    args: &'a RunArgs,
    variables: &'a [(String, String)],
    prompt: Option<&'a Handed>,
) -> Vec<Sent<'a>> {
    let mut sent = Vec::new();
    for (place, pair) in variables {
        if let Some((name, value)) = pair.split_once('=') {
            let place = format!("{place}:{name}");
            sent.push(Sent { place, variable: Some(name), text: value.as_bytes() });
        }
    }
    for (number, argument) in args.entrypoint.iter().chain(args.command()).enumerate() {
        let number = number + usize::from(args.entrypoint.is_none());
        sent.push(Sent { place: format!("argument:{number}"), variable: None, text: argument.as_bytes() });
    }
    for (place, text) in [("name", &args.name), ("workdir", &args.workdir)] {
        sent.extend(text.iter().map(|text| Sent {
            place: place.to_owned(),
            variable: None,
            text: text.as_bytes(),
        }));
    }
    if let Some(prompt) = prompt {
        sent.push(Sent { place: "prompt".to_owned(), variable: None, text: &prompt.content });
    }
    sent
}

/// Refuses a second use of standard input, which can be read once, and not at all where it is the
/// agent's.
fn check_standard_input(args: &RunArgs) -> Result<(), Failure> {
    let secrets = args.secret.iter().filter_map(|given| Some(Path::new(given.split_once('=')?.1)));
    let files = args.env_file.iter().chain(&args.prompt).map(PathBuf::as_path);
    let readers = secrets.chain(files).filter(|file| open::is_standard_input(file)).count();
    if readers > 1 {
        return Err(Failure::new(
            COULD_NOT_RUN,
            "standard input is named for two files, and can be read once",
        )
        .hint("give the others by their names"));
    }
    if readers == 1 && args.interactive && !args.detach {
        return Err(Failure::new(
            COULD_NOT_RUN,
            "standard input is the agent's (-i), and was named as a file too",
        )
        .hint("leave out -i, or give the file by its name"));
    }
    Ok(())
}

/// Reads the lines of an environment file.
fn lines_of(file: &Path) -> Result<Vec<String>, Failure> {
    let cannot = || Failure::new(COULD_NOT_RUN, format!("--env-file {}: it cannot be read", file.display()));
    let bytes = open::read(file, LARGEST_ENV_FILE).map_err(|refused| refused.explain(cannot()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        cannot()
            .caused_by(&error)
            .hint("save the file as UTF-8, and give bytes by --secret NAME=FILE: variables are text")
    })?;
    variables_of(&text).map_err(|(number, why, hint)| {
        Failure::new(COULD_NOT_RUN, format!("--env-file {}: line {number}: {why}", file.display())).hint(hint)
    })
}

/// A line that is no variable: its number, why, and what to write.
type BadLine = (usize, String, &'static str);

/// Reads the variables of an environment file, as docker does: `NAME=VALUE`, or `NAME` for the
/// caller's value; `#` begins a comment, the rest of a line is the value as it stands. A byte order
/// mark is no part of the first name.
fn variables_of(text: &str) -> Result<Vec<String>, BadLine> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |why: &str, hint| Err((index + 1, why.to_owned(), hint));
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() {
            return bad(
                "the variable has no name",
                "write NAME=VALUE, or NAME for the value that it has here",
            );
        }
        if line.contains('\0') {
            return bad(
                "it has a zero byte",
                "a variable ends at the first: give bytes by --secret NAME=FILE",
            );
        }
        if name.starts_with("export ") || name.starts_with("export\t") {
            return bad("`export` is a shell's word, and this is no script", "write NAME=VALUE without it");
        }
        if name.contains(char::is_whitespace) {
            let why = format!("the name `{name}` has white space");
            return Err((index + 1, why, "write NAME=VALUE, with nothing between name, `=` and value"));
        }
        found.push(line.to_owned());
    }
    Ok(found)
}

/// Returns `NAME=VALUE` as given, `NAME` from the caller.
pub(crate) fn variable(pair: &str) -> Result<Option<String>, Failure> {
    let name = pair.split('=').next().unwrap_or_default();
    if name.is_empty() {
        return Err(
            Failure::new(COULD_NOT_RUN, "-e: a variable needs a name").hint("write -e NAME or -e NAME=VALUE")
        );
    }
    if pair.contains('=') {
        return Ok(Some(pair.to_owned()));
    }
    let secret = format!(
        "write --secret {name}, which the agent finds in /run/secrets/{name}: engines take text only"
    );
    Ok(of_caller(&format!("-e {name}"), name, &secret)?.map(|value| format!("{name}={value}")))
}

/// Returns the caller's value of a variable; none, with a warning, where it is not set. `option`:
/// the words that ask for it; `other`: what to do about a value that is no text.
pub(super) fn of_caller(option: &str, name: &str, other: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => {
            crate::term::warn(Warning::VariableNotSet(option.to_owned()));
            Ok(None)
        }
        Err(VarError::NotUnicode(_)) => {
            Err(Failure::new(COULD_NOT_RUN, format!("{option}: its value here is no UTF-8")).hint(other))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_is_read_as_docker_reads_it() {
        for (text, expected) in [
            ("\u{feff}A=1\nB=2\n", &["A=1", "B=2"][..]),
            ("A=1\r\nB=2\r\n", &["A=1", "B=2"]),
            ("#x\n\n  # y\n \tA= x \n", &["A= x "]),
            ("A=\"q\"\nB=a=b\nC=\nD", &["A=\"q\"", "B=a=b", "C=", "D"]),
            ("A-B=1\n1=2\nexported=3", &["A-B=1", "1=2", "exported=3"]),
            ("", &[]),
        ] {
            assert_eq!(variables_of(text).unwrap(), expected, "{text:?}");
        }
        for (text, line, why) in [
            ("A=1\nexport B=2\n", 2, "export"),
            ("export\tB\n", 1, "export"),
            ("A B=1", 1, "white space"),
            ("\n\nA =1", 3, "white space"),
            ("A\u{a0}=1", 1, "white space"),
            ("B=\u{feff}\n\u{feff}\u{2003}A=1", 2, "white space"),
            ("=x", 1, "no name"),
            ("A=b\0c", 1, "zero byte"),
        ] {
            let (number, said, _) = variables_of(text).unwrap_err();
            assert!(number == line && said.contains(why), "{text:?}: {number} {said}");
        }
    }
}
