//! A request line as a call, by the table of endpoints.

use super::calls::{
    ApiCall, ApiRequest, AttachQuery, ContainerCall, ExecCall, LogsQuery, NetworkCall, Stopping,
    WaitCondition,
};
use super::filters::Filters;
use super::names::{ImageRef, MemberName, ObjectRef};
use super::query::Query;
use super::target;
use super::version::ApiMinor;
use crate::serve::denied::Denied;
use crate::serve::rules::endpoints::PERMITTED;
use crate::serve::rules::refused::REFUSED;
use crate::serve::rules::{Access, EndpointRule, Operation};
use crate::serve::text::shown;

/// The longest path in a container.
const LONGEST_PATH: usize = 4096;
/// The most rows and columns of a terminal.
const MOST_CELLS: i64 = 10_000;

/// Reads a request line. `engine` is the highest version that the engine speaks.
///
/// # Errors
/// When it has several readings, is refused, or is nothing of the API's.
pub(crate) fn read(method: &str, target: &str, engine: ApiMinor) -> Result<ApiRequest, Denied> {
    let target = target::read(target)?;
    let (rule, named) = find(method, &target.segments).ok_or_else(Denied::page)?;
    let operation = match rule.access {
        Access::Refused(status) => return Err(Denied::new(status, refusal(method, rule))),
        Access::Permitted(operation) => operation,
    };
    // A client asks for the version before it knows one, so a look is answered under any.
    let version = match (operation, target.version) {
        (Operation::Ping, _) => ApiMinor::served(engine),
        (_, asked) => ApiMinor::negotiate(asked, engine)?,
    };
    let query = Query::read(&target.query, rule.params)?;
    let call = Parts { named, query }.call(operation)?;
    Ok(ApiRequest { call, version, endpoint: format!("{} {}", rule.method, rule.path) })
}

/// Returns the words of an endpoint's refusal.
fn refusal(method: &str, rule: &EndpointRule) -> String {
    let path = rule.path.trim_end_matches("/**");
    let method = if rule.method == "*" { shown(method) } else { rule.method.to_owned() };
    format!("{method} {path}: {}", rule.reason)
}

/// Finds the first row that fits, and the part of the path that its pattern names.
fn find(method: &str, segments: &[String]) -> Option<(&'static EndpointRule, String)> {
    let rows = REFUSED.iter().chain(PERMITTED);
    rows.filter(|row| row.method == "*" || row.method == method)
        .find_map(|row| Some((row, fits(row.path, segments)?)))
}

/// Returns the segments that a pattern names, where it fits.
fn fits(pattern: &str, segments: &[String]) -> Option<String> {
    let pattern: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
    let mut named = String::new();
    let mut rest = segments;
    for (at, part) in pattern.iter().enumerate() {
        match *part {
            "**" => return Some(named),
            "{name...}" => {
                let behind = pattern.len() - at - 1;
                let many = rest.len().checked_sub(behind).filter(|many| *many > 0)?;
                named = rest[..many].join("/");
                rest = &rest[many..];
            }
            "{id}" => {
                let (first, after) = rest.split_first()?;
                named.clone_from(first);
                rest = after;
            }
            literal => rest = rest.split_first().filter(|(first, _)| *first == literal)?.1,
        }
    }
    rest.is_empty().then_some(named)
}

/// The parts of a request of which a call is made.
struct Parts {
    named: String,
    query: Query,
}

impl Parts {
    fn call(&self, operation: Operation) -> Result<ApiCall, Denied> {
        use Operation as O;
        Ok(match operation {
            O::Ping => ApiCall::Ping,
            O::Version => ApiCall::Version,
            O::Info => ApiCall::Info,
            O::DiskUse => ApiCall::DiskUse,
            O::Events => {
                let (since, until) = (self.time("since")?, self.time("until")?);
                ApiCall::Events { since, until, filters: self.filters()? }
            }
            O::ContainerList => {
                let (all, limit) = (self.query.flag("all"), self.query.number("limit")?);
                ApiCall::Containers { all, limit: limit.filter(|most| *most > 0), filters: self.filters()? }
            }
            O::ContainerCreate => {
                let name = self.query.text("name").map(|name| MemberName::read(&name)).transpose()?;
                ApiCall::CreateContainer { name, platform: self.platform()? }
            }
            O::ContainerPrune => ApiCall::PruneContainers(self.filters()?),
            O::ImageList | O::ImageInspect | O::ImageHistory | O::ImagePull | O::ImagePrune => {
                self.image(operation)?
            }
            O::NetworkList => ApiCall::Networks(self.filters()?),
            O::NetworkCreate => ApiCall::CreateNetwork,
            O::NetworkPrune => ApiCall::PruneNetworks(self.filters()?),
            O::NetworkInspect => self.network(NetworkCall::Inspect)?,
            O::NetworkRemove => self.network(NetworkCall::Remove)?,
            O::NetworkConnect => self.network(NetworkCall::Connect)?,
            O::NetworkDisconnect => self.network(NetworkCall::Disconnect)?,
            O::VolumeList => ApiCall::Volumes(self.filters()?),
            O::VolumeCreate => ApiCall::CreateVolume,
            O::VolumePrune => ApiCall::PruneVolumes(self.filters()?),
            O::VolumeInspect => ApiCall::InspectVolume(self.object(Denied::no_volume)?),
            O::VolumeRemove => {
                let of = self.object(Denied::no_volume)?;
                ApiCall::RemoveVolume { of, force: self.query.flag("force") }
            }
            O::ExecStart => ApiCall::Exec(self.object(Denied::no_exec)?, ExecCall::Start),
            O::ExecInspect => ApiCall::Exec(self.object(Denied::no_exec)?, ExecCall::Inspect),
            O::ExecResize => {
                let (h, w) = self.size()?;
                ApiCall::Exec(self.object(Denied::no_exec)?, ExecCall::Resize { h, w })
            }
            on_one => ApiCall::Container(self.object(Denied::no_container)?, self.container(on_one)?),
        })
    }

    fn container(&self, operation: Operation) -> Result<ContainerCall, Denied> {
        use Operation as O;
        let flag = |name: &str| self.query.flag(name);
        Ok(match operation {
            O::ContainerInspect => ContainerCall::Inspect { size: flag("size") },
            O::ContainerLogs => ContainerCall::Logs(self.logs()?),
            O::ContainerStats => {
                let stream = self.query.flag_or("stream", true);
                ContainerCall::Stats { stream, one_shot: !stream && flag("one-shot") }
            }
            O::ContainerTop => ContainerCall::Top,
            O::ContainerChanges => ContainerCall::Changes,
            O::ContainerWait => ContainerCall::Wait { condition: self.condition()? },
            O::ContainerResize => {
                let (h, w) = self.size()?;
                ContainerCall::Resize { h, w }
            }
            O::ContainerStart => ContainerCall::Start,
            O::ContainerRestart => ContainerCall::Restart(self.stopping()?),
            O::ContainerUnpause => ContainerCall::Unpause,
            O::ContainerStop => ContainerCall::Stop(self.stopping()?),
            O::ContainerKill => ContainerCall::Kill { signal: self.signal()? },
            O::ContainerPause => ContainerCall::Pause,
            O::ContainerRename => {
                let name = self.query.text("name").unwrap_or_default();
                ContainerCall::Rename { name: MemberName::read(&name)? }
            }
            O::ContainerRemove if flag("link") => {
                let why = "links between containers are not kept; leave it out";
                return Err(Denied::field("link", why));
            }
            O::ContainerRemove => ContainerCall::Remove { volumes: flag("v"), force: flag("force") },
            O::ContainerAttach => ContainerCall::Attach(self.attach()?),
            O::ContainerExec => ContainerCall::CreateExec,
            O::ContainerUpdate => ContainerCall::Update,
            O::ArchiveGet => ContainerCall::ArchiveGet { path: self.path()? },
            O::ArchiveHead => ContainerCall::ArchiveHead { path: self.path()? },
            O::ArchivePut => ContainerCall::ArchivePut {
                path: self.path()?,
                no_overwrite: flag("noOverwriteDirNonDir"),
                copy_ids: flag("copyUIDGID"),
            },
            O::ContainerExport => ContainerCall::Export,
            _ => return Err(Denied::page()),
        })
    }

    fn image(&self, operation: Operation) -> Result<ApiCall, Denied> {
        let named = || ImageRef::read(&self.named).ok_or_else(|| Denied::no_image(&self.named));
        Ok(match operation {
            Operation::ImageList => ApiCall::Images {
                all: self.query.flag("all"),
                digests: self.query.flag("digests"),
                shared_size: self.query.flag("shared-size"),
                filters: self.filters()?,
            },
            Operation::ImageInspect => ApiCall::InspectImage(named()?),
            Operation::ImageHistory => ApiCall::ImageHistory(named()?),
            Operation::ImagePull => self.pull()?,
            _ => ApiCall::PruneImages,
        })
    }

    fn pull(&self) -> Result<ApiCall, Denied> {
        if self.query.text("fromSrc").is_some() {
            return Err(Denied::endpoint(
                "POST /images/create: images are not imported through this socket, and the engine would fetch \
                 a URL itself; import it with the real engine (env -u DOCKER_HOST docker --context default import …)",
            ));
        }
        let repository = self.query.text("fromImage").unwrap_or_default();
        let image = ImageRef::of_pull(&repository, self.query.text("tag").as_deref());
        let image = image.ok_or_else(|| {
            Denied::field("fromImage", format!("{} names no image; write REPOSITORY:TAG", shown(&repository)))
        })?;
        Ok(ApiCall::Pull { image, platform: self.platform()? })
    }

    fn network(&self, call: NetworkCall) -> Result<ApiCall, Denied> {
        Ok(ApiCall::Network(self.object(Denied::no_network)?, call))
    }

    /// Returns the object that the path names. A word that is no name is nobody's name.
    fn object(&self, absent: fn(&str) -> Denied) -> Result<ObjectRef, Denied> {
        ObjectRef::read(&self.named).ok_or_else(|| absent(&self.named))
    }

    fn filters(&self) -> Result<Filters, Denied> {
        Filters::read(self.query.text("filters").as_deref())
    }

    fn platform(&self) -> Result<Option<String>, Denied> {
        self.query.word("platform", |c| c.is_ascii_alphanumeric() || "/_.-,".contains(c))
    }

    fn time(&self, name: &str) -> Result<Option<String>, Denied> {
        self.query.word(name, |c| c.is_ascii_alphanumeric() || ".:+-".contains(c))
    }

    fn signal(&self) -> Result<Option<String>, Denied> {
        self.query.word("signal", |c| c.is_ascii_alphanumeric() || "+-".contains(c))
    }

    fn stopping(&self) -> Result<Stopping, Denied> {
        let t = self.query.number("t")?;
        if t.is_some_and(|t| !(-1..=86_400).contains(&t)) {
            return Err(Denied::field("t", "it is no time to wait; give seconds, at most a day, or -1"));
        }
        Ok(Stopping { t, signal: self.signal()? })
    }

    fn condition(&self) -> Result<WaitCondition, Denied> {
        let all = [WaitCondition::NotRunning, WaitCondition::NextExit, WaitCondition::Removed];
        let Some(asked) = self.query.text("condition") else { return Ok(WaitCondition::default()) };
        let found = all.into_iter().find(|one| one.as_str() == asked);
        found.ok_or_else(|| Denied::plain(400, format!("invalid condition: \"{}\"", shown(&asked))))
    }

    fn size(&self) -> Result<(i64, i64), Denied> {
        let one = |name: &str| match self.query.number(name)? {
            Some(cells) if (0..=MOST_CELLS).contains(&cells) => Ok(cells),
            _ => Err(Denied::field(name, "it is no size of a terminal; give a number of cells")),
        };
        Ok((one("h")?, one("w")?))
    }

    fn path(&self) -> Result<String, Denied> {
        let path = self.query.text("path").unwrap_or_default();
        if path.is_empty() || path.len() > LONGEST_PATH || path.contains(char::is_control) {
            return Err(Denied::field("path", "it is no path in a container; give an absolute one"));
        }
        Ok(path)
    }

    fn logs(&self) -> Result<LogsQuery, Denied> {
        let flag = |name: &str| self.query.flag(name);
        Ok(LogsQuery {
            follow: flag("follow"),
            stdout: flag("stdout"),
            stderr: flag("stderr"),
            timestamps: flag("timestamps"),
            since: self.time("since")?,
            until: self.time("until")?,
            tail: self.query.word("tail", |c| c.is_ascii_alphanumeric() || c == '-')?,
        })
    }

    fn attach(&self) -> Result<AttachQuery, Denied> {
        let flag = |name: &str| self.query.flag(name);
        Ok(AttachQuery {
            detach_keys: self.query.word("detachKeys", |c| c.is_ascii_graphic())?,
            logs: flag("logs"),
            stream: flag("stream"),
            stdin: flag("stdin"),
            stdout: flag("stdout"),
            stderr: flag("stderr"),
        })
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
