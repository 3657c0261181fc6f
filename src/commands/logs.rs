//! `ringfence logs`: an agent's output, and what the supervisor of a detached run said; with
//! `--service`, the output of a service.
//!
//! ```text
//!  it is on the engine ─▶ the engine's log, as it grows with -f ─┬─▶ stdout, stderr
//!  over                ─▶ output/ID.jsonl, output/ID.NAME.jsonl ─┘      └─▶ of an agent: output/ID.txt ─▶ stderr
//! ```
//! Into a pipe or a file the output goes as it is. On a terminal it does too where the agent had a
//! terminal itself: it is a screen's content. Else what a terminal would obey is written out.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal};

use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use netpolicy::service::ServiceName;

use crate::cli::ways::LogsArgs;
use crate::commands::meant::{AllRuns, MeantRun};
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::inventory::{has_terminal, piece};
use crate::supervisor::records::output::{self, AgentStream, KeptOutput, OutputSource};
use crate::supervisor::streams;
use crate::term::{COULD_NOT_RUN, Failure};

/// Prints the output of a run, and with `--follow` goes on until it is over.
pub(crate) async fn logs(engine_host: Option<&str>, args: &LogsArgs) -> Result<u8, Failure> {
    let runs = AllRuns::gather(engine_host).await?;
    let run = runs.meant(&args.run)?;
    if let Some(name) = &args.service {
        return of_service(run, name, args).await;
    }
    let source = OutputSource::agent(run.id);
    let shown = match run.agent() {
        Some((engine, agent)) => of_engine(engine, agent, &source, args).await?,
        None => Shown::Nothing,
    };
    if shown == Shown::ToNobody {
        return Ok(0);
    }
    if args.follow && run.is_followed() {
        run.until_over().await?;
    }
    let shown = shown == Shown::Output || of_past(&source, args).await?;
    let said = output::said(run.id)?;
    if !shown && said.is_none() {
        return Err(nothing(run));
    }
    said.iter().for_each(crate::term::essential_lines);
    Ok(0)
}

/// Prints the output of a service, and with `--follow` goes on until the service ends.
async fn of_service(run: MeantRun<'_>, name: &ServiceName, args: &LogsArgs) -> Result<u8, Failure> {
    let source = OutputSource::service(run.id, name.clone());
    let shown = match run.service(name) {
        Some((engine, container)) => of_engine(engine, container, &source, args).await?,
        None => Shown::Nothing,
    };
    if shown == Shown::Nothing && !of_past(&source, args).await? {
        return Err(no_service(run, name)?);
    }
    Ok(0)
}

/// Makes the failure of a run that has no such service, or of which nothing is kept.
fn no_service(run: MeantRun<'_>, name: &ServiceName) -> Result<Failure, Failure> {
    let mut names = output::kept_services(run.id)?;
    names.extend(run.live.iter().flat_map(|(_, found)| found.services.keys().cloned()));
    names.sort();
    names.dedup();
    let what = format!("no output of a service `{name}` of {} is there", run.id);
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    Ok(Failure::new(COULD_NOT_RUN, what).hint(match names.is_empty() {
        true => "the run has no service, or nothing of its services was kept".to_owned(),
        false => format!("services with output: {}", names.join(", ")),
    }))
}

/// Outcome of the engine's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The container has gone meanwhile, or there was none.
    Nothing,
    /// All of it was shown.
    Output,
    /// Nobody reads any more.
    ToNobody,
}

/// Prints the engine's log of a container.
async fn of_engine(
    engine: &Engine,
    container: &str,
    of: &OutputSource,
    args: &LogsArgs,
) -> Result<Shown, Failure> {
    let refused = |error| engine::refused(format!("cannot read the output of {of}"), &error);
    let screen = match has_terminal(engine, container).await {
        Ok(terminal) => OutputForm::of(terminal),
        Err(error) if engine::is_missing(&error) => return Ok(Shown::Nothing),
        Err(error) => return Err(refused(error)),
    };
    let tail = args.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let options = LogsOptions { stdout: true, stderr: true, follow: args.follow, tail, ..Default::default() };
    let mut pieces = engine.api.logs(container, Some(options)).boxed();
    let mut any = false;
    while let Some(chunk) = pieces.next().await {
        match chunk {
            Ok(chunk) => {
                let Some((stream, bytes)) = piece(chunk) else { continue };
                any = true;
                if !screen.show(stream, &bytes).await? {
                    return Ok(Shown::ToNobody);
                }
            }
            Err(error) if engine::is_missing(&error) && !any => return Ok(Shown::Nothing),
            Err(error) if engine::is_missing(&error) => break,
            Err(error) => return Err(refused(error)),
        }
    }
    Ok(Shown::Output)
}

/// Prints what was kept of a run that is over; `false` where nothing was.
async fn of_past(of: &OutputSource, args: &LogsArgs) -> Result<bool, Failure> {
    let Some(mut kept) = KeptOutput::of(of)? else { return Ok(false) };
    if let Some(lines) = args.tail {
        kept.tail(lines);
    } else if kept.dropped > 0 {
        let (dropped, place) = (kept.dropped, of.place()?);
        crate::term::talk(format_args!(
            "the first {dropped} bytes of the output were not kept; the rest is in {}",
            place.display()
        ));
    }
    let screen = OutputForm::of(kept.terminal);
    for (stream, bytes) in &kept.pieces {
        if !screen.show(*stream, bytes).await? {
            break;
        }
    }
    Ok(true)
}

/// Form in which output is shown on the two standard streams.
struct OutputForm {
    /// Tells whether bytes go to stdout as they are.
    stdout_is_raw: bool,
    /// Tells whether bytes go to stderr as they are.
    stderr_is_raw: bool,
}

impl OutputForm {
    /// Decides the form. `terminal`: the agent had one.
    fn of(terminal: bool) -> OutputForm {
        OutputForm {
            stdout_is_raw: terminal || !io::stdout().is_terminal(),
            stderr_is_raw: terminal || !io::stderr().is_terminal(),
        }
    }

    /// Shows a piece; `false` where nobody reads any more.
    async fn show(&self, stream: AgentStream, bytes: &[u8]) -> Result<bool, Failure> {
        let (to, is_raw) = match stream {
            AgentStream::Stdout => (streams::Standard::Out, self.stdout_is_raw),
            AgentStream::Stderr => (streams::Standard::Err, self.stderr_is_raw),
        };
        match streams::write(to, form(bytes, is_raw).into_owned()).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::new(COULD_NOT_RUN, "the output cannot be written").caused_by(&error)),
        }
    }
}

/// Returns bytes as they are shown.
fn form(bytes: &[u8], is_raw: bool) -> Cow<'_, [u8]> {
    match is_raw {
        true => Cow::Borrowed(bytes),
        false => Cow::Owned(crate::term::page(&String::from_utf8_lossy(bytes)).into_bytes()),
    }
}

/// Makes the failure of a run of which no output is there.
fn nothing(run: MeantRun<'_>) -> Failure {
    let id = run.id;
    let detached = run.history.is_some_and(|run| run.begun.detached);
    let what = match detached {
        true => format!("nothing of the output of {id} was kept"),
        false => format!("the output of {id} went to `ringfence run` itself, and was not kept"),
    };
    Failure::new(COULD_NOT_RUN, what)
        .hint(format!("`ringfence run -d` keeps it; what the run reached: ringfence events {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_nothing_that_it_obeys_unless_it_was_a_screens_content() {
        let hostile = b"a\tb\x1b]0;x\x07\r\nc\x1b[2J\xff\n";
        let shown = String::from_utf8(form(hostile, false).into_owned()).unwrap();
        assert!(shown.starts_with("a\tb\\u{1b}]0;x\\u{7}\nc\\u{1b}[2J"), "{shown}");
        // The control: a pipe gets every byte.
        assert_eq!(&*form(hostile, true), hostile);
    }
}
