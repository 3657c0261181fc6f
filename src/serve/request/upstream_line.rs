//! Request lines that the engine gets: written anew, with the full id that ringfence resolved.

use super::calls::{AttachQuery, ContainerCall, ExecCall, LogsQuery, Stopping, WaitCondition};
use super::target::encode;

/// Request line for the engine, without the version before its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Method.
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) path: String,
}

impl Line {
    /// Makes a line of a path whose parts are encoded, and parameters.
    pub(crate) fn new(method: &'static str, path: &str, query: &[(&str, String)]) -> Line {
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) };
        Line { method, path }
    }
}

/// Parameters: the absent ones are left out.
fn some(pairs: Vec<(&'static str, Option<String>)>) -> Vec<(&'static str, String)> {
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn flag(name: &'static str, set: bool) -> (&'static str, Option<String>) {
    (name, set.then(|| "1".to_owned()))
}

fn stopping(of: &Stopping) -> Vec<(&'static str, String)> {
    some(vec![("t", of.t.map(|t| t.to_string())), ("signal", of.signal.clone())])
}

fn logs(of: &LogsQuery) -> Vec<(&'static str, String)> {
    some(vec![
        flag("follow", of.follow),
        flag("stdout", of.stdout),
        flag("stderr", of.stderr),
        flag("timestamps", of.timestamps),
        ("since", of.since.clone()),
        ("until", of.until.clone()),
        ("tail", of.tail.clone()),
    ])
}

fn attach(of: &AttachQuery) -> Vec<(&'static str, String)> {
    some(vec![
        ("detachKeys", of.detach_keys.clone()),
        flag("logs", of.logs),
        flag("stream", of.stream),
        flag("stdin", of.stdin),
        flag("stdout", of.stdout),
        flag("stderr", of.stderr),
    ])
}

fn size(h: i64, w: i64) -> Vec<(&'static str, String)> {
    vec![("h", h.to_string()), ("w", w.to_string())]
}

impl ContainerCall {
    /// Returns the line for the engine. `id` is the full id that ringfence resolved.
    pub(crate) fn upstream(&self, id: &str) -> Line {
        let at = |rest: &str| format!("/containers/{}{rest}", encode(id));
        let line = |method, rest: &str, query: Vec<(&str, String)>| Line::new(method, &at(rest), &query);
        match self {
            ContainerCall::Inspect { size } => line("GET", "/json", some(vec![flag("size", *size)])),
            ContainerCall::Logs(query) => line("GET", "/logs", logs(query)),
            ContainerCall::Stats { stream, one_shot } => {
                let stream = ("stream", Some(u8::from(*stream).to_string()));
                line("GET", "/stats", some(vec![stream, flag("one-shot", *one_shot)]))
            }
            ContainerCall::Top => line("GET", "/top", vec![]),
            ContainerCall::Changes => line("GET", "/changes", vec![]),
            ContainerCall::Wait { condition } => {
                line("POST", "/wait", vec![("condition", condition.as_str().to_owned())])
            }
            ContainerCall::Resize { h, w } => line("POST", "/resize", size(*h, *w)),
            ContainerCall::Start => line("POST", "/start", vec![]),
            ContainerCall::Restart(of) => line("POST", "/restart", stopping(of)),
            ContainerCall::Unpause => line("POST", "/unpause", vec![]),
            ContainerCall::Stop(of) => line("POST", "/stop", stopping(of)),
            ContainerCall::Kill { signal } => line("POST", "/kill", some(vec![("signal", signal.clone())])),
            ContainerCall::Pause => line("POST", "/pause", vec![]),
            ContainerCall::Rename { name } => line("POST", "/rename", vec![("name", name.to_string())]),
            ContainerCall::Remove { volumes, force } => {
                line("DELETE", "", some(vec![flag("v", *volumes), flag("force", *force)]))
            }
            ContainerCall::Attach(query) => line("POST", "/attach", attach(query)),
            ContainerCall::CreateExec => line("POST", "/exec", vec![]),
            ContainerCall::Update => line("POST", "/update", vec![]),
            ContainerCall::ArchiveGet { path } => line("GET", "/archive", vec![("path", path.clone())]),
            ContainerCall::ArchiveHead { path } => line("HEAD", "/archive", vec![("path", path.clone())]),
            ContainerCall::ArchivePut { path, no_overwrite, copy_ids } => {
                let path = ("path", Some(path.clone()));
                let ids = flag("copyUIDGID", *copy_ids);
                line("PUT", "/archive", some(vec![path, flag("noOverwriteDirNonDir", *no_overwrite), ids]))
            }
            ContainerCall::Export => line("GET", "/export", vec![]),
        }
    }
}

impl ExecCall {
    /// Returns the line for the engine.
    pub(crate) fn upstream(&self, id: &str) -> Line {
        let at = |rest: &str| format!("/exec/{}{rest}", encode(id));
        match self {
            ExecCall::Start => Line::new("POST", &at("/start"), &[]),
            ExecCall::Resize { h, w } => Line::new("POST", &at("/resize"), &size(*h, *w)),
            ExecCall::Inspect => Line::new("GET", &at("/json"), &[]),
        }
    }
}

impl WaitCondition {
    /// Returns the API's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            WaitCondition::NotRunning => "not-running",
            WaitCondition::NextExit => "next-exit",
            WaitCondition::Removed => "removed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_what_ringfence_wrote_and_nothing_else() {
        let id = "e".repeat(64);
        let put =
            ContainerCall::ArchivePut { path: "/a b&x=1".to_owned(), no_overwrite: true, copy_ids: false };
        assert_eq!(
            put.upstream(&id).path,
            format!("/containers/{id}/archive?path=%2Fa%20b%26x%3D1&noOverwriteDirNonDir=1")
        );
        assert_eq!(ContainerCall::Start.upstream(&id).path, format!("/containers/{id}/start"));
        assert_eq!(ContainerCall::Top.upstream(&id).path, format!("/containers/{id}/top"));
        let odd = ContainerCall::Top.upstream("../x?y");
        assert_eq!(odd.path, "/containers/..%2Fx%3Fy/top");
    }
}
