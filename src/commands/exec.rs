//! `ringfence exec`: one more program in an agent's container.
//!
//! ```text
//!  words ─▶ no literal secret? ─▶ whose user? ─▶ the decision log: who runs what ─▶ the engine ─▶ its status
//! ```
//! The program has the agent's user, variables, limits, network and filter of system calls, and no
//! more. An agent that is not root may have written another number beside its user's name, so the
//! engine is given the number that the name had before the agent ran.

use std::time::Duration;

use bollard::container::AttachContainerResults;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use tokio::sync::watch;

use crate::cli::ways::ExecArgs;
use crate::commands::meant::{AllRuns, MeantRun, WorkingAgent};
use crate::commands::run::inputs::variable;
use crate::host::account;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::live;
use crate::supervisor::signals::{Signals, status_of_signal};
use crate::supervisor::streams::{self, CarryOutcome, FarTerminal, Input, RawTerminal};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::event::Observation;
use crate::workspace::secrets::{Sent, check, is_secret_variable, without_secrets};

/// An engine notices the end of a program a little later than its output's.
const NOTICED: Duration = Duration::from_secs(5);

/// Runs a program in an agent's container; its exit status.
pub(crate) async fn exec(engine_host: Option<&str>, args: ExecArgs) -> Result<u8, Failure> {
    check_terminal(&args)?;
    check(&in_the_clear(&args), &args.allow_secret)?;
    let mut env = Vec::new();
    for pair in &args.env {
        env.extend(variable(pair)?);
    }
    let runs = AllRuns::gather(engine_host).await?;
    let run = runs.meant(&args.run)?;
    let agent = run.working_agent(args.record).await?;
    let about = agent.engine.inspect_container(agent.container, None).await;
    let about = about.map_err(|error| engine::refused(format!("cannot look at {}", run.id), &error))?;
    let config = about.config.unwrap_or_default();
    let user = user_of(run, config.user.as_deref().unwrap_or_default())?;
    let known = [config.env.unwrap_or_default(), env.clone()].concat();
    let written = written(&args.command, &known);
    let note = format!("by {}: {written}", account::caller_in_words());
    // Without its line in the log nothing is run.
    live::note(agent.engine, &agent.helpers, vec![(Observation::ExecStarted, note)]).await?;
    start(&agent, &args, env, user).await
}

/// Refuses a terminal that is none.
fn check_terminal(args: &ExecArgs) -> Result<(), Failure> {
    if args.tty && args.interactive && !streams::stdin_is_terminal() {
        return Err(Failure::new(COULD_NOT_RUN, "-t and -i were given, but stdin is no terminal")
            .hint("leave out -t"));
    }
    Ok(())
}

/// Lists what the container is sent in the clear, each with its place on the command line.
fn in_the_clear(args: &ExecArgs) -> Vec<Sent<'_>> {
    let variables = args.env.iter().filter_map(|pair| pair.split_once('='));
    let variables = variables.map(|(name, value)| Sent {
        place: format!("env:{name}"),
        variable: Some(name),
        text: value.as_bytes(),
    });
    let words = args.command.iter().enumerate().map(|(number, word)| Sent {
        place: format!("argument:{number}"),
        variable: None,
        text: word.as_bytes(),
    });
    variables.chain(words).collect()
}

/// Returns a command as it may be written down. `env` has what the program may know.
fn written(command: &[String], env: &[String]) -> String {
    let pairs = env.iter().filter_map(|pair| pair.split_once('='));
    let secrets = pairs.filter(|(name, value)| is_secret_variable(name, value.as_bytes()));
    let known: Vec<&[u8]> = secrets.map(|(_, value)| value.as_bytes()).collect();
    without_secrets(command, &known).join(" ")
}

/// Returns the user as the engine is asked for it: the agent's, by number; nothing where the
/// container is root's by having no user at all.
fn user_of(run: MeantRun<'_>, of_container: &str) -> Result<Option<String>, Failure> {
    let name = of_container.split(':').next().unwrap_or_default();
    if of_container.is_empty() {
        return Ok(None);
    }
    if is_number(name) && of_container.split_once(':').is_none_or(|(_, group)| is_number(group)) {
        return Ok(Some(of_container.to_owned()));
    }
    let noted = run.history.and_then(|run| run.works.as_ref()?.user.clone());
    noted.map(Some).ok_or_else(|| {
        let what = format!("nobody wrote down which number the user `{of_container}` of {} has", run.id);
        Failure::new(COULD_NOT_RUN, what)
            .hint("the agent may have changed it meanwhile: start the run with -u UID:GID")
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Starts the program and carries its streams to its end.
async fn start(
    agent: &WorkingAgent<'_>,
    args: &ExecArgs,
    env: Vec<String>,
    user: Option<String>,
) -> Result<u8, Failure> {
    let WorkingAgent { engine, container, .. } = agent;
    let cannot = |error| engine::refused("cannot run the command in the agent's container", &error);
    let options = CreateExecOptions {
        attach_stdin: Some(args.interactive),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(args.tty),
        env: Some(env),
        cmd: Some(args.command.clone()),
        user,
        working_dir: args.workdir.clone(),
        privileged: Some(false),
        ..Default::default()
    };
    let mut signals = Signals::new()?;
    let id = engine.api.create_exec(container, options).await.map_err(cannot)?.id;
    let begin = StartExecOptions { detach: false, tty: args.tty, ..Default::default() };
    let StartExecResults::Attached { output, input } =
        engine.api.start_exec(&id, Some(begin)).await.map_err(cannot)?
    else {
        return Err(Failure::new(COULD_NOT_RUN, "the engine did not attach to the command"));
    };
    let _terminal = (args.tty && args.interactive).then(RawTerminal::enter);
    let sizing = args.tty.then(|| {
        let far = FarTerminal::Exec(id.clone());
        tokio::spawn(streams::follow_size((*engine).clone(), far))
    });
    let input_from = if args.interactive { Input::Stdin } else { Input::Nothing };
    let (_over, ended) = watch::channel(false);
    let carrying = streams::carry(AttachContainerResults { output, input }, input_from, ended, None);
    tokio::pin!(carrying);
    let carried = tokio::select! {
        carried = &mut carrying => carried,
        number = signals.next() => return Ok(left(number)),
    };
    if let Some(sizing) = sizing {
        sizing.abort();
    }
    let status = status(engine, &id).await?;
    Ok(with_loss(status, carried))
}

/// Tells that the program goes on: an engine passes no signal to it.
fn left(number: i32) -> u8 {
    crate::term::talk("the command may go on in the agent's container, until the run's end");
    status_of_signal(number)
}

/// Returns the status; a success whose output was lost is none.
fn with_loss(status: u8, carried: CarryOutcome) -> u8 {
    carried.lost.iter().for_each(crate::term::essential);
    match status {
        0 if carried.lost.is_some() => COULD_NOT_RUN,
        status => status,
    }
}

/// Asks how the program ended.
async fn status(engine: &Engine, id: &str) -> Result<u8, Failure> {
    let ended = live::exec_status(engine, id, NOTICED).await;
    match ended.map_err(|error| engine::refused("cannot ask how the command ended", &error))? {
        Some(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        None => Err(Failure::new(COULD_NOT_RUN, "the engine does not say how the command ended")
            .hint("the command may go on in the agent's container: `ringfence stop` ends the run")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::records::history::RunHistory;
    use crate::supervisor::records::history::tests::run;

    fn user(history: Option<&RunHistory>, of_container: &str) -> Result<Option<String>, Failure> {
        user_of(MeantRun { id: "0000002a".parse().unwrap(), live: None, history }, of_container)
    }

    #[test]
    fn the_user_is_a_number_that_the_agent_cannot_choose() {
        for of_container in ["1000:1000", "65532", "0:0"] {
            assert_eq!(user(None, of_container).unwrap().as_deref(), Some(of_container));
        }
        assert_eq!(user(None, "").unwrap(), None);
        let mut noted = run(42, None, 7);
        for named in ["node", "node:node", "1000:staff"] {
            assert!(user(None, named).is_err() && user(Some(&noted), named).is_err(), "{named}");
        }
        noted.works = Some(crate::supervisor::records::history::RunWorks {
            since: crate::wire::UnixTime(8),
            user: Some("1000:1000".to_owned()),
        });
        assert_eq!(user(Some(&noted), "node").unwrap().as_deref(), Some("1000:1000"));
    }

    #[test]
    fn what_is_written_down_has_no_secret_that_the_container_has() {
        let words = ["curl", "-H", "X: hunter2-hunter2", "https://a.test"].map(str::to_owned);
        let env = ["DB_PASSWORD=hunter2-hunter2".to_owned(), "PATH=/bin".to_owned()];
        let shown = written(&words, &env);
        assert!(!shown.contains("hunter2") && shown.contains("https://a.test"), "{shown}");
        // The control: without the variable nobody could know.
        assert!(written(&words, &[]).contains("hunter2"));
    }
}
