//! The command line, read; what is wrong with it, in words.
//!
//! ```text
//!  words ─▶ clap ─┬─ good ─▶ Cli
//!                 └─ wrong ─▶ an option of docker's? a `=true`? no UTF-8? ─▶ what to write │ else clap's own message
//! ```

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use super::Cli;
use super::docker::{Flag, Support, Takes, flag_of, truth};
use crate::term::{COULD_NOT_RUN, Failure};

/// Reads the command line, the program's name first. Wrong usage is told, and ends the program with
/// 125, as `docker run` does.
pub(crate) fn read(words: Vec<OsString>) -> Result<Cli, ExitCode> {
    let error = match parse(&words) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    if let Some(failure) = explain(&error, words.get(1..).unwrap_or_default()) {
        return Err(failure.render());
    }
    match crate::term::usage(&error.render(), error.use_stderr()) {
        // A reader that has gone away (`| head`) is no error.
        Err(why) if !error.use_stderr() && why.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(COULD_NOT_RUN, "cannot write to stdout").caused_by(&why).render())
        }
        _ => Err(ExitCode::from(if error.use_stderr() { COULD_NOT_RUN } else { 0 })),
    }
}

/// Reads the command line with clap's own errors.
pub(super) fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches_from(words)?)
}

/// Describes the command line. An option of `run` takes the next word whatever it is, and the last
/// of several counts, as with docker's.
pub(crate) fn command() -> clap::Command {
    Cli::command().mut_subcommand("run", |run| {
        run.args_override_self(true).mut_args(|arg| {
            match arg.get_action().takes_values() && !arg.is_positional() {
                true => arg.allow_hyphen_values(true),
                false => arg,
            }
        })
    })
}

/// Returns what is wrong, where clap's own words do not say what to do.
pub(super) fn explain(error: &clap::Error, words: &[OsString]) -> Option<Failure> {
    let about = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidUtf8 => Some(not_text(words)),
        ErrorKind::TooManyValues | ErrorKind::UnknownArgument if !is_run(words) => None,
        ErrorKind::TooManyValues => {
            with_a_value(about(ContextKind::InvalidArg)?, about(ContextKind::InvalidValue)?)
        }
        ErrorKind::UnknownArgument => of_docker(about(ContextKind::InvalidArg)?, words),
        _ => None,
    }
}

/// Tells whether the command is `run`. `words`: without the program's name.
fn is_run(words: &[OsString]) -> bool {
    run_at(words).is_some()
}

/// Returns the place of the word `run` where that is the command.
pub(super) fn run_at(words: &[OsString]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match word.to_str() {
            Some("--engine") => at += 1,
            Some(option) if option.starts_with('-') => {}
            other => return (other == Some("run")).then_some(at),
        }
        at += 1;
    }
    None
}

/// Refuses words that are no text: the engine's API carries text.
fn not_text(words: &[OsString]) -> Failure {
    let at = words.iter().position(|word| word.to_str().is_none());
    let shown = at.and_then(|at| words.get(at)).map(|word| word.to_string_lossy().into_owned());
    let number = at.map_or(0, |at| at + 1);
    Failure::new(COULD_NOT_RUN, format!("argument {number}, `{}`, is no UTF-8", shown.unwrap_or_default()))
        .hint("pass it in a file of the project, or encoded: engines take text only")
}

/// Recognizes `--tty=true`, which docker takes.
fn with_a_value(option: &str, value: &str) -> Option<Failure> {
    let option = option.split(['=', ' ']).next()?;
    let hint = match truth(value)? {
        true => format!("write {option}"),
        false => format!("leave {option} out"),
    };
    Some(Failure::new(COULD_NOT_RUN, format!("{option} takes no value, and was given `{value}`")).hint(hint))
}

/// Options of docker's that `run` does not have: the one that was met, and all others of this
/// command line.
fn of_docker(met: &str, words: &[OsString]) -> Option<Failure> {
    if met == "-=" {
        let what = "a letter such as -i takes no `=`";
        return Some(Failure::new(COULD_NOT_RUN, what).hint("write the letter alone, or leave it out"));
    }
    let first = refused(met)?;
    let mut all = vec![first];
    for flag in others(words) {
        if !all.iter().any(|known| known.long == flag.long) {
            all.push(flag);
        }
    }
    let words_of = |flag: &Flag| match flag.answer {
        Support::Other(words) => words,
        Support::Same(_) | Support::NoEffect(_) => "",
    };
    let names: Vec<String> = all.iter().map(|flag| flag.shown()).collect();
    let what = format!("`ringfence run` does not have docker's {}", names.join("; "));
    let mut failure = Failure::new(COULD_NOT_RUN, what);
    if let [only] = all[..] {
        return Some(failure.hint(words_of(only)));
    }
    failure.causes = all.iter().map(|flag| format!("--{}: {}", flag.long, words_of(flag))).collect();
    Some(failure.hint("see docs/from-docker.md for every option of docker's"))
}

/// Returns the refused option of docker's that a word begins.
fn refused(word: &str) -> Option<&'static Flag> {
    flag_of(word).filter(|flag| matches!(flag.answer, Support::Other(_)))
}

/// Returns the refused options before the image. Where an unknown option makes it unclear what is a
/// value, the looking ends.
fn others(words: &[OsString]) -> Vec<&'static Flag> {
    let mut run = Cli::command();
    // Options of all commands are among those of `run` then.
    run.build();
    let Some(run) = run.find_subcommand("run") else { return Vec::new() };
    let takes_value = |arg: &clap::Arg| arg.get_action().takes_values() && !arg.is_require_equals_set();
    let by_name = |name: &str| {
        run.get_arguments().find(|arg| {
            let aliases = arg.get_all_aliases().unwrap_or_default();
            arg.get_long() == Some(name) || aliases.contains(&name)
        })
    };
    let by_letter = |letter| run.get_arguments().find(|arg| arg.get_short() == Some(letter));
    let mut found = Vec::new();
    let mut words = words.iter().skip_while(|word| *word != OsStr::new("run")).skip(1);
    while let Some(word) = words.next().and_then(|word| word.to_str()) {
        if word == "--" || !word.starts_with('-') || word == "-" {
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
            let takes = match (by_name(name), flag_of(word)) {
                (Some(arg), _) => takes_value(arg),
                (None, Some(flag)) => {
                    found.extend(refused(word));
                    flag.takes == Takes::Value
                }
                (None, None) if name == "engine" => true,
                (None, None) => break,
            };
            if takes && !value {
                words.next();
            }
            continue;
        }
        // A cluster of letters ends with the first that takes a value.
        let letters: Vec<char> = word.chars().skip(1).collect();
        for (index, letter) in letters.iter().enumerate() {
            let takes = match by_letter(*letter) {
                Some(arg) => takes_value(arg),
                None => match refused(&format!("-{letter}")) {
                    Some(flag) => {
                        found.push(flag);
                        flag.takes == Takes::Value
                    }
                    None => return found,
                },
            };
            if takes {
                if index + 1 == letters.len() {
                    words.next();
                }
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        std::iter::once("ringfence").chain(text.split(' ')).map(OsString::from).collect()
    }

    fn failure(text: &str) -> Failure {
        let words = words(text);
        let error = parse(&words).expect_err(text);
        explain(&error, &words[1..]).unwrap_or_else(|| panic!("{text}: {error}"))
    }

    fn args(text: &str) -> super::super::run::RunArgs {
        match parse(&words(text)).unwrap_or_else(|error| panic!("{text}: {error}")).command {
            super::super::Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_option_of_dockers_gets_its_answer_wherever_it_stands() {
        for flag in super::super::docker::FLAGS {
            let Support::Other(answer) = flag.answer else { continue };
            let value = if flag.takes == Takes::Value { " x" } else { "" };
            let typed = [Some(format!("--{}", flag.long)), flag.short.map(|short| format!("-{short}"))];
            for typed in typed.into_iter().flatten() {
                for text in [
                    format!("run {typed}{value} image true"),
                    format!("--engine e run -i -m 4g {typed}{value} image"),
                    format!("run -e A=1 {typed}={} image", if value.is_empty() { "true" } else { "x" }),
                ] {
                    let failure = failure(&text);
                    assert_eq!(failure.hint.as_deref(), Some(answer), "{text}");
                }
            }
        }
    }

    #[test]
    fn all_options_of_dockers_are_told_at_once_and_the_agents_own_are_not() {
        let failure =
            failure("run -itP -e -p --expose 80 --rm --gpus all --memory -v image -P -l x --link y");
        assert_eq!(
            failure.message,
            "`ringfence run` does not have docker's --publish-all, -P; --expose; --gpus"
        );
        assert_eq!(failure.causes.len(), 3, "{failure}");
    }

    #[test]
    fn what_follows_the_image_is_the_agents() {
        for (text, command) in [
            ("run image -- echo hi", &["--", "echo", "hi"][..]),
            ("run -- image -- -x", &["--", "-x"]),
            ("run image -p 80:80 --rm", &["-p", "80:80", "--rm"]),
            ("run -i -t image --help --engine x", &["--help", "--engine", "x"]),
            ("run image", &[]),
        ] {
            let args = args(text);
            assert_eq!(
                (args.image(), args.command()),
                ("image", &command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
        // No image: the user's defaults or the project may have one.
        assert!(args("run").words.is_empty() && args("run --").words.is_empty());
    }

    #[test]
    fn an_option_takes_the_next_word_whatever_it_is() {
        let given = args("run --name -x -e -y -w /a -u 0 image");
        assert_eq!((given.name.as_deref(), &given.env[..]), (Some("-x"), &["-y".to_owned()][..]));
        assert_eq!(args("run -i -m 1g -i -v a:/b -v c:/d --memory 2g image").memory, Some(2 << 30));
        assert_eq!(args("run -v a:/b -v c:/d image").mounts.len(), 2);
        for text in ["run --memory -1 image", "run --cpus -1 image", "run --pids-limit -1 image"] {
            let error = parse(&words(text)).unwrap_err().to_string();
            assert!(error.contains("no run is without a limit") && !error.contains("tip:"), "{error}");
        }
    }

    #[test]
    fn truth_values_of_dockers_are_explained() {
        assert_eq!(failure("run --tty=true image").hint.as_deref(), Some("write --tty"));
        assert!(failure("run -i=true image").message.contains("takes no `=`"));
        assert_eq!(failure("run --interactive=false image").hint.as_deref(), Some("leave --interactive out"));
        assert_eq!(args("run --rm --init=true --sig-proxy=1 image").docker.warnings().len(), 3);
        assert_eq!(args("run -it image").docker.warnings().len(), 0);
        for off in ["--rm=false", "--sig-proxy=false", "--init=0"] {
            assert!(
                parse(&words(&format!("run {off} image"))).unwrap_err().to_string().contains("turned off")
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        use std::os::unix::ffi::OsStringExt;
        let mut words = words("run image");
        words.push(OsString::from_vec(vec![b'a', 0xff]));
        let failure = explain(&parse(&words).unwrap_err(), &words[1..]).unwrap();
        assert!(failure.message.starts_with("argument 3, `a"), "{failure}");
    }

    #[test]
    fn other_commands_keep_claps_words() {
        for text in ["ps --publish", "stop -p", "run --no-such-option image", "policy check -d"] {
            let words = words(text);
            assert!(explain(&parse(&words).unwrap_err(), &words[1..]).is_none(), "{text}");
        }
    }
}
